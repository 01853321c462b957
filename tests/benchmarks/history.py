"""A start and an idle pass, with a long history in MLflow and at the provider.

Each measurement runs in a separate process, whose memory is counted beyond that of ``import
mlflow``. The history is put into the database in bulk.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bridge.bootstrap.process import prepare_process
from tests.benchmarks.provider import APART, Provider, control, finished

if TYPE_CHECKING:
    from mlflow import MlflowClient


def tables(sizes: Sequence[int], say: Callable[[str], None]) -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(title="One new job and a history, sqlite file")
    columns = (
        ("first write: s", "first write"),
        ("processor", "first write cpu"),
        ("first pass: s", "first pass"),
        ("processor", "first pass cpu"),
        ("MLflow reads alone, s", "mlflow"),
        ("at rest: s", "rest"),
        ("processor", "rest cpu"),
        ("requests", "asked"),
        ("MB above import mlflow", "rest memory"),
        ("at most", "peak"),
        ("of it MLflow's database", "opened"),
    )
    for heading in ("jobs known", *(heading for heading, _ in columns)):
        table.add_column(heading, justify="right")
    found: dict[int, dict[str, float]] = {}
    for size in sizes:
        say(f"{size} jobs")
        found[size] = _measured(size)
        shown = [found[size][name] for _, name in columns]
        table.add_row(
            f"{size:,}",
            *(f"{each:.2f}" for each in shown[:7]),
            *(f"{each:.0f}" for each in shown[7:]),
        )
    table.caption = _growth(found)
    yield table


def _growth(found: Mapping[int, Mapping[str, float]]) -> str:
    """Return what further jobs cost, by the two longest histories."""
    *_, (some, small), (many, large) = sorted(found.items())
    thousands = (many - some) / 1000
    seconds = (large["first write cpu"] - small["first write cpu"]) / thousands
    megabytes = (large["peak"] - small["peak"]) / thousands
    return (
        f"From {some:,} to {many:,}, a thousand jobs add {seconds * 1000:.0f} ms of processor to"
        f" the first write and {megabytes:.2f} MB to the most memory."
    )


def _measured(size: int) -> dict[str, float]:
    from tests.benchmarks.stores import sqlite  # noqa: PLC0415 - imports MLflow, see _child
    from tests.support.history import multiply  # noqa: PLC0415 - as above

    with sqlite() as uri, Provider(jobs=size + 1) as provider:
        database = Path(uri.removeprefix("sqlite:///"))
        template = finished(0, "openai").id
        _child(provider.url, uri, template)
        others = [finished(n, "openai").id for n in range(1, size)]
        multiply(database, template, others, apart=int(APART * 1000))
        return _child(provider.url, uri, "")


def _child(root: str, uri: str, job_id: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.history", root, uri, job_id]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _memory(what: str) -> float:
    """Return the present (VmRSS) or largest (VmHWM) memory of this process in MB."""
    # getrusage would include the parent's memory.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def _read_all(client: MlflowClient) -> float:
    """Return the seconds in which plain MLflow reads the same runs, page by page."""
    experiment = client.get_experiment_by_name("history")
    assert experiment is not None
    begin = time.perf_counter()
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            "tags.fine_tuning_provider = 'openai'",
            max_results=1000,
            page_token=token,
        )
        token = page.token
        if not token:
            return time.perf_counter() - begin


def main(root: str, uri: str, job_id: str) -> None:
    """Make a first pass and an idle one, or record a single job; print the durations."""
    usual = gc.get_threshold()
    prepare_process()
    import mlflow.tracking  # noqa: PLC0415 - what memory is counted from

    before = _memory("VmRSS")
    if not job_id:
        mlflow.MlflowClient(uri).search_experiments(max_results=1)
    opened = _memory("VmRSS") - before
    from bridge.plan.options import RecordingOptions  # noqa: PLC0415 - so that it is counted
    from bridge.plan.routing import Router  # noqa: PLC0415 - as above
    from bridge.providers.registry import TYPES  # noqa: PLC0415 - as above
    from bridge.sync.events import JobDone  # noqa: PLC0415 - as above
    from bridge.sync.find_run import RunFinder  # noqa: PLC0415 - as above
    from bridge.sync.job_sync import JobSync  # noqa: PLC0415 - as above
    from bridge.sync.provider_sync import ProviderSync  # noqa: PLC0415 - as above
    from bridge.sync.report import Selection  # noqa: PLC0415 - as above
    from bridge.tracking import Tracking  # noqa: PLC0415 - as above
    from tests.support.world import over_http  # noqa: PLC0415 - as above

    class FirstWrite:
        """Notes when the first job was recorded."""

        def __init__(self) -> None:
            self.at: float | None = None
            self.processor = 0.0

        def __call__(self, event: object) -> None:
            """Note the time."""
            if isinstance(event, JobDone) and self.at is None:
                self.at, self.processor = time.perf_counter(), time.process_time()

    with ThreadPoolExecutor(16) as executor:
        tracking = Tracking(uri)
        router = Router(provider="openai", experiment="history")
        job_sync = JobSync(
            name="openai",
            provider=TYPES["openai"](over_http(f"{root}/openai/v1"), curves=True),
            tracking=tracking,
            finder=RunFinder(tracking=tracking, router=router),
            options=RecordingOptions(provider_type="openai"),
            now=lambda: time.time_ns() // 1_000_000,
        )
        sync = ProviderSync(job_sync, executor=executor)
        if job_id:
            assert sync.run(Selection(job_ids=(job_id,))).is_well
            sys.stdout.write("{}")
            return
        watch = FirstWrite()
        begin, processor = time.perf_counter(), time.process_time()
        assert sync.run(handler=watch).is_well
        assert watch.at is not None
        found = {
            "first pass": time.perf_counter() - begin,
            "first pass cpu": time.process_time() - processor,
            "first write": watch.at - begin,
            "first write cpu": watch.processor - processor,
        }
        control(root, "asked")
        begin, processor = time.perf_counter(), time.process_time()
        assert sync.run().is_well
        found |= {
            "rest": time.perf_counter() - begin,
            "rest cpu": time.process_time() - processor,
            "rest memory": _memory("VmRSS") - before,
            "peak": _memory("VmHWM") - before,
            "opened": opened,
            "asked": control(root, "asked")["asked"],
        }
        gc.set_threshold(*usual)
        found["mlflow"] = _read_all(mlflow.MlflowClient(uri))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    main(*sys.argv[1:4])
