"""Hostile text in a provider's replies, on its way to MLflow, disks and terminals."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from bridge.cli.terminal.console import print_json
from bridge.model import Checkpoint, Job, JobStatus, Snapshot
from bridge.redaction import Redactor
from bridge.tracking import Tracking
from tests.support.in_memory import START, InMemoryProvider
from tests.support.processes import dump, invoke
from tests.support.static_server import StaticServer, openai_case

HOSTILE = "a\x1b[2Jb\x9b31mc\x00d\u202ee\u200bf\ufeffg\u2066h\U000e0041i"
HARMLESS = "a[2Jb31mcdefghi"
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


def test_no_field_of_a_job_carries_controls_into_mlflow(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """No control character of a job reaches MLflow, in any name, tag or description."""
    one = Job(
        id="ftjob-a",
        status=JobStatus.FAILED,
        provider_status=HOSTILE,
        created_at=START,
        base_model=HOSTILE,
        fine_tuned_model=HOSTILE,
        suffix=HOSTILE,
        error=HOSTILE,
        params={"text": HOSTILE, HOSTILE: 1},
        training_files=(HOSTILE,),
        validation_files=(f"{HOSTILE}2",),
        metadata={"mlflow_experiment": HOSTILE, "mlflow_run_id": HOSTILE},
        cost=HOSTILE,
        page=f"https://provider.example/{HOSTILE}",
        skipped=(HOSTILE,),
    )
    checkpoint = Checkpoint(
        step=1,
        created_at=START,
        metrics={"train_loss": 1.0, HOSTILE: 2.0},
        id=HOSTILE,
        model=f"{HOSTILE}1",
    )
    reported = InMemoryProvider(Snapshot(job=one, checkpoints=(checkpoint,)))
    report = reported.sync(tracking, executor, register="{suffix}-{base_model}").run()
    assert report.failures == []
    content = dump(Path(uri.removeprefix("sqlite:///")))
    assert content.count(HARMLESS) > 10
    assert CONTROLS.findall(content) == []


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--dry-run"], ["--dry-run", "--json"]])
def test_no_reply_steers_a_terminal(uri: str, tmp_path: Path, arguments: list[str]) -> None:
    """No reply steers a terminal, in the table and sentences of a backfill or in its JSON."""
    error = {"code": HOSTILE, "message": HOSTILE}
    cases = [
        openai_case(1, "failed", error=error, user_provided_suffix=HOSTILE),
        openai_case(2, HOSTILE, metadata={"mlflow_experiment": HOSTILE}, model=HOSTILE),
    ]
    with StaticServer(cases) as server:
        config = server.write_config(tmp_path, uri)
        done = invoke("backfill", "--config", config, *arguments)
    assert done.exit_code == 0
    assert HARMLESS in done.output
    assert CONTROLS.findall(done.output) == []
    if "--json" in arguments:
        assert json.loads(done.stdout)["ok"]


@pytest.mark.parametrize(
    "name", ["../../outside", "/etc/x", "..", "C:\\con", "a/b", "ö" * 250, "日" * 250, "🦙" * 250]
)
def test_an_experiments_name_is_no_path(tracking: Tracking, name: str) -> None:
    """The artifacts of a job's experiment stay beside the database, whatever its name is."""
    identifier = tracking.experiment(name, create=True)
    assert identifier is not None
    assert tracking.file is not None
    with tracking.asked() as client:
        location = client.get_experiment(identifier).artifact_location
    place = Path(unquote(urlsplit(location).path))
    assert place.resolve().parent == tracking.file.parent / "mlruns"
    place.mkdir(parents=True)


def test_json_on_a_terminal_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON on a terminal escapes every control character, and a program reads the same text."""
    print_json({HOSTILE: [HOSTILE, 1, None]}, Redactor())
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert CONTROLS.findall(printed) == []
    assert json.loads(printed) == {HOSTILE: [HOSTILE, 1, None]}
