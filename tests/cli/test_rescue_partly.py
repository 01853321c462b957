"""``ftbridge backfill --rescue`` with incomplete providers, and the advice to use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.providers.openai_end import RESCUE
from bridge.simulator import Reply, Request, Simulator, json_reply
from bridge.simulator.jobs import Provider
from tests.support.config_file import simulated, write_config
from tests.support.processes import invoke
from tests.support.world import NOW, Clock, job

OPENAI = job("ftjob-rescued")
BEDROCK = job("abcdef123456", "bedrock")


def refused(request: Request) -> Reply | None:
    """Answer as Mistral does to a wrong key."""
    if request.path.startswith("/mistral/"):
        return json_reply({"detail": "Unauthorized"}, 401)
    return None


def configured(folder: Path, uri: str, simulator: Simulator, *kinds: Provider) -> Path:
    """Return a configuration of some types."""
    return write_config(folder, uri, simulated(simulator, *kinds))


def test_a_provider_that_is_down_costs_only_its_jobs(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider with a wrong key is reported, and the jobs of the others are rescued."""
    monkeypatch.chdir(tmp_path)
    clock = Clock(NOW + 1000)
    with Simulator(jobs=[OPENAI], clock=clock, intercept=refused) as simulator:
        config = configured(tmp_path, uri, simulator, "openai", "mistral")
        # Its archive lacks the datasets, which only the second part of a rescue adds.
        assert invoke("backfill", "--provider", "openai", "--config", config).exit_code == 0
        reported = invoke("backfill", "--rescue", "--config", config, "--json")
    assert reported.exit_code == 1
    document = json.loads(reported.stdout)
    (rescued,) = document["rescued"]
    assert (rescued["provider"], rescued["archived"], rescued["lost"]) == ("openai", 1, [])
    assert rescued["files"] > 3
    assert "refused the API key" in reported.stdout


def test_a_bucket_without_credentials_costs_its_files(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs are rescued whose bucket needs credentials that are not there; the files are named."""
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with Simulator(jobs=[BEDROCK], clock=Clock(NOW + 1000)) as simulator:
        config = configured(tmp_path, uri, simulator, "bedrock")
        shown = " ".join(invoke("backfill", "--rescue", "--config", config).stdout.split())
        reported = invoke("backfill", "--rescue", "--config", config, "--json")
    assert shown.count("training.jsonl is not archived") == 1
    assert shown.count("metrics file cannot be read") == 1
    assert reported.exit_code == 0, reported.output
    (rescued,) = json.loads(reported.stdout)["rescued"]
    assert (rescued["jobs"], rescued["archived"]) == (1, 1)
    lost = " ".join(each["what"] for each in rescued["lost"])
    assert "training.jsonl is not archived: s3://simulated-fine-tuning refused" in lost
    assert "AWS has no credentials for this machine" in lost
    assert "metrics file cannot be read" in lost


def test_a_second_rescue_gets_the_files_that_the_first_could_not(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that were not available are named at each rescue, until one gets them."""
    monkeypatch.chdir(tmp_path)
    state = {"is_refused": True}

    def refuse(request: Request) -> Reply | None:
        if state["is_refused"] and "/files/" in request.path:
            return json_reply({"error": {"message": "You may not read files."}}, 403)
        return None

    with Simulator(jobs=[OPENAI], clock=Clock(NOW + 1000), intercept=refuse) as simulator:
        config = configured(tmp_path, uri, simulator, "openai")
        numbers: list[tuple[int, int]] = []
        unavailable: list[int] = []
        for is_refused in (True, False, False):
            state["is_refused"] = is_refused
            reported = invoke("backfill", "--rescue", "--config", config, "--json")
            assert reported.exit_code == 0, reported.output
            (rescued,) = json.loads(reported.stdout)["rescued"]
            files = [each["what"] for each in rescued["lost"] if "is not archived" in each["what"]]
            numbers.append((len(files), rescued["files"]))
            said = json.loads(invoke("status", "--config", config, "--json").stdout)
            unavailable.append(said["providers"]["openai"]["archives"]["files_unavailable"])
    assert [lost for lost, _ in numbers] == [2, 0, 0]
    assert unavailable == [1, 0, 0]
    assert numbers[1][1] >= numbers[0][1] + 2
    assert numbers[2] == numbers[1]


def test_users_of_openai_behind_a_gateway_are_advised_until_all_is_rescued(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``check`` shows the dates at once, ``status`` the command until it has run."""
    monkeypatch.chdir(tmp_path)
    with Simulator(jobs=[OPENAI], clock=Clock(NOW + 1000)) as simulator:
        config = configured(tmp_path, uri, simulator, "openai")
        advised = " ".join(invoke("check", "--config", config).stdout.split())
        assert "2027-01-06" in advised
        assert "2027-01-14" in advised
        assert RESCUE in advised
        assert invoke("backfill", "--rescue", "--config", config).exit_code == 0
        reported = " ".join(invoke("status", "--config", config).stdout.split())
    assert "✓ openai: the one ended job is archived" in reported
    assert "2027-01-06" in reported
    assert RESCUE not in reported
