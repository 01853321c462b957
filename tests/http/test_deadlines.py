"""Bad networks on real sockets, between the bridge and a provider, and before MLflow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from bridge import errors
from bridge.http.client import ApiClient, connect
from bridge.http.transports import LONGEST_REPLY, SLOWEST, Timed
from bridge.redaction import Redactor
from bridge.simulator import Reply, Request, Simulator, all_end_by
from bridge.tracking import Tracking
from tests.support.config_file import write_config
from tests.support.processes import invoke, started, wait_until
from tests.support.recorded import RunRows, recorded
from tests.support.static_server import StaticServer, differences, expected, openai_cases
from tests.support.tcp_proxy import Line, TcpProxy
from tests.support.world import Clock, NoSleep, job, make_sync

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GZIP = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"
"""Head of a compressed file, cut in its name: what follows decodes to nothing."""
DRIPS = {
    "body": HEAD + b"Content-Length: 1000000\r\n\r\n",
    "compressed": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1000000\r\n\r\n" + GZIP,
    "error": b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\n",
}
NOWHERE = "http://127.0.0.1:9"
CASES = openai_cases()[1:4]
LARGEST = 60_000
"""Bytes that no reply of the simulated jobs exceeds."""


def over(url: str, clock: Clock) -> ApiClient:
    """Return a client of the server at ``url`` that makes one attempt per request."""
    return connect(url, headers={}, redactor=Redactor(), sleep=NoSleep(), clock=clock)


# A reply has a deadline


@pytest.mark.parametrize("begin", DRIPS.values(), ids=DRIPS)
def test_a_reply_that_drips_in_is_given_up(begin: bytes, clock: Clock) -> None:
    """A reply that arrives too slowly, without ever timing out, is dropped at its deadline.

    It is not requested again, because the time for one request is used up.
    """

    def tick() -> None:
        clock.now += 19

    with TcpProxy(NOWHERE, lambda _: Line(drips=begin), tick) as proxy:
        with pytest.raises(errors.NoAnswer, match="too slowly"):
            over(proxy.url, clock).get_object("/jobs")
        assert proxy.connections == 1


def test_a_file_that_drips_in_is_given_up(clock: Clock) -> None:
    """A file that arrives too slowly is dropped, even after its beginning was passed on."""

    def tick() -> None:
        clock.now += 19

    with TcpProxy(NOWHERE, lambda _: Line(drips=DRIPS["body"]), tick) as proxy:
        http = over(proxy.url, clock)
        with pytest.raises(errors.NoAnswer, match="too slowly"), http.stream("/file") as pieces:
            for _ in pieces:
                pass


def test_a_large_file_has_the_time_that_it_needs(clock: Clock) -> None:
    """A large file at a fair rate is read to its end, long after the deadline of a small reply."""
    size = 32 * 2**20
    begun = clock.now

    def tick() -> None:
        clock.now += 64 * 2**10 / SLOWEST  # no piece takes longer than that

    with (
        Simulator(intercept=lambda _: Reply(body=b"x" * size)) as simulator,
        TcpProxy(simulator.url, passed=tick) as proxy,
        over(proxy.url, clock).stream("/file") as pieces,
    ):
        assert sum(map(len, pieces)) == size
    assert clock.now - begun > LONGEST_REPLY


@pytest.mark.parametrize(
    "line", [Line(answers=False), Line(silent_after=0), Line(silent_after=60)], ids=str
)
def test_silence_is_no_answer(line: Line) -> None:
    """The wait for each byte is limited, in a black hole and after a silent disconnect."""
    with (
        Simulator() as simulator,
        TcpProxy(simulator.url, lambda _: line) as proxy,
        httpx.Client(transport=Timed(httpx.HTTPTransport()), timeout=0.2) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(proxy.url)


# Whole passes


def test_passes_over_a_bad_network(uri: str, other_uri: str, clock: Clock) -> None:
    """Connections that are late and break off anywhere cost attempts, and no row."""
    jobs = [job(f"ftjob-{n}", total_steps=130, seed=n) for n in range(3)]
    clock.now = all_end_by(jobs) + 1000

    def bad(number: int) -> Line:
        # Every second connection holds for the largest reply: of a request's attempts one succeeds,
        # as one worker makes one at a time. A list of events that fails at every attempt leaves
        # points at the times of their checkpoints (tests/sync/test_incomplete.py).
        breaks_at = number * 9973 % 40_000 if number % 2 else LARGEST
        return Line(resets_after=breaks_at, latency=0.001)

    with (
        Simulator(jobs=jobs, clock=clock) as simulator,
        TcpProxy(simulator.openai_url) as proxy,
        ThreadPoolExecutor(1) as executor,
    ):
        proxy.line = bad
        between = cast("Simulator", SimpleNamespace(base_urls={"openai": proxy.url}))
        sync = make_sync(between, Tracking(uri), executor, clock, archive=True)
        wait_until(lambda: sync.run().is_well, "complete pass")
        assert proxy.connections > len(jobs)
        calm = make_sync(simulator, Tracking(other_uri), executor, clock, archive=True)
        assert calm.run().is_well
    assert recorded(uri) == recorded(other_uri)
    assert len(recorded(uri)) == len(jobs)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("late", Line(latency=0.01)),
        ("reset", Line(resets_after=3000)),
        ("black hole", Line(answers=False)),
        ("half open", Line(silent_after=3000)),
        ("lost replies", Line(silent_after=0)),
    ],
)
def test_a_bad_network_before_mlflow(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: Line
) -> None:
    """A pass over a bad network before MLflow ends with a reason, and a later one completes it.

    An MLflow that stays silent is waited for once to learn its features, and once per provider.
    """
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with StaticServer(CASES) as provider, TcpProxy(server) as proxy:
        path = provider.write_config(tmp_path, proxy.url, mlflow={"experiment": name})
        proxy.line = lambda number: line if number > 1 else Line(resets_after=6000)
        done = invoke("backfill", "--config", path)
        if name != "late":
            assert done.exit_code == 1
            assert any(
                f"MLflow at {proxy.url} {what}" in done.output
                for what in ("did not answer in time", "closed the connection")
            )
        if not line.answers:
            assert proxy.connections <= 4
        proxy.line = lambda _: Line()
        proxy.hang_up()
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
        done = invoke("backfill", "--config", path)
        assert done.exit_code == 0, done.output
    assert differences(expected(CASES), recorded(server, name)) == []


@pytest.mark.parametrize("command", ["backfill", "run", "check"])
def test_a_dead_provider_delays_no_other(uri: str, tmp_path: Path, command: str) -> None:
    """A provider that leaves a request unanswered delays no other provider."""
    attempts: list[int] = []

    def note(_: Request) -> Reply | None:
        attempts.append(dead.connections)
        return None

    def rows() -> dict[str, RunRows]:
        return {job_id: run for job_id, run in recorded(uri).items() if run.end_time}

    clock, one = Clock(), job("ftjob-one")
    clock.now = all_end_by([one]) + 1000
    with (
        Simulator(jobs=[one], clock=clock, intercept=note) as well,
        TcpProxy(NOWHERE, lambda _: Line(answers=False)) as dead,
    ):
        path = write_config(tmp_path, uri, {"dead": dead.url, "well": well.openai_url})
        with started(command, "--config", path) as process:
            wait_until(lambda: rows() if command != "check" else attempts, "row", process)
            wait_until(lambda: dead.connections, "request", process)
            assert attempts[0] <= 1
            assert process.exit_code is None
