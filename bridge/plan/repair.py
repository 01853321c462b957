"""What a run that should have everything lacks. Pure.

A pass asks for no more than it needs to go on from where it stopped: of a run that is final,
nothing. Here all that MLflow has of one is compared with all that its provider tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bridge.model import JobStatus
from bridge.plan import tags
from bridge.plan.plan import RUN_STATUS, Plan
from bridge.plan.recorded import FINAL_RUN_STATUS, Recorded, RunState

GONE: Final = "its provider no longer has the job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What MLflow has of a run beside what every pass asks for."""

    archived: frozenset[str] = frozenset()
    """Names in the folder of its archive."""
    registered: frozenset[str] = frozenset()
    """The registered models that have, or once had, a version of it."""
    emptied: frozenset[int] = frozenset()
    """The steps of outputs whose models are deleted: nobody wants them."""


def lacking(plan: Plan, recorded: Recorded, inventory: Inventory, *, manifest: str) -> Plan:
    """A plan without what the run has, and without what its user has changed or deleted.

    Args:
        plan: as for a run that lacks everything which ``recorded`` does not tell of.
        recorded: what MLflow has of the job.
        inventory: the rest of it.
        manifest: the name of the archived file that says that the job's files are archived.
    """
    models = tuple(model for model in plan.models if model.step not in inventory.emptied)
    there = recorded.models.keys() | {model.model for model in models}
    registration = plan.registration
    if registration and (
        registration.name in inventory.registered or registration.model not in there
    ):
        registration = None
    plan = replace(
        plan,
        models=models,
        registration=registration,
        documents={
            name: content
            for name, content in plan.documents.items()
            if name not in inventory.archived
        },
        files=() if manifest in inventory.archived else plan.files,
    )
    if not (recorded.is_final and plan.is_final):
        return plan
    is_told = tags.STATUS not in plan.tags
    if is_told:
        # The job's last word is recorded. What else differs from then on, its user has edited.
        added = {name: value for name, value in plan.tags.items() if name not in recorded.tags}
        rest = replace(plan, tags=added, status=None)
        # A note that nobody has edited tells of what is added; by itself it is no reason to write.
        notes = {} if rest.is_empty else plan.tags.keys() & {tags.NOTE, tags.NOTE_DIGEST}
        plan = replace(rest, tags=added | {name: plan.tags[name] for name in notes})
    if recorded.is_adopted or (is_told and not plan.points):
        return plan
    # When a job ended may not be known but from its points; and whoever ended the run too early
    # may have done so with the right status.
    return replace(plan, status=plan.status or recorded.status)


def farewell(run: RunState, last: JobStatus | None) -> Plan:
    """How the run of a job ends that its provider no longer has.

    Args:
        run: it has no final status.
        last: what the job was when it was last seen; how it ended is known only if it had.
    """
    known = RUN_STATUS[last] if last is not None and last.is_final else "KILLED"
    return Plan(
        provider=run.provider,
        job_id=run.job_id,
        run_id=run.run_id,
        run_name=run.name,
        start_time=run.start_time,
        tags={},
        params={},
        points=(),
        status=None if run.status in FINAL_RUN_STATUS else known,
        end_time=max([run.start_time, *(moment for _, moment in run.newest.values())]),
        last_tags={} if run.is_ours else {tags.BRIDGE: tags.COMPLETED},
        is_final=True,
        is_settling=False,
        skipped=(GONE,),
    )
