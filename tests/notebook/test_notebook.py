"""``import bridge`` in a notebook: one line for the pass that the command makes."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import bridge
from bridge.simulator import Simulator, all_end_by
from tests.support.world import NOW, Clock, job

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "notebook.py"
JOBS = [job("ftjob-one", suffix="one"), job("ftjob-two", created_at=NOW + 50)]
END = all_end_by(JOBS) + 1


@dataclass(frozen=True, slots=True)
class World:
    """A simulated OpenAI, and the MLflow that a notebook has set."""

    uri: str
    clock: Clock
    simulator: Simulator


@pytest.fixture
def world(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Set everything in the environment, as a notebook does."""
    monkeypatch.chdir(tmp_path)
    clock = Clock(END)
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.openai_url)
        # Set by mlflow's functions, and not restored.
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
            monkeypatch.setenv(name, "")
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("mine")
        yield World(uri, clock, simulator)
        mlflow.set_tracking_uri("")


def active_runs(uri: str) -> list[Run]:
    """Return all runs, as a user's client sees them."""
    client = MlflowClient(uri)
    return list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


@dataclass(frozen=True, slots=True)
class SdkJob:
    """An SDK's object of a job."""

    id: str


def test_one_job_by_its_id_or_as_the_sdks_object(world: World) -> None:
    """A job by id or as the SDK's object becomes one run in the notebook's experiment."""
    run = bridge.log_job("ftjob-one")
    assert run.data.tags["fine_tuning_job_id"] == "ftjob-one"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["train_loss"] > 0
    assert MlflowClient(world.uri).get_experiment(run.info.experiment_id).name == "mine"
    again = bridge.log_job(SdkJob("ftjob-one"))
    assert again.info.run_id == run.info.run_id
    assert [each.info.run_id for each in active_runs(world.uri)] == [run.info.run_id]


def test_a_job_that_nobody_knows(world: World) -> None:
    """An unknown job is one sentence, with any number of providers."""
    with pytest.raises(bridge.BridgeError, match="No provider knows the job ftjob-lost"):
        bridge.log_job("ftjob-lost")
    with pytest.raises(bridge.BridgeError, match="together: not configured; choose from openai"):
        bridge.log_job("ftjob-one", provider="together")
    with pytest.raises(TypeError, match="int has no job id"):
        bridge.log_job(7)
    assert active_runs(world.uri) == []


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"jobArn": "arn:aws:bedrock:us-east-1:123:model-customization-job/x/abc"}, "abc"),
        ("projects/1/locations/us-central1/tuningJobs/456", "456"),
        ("accounts/acme/supervisedFineTuningJobs/xyz", "supervisedFineTuningJobs/xyz"),
    ],
)
def test_a_path_is_an_id_too(world: World, given: object, wanted: str) -> None:
    """A full path, by which some SDKs name jobs, is reduced to the id at its end."""
    with pytest.raises(bridge.BridgeError, match=f"No provider knows the job {wanted} "):
        bridge.log_job(given)
    assert active_runs(world.uri) == []


def test_following_ends_with_the_job(world: World) -> None:
    """``follow`` logs each new step, and returns the complete run when the job ends."""
    world.clock.now = NOW + 30
    looks: list[str] = []

    def sleep(_: float) -> None:
        (run,) = active_runs(world.uri)
        looks.append(run.info.status)
        world.clock.now += 60

    run = bridge.follow("ftjob-one", progress=False, sleep=sleep)
    assert run.info.status == "FINISHED"
    assert "RUNNING" in looks
    assert max(m.step for m in run.data.to_proto().metrics) == JOBS[0].total_steps


def test_interrupting_leaves_the_run_as_it_is(world: World) -> None:
    """Ctrl-C ends the wait, and the next call continues from there."""
    world.clock.now = NOW + 30

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bridge.follow("ftjob-one", sleep=interrupt)
    (run,) = active_runs(world.uri)
    assert run.info.status in {"RUNNING", "SCHEDULED"}
    world.clock.now = END
    assert bridge.follow("ftjob-one", progress=False).info.run_id == run.info.run_id


def test_a_history_with_its_table(world: World) -> None:
    """A history returns the runs of the selection, new or not, and a row for each."""
    first = bridge.backfill(["openai"], until="2100-01-01")
    assert (len(first.runs), first.new, first.failures) == (2, 2, ())
    again = bridge.backfill()
    assert (len(again.runs), again.new) == (2, 0)
    table = again.data_frame()
    assert set(table["tags.fine_tuning_job_id"]) == {"ftjob-one", "ftjob-two"}
    theirs = mlflow.search_runs(experiment_names=["mine"])
    assert set(table["run_id"]) == set(theirs["run_id"])
    assert set(table["metrics.train_loss"]) == set(theirs["metrics.train_loss"])
    late = bridge.backfill(since=str(again.data_frame()["start_time"].max().isoformat()))
    assert [run.data.tags["fine_tuning_job_id"] for run in late.runs] == ["ftjob-two"]
    with pytest.raises(bridge.BridgeError, match="write a date"):
        bridge.backfill(since="soon")
    assert world.simulator.requests


def test_a_dry_run_writes_nothing(world: World) -> None:
    """A dry run creates nothing, and does not claim to."""
    assert bridge.backfill(dry_run=True).runs == ()
    assert active_runs(world.uri) == []


def test_a_failure_is_a_value(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is down fails by itself, as a value with a remedy."""
    monkeypatch.setenv("MISTRAL_API_KEY", "another-key")
    monkeypatch.setenv("MISTRAL_BASE_URL", f"{world.simulator.openai_url}/nothing-here")
    done = bridge.backfill()
    assert len(done.runs) == 2
    (failure,) = done.failures
    assert (failure.provider, failure.job_id) == ("mistral", None)
    assert failure.error.remedy


def test_a_job_continues_the_run_of_its_launch(world: World) -> None:
    """The caller can name the run to continue, for providers without metadata."""
    with mlflow.start_run(run_name="launch") as launch:
        mlflow.log_param("prompt_version", 7)
    assert bridge.metadata(launch) == {"mlflow_run_id": launch.info.run_id}
    assert bridge.metadata(launch.info.run_id) == bridge.metadata(launch)
    run = bridge.log_job("ftjob-one", run_id=launch.info.run_id)
    assert run.info.run_id == launch.info.run_id
    assert run.data.params["prompt_version"] == "7"
    assert run.data.metrics["train_loss"] > 0
    with mlflow.start_run() as other:
        pass
    with pytest.raises(bridge.BridgeError, match="is in run"):
        bridge.log_job("ftjob-one", run_id=other.info.run_id)
    assert len(active_runs(world.uri)) == 2


def test_the_example_runs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The documentation's script runs unchanged, with old jobs and new ones."""
    world.clock.now = END
    source = EXAMPLE.read_text(encoding="utf-8")
    aged = source.replace('since="30d"', 'since="2020-01-01"')
    assert aged != source
    script = Path("notebook.py")
    script.write_text(aged, encoding="utf-8")
    runpy.run_path(str(script))
    said = capsys.readouterr().out
    assert "2 jobs, 2 of them new" in said
    assert "mlflow_run_id" in said


def test_importing_is_instant_and_complete() -> None:
    """Every name is available, and MLflow is imported only when one is used."""
    code = (
        "import sys, bridge; assert set(bridge.__all__) <= set(dir(bridge));"
        "assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)
    for name in bridge.__all__:
        assert getattr(bridge, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        bridge.nonsense  # noqa: B018 - the lookup is the test
