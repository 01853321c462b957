"""Vertex AI simulated: against Google's own client and types, and on into MLflow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from bridge.cli.app import app
from bridge.simulator import Outcome, SimulatedJob, Simulator
from bridge.simulator.vertex import model_name
from bridge.sync.outcome import Result
from bridge.tracking import Tracking
from tests.support.models import artifacts, run_of
from tests.support.recorded import recorded
from tests.support.world import KEY, NOW, Clock, job, make_sync

Json = dict[str, Any]

PLAIN = job(f"{10**18}", "vertex", total_steps=40, n_epochs=4)
VARIANTS: tuple[Mapping[str, Any], ...] = (
    {"validation": False, "suffix": None},
    {"outcome": Outcome.FAILED, "ends_at_step": 7},
    {"outcome": Outcome.CANCELLED, "ends_at_step": 15},
    {"outcome": Outcome.PAUSED, "ends_at_step": 11},
    {"outcome": Outcome.WAITING},
    {"method": "dpo", "base_model": model_name(PLAIN), "metadata": {"team": "a"}},
    {"method": "reinforcement"},
)
ALL = (
    PLAIN,
    *(replace(PLAIN, id=f"{10**18 + n}", seed=n, **each) for n, each in enumerate(VARIANTS, 1)),
)
FAILED, PAUSED, WAITING, NEXT, REWARDED = ALL[2], ALL[4], ALL[5], ALL[6], ALL[7]
END = NOW + 1000
MOMENTS = (0.0, 25.0, 31.0, 45.5, 71.0, 80.0, 1000.0)
"""Seconds after NOW that cover all states of the jobs."""


@dataclass(frozen=True)
class World:
    """A running simulator with a client."""

    clock: Clock
    simulator: Simulator

    def get(self, path: str, **query: str | int) -> Json:
        """Return a reply."""
        reply = httpx.get(
            self.simulator.vertex_url + path,
            params=query,
            headers={"Authorization": f"Bearer {KEY}"},
            verify=False,  # noqa: S501 - plain HTTP, and certificates take time
        )
        return cast("Json", reply.raise_for_status().json())


@pytest.fixture
def world() -> Iterator[World]:
    """Run a simulator of all jobs, long after they have ended."""
    clock = Clock(END)
    with Simulator(jobs=ALL, clock=clock, api_key=KEY) as simulator:
        yield World(clock, simulator)


def sdk_of(simulator: Simulator, token: str = KEY) -> Any:  # noqa: ANN401 - of an optional package
    """Return Google's client."""
    genai = pytest.importorskip("google.genai", reason="pip install google-genai")
    from google.oauth2.credentials import Credentials  # noqa: PLC0415 - only with the client

    return genai.Client(
        vertexai=True,
        project="acme",
        location="us-central1",
        credentials=Credentials(token=token),  # type: ignore[no-untyped-call] # Google's
        http_options={"base_url": simulator.vertex_url},
    )


@pytest.mark.parametrize("seconds", MOMENTS)
def test_googles_client_reads_every_job(world: World, seconds: float) -> None:
    """Google's client reads every job, in lists of any length and one by one, at any time."""
    world.clock.now = NOW + seconds
    sdk = sdk_of(world.simulator)
    listed = list(sdk.tunings.list(config={"page_size": 3}))
    assert {each.name.rpartition("/")[2] for each in listed} == {each.id for each in ALL}
    for found in listed:
        single = sdk.tunings.get(name=found.name)
        assert single.model_copy(update={"sdk_http_response": None}) == found
        assert found.state.name.startswith("JOB_STATE_")
        for checkpoint in (found.tuned_model and found.tuned_model.checkpoints) or ():
            assert isinstance(checkpoint.step, int)
            assert checkpoint.endpoint


def test_googles_client_is_refused_as_by_google(world: World) -> None:
    """Google's client gets Google's refusals for a missing job and a wrong token."""
    errors = pytest.importorskip("google.genai.errors")
    known, stranger = sdk_of(world.simulator), sdk_of(world.simulator, "wrong")
    with pytest.raises(errors.ClientError, match="NOT_FOUND"):
        known.tunings.get(name="projects/1/locations/l/tuningJobs/5")
    with pytest.raises(errors.ClientError, match="UNAUTHENTICATED"):
        list(stranger.tunings.list())


@pytest.mark.long  # its packages are in the extra "referees", which make soak installs
def test_googles_types_parse_the_tensorboard(world: World) -> None:
    """Google's strict types parse the TensorBoard: an unknown field would be an error."""
    types = pytest.importorskip("google.cloud.aiplatform_v1.types", reason="extra: referees")
    experiment = world.get(f"/v1beta1/projects/p/locations/l/tuningJobs/{PLAIN.id}")["experiment"]
    context = types.Context.from_json(json.dumps(world.get(f"/v1/{experiment}")))
    board = context.metadata["backing_tensorboard_resource"]
    runs = world.get(f"/v1/{board}/experiments/{experiment.rpartition('/')[2]}/runs")
    listed = types.ListTensorboardRunsResponse.from_json(json.dumps(runs))
    (run,) = listed.tensorboard_runs
    series = world.get(f"/v1/{run.name}/timeSeries")
    found = types.ListTensorboardTimeSeriesResponse.from_json(json.dumps(series))
    assert len(found.tensorboard_time_series) == 4
    for each in found.tensorboard_time_series:
        data = world.get(f"/v1/{each.name}:read", maxDataPoints=-1)
        read = types.ReadTensorboardTimeSeriesDataResponse.from_json(json.dumps(data))
        values = read.time_series_data.values
        assert values[-1].step == each.metadata.max_step == PLAIN.total_steps
        assert all(value.scalar.value > 0 for value in values)


def test_a_long_series_comes_as_a_sample_unless_all_is_asked_for() -> None:
    """A long series comes as a sample by default, a trap that the bridge avoids."""
    long = replace(PLAIN, total_steps=1200, seconds_per_step=0.1)
    with Simulator(jobs=[long], clock=Clock(END)) as simulator:
        world = World(Clock(END), simulator)
        experiment = world.get(f"/v1beta1/projects/p/locations/l/tuningJobs/{long.id}")
        board = world.get(f"/v1/{experiment['experiment']}")["metadata"]
        path = f"/v1/{board['backing_tensorboard_resource']}/experiments"
        path += f"/{experiment['experiment'].rpartition('/')[2]}/runs"
        run = world.get(path)["tensorboardRuns"][0]["name"]
        name = world.get(f"/v1/{run}/timeSeries")["tensorboardTimeSeries"][0]["name"]
        for query, number in (({}, 1000), ({"maxDataPoints": -1}, 1200)):
            data = world.get(f"/v1/{name}:read", **query)["timeSeriesData"]
            assert len(data["values"]) == number


# From the simulator into MLflow


def test_a_backfill_records_every_job_and_a_second_one_nothing(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A backfill records status, tags, params and every row, and a second one writes nothing."""
    clock.now = END
    with Simulator(jobs=ALL, clock=clock) as simulator:
        report = make_sync(simulator, tracking, executor, clock, kind="vertex").run()
        assert (report.failures, report.skipped) == ([], [])
        before = recorded(uri)
        again = make_sync(simulator, tracking, executor, clock, kind="vertex").run()
    assert +again.jobs == Counter({Result.UNCHANGED: len(ALL)})
    assert recorded(uri) == before
    statuses = {job_id: run.status for job_id, run in before.items()}
    assert Counter(statuses.values()) == Counter(
        {"FINISHED": 4, "FAILED": 1, "KILLED": 1, "RUNNING": 1, "SCHEDULED": 1}
    )
    run = before[PLAIN.id]
    rows = {(name, step): at for name, step, _, at in run.rows}
    assert {name for name, _ in rows} == {
        *("train_total_loss", "train_fraction_of_correct_next_step_preds"),
        *("eval_total_loss", "eval_fraction_of_correct_next_step_preds"),
    }
    assert {step for name, step in rows if name == "train_total_loss"} == set(range(1, 41))
    assert rows["train_total_loss", 10] == int(PLAIN.step_at(10) * 1000)
    assert run.tags["fine_tuned_model"] == model_name(PLAIN)
    assert "/endpoints/" in run.tags["fine_tuned_model_checkpoint"]
    assert run.params["epochCount"] == "4"
    assert run.params["method"] == "supervised"
    assert before[FAILED.id].tags["fine_tuning_error"].startswith("INVALID_ARGUMENT: ")
    assert "fine_tuned_model" not in before[FAILED.id].tags
    assert before[NEXT.id].tags["base_model"] == model_name(PLAIN)
    assert before[NEXT.id].tags["fine_tuned_from_run"]
    assert before[WAITING.id].rows == ()


def test_the_best_checkpoint_of_a_reward_is_the_highest(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """The best checkpoint of a reinforcement job is the one with the highest reward."""
    clock.now = END
    with Simulator(jobs=[REWARDED], clock=clock) as simulator:
        make_sync(simulator, tracking, executor, clock, kind="vertex").run()
    run = recorded(uri)[REWARDED.id]
    rewards = {
        step: value
        for name, step, value, _ in run.rows
        if name == "eval_mean_reward" and step in REWARDED.epoch_ends
    }
    best = max(rewards, key=lambda step: rewards[step])
    endpoints = {
        step: each["endpoint"] for each in _checkpoints(REWARDED) if (step := int(each["step"]))
    }
    assert run.tags["fine_tuned_model_best_checkpoint"] == endpoints[best]
    assert run.params["samplesPerPrompt"] == "8"


def _checkpoints(of: SimulatedJob) -> list[Json]:
    with Simulator(jobs=[of], clock=Clock(END)) as simulator:
        world = World(Clock(END), simulator)
        found = world.get(f"/v1beta1/projects/p/locations/l/tuningJobs/{of.id}")
        return cast("list[Json]", found["tunedModel"]["checkpoints"])


def test_what_a_pass_costs(tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor) -> None:
    """A settled pass costs one request, an open job two more, and each grown series one."""
    live = replace(PLAIN, id="9" * 19, created_at=NOW + 2000)
    with Simulator(jobs=[PLAIN, REWARDED, live], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind="vertex")

        def asked() -> list[str]:
            before = len(simulator.requests)
            assert sync.run().is_well
            paths = (request.path for request in simulator.requests[before:])
            return [path.rpartition("/")[2].rpartition(":")[2] for path in paths]

        clock.now = END
        asked()
        assert asked() == ["tuningJobs"]
        clock.now = live.step_at(3)
        assert Counter(asked())["read"] == 2, "nothing is evaluated yet"
        assert asked() == ["tuningJobs", "runs", "timeSeries"]
        clock.now = live.step_at(5)
        assert Counter(asked())["read"] == 4
        clock.now = live.step_at(6)
        assert asked() == ["tuningJobs", "runs", "timeSeries", "read", "read"]


def test_what_google_said_is_archived_without_training_data(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """The job and its series are archived with their values, without training data."""
    clock.now = END
    with Simulator(jobs=[PLAIN], clock=clock) as simulator:
        make_sync(simulator, tracking, executor, clock, kind="vertex", archive=True).run()
    run = run_of(uri, PLAIN.id)
    assert set(artifacts(uri, run)) == {"provider/job.json", "provider/metrics.jsonl"}
    client = MlflowClient(tracking_uri=uri)
    path = client.download_artifacts(run.info.run_id, "provider/job.json", str(tmp_path))
    kept = Path(path).read_text()
    assert "tuningStepCount" in kept
    assert "Where is my order" not in kept


@pytest.mark.parametrize(("token", "code"), [(KEY, 0), ("another-token-of-nobody", 1)])
def test_the_environment_is_enough(
    world: World,
    tmp_path: Path,
    uri: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    token: str,
    code: int,
) -> None:
    """A project and a token or login are enough; a wrong token is refused and stays hidden."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "GOOGLE_CLOUD_PROJECT": "acme",
        "CLOUDSDK_AUTH_ACCESS_TOKEN": token,
        "VERTEX_BASE_URL": world.simulator.vertex_url,
        "MLFLOW_TRACKING_URI": uri,
    }.items():
        monkeypatch.setenv(name, value)
    checked = CliRunner().invoke(app, ["check", "--json"])
    filled = CliRunner().invoke(app, ["backfill"])
    assert (checked.exit_code, filled.exit_code) == (code, code), checked.output + filled.output
    said = checked.output + filled.output
    assert token not in said
    if code:
        assert "gcloud auth print-access-token" in said
    else:
        assert "8 jobs on the first page" in said
