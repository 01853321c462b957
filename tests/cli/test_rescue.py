"""``ftbridge backfill --rescue``, and the days on which OpenAI's fine-tuning ends."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import mlflow
import pytest

from bridge.providers.openai_end import end_of, notice
from bridge.simulator import Outcome, Simulator
from tests.support.config_file import simulated, write_config
from tests.support.processes import invoke
from tests.support.recorded import recorded
from tests.support.world import NOW, Clock, job

JOBS = [
    job("ftjob-rescue-1"),
    job("ftjob-rescue-2", outcome=Outcome.FAILED, ends_at_step=5),
    job("ftjob-rescue-3", created_at=NOW + 10_000),
]


def configured(folder: Path, uri: str, simulator: Simulator, **mlflow: object) -> Path:
    """Return a configuration that archives no datasets."""
    return write_config(folder, uri, simulated(simulator, "openai"), mlflow=mlflow)


def test_all_that_there_is_is_archived_also_of_jobs_copied_before(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--rescue`` archives all jobs, even copied ones, and sums up jobs, files and bytes."""
    monkeypatch.chdir(tmp_path)
    clock = Clock(NOW + 1000)
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        config = configured(tmp_path, uri, simulator)
        assert invoke("backfill", "--config", config).exit_code == 0
        assert all("datasets.json" not in path for path in archived(uri))
        lacking = "2 ended jobs: 2 are archived without training files"
        assert lacking in invoke("status", "--config", config).stdout
        (advice,) = [line for line in checked(config) if "archive" in line]
        assert lacking in advice
        assert "ftbridge backfill --rescue" in advice
        clock.now += 20_000
        reported = invoke("backfill", "--rescue", "--config", config, "--json")
        assert reported.exit_code == 0, reported.output
        document = json.loads(reported.stdout)
        (rescued,) = document["rescued"]
        files = archived(uri)
        assert sum(path.endswith("datasets.json") for path in files) == len(JOBS)
        assert sum(path.endswith(".jsonl") and "/datasets/" in path for path in files) == 6
        assert (rescued["jobs"], rescued["archived"], rescued["lost"]) == (3, 3, [])
        assert (rescued["files"], rescued["bytes"]) == (len(files), sum(files.values()))
        before = recorded(uri)
        again = invoke("backfill", "--rescue", "--config", config)
        assert again.exit_code == 0, again.output
        assert "Rescued" in again.stdout
        assert recorded(uri) == before
        assert archived(uri) == files
        assert "all 3 ended jobs are archived with their training files" in " ".join(
            checked(config)
        )
        reported = json.loads(invoke("status", "--config", config, "--json").stdout)
        safety = {"ended": 3, "without_archive": 0, "without_files": 0, "files_unavailable": 0}
        assert reported["providers"]["openai"]["archives"] == safety


def test_jobs_that_were_copied_without_an_archive_are_counted(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied jobs without an archive are counted, and running jobs are not missing yet."""
    monkeypatch.chdir(tmp_path)
    with Simulator(jobs=JOBS, clock=Clock(NOW + 1000)) as simulator:
        config = configured(tmp_path, uri, simulator, archive=False)
        assert invoke("backfill", "--config", config).exit_code == 0
        lacking = "2 ended jobs: 2 are not archived yet"
        assert lacking in invoke("status", "--config", config).stdout
        assert lacking in " ".join(checked(config))


def test_an_artifact_store_that_does_not_answer_costs_the_count(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without access to the artifacts still sees the rest."""
    monkeypatch.chdir(tmp_path)
    with Simulator(jobs=JOBS, clock=Clock(NOW + 1000)) as simulator:
        config = configured(tmp_path, uri, simulator, archive=False)
        client = mlflow.MlflowClient(uri)
        client.create_experiment("hosted-fine-tunes", artifact_location="nowhere://a/b")
        assert invoke("backfill", "--config", config).exit_code == 0
        reported = invoke("status", "--config", config)
        assert reported.exit_code == 0, reported.output
        assert "what is archived cannot be seen" in reported.stdout
        assert "what is archived cannot be seen" in " ".join(checked(config))
        document = json.loads(invoke("status", "--config", config, "--json").stdout)
        assert set(document["providers"]["openai"]["archives"]) == {"problem"}


def checked(config: Path) -> list[str]:
    """Return the lines of ``ftbridge check``."""
    reported = invoke("check", "--config", config)
    assert reported.exit_code == 0, reported.output
    lines: list[str] = reported.stdout.splitlines()
    return lines


def archived(uri: str) -> dict[str, int]:
    """Return the size of each archived file, by run and path."""
    client = mlflow.MlflowClient(uri)
    found: dict[str, int] = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            folders = ["provider"]
            while folders:
                for each in client.list_artifacts(run.info.run_id, folders.pop()):
                    if each.is_dir:
                        folders.append(each.path)
                    else:
                        found[f"{run.info.run_id}/{each.path}"] = each.file_size or 0
    return found


@pytest.mark.parametrize("option", [["--since", "1d"], ["--limit", "1"], ["--dry-run"]])
def test_a_rescue_leaves_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    """Options that select jobs cannot be combined with ``--rescue``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "any-key")
    refused = invoke("backfill", "--rescue", *option)
    assert refused.exit_code == 2
    assert "--rescue" in refused.output


@pytest.mark.parametrize(
    ("model", "end"),
    [
        ("ft:gpt-4o-mini-2024-07-18:acme:support:abc", date(2027, 1, 14)),
        ("ft:gpt-4.1-2025-04-14:acme::abc:ckpt-step-7", date(2027, 1, 14)),
        ("ft:gpt-4.1-nano-2025-04-14:acme::abc", None),
        ("gpt-4.1-2025-04-14.ft-0123", None),
        ("", None),
    ],
)
def test_models_that_end_are_known(model: str, end: date | None) -> None:
    """Models made from those that OpenAI ends have a last day; Azure's have other days."""
    assert end_of(model) == end


def test_the_dates_are_reported_before_and_after_they_have_come() -> None:
    """Every date is stated in the present, before and after it has come."""
    assert "accepts no new fine-tuning jobs from 2027-01-06 on" in notice(date(2026, 11, 27))
    assert "accepts no new fine-tuning jobs; models" in notice(date(2027, 1, 6))
    assert "were shut down on 2027-01-14" in notice(date(2027, 1, 14))


def test_status_tells_which_models_stop_when(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``status`` lists the models that stop, with the one command that rescues everything."""
    monkeypatch.chdir(tmp_path)
    with Simulator(jobs=JOBS[:1], clock=Clock(NOW + 1000)) as simulator:
        config = configured(tmp_path, uri, simulator)
        assert invoke("backfill", "--config", config).exit_code == 0
        shown = " ".join(invoke("status", "--config", config).stdout.split())
    assert "2027-01-06" in shown
    assert "ftbridge backfill --rescue" in shown
