"""A whole world, driven by Hypothesis: jobs live, replies fail, bridges come and go, users act.

However it went, once the world stands still and replies are good again, MLflow holds exactly what
an undisturbed pass would have put there.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
from mlflow import MlflowClient

from bridge.report import Kind
from bridge.simulator import Outcome, Reply, Request, SimulatedJob, Simulator, json_reply
from bridge.simulator.curves import metrics_at
from bridge.simulator.world import steps_done
from bridge.sync import Sync
from bridge.tracking import Tracking
from tests.support.recorded import active_runs, deleted_runs, recorded
from tests.support.world import NOW, Clock, job, make_sync

RUN_STATUS = {
    Outcome.SUCCEEDED: "FINISHED",
    Outcome.FAILED: "FAILED",
    Outcome.CANCELLED: "KILLED",
}


class World(RuleBasedStateMachine):
    """Providers, bridges, MLflow and its users."""

    template: Path

    @initialize()
    def begin(self) -> None:
        """An empty MLflow, providers without jobs, one bridge."""
        self.folder = tempfile.TemporaryDirectory()
        database = Path(self.folder.name) / "mlflow.db"
        shutil.copy(self.template, database)
        self.uri = f"sqlite:///{database}"
        self.clock = Clock()
        self.jobs: dict[str, SimulatedJob] = {}
        self.fault_rate = 0.0
        self.random = random.Random(0)  # noqa: S311 - faults, not secrets
        self.simulator = Simulator(clock=self.clock, intercept=self._fault).__enter__()
        self.executor = ThreadPoolExecutor(4)
        self.bridges = [self._bridge(), self._bridge()]
        self.deleted: set[str] = set()
        self.a_job_is_created("openai", Outcome.SUCCEEDED, 130, 0, 20.0)
        self.a_job_is_created("mistral", Outcome.SUCCEEDED, 7, 0, 0.0)

    def teardown(self) -> None:
        """Let the world settle, look at it, and close it."""
        if hasattr(self, "simulator"):
            self._settle()
            self.simulator.__exit__(None, None, None)
            self.executor.shutdown()
            self.folder.cleanup()

    # What happens

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
        """Its whole life is fixed now, but shows only as time goes by."""
        number = len(self.jobs)
        created = job(
            f"{'ftjob' if kind == 'openai' else 'job'}-{number}",
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
        """Jobs train, finish, fail."""
        self.clock.now += seconds

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), after=st.sampled_from([-3.0, 0.0, 3.0, 25.0]))
    def a_job_comes_to_its_end(self, data: st.DataObject, after: float) -> None:
        """The moments around an end are where things go wrong."""
        ends = [each.settled_at + after for each in self.jobs.values()]
        ahead = [end for end in ends if end > self.clock.now]
        if ahead:
            self.clock.now = data.draw(st.sampled_from(sorted(ahead)))

    @rule(rate=st.sampled_from([0.0, 0.0, 0.3, 1.0]))
    def replies_turn(self, rate: float) -> None:
        """From now on so many replies fail."""
        self.fault_rate = rate

    @rule(which=st.integers(0, 1))
    def a_bridge_makes_a_pass(self, which: int) -> None:
        """Over both providers; whatever fails is a report, not an exception."""
        for sync in self.bridges[which]:
            report = sync.run()
            if self.fault_rate == 0.0:
                assert report.is_well, report

    @rule(which=st.integers(0, 1))
    def a_bridge_is_restarted(self, which: int) -> None:
        """All that it kept in memory is gone."""
        self.bridges[which] = self._bridge()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def a_user_deletes_a_run(self, data: st.DataObject) -> None:
        """And wants it to stay deleted."""
        runs = active_runs(self.uri)
        if runs:
            run = data.draw(st.sampled_from(sorted(runs, key=lambda run: run.info.run_name)))
            MlflowClient(tracking_uri=self.uri).delete_run(run.info.run_id)
            self.deleted.add(run.data.tags["fine_tuning_job_id"])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def a_user_renames_and_tags_a_run(self, data: st.DataObject) -> None:
        """And finds it that way later."""
        runs = [run for run in active_runs(self.uri) if "mine" not in run.data.tags]
        if runs:
            run = data.draw(st.sampled_from(sorted(runs, key=lambda run: run.info.run_name)))
            client = MlflowClient(tracking_uri=self.uri)
            client.update_run(run.info.run_id, name="renamed")
            client.set_tag(run.info.run_id, "mine", "yes")

    # What always holds

    @invariant()
    def a_metric_has_one_row_a_step(self) -> None:
        """At no time does a chart show a step twice; no job has two runs."""
        if not hasattr(self, "uri"):
            return
        for job_id, run in recorded(self.uri).items():
            points = [(name, step) for name, step, _, _ in run.rows]
            assert len(points) == len(set(points)), (job_id, points)

    # What holds in the end

    def _settle(self) -> None:
        """Replies are good, time has passed: two passes, and nothing is left to do."""
        self.fault_rate = 0.0
        self.clock.now += 1000.0
        self.bridges[0] = self._bridge()
        for _ in range(2):
            for sync in self.bridges[0]:
                report = sync.run()
                assert report.is_well, report
        for sync in self._bridge():
            report = sync.run()
            assert set(+report.jobs) <= {Kind.UNCHANGED}, report
        found = recorded(self.uri)
        assert set(found) == set(self.jobs) - self.deleted
        for job_id, run in found.items():
            expected = self.jobs[job_id]
            assert run.status == RUN_STATUS[expected.outcome]
            assert run.start_time == int(expected.created_at * 1000)
            assert run.name.startswith(f"{expected.provider}/") != ("mine" in run.tags)
            if run.status == "FINISHED" and expected.provider == "openai":
                # The last checkpoint is the model itself; it shows up only after the success.
                newest = run.tags["fine_tuned_model_checkpoint"]
                assert newest == run.tags["fine_tuned_model"]
            values = {(name, step): value for name, step, value, _ in run.rows}
            assert values == pytest.approx(_values(expected), abs=1e-5)
        bound = {run.data.tags["fine_tuning_job_id"] for run in deleted_runs(self.uri)}
        assert bound >= self.deleted

    # How

    def _bridge(self) -> list[Sync]:
        tracking = Tracking(self.uri)
        return [
            make_sync(self.simulator, tracking, self.executor, self.clock, kind="openai"),
            make_sync(self.simulator, tracking, self.executor, self.clock, kind="mistral"),
        ]

    def _fault(self, _request: Request) -> Reply | None:
        if self.random.random() >= self.fault_rate:
            return None
        return self.random.choice(
            [
                Reply(reset=True),
                json_reply({"error": {"message": "try again"}}, 500),
                json_reply({"error": {"message": "too fast"}}, 429),
                Reply(headers={"Content-Type": "application/json"}, body=b'{"data": [', status=200),
                Reply(headers={"Content-Type": "text/html"}, body=b"<html>", status=200),
            ]
        )


def _values(simulated: SimulatedJob) -> dict[tuple[str, int], float]:
    """Every value that a provider measured of a job, by metric and step."""
    values: dict[tuple[str, int], float] = {}
    for step in range(1, steps_done(simulated, NOW + 10_000_000) + 1):
        metrics = metrics_at(simulated, step)
        values["train_loss", step] = metrics.train.loss
        if simulated.provider == "mistral":
            if metrics.valid:
                loss = round(metrics.valid.loss, 6)
                values["valid_loss", step] = loss
                values["valid_mean_token_accuracy", step] = 2**loss
            continue
        values["train_mean_token_accuracy", step] = metrics.train.accuracy
        if metrics.valid:
            values["valid_loss", step] = metrics.valid.loss
            values["valid_mean_token_accuracy", step] = metrics.valid.accuracy
        if metrics.full_valid:
            values["full_valid_loss", step] = metrics.full_valid.loss
            values["full_valid_mean_token_accuracy", step] = metrics.full_valid.accuracy
    return values


def test_the_world_always_ends_in_order(empty_database: Path) -> None:
    """Whatever happens meanwhile, nothing is lost, doubled or resurrected."""
    World.template = empty_database
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=20,
            stateful_step_count=12,
            suppress_health_check=list(HealthCheck),
        ),
    )
