"""``ftbridge jobs``, ``show`` and ``open``: the everyday commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import Result

from bridge.cli.jobs import age
from bridge.cli.open_ui import open_ui
from bridge.settings.load import load
from bridge.simulator import Outcome, Simulator
from tests.support.config_file import simulated, write_config
from tests.support.processes import invoke
from tests.support.world import NOW, Clock, job

JOBS = [
    job("ftjob-done-1", suffix="bot"),
    job("ftjob-done-2", suffix="bot", created_at=NOW + 10),
    job("ftjob-fails", suffix="broken", created_at=NOW + 20, outcome=Outcome.FAILED),
    job("ftjob-runs", suffix="live", created_at=NOW + 30, seconds_per_step=500.0),
]
MOMENT = NOW + 2500.0
"""Jobs of which three have ended and one trains."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    """Return a configuration whose MLflow has the jobs."""
    folder = tmp_path_factory.mktemp("jobs")
    database = shutil.copy(empty_database, folder / "mlflow.db")
    with Simulator(jobs=JOBS, clock=Clock(MOMENT)) as simulator:
        path = write_config(folder, f"sqlite:///{database}", simulated(simulator, "openai"))
        done = invoke("backfill", "--config", path)
        assert done.exit_code == 0, done.output
        assert "1 job is still open" in done.output
        yield path


def run(command: str, config: Path, *options: str) -> Result:
    """Run the command line, and expect success."""
    done = invoke(command, "--config", config, *options)
    assert done.exit_code == 0, done.output
    return done


def listed(config: Path, *options: str) -> list[dict[str, object]]:
    """Return the jobs of ``ftbridge jobs --json``."""
    found: list[dict[str, object]] = json.loads(run("jobs", config, "--json", *options).stdout)[
        "jobs"
    ]
    return found


def test_jobs_are_listed_from_the_newest_on(config: Path) -> None:
    """Jobs are listed newest first, with state, steps, losses and a link to the run."""
    jobs = listed(config)
    assert [each["job"] for each in jobs] == [
        *("ftjob-runs", "ftjob-fails", "ftjob-done-2", "ftjob-done-1"),
    ]
    assert [each["state"] for each in jobs] == ["running", "failed", "succeeded", "succeeded"]
    done = jobs[-1]
    assert (done["step"], done["total_steps"]) == (12, 12)
    assert isinstance(done["train_loss"], float)
    assert isinstance(done["valid_loss"], float)
    assert done["name"] == "openai/bot-done-1"
    assert str(done["url"]).endswith(f"/runs/{done['run']}?workflowType=machine_learning")
    assert jobs[1]["train_loss"] is None
    said = run("jobs", config).output
    for word in ("openai/live-b-runs", "running", "12/12", "succeeded", "failed"):
        assert word in said
    assert any(block in said for block in "▁▂▃▄▅▆▇█")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["bot"], ["ftjob-done-2", "ftjob-done-1"]),
        (["FTJOB-RUNS"], ["ftjob-runs"]),
        (["--status", "failed", "--status", "running"], ["ftjob-runs", "ftjob-fails"]),
        (["--limit", "1"], ["ftjob-runs"]),
        (["--provider", "mistral"], []),
    ],
)
def test_jobs_can_be_chosen(config: Path, options: list[str], wanted: list[str]) -> None:
    """Jobs can be chosen by a part of the name or id, by state, by provider, and by number."""
    assert [each["job"] for each in listed(config, *options)] == wanted


def test_a_job_that_shows_nothing_new_is_stalled(config: Path, tmp_path: Path) -> None:
    """An open job is stalled if it shows nothing new for longer than configured."""
    patient, impatient = tmp_path / "patient.yaml", tmp_path / "impatient.yaml"
    document = json.loads(config.read_text())
    patient.write_text(json.dumps(document))
    document["notify"] = {"stalled_after": "1h"}
    impatient.write_text(json.dumps(document))
    for path, stalled in ((patient, []), (impatient, ["ftjob-runs"])):
        jobs = listed(path)
        assert [each["job"] for each in jobs if each["stalled"]] == stalled
        assert [each["job"] for each in jobs if each["silent_seconds"]] == ["ftjob-runs"]
        assert ("stalled" in run("jobs", path).output) is bool(stalled)


def test_another_experiment_can_be_chosen(config: Path) -> None:
    """The reading commands accept another experiment, and do not create it."""
    assert listed(config, "--experiment", "elsewhere") == []
    assert (
        "no job with bot" in invoke("show", "bot", "--config", config, "--experiment", "x").output
    )
    assert run("status", config, "--experiment", "elsewhere", "--json").exit_code == 0


def test_a_job_that_maximises_rewards_shows_them(config: Path) -> None:
    """A reinforcement job shows rewards in place of losses, for people and for programs."""
    client = MlflowClient(json.loads(config.read_text())["mlflow"]["tracking_uri"])
    place = client.create_experiment("rewards")
    tags = {"fine_tuning_provider": "openai", "fine_tuning_job_id": "ftjob-rft"}
    made = client.create_run(place, run_name="openai/rft", tags=tags).info.run_id
    for name, value in (("train_mean_reward", 0.25), ("full_valid_mean_reward", 0.5)):
        client.log_metric(made, name, value, step=7)
    (found,) = listed(config, "--experiment", "rewards")
    assert (found["train_reward"], found["valid_reward"]) == (0.25, 0.5)
    assert (found["train_loss"], found["valid_loss"], found["step"]) == (None, None, 7)
    assert "reward 0.25" in run("jobs", config, "--experiment", "rewards").output


def test_nothing_to_list_is_said(config: Path, tmp_path: Path) -> None:
    """An empty list says how to continue."""
    assert "No job in MLflow matches" in run("jobs", config, "nobody").output
    wrong = invoke("jobs", "--config", config, "--status", "succeded")
    assert wrong.exit_code == 2
    assert "did you mean succeeded?" in wrong.output
    empty = tmp_path / "empty.yaml"
    document = json.loads(config.read_text())
    document["mlflow"]["tracking_uri"] = f"sqlite:///{tmp_path / 'new.db'}"
    empty.write_text(json.dumps(document))
    assert "ftbridge backfill" in run("jobs", empty).output
    assert not (tmp_path / "new.db").exists()


def test_one_job_is_drawn(config: Path) -> None:
    """One job is shown with its curve, its checkpoints with the best one, and its facts."""
    said = run("show", config, "ftjob-done-1").output
    assert "· train_loss   ● full_valid_loss" in said
    assert "┤" in said
    assert "(best)" in said
    assert "gpt-4.1-mini-2025-04-14" in said
    assert "Also in MLflow" not in said
    assert "Also in MLflow: openai/bot-done-1" in run("show", config, "bot").output
    failed = run("show", config, "broken").output
    assert "failed" in failed
    assert "┤" not in failed
    assert "ftbridge run follows it" in run("show", config, "live").output


def test_one_job_for_programs(config: Path) -> None:
    """The document about one job has the same values."""
    found = json.loads(run("show", config, "ftjob-done-1", "--json").stdout)
    assert [step for step, _ in found["curves"]["train_loss"]] == [*range(1, 13)]
    assert [each["step"] for each in found["checkpoints"]] == [4, 8, 12]
    assert sum(each["best"] for each in found["checkpoints"]) == 1
    lost = invoke("show", "--config", config, "nobody")
    assert lost.exit_code == 1
    assert "MLflow has no job with nobody in its name or id" in lost.output


def test_a_backfill_has_run_ids_for_programs(config: Path, uri: str, tmp_path: Path) -> None:
    """The document of a backfill has the ids of the runs, so that scripts need no search."""
    document = json.loads(config.read_text())
    document["mlflow"]["tracking_uri"] = uri
    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps(document))
    (provider,) = json.loads(run("backfill", path, "--json", "bot").stdout)["providers"]
    runs = {each["job"]: each for each in provider["runs"]}
    assert runs.keys() == {"ftjob-done-1", "ftjob-done-2"}
    client = MlflowClient(uri)
    for job_id, each in runs.items():
        assert client.get_run(each["run"]).data.tags["fine_tuning_job_id"] == job_id
        assert each["result"] == "new"
        assert each["run"] in each["url"]


def test_open_leads_to_the_charts_of_a_server(config: Path, server: str, tmp_path: Path) -> None:
    """``open`` sends the browser to the experiment's page with the view of a server."""
    document = json.loads(config.read_text())
    document["mlflow"] = {"tracking_uri": server, "experiment": "opened"}
    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps(document))
    run("backfill", path, "--job", "ftjob-done-1")
    visited: list[str] = []
    assert open_ui(load(path, {}), {}, visit=visited.append) == 0
    (page,) = visited
    assert page.startswith(server)
    assert page.endswith("compareRunsMode=CHART&viewStateShareKey=ftbridge-charts")


@pytest.mark.parametrize(
    ("milliseconds", "expected"), [(0, "0 s"), (119_000, "119 s"), (120_000, "2 min")]
)
def test_an_age_has_a_unit(milliseconds: int, expected: str) -> None:
    """An age has the unit that a person would use."""
    assert age(milliseconds) == expected
