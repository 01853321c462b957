"""The steps and models of a run: when a worker reads them, and what it passes on. No store."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from bridge.model import Job, JobStatus, LoggedSteps, MetricPoint, Snapshot
from bridge.plan import tags
from bridge.plan.plan import Plan
from bridge.plan.recorded import Logged, RecordedRun
from bridge.sync.find_run import Existing
from bridge.sync.job_sync import Task
from bridge.sync.outcome import Synced
from bridge.tracking import Tracking, Written
from tests.support.in_memory import START, InMemoryProvider, snapshot_of
from tests.support.plans import plan
from tests.support.run_states import run_state

NOWHERE = "sqlite:///never-opened.db"
OURS = {tags.BRIDGE: tags.OWNED}
ONE, TWO = frozenset({1}), frozenset({1, 2})
OLD, NEW = {"ft:a:1": "m-1"}, {"ft:a": "m-2"}


class Noting(Tracking):
    """Notes what is read and written, and answers for a run with one step and one model."""

    def __init__(self) -> None:
        super().__init__(NOWHERE)
        self.reads: list[str] = []
        self.written: list[Mapping[str, str]] = []

    def steps(self, run: RecordedRun) -> dict[str, frozenset[int]]:
        """Note the request."""
        del run
        self.reads.append("steps")
        return {"train_loss": ONE}

    def ready_models(self, run: RecordedRun) -> dict[str, str]:
        """Note the request."""
        del run
        self.reads.append("models")
        return OLD

    def record(self, experiment_id: str, plan: Plan, run: RecordedRun | None) -> Written:
        """Return the run with one new model if the plan has any."""
        assert experiment_id == "1"
        return Written(run or run_state("a"), NEW if plan.models else {})

    def register(self, written: Written, plan: Plan) -> None:
        """Note the models among which the job's result is."""
        del plan
        self.written.append(written.model_ids)

    def finish(self, written: Written, plan: Plan) -> None:
        """Note the models that are checked."""
        del plan
        self.written.append(written.model_ids)


class Reading(InMemoryProvider):
    """A provider that notes which steps it need not return."""

    logged: LoggedSteps

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Note the steps."""
        self.logged = logged
        return super().read(job, logged=logged, keep=keep)


@dataclass(frozen=True)
class Case:
    """The knowledge from the last pass, and the reads that follow from it."""

    logged: Logged | None
    reads: tuple[str, ...]
    passed: LoggedSteps
    tags: Mapping[str, str] | None = None
    has_models: bool = True
    models: Mapping[str, str] | None = None


KNOWN = {"train_loss": ONE}
CASES = {
    "nothing known": Case(None, ("steps", "models"), KNOWN, models=OLD),
    "all known": Case(Logged(steps=KNOWN, models=NEW), (), KNOWN, models=NEW),
    "models unknown": Case(Logged(steps=KNOWN), ("models",), KNOWN, models=OLD),
    "others logged since": Case(Logged(steps={}, models=NEW), ("steps",), KNOWN, models=NEW),
    "without models": Case(None, ("steps",), KNOWN, has_models=False),
    "a user's run, the first time": Case(None, ("steps", "models"), {}, {}, models=OLD),
    "a user's run, later": Case(Logged(steps=KNOWN, models=NEW), (), KNOWN, {}, models=NEW),
    "with gaps": Case(
        Logged(steps=KNOWN, models=NEW),
        (),
        {},
        OURS | {tags.INCOMPLETE: "events"},
        models=NEW,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_run_is_read_where_it_is_not_known(executor: ThreadPoolExecutor, case: Case) -> None:
    """Steps are read again only if others wrote to the run, and models only once."""
    tracking = Noting()
    facts: dict[str, object] = {"status": JobStatus.RUNNING, "fine_tuned_model": None}
    provider = Reading(snapshot_of("a", *([0.9, 0.4] if case.has_models else []), **facts))
    run = replace(
        run_state("a", at=START // 1000), tags=OURS if case.tags is None else dict(case.tags)
    )
    outcome = provider.sync(tracking, executor).job_sync(
        Task(
            provider="openai",
            job_id="a",
            listed=provider.job("a"),
            found=Existing(run=run),
            logged=case.logged,
            is_dry=True,
        )
    )
    assert isinstance(outcome, Synced), outcome
    assert tuple(tracking.reads) == case.reads
    assert provider.logged == case.passed
    assert outcome.logged.models == case.models


@pytest.mark.parametrize(
    ("run", "has_models", "expected"),
    [
        (None, False, {}),
        (None, True, NEW),
        (run_state("a"), False, None),
        (replace(run_state("a"), logged=Logged()), False, None),
        (replace(run_state("a"), logged=Logged(models=OLD)), False, OLD),
        (replace(run_state("a"), logged=Logged(models=OLD)), True, OLD | NEW),
    ],
)
def test_models_of_earlier_passes_count(
    executor: ThreadPoolExecutor,
    run: RecordedRun | None,
    expected: Mapping[str, str] | None,
    *,
    has_models: bool,
) -> None:
    """A version may be of a model that an earlier pass created; unread models stay unread."""
    tracking, provider = Noting(), InMemoryProvider(snapshot_of("a", 0.5))
    facts = {"points": (MetricPoint("loss", 1, 0.5, START),), "models": ("any",) * has_models}
    wanted = plan("a", run_id=run.run_id if run else None, **facts)
    outcome = provider.sync(tracking, executor).job_sync.apply(wanted, run, "1", is_dry=False)
    assert outcome.logged.models == expected
    assert tracking.written == [expected or {}] * 2


def test_nothing_is_written_without_an_experiment(executor: ThreadPoolExecutor) -> None:
    """A plan without an experiment, which only a dry run leaves out, is not written."""
    tracking = Noting()
    sync = InMemoryProvider().sync(tracking, executor).job_sync
    outcome = sync.apply(plan("a", run_id=None), None, None, is_dry=False)
    assert (outcome.run_id, tracking.written) == (None, [])


@pytest.mark.parametrize(
    ("is_final", "remedy"),
    [
        (True, "Its run stays as it is; run this again"),
        (False, "All else is recorded; the next pass goes on"),
    ],
)
def test_a_part_that_is_awaited_is_an_error(
    executor: ThreadPoolExecutor, remedy: str, *, is_final: bool
) -> None:
    """A job with an unreadable part failed, and its error says what became of the rest."""
    sync = InMemoryProvider().sync(Noting(), executor).job_sync
    parts = ("its events cannot be read: 500", "its file cannot be read: 503")
    outcome = sync.apply(plan("a", awaited=parts, is_final=is_final), None, "1", is_dry=True)
    assert outcome.error
    assert (outcome.error.sentence, outcome.error.remedy) == ("; ".join(parts), remedy)
    assert sync.apply(plan("a"), None, "1", is_dry=True).error is None
