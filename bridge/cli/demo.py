"""``ftbridge demo``: simulated providers, the real bridge, the real MLflow, a real local run.

Everything runs on 127.0.0.1, writes to a temporary folder, and ends with the command.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final

from rich.table import Table

from bridge import log
from bridge.bootstrap.bridge import assemble
from bridge.bootstrap.one_pass import one_pass
from bridge.cli.mlflow_ui import MlflowUi, free_port, mlflow_ui
from bridge.cli.processes import Children
from bridge.cli.terminal.console import out, safe, saying
from bridge.daemon import scheduler as daemon
from bridge.daemon.signals import stop_on_signals
from bridge.plan.metric_names import Losses
from bridge.plan.recorded import RecordedRun
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.simulator import SimulatedJob, Simulator, all_end_by, all_jobs, demo_jobs
from bridge.sync.events import Event, PassEnded
from bridge.tracking import Tracking
from bridge.tracking.views import TABLE

EXPERIMENT: Final = "ftbridge demo (simulated jobs)"
_LOSSES: Final = Losses(valid=("eval_loss",), train=("loss",))
"""Losses of the local run and of all providers' jobs."""
_KEY: Final = "demo-key-of-no-account"
_PACE: Final = 0.6
"""Seconds per step of the local run."""
_LEAP: Final = 20.0
"""Seconds by which ``--once`` advances the clock between two passes."""

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # the demo must not use the network
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # would start ten needless processes
    "MLFLOW_EXPERIMENT_NAME": EXPERIMENT,
}
_USERS: Final = (
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_RUN_ID",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_TRACKING_AUTH",
)
"""Variables that point to the user's own MLflow, and that the local run must not inherit."""

_AWS: Final[Mapping[str, str]] = {
    # The simulated S3 accepts any signature; without these, a user's own credentials would sign.
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": _KEY,
}


def demo(*, port: int | None, once: bool, every: bool = False) -> int:
    """Run the demo; return the exit code.

    Args:
        port: port for MLflow.
        once: whether to run the jobs to their end and exit.
        every: whether to show a finished job and a running one of every provider type.

    Raises:
        ConfigError: the port is taken.
        BridgeError: MLflow does not start.
    """
    log.set_up(Redactor())
    os.environ.update({**_ENVIRONMENT, **(_AWS if every else {})})
    for name in _USERS:
        os.environ.pop(name, None)
    make_jobs = all_jobs if every else demo_jobs
    stopping = threading.Event()
    children = Children()
    at = free_port(port)
    with (
        tempfile.TemporaryDirectory(prefix="ftbridge-demo-") as name,
        stop_on_signals(stopping, at_once=lambda: children.end_now(name)),
    ):
        folder = Path(name)
        store = f"sqlite:///{folder / 'mlflow.db'}"
        seconds = 40 if every else 20
        out().print(f"Starting MLflow and the simulated providers: about {seconds} seconds ...")
        with saying("A database is created"):
            # Created before its server opens it: two processes that create one disturb each other.
            Tracking(store).experiment(EXPERIMENT, create=True, losses=_LOSSES)
        if stopping.is_set():
            return 0
        with mlflow_ui(store, at, folder, children, artifacts=folder / "artifacts") as ui:
            if once:
                ui.wait(stopping)
                if stopping.is_set():
                    return 0
                return to_the_end(ui.url, make_jobs, stopping, children)
            return _live(store, ui, make_jobs, stopping, children)


def _live(
    store: str,
    ui: MlflowUi,
    make_jobs: Callable[[float], tuple[SimulatedJob, ...]],
    stopping: threading.Event,
    children: Children,
) -> int:
    """Run the daemon in real time until a signal."""
    now = time.time()
    jobs = make_jobs(now)
    training = sum(job.created_at >= now for job in jobs)
    with Simulator(jobs=jobs, api_key=_KEY) as simulator:
        # During the server's imports, so that the links already lead to runs.
        with (
            saying("The first pass"),
            assemble(_settings(simulator, jobs, store), {}, stopping) as first,
        ):
            one_pass(first)
        ui.wait(stopping)
        if stopping.is_set():
            return 0
        with (
            assemble(_settings(simulator, jobs, ui.url), {}, stopping) as bridge,
            tempfile.TemporaryFile() as output,
            children.local_run(ui.url, seconds_per_step=_PACE, output=output) as local_run,
        ):
            _announce(_links(bridge.tracking, jobs[0].id), training)
            paces = {sync.name: daemon.Pace(2.0) for sync in bridge.syncs}
            daemon.run(
                bridge.syncs,
                paces=paces,
                stopping=stopping,
                leave=lambda _code: None,
                handlers=[_Farewell(all_end_by(jobs), time.time), LocalRunWatch(local_run, output)],
            )
    return 0


def _announce(links: Iterable[tuple[str, str]], training: int) -> None:
    out().print(
        "\nHosted jobs (simulated) and a local run (trained for real), live in MLflow:\n\n"
        + "".join(f"  {name:8}{url}\n" for name, url in links)
        + f"\n{training} hosted jobs train for about a minute and a half; MLflow redraws"
        " every 30 seconds.\nCtrl-C stops everything.\n"
    )


class _Farewell:
    """A message that all jobs have ended, printed once."""

    def __init__(self, end: float, clock: Callable[[], float]) -> None:
        self._end = end
        self._clock = clock
        self._said = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Print it after the first pass that began after the end of all jobs."""
        is_over = isinstance(event, PassEnded) and self._clock() > self._end + event.seconds
        if is_over and self._said.acquire(blocking=False):
            out().print(
                "\nAll jobs have ended; their curves stay until Ctrl-C. For your own jobs, set"
                " OPENAI_API_KEY or another provider's key and run: ftbridge backfill\n"
            )


class LocalRunWatch:
    """A message that the local run has failed, printed once."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self._process = process
        self._output = output
        self._said = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Check after each pass whether the local run has failed."""
        has_failed = isinstance(event, PassEnded) and self._process.poll()
        if has_failed and self._said.acquire(blocking=False):
            out().print(f"[red]✗[/red] {safe(_failure(self._output))}")


def _failure(output: IO[bytes]) -> str:
    """Return the error of a failed local run: the last line of its output."""
    output.seek(0)
    lines = output.read().decode(errors="replace").split("\n")
    return f"the local run failed: {next(filter(str.strip, reversed(lines)), 'no output')}"


def to_the_end(
    mlflow_url: str,
    make_jobs: Callable[[float], tuple[SimulatedJob, ...]],
    stopping: threading.Event,
    children: Children,
) -> int:
    """Make the same passes on a clock that the demo advances, then print the result."""
    # The clock begins in the past, so that nothing is dated in the future.
    started = time.time() - all_end_by(make_jobs(0.0))
    jobs = make_jobs(started)
    clock = started
    with (
        Simulator(jobs=jobs, api_key=_KEY, clock=lambda: clock) as simulator,
        assemble(_settings(simulator, jobs, mlflow_url), {}, stopping) as bridge,
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
            troubles.append(_failure(output))
        landed = _landed(bridge.tracking)
        out().print(_table(jobs, landed))
        for trouble in troubles:
            out().print(f"[red]✗[/red] {safe(trouble)}")
        return 1 if troubles or len(landed) < len(jobs) else 0


def _links(tracking: Tracking, job_id: str) -> Iterator[tuple[str, str]]:
    """Yield the links, each with a word for its target."""
    experiment_id = tracking.experiment(EXPERIMENT, create=False) or ""
    yield "charts", tracking.page(experiment_id)
    yield "table", tracking.link(experiment_id, view=TABLE)
    yield "models", tracking.link(experiment_id, page="models")
    if run := _landed(tracking).get(job_id):
        yield "a run", tracking.link(experiment_id, run.run_id)


def _landed(tracking: Tracking) -> dict[str, RecordedRun]:
    experiment_id = tracking.experiment(EXPERIMENT, create=False)
    found = tracking.runs([experiment_id] if experiment_id else [])
    # Fireworks' ids begin with the job's collection.
    return {run.job_id.rpartition("/")[2]: run for run in found if not run.is_deleted}


def _table(jobs: tuple[SimulatedJob, ...], landed: Mapping[str, RecordedRun]) -> Table:
    table = Table(title="In MLflow now", title_justify="left")
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


def _settings(simulator: Simulator, jobs: Iterable[SimulatedJob], mlflow_url: str) -> Settings:
    shown = dict.fromkeys(job.provider for job in jobs)
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
                    "base_url": simulator.base_urls[name],
                    **({"auth": "token"} if name == "vertex" else {}),
                    **simulator.more_settings(name),
                }
                for name in shown
            ],
        }
    )
