"""``ftbridge status``: the tracked jobs, as MLflow has them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from starlette.responses import HTMLResponse

from bridge import errors
from bridge.cli.app import main
from bridge.cli.jobs import age
from bridge.cli.status import status as watch_status
from bridge.cli.terminal.tally import tally
from bridge.daemon.http_server import application, listening
from bridge.daemon.metrics import Metrics
from bridge.daemon.status import DaemonStatus
from bridge.plan.recorded import RecordedRun
from bridge.redaction import Redactor
from bridge.settings.daemon import Address
from bridge.settings.load import load
from bridge.simulator import Simulator
from bridge.simulator.jobs import Outcome
from bridge.sync.events import NextPass, PassBegan, PassEnded
from bridge.sync.report import Report
from bridge.tracking import Tracking
from tests.support.ports import free_port
from tests.support.processes import FORKS, invoke, wait_until
from tests.support.world import NOW, Clock, job, make_sync

KEY = "sk-that-must-not-show"
LARGE = b'{"now": 1, "providers": {}}' + b" " * 2**21
"""A daemon's answer that is too large to be read."""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Enter an empty working folder."""
    (tmp_path / "work").mkdir()
    with contextlib.chdir(tmp_path / "work"):
        yield tmp_path / "work"


def environ(uri: str, **more: str) -> dict[str, str]:
    """Return an environment with one provider that must not get a request."""
    return {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
        "MLFLOW_TRACKING_URI": uri,
    } | more


def status(variables: Mapping[str, str], *options: str) -> str:
    """Return the output of a healthy ``ftbridge status``."""
    result = invoke("status", *options, env=variables)
    assert result.exit_code == 0, result.output
    return result.stdout


def document(uri: str) -> dict[str, Any]:
    """Return the JSON document of a healthy ``ftbridge status``."""
    found: dict[str, Any] = json.loads(status(environ(uri), "--json"))
    return found


class TrackingClient:
    """Writes runs as the bridge does, without passes."""

    def __init__(self, uri: str) -> None:
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = self._client.get_experiment_by_name("hosted-fine-tunes")
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment("hosted-fine-tunes")
        )
        self._jobs = 0

    def add(
        self,
        provider: str,
        run_status: str = "RUNNING",
        *,
        at: int | None = None,
        checkpoint: str | None = None,
    ) -> str:
        """Create a run of ``provider``, with one metric at ``at``."""
        self._jobs += 1
        tags = {"fine_tuning_provider": provider, "fine_tuning_job_id": f"ftjob-{self._jobs}"}
        if checkpoint is not None:
            tags["fine_tuned_model_checkpoint"] = checkpoint
        run = self._client.create_run(self._experiment, start_time=1, tags=tags)
        run_id = str(run.info.run_id)
        if at is not None:
            self._client.log_batch(run_id, metrics=[Metric("train_loss", 0.5, at, 1)])
        self._client.update_run(run_id, status=run_status)
        return run_id

    def delete(self, run_id: str) -> None:
        """Delete a run."""
        self._client.delete_run(run_id)

    def add_local(self) -> None:
        """Create a local training run in the same experiment."""
        run = self._client.create_run(self._experiment)
        self._client.log_batch(run.info.run_id, tags=[RunTag("trainer", "local")])


@pytest.fixture
def store(uri: str) -> TrackingClient:
    """Return the tracking store, to be filled."""
    return TrackingClient(uri)


def row_of(provider: str, text: str) -> list[str]:
    """Return the cells of a provider's row: name, five counts, newest point, lag."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{provider} ")]
    return re.split(r"\s{2,}|(?<=[\d·]) (?=[\d·])", line.strip())


# An empty store


@pytest.mark.parametrize("there", [True, False])
def test_nothing_tracked_is_said(uri: str, folder: Path, *, there: bool) -> None:
    """An empty or missing store says how to begin, and nothing is created."""
    address = uri if there else f"sqlite:///{folder}/none.db"
    text = status(environ(address))
    assert "Nothing is tracked yet" in text
    assert "ftbridge backfill" in text
    assert list(folder.iterdir()) == []


def test_nothing_tracked_as_json(uri: str) -> None:
    """An empty store is an empty document."""
    assert document(uri) == {"providers": {}, "links": {}, "daemon": None, "left_out": []}


# Tracked jobs


def test_jobs_are_counted_by_provider_and_state(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Each provider has a row with its jobs by state, which comes only from MLflow."""
    jobs = [
        job("ftjob-waits", outcome=Outcome.WAITING),
        job("ftjob-runs", total_steps=100_000),
        job("ftjob-done-1"),
        job("ftjob-done-2"),
        job("ftjob-fails", outcome=Outcome.FAILED),
        job("ftjob-stops", outcome=Outcome.CANCELLED, ends_at_step=5),
        job("6ed6fb3d-2c32-4d1e-8c4b-000000000001", "mistral"),
    ]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 1000
        for kind in ("openai", "mistral"):
            sync = make_sync(simulator, tracking, executor, clock, kind=kind)
            assert sync.run().is_well
        asked = len(simulator.requests)
        variables = environ(uri, OPENAI_BASE_URL=simulator.openai_url)
        text = status(variables)
        found = json.loads(status(variables, "--json"))
        assert len(simulator.requests) == asked, "status asked the provider"
    assert row_of("openai", text)[:6] == ["openai", "1", "1", "2", "1", "1"]
    assert row_of("mistral", text)[:6] == ["mistral", "·", "·", "1", "·", "·"]
    assert found["providers"]["openai"]["jobs"] == {
        "waiting": 1,
        "running": 1,
        "succeeded": 2,
        "failed": 1,
        "cancelled": 1,
    }
    assert set(found["providers"]) == {"openai", "mistral"}
    assert "ftbridge" not in found["links"]
    (link,) = found["links"].values()
    assert link.startswith("http")
    assert KEY not in text + json.dumps(found)


def test_deleted_and_local_runs_are_not_counted(uri: str, store: TrackingClient) -> None:
    """Neither deleted runs nor runs without a job are counted."""
    store.add("openai", "FINISHED")
    store.delete(store.add("openai", "FINISHED"))
    store.delete(store.add("gone", "FINISHED"))
    store.add_local()
    assert row_of("openai", status(environ(uri)))[3] == "1"
    found = document(uri)["providers"]
    assert set(found) == {"openai"}
    assert found["openai"]["jobs"]["succeeded"] == 1


def test_every_configured_experiment_is_read(uri: str, store: TrackingClient, folder: Path) -> None:
    """A provider with a separate experiment is counted from there."""
    store.add("openai", "FINISHED")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    other = client.create_experiment("of-mistral")
    tags = {"fine_tuning_provider": "mistral", "fine_tuning_job_id": "m1"}
    client.create_run(other, start_time=1, tags=tags)
    (folder / "two.yaml").write_text(
        "providers:\n  - {name: openai, api_key: kkkkkk}\n"
        "  - {name: mistral, api_key: kkkkkk, experiment: of-mistral}\n"
    )
    found = json.loads(status(environ(uri), "--json", "--config", "two.yaml"))
    assert set(found["providers"]) == {"openai", "mistral"}
    assert set(found["links"]) == {"hosted-fine-tunes", "of-mistral"}


def test_the_newest_checkpoint_is_shown(uri: str, store: TrackingClient) -> None:
    """The document has the newest checkpoint of a provider; people have ``jobs`` for it."""
    day = 86_400_000
    store.add(
        "openai", "FINISHED", at=int(NOW * 1000) - 2 * day, checkpoint="ft:gpt:acme:x8:ckpt-step-80"
    )
    store.add(
        "openai", "FINISHED", at=int(NOW * 1000) - day, checkpoint="ft:gpt:acme:x9:ckpt-step-160"
    )
    store.add("openai", "RUNNING", at=int(NOW * 1000))
    found = document(uri)["providers"]["openai"]
    assert found["newest_checkpoint"] == "ft:gpt:acme:x9:ckpt-step-160"
    assert found["newest_point"] == NOW * 1000


def test_a_checkpoint_without_metrics_is_shown(uri: str, store: TrackingClient) -> None:
    """A checkpoint counts even if the provider measured nothing at it."""
    store.add("openai", "FINISHED", checkpoint="ft:only:ckpt-step-1")
    assert document(uri)["providers"]["openai"]["newest_checkpoint"] == "ft:only:ckpt-step-1"


def test_models_that_end_soon_are_warned_of(uri: str, folder: Path) -> None:
    """Models that end soon are shown with the day and the first names; the document has all."""
    day = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.create_experiment("hosted-fine-tunes")
    for number in range(5):
        tags = {
            "fine_tuning_provider": "openai",
            "fine_tuning_job_id": f"ftjob-{number}",
            "fine_tuned_model": f"ft:m{number}",
            "fine_tuned_model_shutdown": day,
        }
        client.create_run(experiment, start_time=1, tags=tags)
    warned = f"! openai shuts down on {day}: ft:m0, ft:m1, ft:m2 and 2 more"
    assert warned in status(environ(uri))
    found = document(uri)["providers"]["openai"]["shutdowns"]
    assert found == [{"day": day, "model": f"ft:m{number}"} for number in range(5)]
    assert list(folder.iterdir()) == []


def test_nothing_that_ends_is_no_warning(uri: str, store: TrackingClient) -> None:
    """Models without an end give no warning."""
    store.add("openai", "FINISHED", checkpoint="ft:m:ckpt-step-1")
    assert "shuts down" not in status(environ(uri))
    assert document(uri)["providers"]["openai"]["shutdowns"] == []


# Lag


def state(
    job_id: str = "ftjob-a", *, run_status: str = "RUNNING", at: int | None = None
) -> RecordedRun:
    """Return a run as a search shows it."""
    return RecordedRun(
        run_id="r1",
        experiment_id="1",
        job_id=job_id,
        provider="openai",
        name="openai/a",
        status=run_status,
        is_deleted=False,
        start_time=1,
        artifact_uri="",
        tags={},
        params={},
        newest={} if at is None else {"train_loss": (3, at), "valid_loss": (2, at - 5)},
    )


def test_the_lag_is_that_of_the_newest_point_of_a_running_job() -> None:
    """The lag is that of the newest point of a running job, however old other jobs are."""
    tracked = tally(
        [
            state(at=1_000),
            state("ftjob-b", at=4_000),
            state("ftjob-c", run_status="FINISHED", at=9_000),
            state("ftjob-d"),
        ]
    )["openai"]
    assert tracked.newest_point == 9_000
    assert tracked.lag(now=10_000) == 6_000
    assert tracked.lag(now=1) == 0, "a clock that is behind is no lag"


def test_without_a_running_job_there_is_no_lag(uri: str, store: TrackingClient) -> None:
    """Nothing lags while no job runs."""
    store.add("openai", "FINISHED", at=1_000)
    store.add("openai", "SCHEDULED")
    assert document(uri)["providers"]["openai"]["lag_seconds"] is None
    assert row_of("openai", status(environ(uri)))[-1] == "-"


def test_a_running_job_has_a_lag(uri: str, store: TrackingClient) -> None:
    """The lag is counted from the provider's time of the newest point."""
    store.add("openai", at=int(NOW * 1000))
    assert document(uri)["providers"]["openai"]["lag_seconds"] > 0
    assert re.fullmatch(r"\d+ d", row_of("openai", status(environ(uri)))[-1])


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (999, "0 s"),
        (119_999, "119 s"),
        (120_000, "2 min"),
        (7_199_999, "119 min"),
        (7_200_000, "2 h"),
        (172_799_999, "47 h"),
        (172_800_000, "2 d"),
    ],
)
def test_an_age_is_in_a_persons_unit(milliseconds: int, text: str) -> None:
    """An age is in seconds while they are few, then in minutes, hours and days."""
    assert age(milliseconds) == text


# MLflow in trouble


def test_an_mlflow_that_is_down_is_one_sentence() -> None:
    """Without MLflow there is one sentence with the remedy, and exit code 1."""
    url = f"http://127.0.0.1:{free_port()}"
    variables = environ(url, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    result = invoke("status", env=variables)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert not result.stdout
    assert result.stderr.startswith(f"ftbridge: MLflow at {url} cannot be reached")
    assert "Start it" in result.stderr


def test_a_link_has_no_password() -> None:
    """The printed address does not carry the store's password."""
    for password in ("pw1", "a-longer-password"):
        for uri in (f"http://user:{password}@host:5000", f"postgresql://user:{password}@host/db"):
            tracking = Tracking(uri)
            shown = f"{tracking.link('1')} {tracking.link('1', 'r1')} {tracking.ui_command}"
            assert password not in shown
    assert Tracking("http://host:5000/").link("1").startswith("http://host:5000/#/experiments/1/")


def test_a_database_with_parameters_is_read(uri: str, store: TrackingClient) -> None:
    """Parameters after the file's name do not make the store look empty."""
    store.add("openai", "FINISHED")
    assert set(document(f"{uri}?timeout=30")["providers"]) == {"openai"}


# Other people's text


@pytest.mark.parametrize(
    "text",
    [
        "[red]x[/red]",
        "[/]",
        "[link=http://evil]x[/link]",
        "\\[bold]x",
        "x\\",
        ":rocket:",
        "\x1b[31mx\x1b[0m",
        "\x1b]0;title\x07x",
        "a\nb\tc",
        "\u202ex",
    ],
)
def test_markup_and_escapes_are_shown_not_obeyed(
    uri: str, store: TrackingClient, text: str
) -> None:
    """Markup in a name is printed, and an escape that would steer the terminal is removed."""
    store.add(f"P{text}", "FINISHED", at=1_000, checkpoint=f"C{text}")
    shown = status(environ(uri))
    assert not {"\x1b", "\x07", "\u202e", "\t"} & set(shown)
    printable = " ".join(re.sub(r"[\x1b\x07\u202e]", "", text).split())
    # A cell has padding behind it and may be folded, but it begins as the name does.
    assert f"P{printable}"[:8] in shown
    assert document(uri)["providers"].keys() == {f"P{text}"}


# On a terminal


def status_at(terminal: str, folder: Path, environment: dict[str, str]) -> None:
    """Become ``ftbridge status`` on a terminal."""
    os.chdir(folder)
    for number, opened in enumerate((terminal, terminal, os.devnull)):
        os.dup2(os.open(opened, os.O_RDWR), number)
    sys.stdout = os.fdopen(1, "w")
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["ftbridge", "status"]
    main()


def on_terminal(variables: Mapping[str, str], folder: Path, columns: int) -> str:
    """Return the text on a terminal of this many columns, without colors."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}}
    there = {**environment, **variables, "TERM": "xterm"}
    process = FORKS.Process(target=status_at, args=(os.ttyname(theirs), folder, there))
    process.start()
    seen = b""

    def is_over() -> bool:
        nonlocal seen
        has_ended = process.exitcode is not None
        while select.select([ours], [], [], 0)[0]:
            seen += os.read(ours, 65536)
        return has_ended

    try:
        wait_until(is_over, "end of the command")
        assert process.exitcode == 0, seen
    finally:
        process.kill()
        process.join()
        os.close(ours)
        os.close(theirs)
    return ESCAPES.sub("", seen.decode()).replace("\r\n", "\n")


def test_the_table_fits_a_terminal_of_80_columns(
    uri: str, store: TrackingClient, folder: Path
) -> None:
    """Names of the usual length leave every line of the table whole in 80 columns."""
    for provider in ("openai", "mistral", "azure-sweden"):
        for run_status in ("SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"):
            store.add(provider, run_status, at=int(NOW * 1000))
    text = on_terminal(environ(uri), folder, 80)
    table = text.partition("\nTo view")[0].splitlines()
    assert max(map(len, table)) <= 80, text
    for provider in ("openai", "mistral", "azure-sweden"):
        assert row_of(provider, text)[:6] == [provider, *"11111"], text


# A running daemon


@pytest.fixture
def daemon(uri: str) -> Iterator[dict[str, str]]:
    """Return the environment of a listening daemon with a healthy and an unhealthy provider."""
    clock = Clock(1_760_000_100.0)
    picture = DaemonStatus(["openai", "mistral"], Redactor(), clock)
    for name, stopped in (("openai", None), ("mistral", errors.Unreachable("No [b]way[/b]"))):
        picture(PassBegan(name))
        gone: errors.BridgeError = errors.NotFound("It is gone")
        lost = [("ftjob-x", gone)] * (0 if stopped else 22)
        picture(PassEnded(Report(provider=name, stopped=stopped, failures=lost), 1.0))
        picture(NextPass(name, clock.now + 59))
    clock.now += 5
    app = application(picture.view, Metrics([], picture.view))
    with listening(Address("127.0.0.1", 0), app) as at:
        path = Path("bridge.yaml")
        path.write_text(f"listen: {at}\n")
        yield environ(uri, FTBRIDGE_CONFIG=str(path.absolute()))


def test_a_running_daemon_is_asked(daemon: Mapping[str, str]) -> None:
    """A running daemon gives its last and next pass and its present troubles."""
    text = status(daemon)
    assert "daemon: openai: last pass 5 s ago, next in 54 s" in text
    assert "! mistral: No [b]way[/b]" in text
    assert text.count("! openai: ftjob-x: It is gone") == 20
    assert "! openai: and 2 more jobs" in text


def test_a_running_daemon_is_part_of_the_document(daemon: Mapping[str, str]) -> None:
    """The document contains the running daemon's answer."""
    found = json.loads(status(daemon, "--json"))
    assert found["daemon"]["providers"]["openai"]["failing_jobs"] == 22


@pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"now": 1}', b"[" * 100_000, LARGE])
def test_what_is_no_daemon_is_none(uri: str, body: bytes) -> None:
    """A port with another program, or with none, leaves the rest of the output as it is."""
    with listening(Address("127.0.0.1", 0), HTMLResponse(body)) as at:
        path = Path("bridge.yaml")
        path.write_text(f"listen: {at}\n")
        found = json.loads(status(environ(uri, FTBRIDGE_CONFIG=str(path)), "--json"))
        assert found["daemon"] is None
    assert "Nothing is tracked" in status(environ(uri, FTBRIDGE_CONFIG=str(path)))


def test_watching_shows_what_is_new(
    uri: str,
    store: TrackingClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``--watch`` shows news every two seconds, even after an outage of MLflow, until Ctrl-C."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    settings = load(None, environ(uri))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            store.add("openai")
        if len(pauses) == 2:
            raise KeyboardInterrupt

    assert watch_status(settings, environ(uri), watch=True, pause=pause) == 0
    shown = ESCAPES.sub("", capsys.readouterr().out)
    assert pauses == [2.0, 2.0]
    assert shown.index("MLflow has no jobs yet") < shown.index("openai")


def test_watching_goes_on_without_mlflow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--watch`` reports that MLflow is down, and tries again."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    variables = environ(f"http://127.0.0.1:{free_port()}")

    def pause(_seconds: float) -> None:
        raise KeyboardInterrupt

    assert watch_status(load(None, variables), variables, watch=True, pause=pause) == 0
    assert "cannot be reached" in ESCAPES.sub("", capsys.readouterr().out)


def test_watching_without_a_terminal_shows_it_once(uri: str) -> None:
    """``--watch`` without a terminal prints the status once."""
    assert status(environ(uri), "--watch") == status(environ(uri))
