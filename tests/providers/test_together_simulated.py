"""Together AI simulated: against the official client and specification, and on into MLflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

import httpx
import pytest
import together
from together.types import FileResponse
from together.types.fine_tuning_list_checkpoints_response import FineTuningListCheckpointsResponse
from together.types.fine_tuning_list_events_response import FineTuningListEventsResponse
from together.types.fine_tuning_list_metrics_response import FineTuningListMetricsResponse
from together.types.fine_tuning_list_response import FineTuningListResponse
from together.types.finetune_response import FinetuneResponse

from bridge.simulator import Outcome, SimulatedJob, Simulator
from bridge.simulator.together_objects import model_name
from bridge.sync.outcome import Result
from bridge.tracking import Tracking
from tests.support.models import artifacts, run_of
from tests.support.moments import iso
from tests.support.recorded import recorded, without_links
from tests.support.simulated import MOMENTS, OPENAI, START, STEPS, VARIANTS, Json, conforms
from tests.support.world import NOW, Clock, job, make_sync

PLAIN = replace(
    OPENAI,
    provider="together",
    id="ft-00000000-0000",
    base_model="meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
)
JOBS = tuple(
    replace(PLAIN, id=f"ft-00000000-{n:04}", seed=n, **changes)
    for n, changes in enumerate((*VARIANTS, {"method": "dpo", "base_model": model_name(PLAIN)}), 1)
)


@dataclass(frozen=True)
class World:
    """A running simulator with a client."""

    clock: Clock
    simulator: Simulator
    http: httpx.Client
    sdk: together.Together

    def get(self, path: str, **query: str | int) -> Json:
        """Return a reply."""
        url = self.simulator.together_url + path
        return cast("Json", self.http.get(url, params=query).raise_for_status().json())


@pytest.fixture
def world() -> Iterator[World]:
    """Run a simulator of all jobs, long after they have ended."""
    clock = Clock(START + 1000)
    with (
        Simulator(jobs=JOBS, clock=clock) as simulator,
        httpx.Client(headers={"Authorization": "Bearer any"}) as http,
        together.Together(api_key="any", max_retries=0, base_url=simulator.together_url) as sdk,
    ):
        yield World(clock, simulator, http, sdk)


# The simulator


@pytest.mark.parametrize("seconds", MOMENTS)
def test_the_official_client_reads_everything(world: World, seconds: float) -> None:
    """The official client reads jobs, events, checkpoints, metrics and files at any time."""
    world.clock.now = START + seconds
    api = world.sdk.fine_tuning
    rows = api.list().data
    assert [row.id for row in rows] == [job.id for job in JOBS]
    for row in rows:
        found = api.retrieve(row.id)
        assert (found.id, found.status, found.model) == (row.id, row.status, row.model)
        events = api.list_events(row.id).data
        assert events[0].message == "Fine tune request created"
        assert [event.created_at for event in events] == sorted(e.created_at for e in events)
        steps = Counter(checkpoint.step for checkpoint in api.list_checkpoints(row.id).data)
        assert set(steps.values()) <= {2}
        metrics = api.list_metrics(row.id).metrics or []
        assert {*steps} <= {int(each["train/global_step"]) for each in metrics}
        for file_id in filter(None, (row.training_file, row.validation_file)):
            described = world.sdk.files.retrieve(file_id)
            assert described.bytes == len(world.sdk.files.content(file_id).read())


@pytest.mark.parametrize("seconds", MOMENTS)
def test_replies_conform(world: World, seconds: float) -> None:
    """Replies fit the specification, and the official client's types where these are stricter."""
    world.clock.now = START + seconds
    listed = world.get("/fine-tunes")
    conforms(listed, "together_list")
    FineTuningListResponse.model_validate(listed)
    for row in listed["data"]:
        conforms(row, "together_row")
        path = f"/fine-tunes/{row['id']}"
        detail = world.get(path)
        conforms(detail, "together_job")
        FinetuneResponse.model_validate(detail)
        shared = row.keys() & detail.keys() - {"events"}
        assert {key: row[key] for key in shared} == {key: detail[key] for key in shared}
        events = world.get(f"{path}/events")
        FineTuningListEventsResponse.model_validate(events)
        for event in events["data"]:
            conforms(event, "together_event")
        checkpoints = world.get(f"{path}/checkpoints")
        FineTuningListCheckpointsResponse.model_validate(checkpoints)
        for checkpoint in checkpoints["data"]:
            conforms(checkpoint, "together_checkpoint")
        metrics = world.get(f"{path}/metrics")
        conforms(metrics, "together_metrics")
        FineTuningListMetricsResponse.model_validate(metrics)
        file = world.get(f"/files/{row['training_file']}")
        conforms(file, "together_file")
        FileResponse.model_validate(file)


@pytest.mark.parametrize(
    ("simulated", "statuses"),
    list(
        zip(
            JOBS,
            (
                "pending queued running uploading completed",
                "pending queued running uploading completed",
                "pending error",
                "pending queued running error",
                "pending queued running cancel_requested cancelled",
                "pending queued cancelled",
                "pending queued",
                "pending queued running uploading completed",
            ),
            strict=True,
        )
    ),
)
def test_each_life_takes_its_course(world: World, simulated: SimulatedJob, statuses: str) -> None:
    """A job goes through its statuses in order and stays in the last."""
    seen: list[str] = []
    for half in range(100):
        world.clock.now = START + half / 2
        status = world.get(f"/fine-tunes/{simulated.id}")["status"]
        if [status] != seen[-1:]:
            seen.append(status)
    assert seen == statuses.split()


def steps_of(metrics: Sequence[Mapping[str, float]] | None, name: str = "train/loss") -> list[int]:
    """Return the steps of the rows that have a metric."""
    return [int(row["train/global_step"]) for row in metrics or () if name in row]


def test_the_client_filters_metrics(world: World) -> None:
    """Metrics are filtered by step and time, and a resolution thins only training rows."""
    read = world.sdk.fine_tuning.list_metrics
    job_id = JOBS[0].id
    everything = read(job_id).metrics
    assert steps_of(everything) == list(range(1, STEPS + 1))
    assert steps_of(everything, "eval/loss") == [4, 6, 8, 12, 16, 18, 20, 24, 28, 30]
    assert steps_of(read(job_id, global_step_from=28).metrics) == [28, 29, 30]
    assert steps_of(read(job_id, global_step_from=5, global_step_to=7).metrics) == [5, 6, 7]
    assert steps_of(read(job_id, logged_at_from=iso(START + 28)).metrics) == list(
        range(26, STEPS + 1)
    )
    thin = read(job_id, resolution=3).metrics
    assert steps_of(thin) == [1, 11, 21]
    assert steps_of(thin, "eval/loss") == steps_of(everything, "eval/loss")
    with pytest.raises(together.BadRequestError):
        read(job_id, global_step_from="x")  # type: ignore[arg-type] # on purpose


def test_checkpoints_come_while_the_job_trains(world: World) -> None:
    """A checkpoint comes after each epoch, the last one with the job's end."""
    read = world.sdk.fine_tuning.list_checkpoints
    world.clock.now = START + 30
    assert {row.step for row in read(JOBS[0].id).data} == {6, 12, 18, 24}
    world.clock.now = START + 33
    rows = read(JOBS[0].id).data
    assert {row.step for row in rows if "final" in row.checkpoint_type.lower()} == {30}
    assert len({row.object_name for row in rows}) == len({row.path for row in rows}) == 10


def test_a_job_that_goes_on_says_from_where(world: World) -> None:
    """A job that continues names the other job and the original base model."""
    found = world.sdk.fine_tuning.retrieve(JOBS[-1].id)
    assert found.from_checkpoint == model_name(PLAIN)
    assert found.model == PLAIN.base_model.removeprefix("meta-llama/")
    assert found.training_method is not None
    assert found.training_method.method == "dpo"


def test_errors_are_the_client_s(world: World) -> None:
    """A missing job and a missing key get the errors that the client knows."""
    with pytest.raises(together.NotFoundError, match="Fine-tune job not found"):
        world.sdk.fine_tuning.retrieve("ft-none")
    with pytest.raises(together.NotFoundError):
        world.sdk.files.retrieve("file-none")
    with (
        Simulator(jobs=JOBS, clock=world.clock, api_key="right") as simulator,
        together.Together(api_key="wrong", max_retries=0, base_url=simulator.together_url) as sdk,
        pytest.raises(together.AuthenticationError),
    ):
        sdk.fine_tuning.list()


@pytest.mark.parametrize("changes", [{"outcome": Outcome.PAUSED}, {"metadata": {"a": "b"}}])
def test_what_together_does_not_have_is_not_simulated(changes: Mapping[str, Any]) -> None:
    """Pauses and owners' notes are refused, because Together has neither."""
    with pytest.raises(ValueError, match="Together"):
        replace(PLAIN, **changes)


# From the simulator into MLflow

FIRST = job("ft-first", "together", total_steps=40, n_epochs=4)
FAILED = job("ft-failed", "together", outcome=Outcome.FAILED, ends_at_step=7)
CANCELLED = job("ft-cancelled", "together", outcome=Outcome.CANCELLED, ends_at_step=9)
WAITING = job("ft-waiting", "together", outcome=Outcome.WAITING)
NEXT = job(
    "ft-next", "together", base_model=model_name(FIRST), created_at=NOW + 100, validation=False
)
ALL = (FIRST, FAILED, CANCELLED, WAITING, NEXT)
LAST_ENDED = NEXT.settled_at
END = NOW + 400


def test_a_backfill_records_every_job(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A backfill records status, tags, params and every row, and a second pass writes nothing."""
    clock.now = END
    with Simulator(jobs=ALL, clock=clock) as simulator:
        report = make_sync(simulator, tracking, executor, clock, kind="together").run()
        assert (report.failures, report.skipped) == ([], [])
        assert +report.jobs == Counter({Result.NEW: len(ALL)})
        before = recorded(uri)
        again = make_sync(simulator, tracking, executor, clock, kind="together").run()
    assert +again.jobs == Counter({Result.UNCHANGED: len(ALL)})
    assert recorded(uri) == before

    first = before[FIRST.id]
    assert {job_id: run.status for job_id, run in before.items()} == {
        FIRST.id: "FINISHED",
        FAILED.id: "FAILED",
        CANCELLED.id: "KILLED",
        WAITING.id: "SCHEDULED",
        NEXT.id: "FINISHED",
    }
    assert first.name == f"together/{FIRST.suffix}-first"
    assert first.tags["fine_tuned_model"] == model_name(FIRST)
    assert first.tags["fine_tuned_model_checkpoint"] == model_name(FIRST)
    assert first.params["training_method"] == "sft"
    assert (first.start_time, first.end_time) == (
        int(FIRST.created_at * 1000),
        int(FIRST.settled_at * 1000),
    )
    steps = {name: {step for metric, step, _, _ in first.rows if metric == name} for name in NAMES}
    assert steps["train/loss"] == steps["train/grad_norm"] == set(range(1, 41))
    assert steps["eval/loss"] == {step for step in range(4, 41) if step % 4 == 0 or step % 10 == 0}
    assert {name for name, _, _, _ in first.rows} == NAMES
    assert {at for _, step, _, at in first.rows if step == 10} == {int(FIRST.step_at(10) * 1000)}
    assert before[FAILED.id].tags["fine_tuning_error"] == FAILED.failure.message
    assert "fine_tuned_model" not in before[FAILED.id].tags
    assert len(before[FAILED.id].rows) == 3 * 7 + 1
    assert before[WAITING.id].rows == ()


NAMES = {"train/loss", "train/grad_norm", "train/learning_rate", "eval/loss"}


@pytest.mark.parametrize("restarts", [False, True])
def test_jobs_that_are_followed_end_up_as_if_they_were_backfilled(
    uri: str,
    tracking: Tracking,
    clock: Clock,
    executor: ThreadPoolExecutor,
    other_uri: str,
    *,
    restarts: bool,
) -> None:
    """Followed jobs end up as backfilled ones, while each pass requests only new metrics."""
    with Simulator(jobs=ALL, clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind="together")
        while clock.now < LAST_ENDED:
            if restarts:
                sync = make_sync(simulator, tracking, executor, clock, kind="together")
            assert sync.run().is_well
            clock.now += 7 if clock.now < FIRST.settled_at else 20
        asked = [
            request.query.get("global_step_from")
            for request in simulator.requests
            if request.path.endswith(f"{FIRST.id}/metrics")
        ]
        clock.now = END
        assert sync.run().is_well
        assert not sync.run().points
        make_sync(simulator, Tracking(other_uri), executor, clock, kind="together").run()
    followed, backfilled = without_links(recorded(uri)), without_links(recorded(other_uri))
    assert followed == backfilled
    # Only the first and the last pass request everything.
    assert (asked[0], asked[-1]) == (None, None)
    middle = [int(step or 0) for step in asked[1:-1]]
    assert middle == sorted(middle) or restarts
    assert len(middle) > 3


def test_a_quiet_pass_writes_nothing_while_jobs_train(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A quiet pass writes nothing in mid-training, even in a new process."""
    clock.now = FIRST.step_at(25)
    with Simulator(jobs=ALL, clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind="together")
        sync.run()
        before = recorded(uri)
        assert before[FIRST.id].status == "RUNNING"
        for again in (sync, make_sync(simulator, tracking, executor, clock, kind="together")):
            assert not again.run().points
            assert recorded(uri) == before


def test_a_job_that_goes_on_from_another_is_linked_with_it(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job that continues another is linked with it, in both runs."""
    clock.now = END
    with Simulator(jobs=ALL, clock=clock) as simulator:
        make_sync(simulator, tracking, executor, clock, kind="together").run()
    runs = recorded(uri)
    assert runs[NEXT.id].tags["base_model"] == model_name(FIRST)
    assert runs[NEXT.id].tags["fine_tuned_from_run"]
    assert runs[FIRST.id].tags["fine_tuned_into_runs"]


def test_what_together_said_is_archived_with_the_files(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """The replies are archived whole at the end of a job, even after it was followed."""
    with Simulator(jobs=[FIRST], clock=clock) as simulator:
        sync = make_sync(
            simulator,
            tracking,
            executor,
            clock,
            kind="together",
            archive=True,
            archive_datasets=True,
        )
        clock.now = FIRST.step_at(30)
        sync.run()
        assert artifacts(uri, run_of(uri, FIRST.id)) == {}
        clock.now = END
        assert sync.run().is_well
    stored = artifacts(uri, run_of(uri, FIRST.id))
    files = {path for path in stored if path.startswith("provider/datasets/")}
    assert {path.removeprefix("provider/") for path in stored.keys() - files} == {
        *("job.json", "checkpoints.jsonl", "events.jsonl", "metrics.jsonl", "datasets.json")
    }
    assert len(files) == 2
