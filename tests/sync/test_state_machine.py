"""A whole world, driven by Hypothesis: jobs live, replies and stores fail, users act.

Once the world stands still and everything answers again, MLflow holds exactly the content that an
undisturbed pass puts into an empty one. A longer run: ``make soak``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from mlflow.entities import Run

from bridge.errors import JobVanished
from bridge.simulator import Outcome, SimulatedJob, Simulator
from bridge.sync.outcome import Result
from bridge.sync.provider_sync import ProviderSync
from bridge.sync.report import Report, Selection
from tests.support.databases import refill
from tests.support.failing_store import FailingTracking, Trouble
from tests.support.measured import measured
from tests.support.models import artifacts, client_of, datasets, models_of
from tests.support.processes import dump
from tests.support.recorded import Row, active_runs, deleted_runs, recorded, rows_of
from tests.support.world import BrokenReplies, Clock, job, make_sync

pytestmark = pytest.mark.long
SOAK = bool(os.environ.get("SOAK"))
EXPERIMENT = "hosted-fine-tunes"
JOB = "fine_tuning_job_id"
NOTE = "mlflow.note.content"
EDITS = {"mine": "yes", NOTE: "My own words."}
RUN_STATUS = {
    Outcome.SUCCEEDED: "FINISHED",
    Outcome.FAILED: "FAILED",
    Outcome.CANCELLED: "KILLED",
}


@dataclass(frozen=True, slots=True)
class Bridge:
    """A process, as others see it."""

    tracking: FailingTracking
    syncs: tuple[ProviderSync, ...]

    def run(self, selection: Selection | None = None) -> list[Report]:
        """Make one pass over each provider."""
        return [sync.run(selection) for sync in self.syncs]


class World(RuleBasedStateMachine):
    """Providers, bridges, MLflow and its users."""

    template: Path
    databases: tuple[Path, Path]
    """That of the bridges, and one to compare with."""

    @initialize(archive=st.booleans(), page_size=st.sampled_from([1000, 2]))
    def begin(self, *, archive: bool, page_size: int) -> None:
        """Start with an empty MLflow, a job per provider, and two bridges with small pages."""
        self.page_size = page_size
        self.archive = archive
        self.uri = refill(self.databases[0], self.template)
        self.clock = Clock()
        self.jobs: dict[str, SimulatedJob] = {}
        self.replies = BrokenReplies()
        self.simulator = Simulator(clock=self.clock, intercept=self.replies).__enter__()
        self.executor = ThreadPoolExecutor(4)
        self.bridges = [self._bridge(), self._bridge()]
        self.deleted: set[str] = set()
        self.edited: set[str] = set()
        self.earlier: dict[str, list[SimulatedJob]] = {}
        self.vanished: dict[str, tuple[Row, ...]] = {}
        self.is_experiment_deleted = False
        self.a_job_is_created("openai", Outcome.SUCCEEDED, 130, 0, 20.0)
        self.a_job_is_created("mistral", Outcome.SUCCEEDED, 7, 0, 0.0)

    def teardown(self) -> None:
        """Let the world settle, check it, and close it."""
        if hasattr(self, "simulator"):
            try:
                self._settle()
            finally:
                self.simulator.__exit__(None, None, None)
                self.executor.shutdown()

    # At the providers

    @rule(
        kind=st.sampled_from(["openai", "mistral"]),
        outcome=st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED]),
        total_steps=st.sampled_from([1, 7, 130]),
        last=st.integers(0, 7),
        late=st.sampled_from([0.0, 20.0]),
    )
    def a_job_is_created(
        self, kind: str, outcome: Outcome, total_steps: int, last: int, late: float
    ) -> None:
        """Create a job, whose whole life is fixed now but shows only as time passes."""
        number = len(self.jobs)
        created = job(
            f"ftjob-{number}" if kind == "openai" else str(UUID(int=number, version=4)),
            "openai" if kind == "openai" else "mistral",
            created_at=self.clock.now,
            outcome=outcome,
            total_steps=total_steps,
            ends_at_step=last,
            late_seconds=late,
            seed=number,
        )
        self.jobs[created.id] = created
        self.simulator.add(created)

    @rule(seconds=st.sampled_from([1.0, 15.0, 40.0, 200.0]))
    def time_goes_by(self, seconds: float) -> None:
        """Let jobs train, finish or fail."""
        self.clock.now += seconds

    @rule(data=st.data(), after=st.sampled_from([-3.0, 0.0, 3.0, 25.0]))
    def a_job_comes_to_its_end(self, data: st.DataObject, after: float) -> None:
        """Go to the moments around an end, where defects are likely."""
        ends = [each.settled_at + after for each in self.jobs.values()]
        ahead = [end for end in ends if end > self.clock.now]
        if ahead:
            self.clock.now = data.draw(st.sampled_from(sorted(ahead)))

    @rule(data=st.data())
    def a_job_is_corrected(self, data: st.DataObject) -> None:
        """Let a provider replace every value of a job with another."""
        if there := sorted(self.jobs.keys() - self.vanished.keys()):
            job_id = data.draw(st.sampled_from(there))
            before = self.jobs[job_id]
            self.earlier.setdefault(job_id, []).append(before)
            self.jobs[job_id] = replace(before, seed=before.seed + 100)
            self.simulator.remove(job_id)
            self.simulator.add(self.jobs[job_id])

    @precondition(lambda self: len(self.jobs) > len(self.vanished) + 2)
    @rule(data=st.data())
    def a_job_vanishes(self, data: st.DataObject) -> None:
        """Let a provider forget a job, whose records stay as they are."""
        job_id = data.draw(st.sampled_from(sorted(self.jobs.keys() - self.vanished.keys())))
        self.simulator.remove(job_id)
        self.vanished[job_id] = ()
        if run := self._carriers().get(job_id):
            self.vanished[job_id] = rows_of(self.uri, run)

    @rule(rate=st.sampled_from([0.0, 0.0, 0.3, 1.0]))
    def replies_turn(self, rate: float) -> None:
        """Make this many of the next replies fail."""
        self.replies.rate = rate

    # At the bridges

    @rule(which=st.integers(0, 1))
    def a_bridge_makes_a_pass(self, which: int) -> None:
        """Make a pass over both providers; a failure is a report, not an exception."""
        self._look(self.bridges[which].run())

    @rule(
        which=st.integers(0, 1),
        at=st.integers(1, 15),
        trouble=st.sampled_from(Trouble),
        later=st.sampled_from([0.0, 250.0]),
        is_killed=st.booleans(),
    )
    def mlflow_fails_at_a_write(
        self, which: int, at: int, trouble: Trouble, later: float, *, is_killed: bool
    ) -> None:
        """Fail a write, or let the bridge die there, which is the same to the store."""
        self.clock.now += later  # most is written where jobs have ended
        failing = self.bridges[which].tracking.failing
        failing.at, failing.trouble = at, trouble
        self.bridges[which].run()
        failing.heal()
        if is_killed:
            self.bridges[which] = self._bridge()

    @rule(
        beside=st.sampled_from([None, Selection(), Selection(limit=1)]),
        at=st.integers(0, 15),
        trouble=st.sampled_from(Trouble),
    )
    def two_bridges_at_once(self, beside: Selection | None, at: int, trouble: Trouble) -> None:
        """Run two bridges at once, one of which may lose MLflow meanwhile."""
        other = self._bridge() if beside else self.bridges[1]
        other.tracking.failing.at, other.tracking.failing.trouble = at, trouble
        with ThreadPoolExecutor(2) as threads:
            reports = threads.submit(other.run, beside)
            self.bridges[0].run()
            if not at:
                self._look(reports.result())
        other.tracking.failing.heal()

    @rule(which=st.integers(0, 1))
    def a_bridge_is_restarted(self, which: int) -> None:
        """Restart a bridge, which loses its memory."""
        self.bridges[which] = self._bridge()

    # At the users

    @rule(which=st.integers(0, 9))
    def a_user_deletes_a_run(self, which: int) -> None:
        """Delete a run, which has to stay deleted."""
        if run := self._run(which):
            self.deleted.add(run.data.tags[JOB])
            for each in active_runs(self.uri):
                if each.data.tags[JOB] in self.deleted:
                    client_of(self.uri).delete_run(each.info.run_id)

    @rule(which=st.integers(0, 9))
    def a_user_edits_a_run(self, which: int) -> None:
        """Rename, tag and describe a run, which has to keep all three."""
        if run := self._run(which):
            client = client_of(self.uri)
            client.update_run(run.info.run_id, name="renamed")
            for name, value in EDITS.items():
                client.set_tag(run.info.run_id, name, value)
            self.edited.add(run.info.run_id)

    @rule()
    def a_user_deletes_the_experiment(self) -> None:
        """Delete an experiment with everything in it, or restore it with all its runs."""
        client = client_of(self.uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            return
        if self.is_experiment_deleted:
            client.restore_experiment(found.experiment_id)
            self.deleted.clear()
        else:
            client.delete_experiment(found.experiment_id)
        self.is_experiment_deleted = not self.is_experiment_deleted

    # Invariants

    @invariant()
    def a_metric_has_one_row_a_step(self) -> None:
        """Check that no chart shows a step twice."""
        for run in active_runs(self.uri) if hasattr(self, "uri") else ():
            points = Counter((name, step) for name, step, _, _ in rows_of(self.uri, run))
            assert set(points.values()) <= {1}, (run.data.tags[JOB], points)

    # At the end

    def _settle(self) -> None:
        """Let everything answer and time pass: after two passes nothing is left to do."""
        self.replies.rate = 0.0
        self.clock.now += 1000.0
        if self.is_experiment_deleted:
            self.a_user_deletes_the_experiment()
        for bridge in (self.bridges[0], self._bridge()):
            self._look(bridge.run())
        before = dump(Path(self.uri.removeprefix("sqlite:///")))
        for report in self._bridge().run():
            assert +report.jobs <= Counter(dict.fromkeys([Result.UNCHANGED, Result.FAILED], 99))
        assert dump(Path(self.uri.removeprefix("sqlite:///"))) == before
        found = self._carriers()
        active = {run.data.tags[JOB]: run for run in active_runs(self.uri)}
        assert len(active) == len(active_runs(self.uri)), "a job has two runs"
        assert {job_id: run.info.run_id for job_id, run in active.items()} == {
            job_id: run.info.run_id for job_id, run in found.items() if job_id not in self.deleted
        }
        assert self.jobs.keys() - self.vanished.keys() <= found.keys()
        for job_id, run in active.items():
            self._look_at(job_id, run)
        self._compare(active)

    def _look_at(self, job_id: str, run: Run) -> None:
        """Compare a run with its provider's measurements and its users' changes."""
        rows = rows_of(self.uri, run)
        if job_id in self.vanished:
            assert rows == self.vanished[job_id]
        else:
            expected = self.jobs[job_id]
            reported = [measured(each) for each in (expected, *self.earlier.get(job_id, ()))]
            assert run.info.status == RUN_STATUS[expected.outcome]
            assert {(name, step) for name, step, _, _ in rows} == reported[0].keys()
            for name, step, value, _ in rows:
                assert any(value == pytest.approx(t[name, step], abs=1e-5) for t in reported)
        is_edited = run.info.run_id in self.edited
        assert (run.info.run_name == "renamed") is is_edited
        assert (EDITS.items() <= run.data.tags.items()) is is_edited

    def _compare(self, active: dict[str, Run]) -> None:
        """Compare everything else with a single pass into an empty MLflow."""
        uri = refill(self.databases[1], self.template)
        assert all(report.is_well for report in self._bridge(uri).run())
        wanted, found = recorded(uri), recorded(self.uri)
        undisturbed = {run.data.tags[JOB]: run for run in active_runs(uri)}
        for job_id in active.keys() - self.vanished.keys() - self.earlier.keys():
            run, twin = active[job_id], undisturbed[job_id]
            seen, aim = found[job_id], wanted[job_id]
            if run.info.run_id in self.edited:
                edits = {"mine": seen.tags["mine"]}
                aim = replace(aim, name=seen.name, tags=aim.tags | edits)
            # A checkpoint is slightly older than its step's event: the first to be read counts.
            for row, other in zip(seen.rows, aim.rows, strict=True):
                assert row == other or row == (*other[:3], self._reported_at(job_id, row[1]))
            assert replace(seen, rows=()) == replace(aim, rows=())
            assert models_of(self.uri, run) == models_of(uri, twin)
            assert datasets(run) == datasets(twin)
            assert artifacts(self.uri, run) == artifacts(uri, twin)

    # Support

    def _bridge(self, uri: str | None = None) -> Bridge:
        tracking = FailingTracking(uri or self.uri, page_size=self.page_size)
        syncs = [
            make_sync(
                self.simulator,
                tracking,
                self.executor,
                self.clock,
                kind=kind,
                archive=self.archive,
            )
            for kind in ("openai", "mistral")
        ]
        return Bridge(tracking, tuple(syncs))

    def _look(self, reports: Iterable[Report]) -> None:
        """Check that nothing is lost if nothing fails."""
        if self.replies.rate or self.is_experiment_deleted:
            return
        for report in reports:
            assert report.stopped is None, report
            assert all(isinstance(error, JobVanished) for _, error in report.failures), report

    def _reported_at(self, job_id: str, step: int) -> int:
        """Return the Unix milliseconds of a step's event."""
        return int(self.jobs[job_id].step_at(step)) * 1000

    def _carriers(self) -> dict[str, Run]:
        """Return the run of a job that all bridges choose as the owner, deleted runs included.

        If its job has vanished, that is a finished run, if there is any.
        """
        runs = {run.info.run_id: run for run in deleted_runs(self.uri)}
        active = {run.info.run_id: run for run in active_runs(self.uri)}

        def rank(run_id: str) -> tuple[bool, str]:
            found = active.get(run_id)
            is_last = found is not None and found.info.status in RUN_STATUS.values()
            is_last_hope = is_last and runs[run_id].data.tags[JOB] in self.vanished
            return not is_last_hope, run_id

        runs |= active
        carriers: dict[str, Run] = {}
        for run_id in sorted(runs, key=rank):
            carriers.setdefault(runs[run_id].data.tags[JOB], runs[run_id])
        return carriers

    def _run(self, number: int) -> Run | None:
        # Not drawn from the existing runs: races decide which exist, and the draw must not depend
        # on them.
        runs = {run.data.tags[JOB]: run for run in active_runs(self.uri)}
        return runs[sorted(runs)[number % len(runs)]] if runs else None


def test_the_world_always_ends_in_order(
    empty_database: Path, reused_databases: tuple[Path, Path]
) -> None:
    """The world always ends in order: nothing is lost, doubled or resurrected."""
    World.template, World.databases = empty_database, reused_databases
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=300 if SOAK else 3,
            stateful_step_count=40 if SOAK else 12,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("trouble", Trouble)
def test_a_store_that_fails_at_any_write(
    empty_database: Path, reused_databases: tuple[Path, Path], trouble: Trouble
) -> None:
    """Each write of two finished jobs fails in each way, and the next pass completes them."""
    World.template, World.databases = empty_database, reused_databases
    share = [*Trouble].index(trouble)
    for at in range(1, 27) if SOAK else range(1 + share, 27, 4 * len(Trouble)):
        world = World()
        world.begin(archive=True, page_size=2)
        world.mlflow_fails_at_a_write(0, at, trouble, later=250.0, is_killed=at % 3 == 0)
        world.teardown()
