"""``ftbridge demo``: simulated providers, the real bridge, the real MLflow, a real local run.

Everything runs on 127.0.0.1, writes to a temporary folder, and ends with the command.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx
from rich.table import Table

from bridge import log
from bridge.bootstrap.bridge import Bridge, assemble
from bridge.cli.console import out, safe
from bridge.cli.demo_processes import Children
from bridge.daemon import scheduler as daemon
from bridge.daemon.signals import stop_on_signals
from bridge.errors import BridgeError, ConfigError
from bridge.plan.recorded import RecordedRun
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.simulator import SimulatedJob, Simulator, all_end_by, demo_jobs
from bridge.tracking import Tracking

EXPERIMENT: Final = "ftbridge demo (simulated jobs)"
_METRICS: Final = ("eval_loss", "loss")
"""What the local run and the jobs of all providers have."""
_KEY: Final = "demo-key-of-no-account"
_USUAL_PORT: Final = 5000
_PACE: Final = 0.6
"""Seconds per step of the local run."""
_LEAP: Final = 20.0
"""Seconds by which ``--once`` turns the clock between two passes."""
_START_TIMEOUT: Final = 120.0

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # no network means none
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # spares ten processes that nobody needs here
    "MLFLOW_EXPERIMENT_NAME": EXPERIMENT,
}


def demo(*, port: int | None, once: bool) -> int:
    """Show the whole thing; returns the exit code.

    Raises:
        ConfigError: the port is taken.
        BridgeError: MLflow does not start.
    """
    log.set_up(Redactor())
    os.environ.update(_ENVIRONMENT)
    stopping = threading.Event()
    children = Children()
    with (
        tempfile.TemporaryDirectory(prefix="ftbridge-demo-") as folder,
        stop_on_signals(stopping, at_once=lambda: children.end_now(folder)),
        _mlflow_server(Path(folder), _port(port), stopping, children) as mlflow_url,
    ):
        if stopping.is_set():
            return 0
        if once:
            return _to_the_end(mlflow_url, stopping, children)
        return _live(mlflow_url, stopping, children)


def _live(mlflow_url: str, stopping: threading.Event, children: Children) -> int:
    """The daemon, in real time, until a signal."""
    jobs = demo_jobs(time.time())
    with (
        Simulator(jobs=jobs, api_key=_KEY) as simulator,
        _assembled(simulator, mlflow_url, stopping) as bridge,
        children.local_run(mlflow_url, seconds_per_step=_PACE),
    ):
        for sync in bridge.syncs:
            sync.run()  # so that the links lead to something; the daemon tells what fails
        if stopping.is_set():
            return 0
        out().print(
            "\nHosted jobs (simulated) and a local run (trained for real), live in MLflow:\n\n"
            + "".join(f"  {name:8}{url}\n" for name, url in _links(bridge.tracking, jobs[0].id))
            + "\nThe hosted jobs train for about a minute and a half. Ctrl-C stops everything.\n"
        )
        paces = {sync.name: daemon.Pace(2.0) for sync in bridge.syncs}
        daemon.run(bridge.syncs, paces=paces, stopping=stopping, leave=lambda _code: None)
    return 0


def _to_the_end(mlflow_url: str, stopping: threading.Event, children: Children) -> int:
    """The same passes on a clock that is turned by hand, then what landed."""
    # Begins in the past, so that nothing happens in the future.
    started = time.time() - all_end_by(demo_jobs(0.0))
    jobs = demo_jobs(started)
    clock = started
    with (
        Simulator(jobs=jobs, api_key=_KEY, clock=lambda: clock) as simulator,
        _assembled(simulator, mlflow_url, stopping) as bridge,
        tempfile.TemporaryFile() as output,
        children.local_run(mlflow_url, seconds_per_step=0.0, output=output) as local_run,
    ):
        end = all_end_by(jobs)
        troubles: list[str] = []
        while not stopping.is_set():
            for sync in bridge.syncs:
                report = sync.run()
                troubles += [f"{job_id}: {error}" for job_id, error in report.failures]
                troubles += [str(report.stopped)] if report.stopped else []
            if clock >= end:
                break
            clock = min(clock + _LEAP, end)
        if local_run.wait() != 0 and not stopping.is_set():
            output.seek(0)
            said = output.read().decode(errors="replace")[-600:]
            troubles.append(f"the local run failed: {said}")
        landed = _landed(bridge.tracking)
        out().print(_table(jobs, landed))
        for trouble in troubles:
            out().print(f"[red]✗[/red] {safe(trouble)}")
        return 1 if troubles or len(landed) < len(jobs) else 0


@contextlib.contextmanager
def _assembled(
    simulator: Simulator, mlflow_url: str, stopping: threading.Event
) -> Iterator[Bridge]:
    """The bridge, and the experiment: MLflow's own client fails if two create one at a time."""
    with assemble(_settings(simulator, mlflow_url), {}, stopping) as bridge:
        bridge.tracking.experiment(EXPERIMENT, create=True, metrics=_METRICS)
        yield bridge


def _links(tracking: Tracking, job_id: str) -> Iterator[tuple[str, str]]:
    """Where to look, each by a word for what is there."""
    experiment_id = tracking.experiment(EXPERIMENT, create=False) or ""
    yield "charts", f"{tracking.link(experiment_id)}&compareRunsMode=CHART"
    yield "table", tracking.page(experiment_id)
    yield "models", tracking.link(experiment_id, page="models")
    if run := _landed(tracking).get(job_id):
        yield "a run", tracking.link(experiment_id, run.run_id)


def _landed(tracking: Tracking) -> dict[str, RecordedRun]:
    experiment_id = tracking.experiment(EXPERIMENT, create=False)
    found = tracking.runs([experiment_id] if experiment_id else [])
    return {run.job_id: run for run in found if not run.is_deleted}


def _table(jobs: tuple[SimulatedJob, ...], landed: Mapping[str, RecordedRun]) -> Table:
    table = Table(title="What landed in MLflow", title_justify="left")
    for heading in ("run", "status", "metrics", "newest step"):
        table.add_column(heading, justify="left" if heading in {"run", "status"} else "right")
    for job in jobs:
        run = landed.get(job.id)
        if run is None:
            table.add_row(safe(job.id), "[red]missing[/red]", "", "")
            continue
        steps = [step for step, _ in run.newest.values()]
        table.add_row(
            safe(run.name), run.status, str(len(steps) or "-"), str(max(steps, default="-"))
        )
    return table


def _settings(simulator: Simulator, mlflow_url: str) -> Settings:
    return Settings.model_validate(
        {
            "mlflow": {
                "tracking_uri": mlflow_url,
                "experiment": EXPERIMENT,
                "metric_names": "huggingface",  # the local run's
                "register": True,
            },
            "poll": {"interval": "2s", "workers": 4},
            "providers": [
                {
                    "name": name,
                    "type": name,
                    "api_key": _KEY,
                    "base_url": url,
                }
                for name, url in (
                    ("openai", simulator.openai_url),
                    ("mistral", simulator.mistral_url),
                )
            ],
        }
    )


@contextlib.contextmanager
def _mlflow_server(
    folder: Path, port: int, stopping: threading.Event, children: Children
) -> Iterator[str]:
    """MLflow's own server with a new database; its address once it answers."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    out().print("Starting MLflow ...")
    output = (folder / "mlflow.log").open("wb")
    with output, children.start(command, output=output) as server:
        deadline = time.monotonic() + _START_TIMEOUT
        while not _answers(url) and not stopping.wait(0.2):
            if server.poll() is not None or time.monotonic() > deadline:
                said = (folder / "mlflow.log").read_text(errors="replace")[-1000:]
                raise BridgeError(f"MLflow does not start: {said}")
        yield url


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0).is_success
    except httpx.TransportError:
        return False


def _port(wanted: int | None) -> int:
    """The port to serve MLflow on: the one that is asked for, else the usual one, else any."""
    for port in (wanted,) if wanted else (_USUAL_PORT, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError([f"--port {wanted}: taken; name another or none"])
