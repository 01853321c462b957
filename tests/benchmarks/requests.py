"""One request to a default ``mlflow server``, over connections of the bridge's kind and others'."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Final

import urllib3
from mlflow import MlflowClient
from rich.table import Table

from bridge.tracking.connections import one_each
from tests.benchmarks.stores import sqlite
from tests.support.mlflow_server import MlflowServer

_REQUESTS: Final = 40
_ROUND: Final = 10
"""Requests of one kind in a row.

The first of a round is not counted, because it may meet a connection of the other kind.
"""


def tables() -> Iterator[Table]:
    """Measure, and yield the table at the end."""
    table = Table(title=f"ms a request to mlflow server, medians of {_REQUESTS}")
    for heading in ("", "kept connection", "one each", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for is_encrypted in (False, True):
        before, after = _measured(is_encrypted=is_encrypted)
        name = "https" if is_encrypted else "http"
        table.add_row(name, f"{before:.1f}", f"{after:.1f}", f"{before / after:.1f}")
    yield table


def _measured(*, is_encrypted: bool) -> tuple[float, float]:
    with ExitStack() as stack:
        uri = stack.enter_context(sqlite())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        options = _certified(folder) if is_encrypted else ()
        server = MlflowServer(uri, folder, options=options)
        url = stack.enter_context(server).url
        client = MlflowClient(url, url)
        times: dict[int, list[float]] = {0: [], 1: []}
        # Alternately, so that a slow moment of the machine affects both.
        for _ in range(_REQUESTS // _ROUND):
            for number, way in ((0, nullcontext()), (1, one_each("http://"))):
                with way:
                    client.get_experiment("0")
                    for _ in range(_ROUND):
                        begin = time.perf_counter()
                        client.get_experiment("0")
                        times[number].append((time.perf_counter() - begin) * 1000)
        return statistics.median(times[0]), statistics.median(times[1])


def _certified(folder: Path) -> tuple[str, ...]:
    """Return the options of a server whose self-signed certificate is trusted here."""
    os.environ["MLFLOW_TRACKING_INSECURE_TLS"] = "true"
    urllib3.disable_warnings()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return ("--uvicorn-opts", f"--ssl-keyfile {key} --ssl-certfile {certificate} --workers 4")
