"""The comparison of a run with its job, as findings. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from bridge.doctor.checks import Finding
from bridge.plan import tags
from bridge.plan.plan import Plan
from bridge.plan.recorded import RecordedRun
from bridge.plan.repair import GONE
from bridge.plan.run_state import last_sign


def withheld_parts(run: RecordedRun, plan: Plan, link: str) -> Iterator[Finding]:
    """Yield a finding for each part that a final run lacks and its provider does not return."""
    finding = _about(run, plan, link)
    is_named = tags.INCOMPLETE in {**run.tags, **plan.tags}
    for sentence in plan.lost if is_named else ():
        yield finding(
            what=sentence,
            remedy=f"if the provider returns it: ftbridge doctor --fix --job {plan.job_id}",
            is_withheld=True,
        )


def compared(run: RecordedRun, plan: Plan, link: str) -> Finding:
    """Yield a finding for what the provider has and the run lacks."""
    finding = _about(run, plan, link)
    if not run.is_final and GONE not in plan.skipped:
        since = datetime.fromtimestamp(last_sign(run) / 1000, UTC)
        return finding(
            what=f"not synced since {since:%Y-%m-%d %H:%M} UTC",
            remedy="bring it up to date",
            is_compared=True,
            is_note=True,
        )
    lacks = f"lacks {plan.changes}" if plan.changes else ""
    remedy = "add what is missing" if lacks else ""
    if not plan.is_final:
        ended = f"it is {run.status} although its job is still open"
        remedy = "continue it"
    elif not run.is_final:
        ended = f"it is {run.status} although {GONE}"
        remedy = f"{remedy} and set {plan.status or 'that it is complete'}".removeprefix(" and ")
    elif tags.STATUS in plan.tags:
        ended = f"it became {run.status} before everything was recorded"
    else:
        ended = ""
    return finding(
        is_compared=True,
        what=", ".join(filter(None, [ended, lacks])),
        remedy=remedy,
    )


def _about(run: RecordedRun, plan: Plan, link: str) -> partial[Finding]:
    """Return a function that creates findings about a run."""
    return partial(Finding, job_id=plan.job_id, run_id=run.run_id, name=run.name, link=link)
