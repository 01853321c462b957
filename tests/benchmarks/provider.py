"""Two providers in a separate process, at a chosen distance.

The jobs are the simulator's. Their replies are made once and kept, so that the measurement is of
the client and not of the server; only open jobs are computed for each request.

Usage: ``python -m tests.benchmarks.provider --openai N --mistral N [--active N]``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Self
from urllib.parse import quote

import httpx

from bridge.simulator import Reply, Request, json_reply, mistral, openai
from bridge.simulator.http_server import HttpServer
from bridge.simulator.jobs import SimulatedJob
from bridge.simulator.messages import RefusedError
from bridge.simulator.openai_objects import job_object
from tests.support.world import NOW, job

STEPS: Final = 90
"""Steps of a finished job, which has three checkpoints."""
APART: Final = 300.0
"""Seconds between the creation of two jobs: 100,000 in a year."""
_CONTROL: Final = "/control/"
_ANSWERS: Final = {"/openai/v1": openai.answer, "/mistral/v1": mistral.answer}


def finished(number: int, kind: str) -> SimulatedJob:
    """Return a job that ended long ago."""
    identifier = {
        "openai": f"ftjob-{number:08}",
        "mistral": f"{number:08}-0000-4000-8000-000000000000",
    }[kind]
    return job(
        identifier,
        "openai" if kind == "openai" else "mistral",
        total_steps=STEPS,
        eval_every=10,
        suffix=f"bench-{number}",
        created_at=NOW + number * APART,
    )


def active(number: int, began: float) -> SimulatedJob:
    """Return a job that trains throughout the measurement, with a step every five seconds."""
    return job(
        f"ftjob-active-{number:05}",
        total_steps=10_000,
        seconds_per_step=5.0,
        suffix=f"active-{number}",
        created_at=began - 60 - number / 1000,
    )


class Answers:
    """Answers requests and counts them. Thread-safe."""

    def __init__(self, jobs: Mapping[str, Sequence[SimulatedJob]]) -> None:
        self._lock = threading.Lock()
        self._latency = 0.0
        self._asked = 0
        self._kept: dict[str, Reply] = {}
        self._jobs = jobs
        self._listed = {each.id: place for place, each in enumerate(jobs["/openai/v1"])}
        self._is_live = any("-active-" in job_id for job_id in self._listed)

    def __call__(self, request: Request) -> Reply:
        """Return the reply after the chosen delay."""
        if request.path.startswith(_CONTROL):
            return self._controlled(request)
        time.sleep(self._latency)
        with self._lock:
            self._asked += 1
        base = next((base for base in _ANSWERS if request.path.startswith(base)), None)
        if base is None:
            return json_reply({"error": "nothing here"}, 404)
        asked = replace(request, path=request.path.removeprefix(base))
        key = f"{request.path}?{sorted(request.query.items())}"
        reply = None if self._is_live else self._kept.get(key)
        if reply is None:
            reply = self._made(base, asked)
            if not self._is_live:
                self._kept[key] = reply
        return reply

    def _made(self, base: str, request: Request) -> Reply:
        now = time.time()
        if request.path == "/fine_tuning/jobs" and base == "/openai/v1":
            return self._page(request, now)
        jobs = self._jobs[base]
        name = request.path.split("/")[3] if request.path.count("/") > 2 else ""
        if base == "/openai/v1" and name in self._listed:
            jobs = [jobs[self._listed[name]]]  # the simulator would sort them all each time
        try:
            return _ANSWERS[base](jobs, now, request)
        except RefusedError as refused:
            return refused.reply

    def _page(self, request: Request, now: float) -> Reply:
        """Return a page of the list as the simulator does, from a place that is looked up."""
        jobs = self._jobs["/openai/v1"]
        start = self._listed[request.query["after"]] + 1 if "after" in request.query else 0
        end = start + int(request.query.get("limit", "20"))
        rows = [job_object(each, now) for each in jobs[start:end]]
        return json_reply({"object": "list", "data": rows, "has_more": end < len(jobs)})

    def _controlled(self, request: Request) -> Reply:
        what, _, value = request.path.removeprefix(_CONTROL).partition("/")
        with self._lock:
            if what == "latency":
                self._latency = float(value)
            asked, self._asked = self._asked, 0
        return json_reply({"asked": asked})


def control(root: str, what: str) -> dict[str, int]:
    """Send a command to the process at ``root``, and return its number of requests since."""
    found: dict[str, int] = httpx.get(root + _CONTROL + quote(what)).json()
    return found


class Provider:
    """The process, which runs within the context."""

    def __init__(self, *, jobs: int = 0, mistral_jobs: int = 0, active_jobs: int = 0) -> None:
        self._command = [sys.executable, "-m", "tests.benchmarks.provider"]
        self._command += ["--openai", str(jobs), "--mistral", str(mistral_jobs)]
        self._command += ["--active", str(active_jobs)]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def openai_url(self) -> str:
        """Return OpenAI's base URL."""
        return f"{self.url}/openai/v1"

    @property
    def mistral_url(self) -> str:
        """Return Mistral's base URL."""
        return f"{self.url}/mistral/v1"

    def latency(self, seconds: float) -> None:
        """Delay later replies by this much."""
        control(self.url, f"latency/{seconds}")

    def asked(self) -> int:
        """Return the number of requests since the last call."""
        return control(self.url, "asked")["asked"]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the provider did not start"
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()  # it ends with its input


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    for name in ("openai", "mistral", "active"):
        parser.add_argument(f"--{name}", type=int, default=0)
    wanted = parser.parse_args()
    began = time.time()
    jobs = [active(number, began) for number in range(wanted.active)]
    # Newest first, as providers list them.
    jobs += [finished(number, "openai") for number in reversed(range(wanted.openai))]
    server = HttpServer(
        0,
        Answers(
            {
                "/openai/v1": jobs,
                "/mistral/v1": [finished(number, "mistral") for number in range(wanted.mistral)],
            }
        ),
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
