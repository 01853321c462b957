"""Runs that users created for their jobs, which the bridge continues and does not own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Metric, Param, Run, RunTag, ViewType

from bridge.plan.routing import Router
from bridge.simulator import Outcome, Reply, Request, SimulatedJob, Simulator
from bridge.simulator.openai_objects import model_name
from bridge.sync.outcome import Result
from bridge.tracking import Tracking
from tests.support.artifacts import archived
from tests.support.config_file import write_config
from tests.support.databases import file_of, refill
from tests.support.interrupted import Interrupted
from tests.support.processes import dump, invoke
from tests.support.recorded import active_runs, deleted_runs, recorded
from tests.support.world import NOW, Clock, job, make_sync

LAUNCHES = "launches"
HOME = "hosted-fine-tunes"
LAUNCHED = int(NOW * 1000) - 5000
NOTE = "mlflow.note.content"

TAGS = {"team": "a", "base_model": "what my team calls it"}
PARAMS = {"dataset_version": "7", "batch_size": "auto"}
METRICS = [
    Metric("baseline_score", 0.25, LAUNCHED, 0),
    Metric("train_loss", 9.5, LAUNCHED, 0),
    Metric("train_loss", 7.25, LAUNCHED, 5),
]


def client_of(uri: str) -> MlflowClient:
    """Return MLflow's client, as a user's script has it."""
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def launch(
    uri: str,
    experiment: str = LAUNCHES,
    *,
    ended: bool = True,
    note: str | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """Create a run as a user's launch script does, with other data and perhaps ended already."""
    client = client_of(uri)
    found = client.get_experiment_by_name(experiment)
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    place = (
        found.experiment_id
        if found
        else client.create_experiment(experiment, artifact_location=artifacts.as_uri())
    )
    known = TAGS | ({NOTE: note} if note else {}) | (tags or {})
    run_id = str(
        client.create_run(place, start_time=LAUNCHED, tags=known, run_name="my launch").info.run_id
    )
    client.log_batch(
        run_id, metrics=METRICS, params=[Param(name, value) for name, value in PARAMS.items()]
    )
    if ended:
        client.set_terminated(run_id, "FINISHED", LAUNCHED + 2000)
    return run_id


def launched_job(run_id: str, job_id: str = "ftjob-a", **changes: object) -> SimulatedJob:
    """Return a job whose launch script noted its run on it."""
    return job(job_id, "openai", metadata={"mlflow_run_id": run_id}, **changes)


@dataclass(slots=True)
class Whole:
    """The whole record of a run."""

    run: Run
    rows: list[tuple[str, int, float, int]]
    models: dict[str, tuple[str, int, dict[str, float]]]
    """Status, copies and metrics of each model, by full name."""
    inputs: list[tuple[str, str]] = field(default_factory=list)
    """Datasets and their contexts."""

    @property
    def facts(self) -> object:
        """Return the parts that equal those of another copy of the same run.

        Times of rows are left out, because a followed job's are logged before its checkpoint has
        them.
        """
        info = self.run.info
        times = (info.status, info.start_time, info.end_time, info.run_name)
        data = (self.run.data.tags, self.run.data.params)
        values = [row[:3] for row in self.rows]
        return (times, data, values, self.models, self.inputs)


def whole(uri: str, run_id: str) -> Whole:
    """Return a run, read through MLflow's client."""
    client = client_of(uri)
    run = client.get_run(run_id)
    models = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    names = Counter(model.tags["fine_tuned_model"] for model in models)
    return Whole(
        run=run,
        rows=sorted(
            (metric.key, metric.step, metric.value, metric.timestamp)
            for name in run.data.metrics
            for metric in client.get_metric_history(run_id, name)
        ),
        models={
            model.tags["fine_tuned_model"]: (
                model.status.value,
                names[model.tags["fine_tuned_model"]],
                {metric.key: metric.value for metric in model.metrics or ()},
            )
            for model in models
        },
        inputs=sorted(
            (each.dataset.name, tag.value)
            for each in (run.inputs.dataset_inputs if run.inputs else ())
            for tag in each.tags
        ),
    )


def curve(found: Whole, name: str = "train_loss") -> dict[int, float]:
    """Return the value by step, and fail if a step has two rows."""
    rows = [(step, value) for key, step, value, _ in found.rows if key == name]
    assert len(dict(rows)) == len(rows), f"{name} has two rows for one step"
    return dict(rows)


def untouched(found: Whole) -> bool:
    """Check that everything that the user's script logged is unchanged."""
    metrics = {(metric.key, metric.step, metric.value, metric.timestamp) for metric in METRICS}
    return (
        found.run.info.run_name == "my launch"
        and found.run.info.start_time == LAUNCHED
        and TAGS.items() <= found.run.data.tags.items()
        and PARAMS.items() <= found.run.data.params.items()
        and metrics <= set(found.rows)
    )


# Continued runs


# Every two of the values meet; make soak has the other combinations too.
FOLLOWED = [
    (LAUNCHES, True, Outcome.SUCCEEDED),
    (LAUNCHES, False, Outcome.FAILED),
    (HOME, True, Outcome.FAILED),
    (HOME, False, Outcome.SUCCEEDED),
]


@pytest.mark.long
@pytest.mark.parametrize(
    ("experiment", "ended", "outcome"),
    [
        *FOLLOWED,
        *(
            (experiment, ended, outcome)
            for experiment, ended, outcome in product(
                (LAUNCHES, HOME), (True, False), (Outcome.SUCCEEDED, Outcome.FAILED)
            )
            if os.environ.get("SOAK") and (experiment, ended, outcome) not in FOLLOWED
        ),
    ],
)
def test_a_run_is_followed_to_its_jobs_end(
    uri: str,
    clock: Clock,
    executor: ThreadPoolExecutor,
    other_uri: str,
    *,
    experiment: str,
    outcome: Outcome,
    ended: bool,
) -> None:
    """The run shows RUNNING while the job trains and the job's status at its end.

    This holds however long ago the script ended the run, and wherever the run lies. Nothing of the
    user's changes, no other run appears, and a backfill of the finished job gives the same.
    """
    run_id = launch(uri, experiment, ended=ended)
    refill(file_of(other_uri), file_of(uri))
    one = launched_job(run_id, total_steps=40, outcome=outcome, ends_at_step=30)
    with Simulator(jobs=[one], clock=clock) as simulator:
        sync = make_sync(simulator, Tracking(uri), executor, clock)
        queued = "FINISHED" if ended else "RUNNING"
        for moment, status, steps in (
            (one.created_at + 1, queued, 0),
            (one.step_at(10), "RUNNING", 10),
            (one.step_at(20), "RUNNING", 20),
            (one.settled_at + 400, "FINISHED" if outcome is Outcome.SUCCEEDED else "FAILED", 30),
        ):
            clock.now = moment
            assert sync.run().is_well
            found = whole(uri, run_id)
            assert found.run.info.status == status
            assert untouched(found)
            assert set(range(1, steps + 1)) <= set(curve(found))
            assert len(active_runs(uri, experiment)) == 1
        ended_at = found.run.info.end_time
        assert ended_at == int(one.settled_at) * 1000
        tags = found.run.data.tags
        assert tags["fine_tuning_job_id"] == one.id
        assert tags["fine_tuning_bridge"] == "adopted, complete"
        assert found.run.data.params["n_epochs"] == "3"
        assert [context for _, context in found.inputs] == ["training", "validation"]
        assert "mlflow.source.name" not in tags
        if outcome is Outcome.SUCCEEDED:
            assert len(found.models) == 3
            assert all(model[:2] == ("READY", 1) for model in found.models.values())
        assert make_sync(simulator, Tracking(other_uri), executor, clock).run().is_well
    assert whole(other_uri, run_id).facts == found.facts
    assert deleted_runs(uri, experiment) == []
    assert active_runs(uri, LAUNCHES if experiment == HOME else HOME) == []


def test_what_its_user_logged_wins(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Where the job has another value for the same thing, the user's stays, in every later pass.

    A param that differs is reported, and the model of a step gets the point that the run has.
    """
    run_id = launch(uri, note="My own words.")
    one = launched_job(run_id, n_epochs=2)
    with Simulator(jobs=[one], clock=clock) as simulator:
        for moment in (one.step_at(3), one.step_at(8), one.settled_at):
            clock.now = moment
            report = make_sync(simulator, tracking, executor, clock).run()
            assert any("batch_size is auto" in sentence for _, sentence in report.skipped)
            found = whole(uri, run_id)
            assert untouched(found)
            assert found.run.data.tags[NOTE] == "My own words."
    assert curve(found)[5] == 7.25
    assert set(curve(found)) == set(range(13))
    assert found.models[model_name(one, 12)][2]["train_loss"] == curve(found)[12]


def test_a_run_without_a_note_gets_one(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A run without a note gets one, which is updated until the user edits it."""
    run_id = launch(uri)
    one = launched_job(run_id)
    with Simulator(jobs=[one], clock=clock) as simulator:
        clock.now = one.step_at(3)
        make_sync(simulator, tracking, executor, clock).run()
        first = whole(uri, run_id).run.data.tags[NOTE]
        assert one.id in first
        clock.now = one.step_at(9)
        client_of(uri).set_tag(run_id, NOTE, "My own words.")
        make_sync(simulator, tracking, executor, clock).run()
        clock.now = one.settled_at
        make_sync(simulator, tracking, executor, clock).run()
    assert whole(uri, run_id).run.data.tags[NOTE] == "My own words."


def test_what_its_user_logged_leaves_no_hole_in_the_curve(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A user's later point does not hide the missing steps before it."""
    run_id = launch(uri)
    client_of(uri).log_metric(run_id, "train_loss", 0.5, timestamp=LAUNCHED, step=290)
    one = launched_job(run_id, total_steps=300, plain_result_file=False)
    with Simulator(jobs=[one], clock=clock) as simulator:
        clock.now = one.settled_at
        assert make_sync(simulator, tracking, executor, clock).run().is_well
    found = whole(uri, run_id)
    assert set(curve(found)) == set(range(301))
    assert curve(found)[290] == 0.5


def test_a_run_that_its_script_ends_again_runs_on(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A run that its script ends again stays open while the job trains."""
    run_id = launch(uri, HOME, ended=False)
    one = launched_job(run_id)
    with Simulator(jobs=[one], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now = one.step_at(3)
        sync.run()
        client_of(uri).set_terminated(run_id, "FINISHED", LAUNCHED + 60_000)
        clock.now = one.step_at(6)
        sync.run()
        assert whole(uri, run_id).run.info.status == "RUNNING"
        clock.now = one.settled_at
        sync.run()
    found = whole(uri, run_id)
    assert found.run.info.status == "FINISHED"
    assert found.run.info.end_time == int(one.settled_at) * 1000
    assert set(curve(found)) == set(range(13))


@pytest.mark.parametrize("experiment", [LAUNCHES, HOME])
def test_afterwards_nothing_is_asked_or_written(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor, experiment: str
) -> None:
    """A complete run gets no request or write, by the same process or a new one."""
    one = launched_job(launch(uri, experiment))
    with Simulator(jobs=[one], clock=clock) as simulator:
        clock.now = one.settled_at
        sync = make_sync(simulator, tracking, executor, clock, archive=True)
        assert sync.run().jobs[Result.UPDATED] == 1
        assert archived(uri, one.id, experiment).keys() >= {"job.json", "events.jsonl"}
        before = dump(Path(uri.removeprefix("sqlite:///")))
        for each in (sync, make_sync(simulator, Tracking(uri), executor, clock, archive=True)):
            requests = len(simulator.requests)
            assert +each.run().jobs == Counter({Result.UNCHANGED: 1})
            paths = [request.path for request in simulator.requests[requests:]]
            # A new process requests the shutdown dates of models once.
            asked = [path for path in paths if not path.endswith("/models")]
            assert len(asked) == 1, "more than the list"
        assert dump(Path(uri.removeprefix("sqlite:///"))) == before


def test_a_job_that_begins_later_finds_its_run(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job that begins later finds its user's run, beside a job with a run of the bridge."""
    with Simulator(jobs=[job("ftjob-old", total_steps=400)], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now += 60
        sync.run()
        run_id = launch(uri)
        late = launched_job(run_id, "ftjob-late", created_at=clock.now)
        simulator.add(late)
        for moment in (late.step_at(4), late.step_at(8), late.settled_at):
            clock.now = moment
            assert sync.run().is_well
    found = whole(uri, run_id)
    assert found.run.info.status == "FINISHED"
    assert untouched(found)
    assert recorded(uri).keys() == {"ftjob-old"}


def test_a_dry_run_leaves_it_alone(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A dry run plans an update of the user's run, and writes nothing."""
    run_id = launch(uri)
    before = dump(Path(uri.removeprefix("sqlite:///")))
    with Simulator(jobs=[launched_job(run_id)], clock=clock) as simulator:
        clock.now += 1000
        report = make_sync(simulator, tracking, executor, clock).run(dry_run=True)
    (plan,) = report.plans
    assert (plan.run_id, report.jobs[Result.UPDATED]) == (run_id, 1)
    assert dump(Path(uri.removeprefix("sqlite:///"))) == before


# Refused runs


def missing(_: str) -> str:
    """Return an id that no run has."""
    return "0" * 32


def malformed(_: str) -> str:
    """Return an impossible id."""
    return "my launch"


def deleted(uri: str) -> str:
    """Create a deleted run."""
    run_id = launch(uri)
    client_of(uri).delete_run(run_id)
    return run_id


def deleted_with_its_experiment(uri: str) -> str:
    """Create a run in a deleted experiment."""
    run_id = launch(uri, "trashed")
    client = client_of(uri)
    client.delete_experiment(client.get_run(run_id).info.experiment_id)
    return run_id


def of_another_job(uri: str) -> str:
    """Create a run that carries a job already."""
    tags = {"fine_tuning_job_id": "ftjob-other", "fine_tuning_provider": "openai"}
    return launch(uri, tags=tags)


def of_another_provider(uri: str) -> str:
    """Create a run that carries a job of the same id elsewhere."""
    tags = {"fine_tuning_job_id": "ftjob-a", "fine_tuning_provider": "mistral"}
    return launch(uri, tags=tags)


def of_another_providers_other_job(uri: str) -> str:
    """Create a run that another provider's job continues."""
    tags = {"fine_tuning_job_id": "ftjob-b", "fine_tuning_provider": "azure"}
    return launch(uri, tags=tags | {"fine_tuning_bridge": "adopted"})


def of_the_bridge(uri: str) -> str:
    """Create a run of the bridge for another job, in an experiment that is open to jobs."""
    tags = {"fine_tuning_job_id": "ftjob-b", "fine_tuning_provider": "openai"}
    return launch(uri, HOME, tags=tags | {"fine_tuning_bridge": "ftbridge"})


def not_open_to_jobs(uri: str) -> str:
    """Create a run in an experiment that is closed to jobs."""
    return launch(uri, "production")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (missing, "does not exist"),
        (malformed, "is not a run id"),
        (deleted, "is deleted"),
        (deleted_with_its_experiment, "is deleted"),
        (of_another_job, "carries another job (ftjob-other)"),
        (of_another_provider, "carries a job of mistral"),
        (of_another_providers_other_job, "carries another job (ftjob-b)"),
        (of_the_bridge, "carries another job (ftjob-b)"),
        (not_open_to_jobs, "mlflow.open_to_jobs"),
    ],
)
def test_a_run_that_cannot_be_continued_is_refused(
    uri: str, clock: Clock, executor: ThreadPoolExecutor, make: Callable[[str], str], says: str
) -> None:
    """A refused run stays unchanged, a sentence says why, and the job gets another run, once."""
    run_id = make(uri)
    before = (
        client_of(uri).get_run(run_id).to_dictionary() if make not in {missing, malformed} else None
    )
    router = Router(provider="openai", experiment=HOME, open_to_jobs=(LAUNCHES, "trashed"))
    noted = {"mlflow_run_id": run_id, "mlflow_parent_run_id": "0" * 32}
    with Simulator(jobs=[job("ftjob-a", metadata=noted)], clock=clock) as simulator:
        clock.now += 1000
        report = make_sync(simulator, Tracking(uri), executor, clock, router=router).run()
        assert +report.jobs == Counter({Result.NEW: 1})
        ((_, sentence),) = report.skipped
        assert says in sentence
        again = make_sync(simulator, Tracking(uri), executor, clock, router=router).run()
        assert +again.jobs == Counter({Result.UNCHANGED: 1})
    (own,) = [run for run in active_runs(uri) if run.info.run_id != run_id]
    assert own.info.status == "FINISHED"
    assert own.data.tags["mlflow.parentRunId"] == "0" * 32, "its other wish is followed"
    assert before is None or client_of(uri).get_run(run_id).to_dictionary() == before


def test_of_two_jobs_that_name_one_run_one_gets_it(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """One of two jobs that name the same run, as in a sweep, gets it, and the other another run."""
    run_id = launch(uri)
    jobs = [launched_job(run_id, f"ftjob-{n}", created_at=NOW + n) for n in range(4)]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 1000
        report = make_sync(simulator, tracking, executor, clock).run()
        assert +report.jobs == Counter({Result.UPDATED: 1, Result.NEW: 3})
        refused = [what for _, what in report.skipped if "carries another job" in what]
        assert len(refused) == 3
        again = make_sync(simulator, Tracking(uri), executor, clock).run()
        assert +again.jobs == Counter({Result.UNCHANGED: 4})
    carried = whole(uri, run_id).run.data.tags["fine_tuning_job_id"]
    assert recorded(uri).keys() == {each.id for each in jobs} - {carried}
    assert len(whole(uri, run_id).models) == 3


def test_of_two_providers_jobs_that_name_one_run_one_gets_it(uri: str, tmp_path: Path) -> None:
    """One of two providers' jobs that find the same run free gets it."""
    run_id = launch(uri, HOME)
    both = threading.Barrier(2, timeout=60)

    def wait_for_both(request: Request) -> Reply | None:
        # A job's checkpoints are requested after its run is found and before its first write.
        if request.path.endswith("/checkpoints"):
            both.wait()
        return None

    # An account and a gateway before it, for example.
    with Simulator(jobs=[launched_job(run_id)], intercept=wait_for_both) as simulator:
        urls = dict.fromkeys(("account", "gateway"), simulator.openai_url)
        config = write_config(tmp_path, uri, urls)
        done = invoke("backfill", "--config", config, "--json")
    assert done.exit_code == 0, done.output
    reports = json.loads(done.stdout)["providers"]
    reported = [each["what"] for report in reports for each in report["left_out"]]
    (refused,) = [what for what in reported if "carries another job" in what]
    tags = [run.data.tags for run in active_runs(uri)]
    assert sorted(each["fine_tuning_provider"] for each in tags) == ["account", "gateway"]
    carried = whole(uri, run_id)
    assert f"(ftjob-a of {carried.run.data.tags['fine_tuning_provider']})" in refused
    assert [copies for _, copies, _ in carried.models.values()] == [1, 1, 1]


class Meeting(Tracking):
    """Waits until another process has come as far, so that both have found the run free."""

    def __init__(self, uri: str, both: threading.Barrier) -> None:
        super().__init__(uri)
        self._both = both

    def claim(self, run_id: str, holder: str) -> str:
        """Claim the run at the same moment as the other process."""
        self._both.wait()
        return super().claim(run_id, holder)


def test_of_two_bridges_that_adopt_a_run_at_once_one_gets_it(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """One of two bridges that adopt a run at once gets it, and the other creates another run."""
    run_id = launch(uri)
    both = threading.Barrier(2, timeout=60)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as processes:
        simulators = [
            stack.enter_context(Simulator(jobs=[launched_job(run_id, job_id)], clock=clock))
            for job_id in ("ftjob-a", "ftjob-b")
        ]
        clock.now += 1000
        bridges = [
            make_sync(each, Meeting(uri, both), executor, clock, archive=True)
            for each in simulators
        ]
        reports = list(processes.map(lambda bridge: bridge.run(), bridges))
        assert all(report.is_well for report in reports), reports
        found = whole(uri, run_id)
        winner = found.run.data.tags["fine_tuning_job_id"]
        (loser,) = {"ftjob-a", "ftjob-b"} - {winner}
        reported = [what for report in reports for _, what in report.skipped]
        (refused,) = [what for what in reported if "gets a new run" in what]
        assert f"carries another job ({winner} of openai)" in refused
        for each in simulators:
            assert make_sync(each, Tracking(uri), executor, clock).run().is_well
    assert recorded(uri).keys() == {loser}
    assert whole(uri, run_id).facts == found.facts
    assert set(curve(found)) == set(range(13))
    assert len(found.models) == 3
    assert {model[1] for model in found.models.values()} == {1}


def test_a_run_that_cannot_be_claimed_is_not_written_to(
    uri: str, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A run that cannot be claimed is not written to, and the next pass adopts it."""
    run_id = launch(uri)
    before = whole(uri, run_id)
    with Simulator(jobs=[launched_job(run_id)], clock=clock) as simulator:
        clock.now += 1000
        cut = make_sync(simulator, Interrupted(uri, 0), executor, clock).run()
        assert not cut.is_well
        assert whole(uri, run_id).facts == before.facts
        assert active_runs(uri) == []
        assert make_sync(simulator, Tracking(uri), executor, clock).run().is_well
    assert whole(uri, run_id).run.data.params["fine_tuning_job"] == "ftjob-a of openai"


def test_a_run_that_is_deleted_afterwards_gets_no_successor(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A continued run that its user deletes gets no successor, as with the bridge's own runs."""
    run_id = launch(uri)
    one = launched_job(run_id)
    with Simulator(jobs=[one], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        clock.now = one.step_at(3)
        sync.run()
        client_of(uri).delete_run(run_id)
        clock.now = one.settled_at
        for each in (sync, make_sync(simulator, Tracking(uri), executor, clock)):
            assert each.run().is_well
    assert active_runs(uri) == []
    assert active_runs(uri, LAUNCHES) == []


# Interruptions


@pytest.mark.parametrize("cuts", [range(7), range(7, 14)], ids=["early", "late"])
def test_an_interrupted_adoption_converges(
    uri: str, tmp_path: Path, clock: Clock, executor: ThreadPoolExecutor, cuts: range
) -> None:
    """An adoption that is cut off after any write is completed by the next process."""
    run_id = launch(uri)
    one = launched_job(run_id, total_steps=8, n_epochs=2)
    Tracking(uri).experiment(HOME, create=True)
    launched = Path(shutil.copy(file_of(uri), tmp_path / "launched.db"))
    clock.now = one.settled_at
    with Simulator(jobs=[one], clock=clock) as simulator:
        assert make_sync(simulator, Tracking(uri), executor, clock).run().is_well
        wanted = whole(uri, run_id)
        assert untouched(wanted)
        for writes in cuts:
            place = refill(file_of(uri), launched)
            cut = make_sync(simulator, Interrupted(place, writes), executor, clock).run()
            report = make_sync(simulator, Tracking(place), executor, clock).run()
            assert report.is_well
            found = whole(place, run_id)
            assert found.facts == wanted.facts, f"cut off after {writes} writes"
            assert found.rows == wanted.rows, f"cut off after {writes} writes"
            assert active_runs(place) == []
            parts = "a claim, inputs, 2 models, outputs, a tag, a batch of 3, 2 models, status, tag"
            assert cut.is_well is (writes == 13), parts


# Parents


def test_a_run_is_nested_under_the_run_that_its_job_names(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job's run is nested below the run that the job names, which stays unchanged."""
    parent = launch(uri, HOME)
    before = client_of(uri).get_run(parent).to_dictionary()
    one = job("ftjob-a", metadata={"mlflow_parent_run_id": parent})
    with Simulator(jobs=[one], clock=clock) as simulator:
        clock.now = one.step_at(2)
        sync = make_sync(simulator, tracking, executor, clock)
        sync.run()
        (child,) = client_of(uri).search_runs(
            [client_of(uri).get_run(parent).info.experiment_id],
            filter_string=f"tags.mlflow.parentRunId = '{parent}'",
            run_view_type=ViewType.ACTIVE_ONLY,
        )
        assert child.data.tags["fine_tuning_job_id"] == one.id
        # If its user moves it later, it stays there.
        client_of(uri).log_batch(child.info.run_id, tags=[RunTag("mlflow.parentRunId", "0" * 32)])
        clock.now = one.settled_at
        sync.run()
    assert client_of(uri).get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == "0" * 32
    assert client_of(uri).get_run(parent).to_dictionary() == before


def test_models_of_a_continued_run_are_its_own(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A continued run's models lie in its experiment, where a later job's lineage finds them."""
    run_id = launch(uri)
    first = launched_job(run_id)
    child = job("ftjob-child", base_model=model_name(first, 12), created_at=NOW + 500)
    with Simulator(jobs=[first, child], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        for moment in (first.settled_at, child.settled_at):
            clock.now = moment
            assert sync.run().is_well
    assert recorded(uri)["ftjob-child"].tags["fine_tuned_from_run"] == run_id
    assert untouched(whole(uri, run_id))
    assert {status for status, _, _ in whole(uri, run_id).models.values()} == {
        LoggedModelStatus.READY.value
    }
