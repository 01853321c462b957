"""``ftbridge run`` under a service manager: start, watchdog, reload and stop."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path

import httpx

from bridge.simulator import Reply, Request, Simulator
from tests.support.config_file import Entry, write_config
from tests.support.notify_socket import notify_socket
from tests.support.ports import free_port
from tests.support.processes import PATIENCE, started, wait_until
from tests.support.recorded import active_runs
from tests.support.world import Clock, job


def keyed(folder: Path, url: str) -> dict[str, object]:
    """Write a key, and return the keys of a provider that reads it from its file."""
    file = folder / "key"
    file.write_text("the-first-key")
    file.chmod(0o600)
    return {"api_key": None, "api_key_file": str(file), "base_url": url}


def write(folder: Path, uri: str, providers: Mapping[str, Entry], **more: object) -> Path:
    """Write a configuration of a daemon that makes a pass each second."""
    poll = {"interval": "1s", "idle_interval": "1s"}
    return write_config(folder, uri, providers, mlflow={}, poll=poll, **more)


def test_a_service_manager_gets_each_state_of_a_whole_life(uri: str, tmp_path: Path) -> None:
    """The service manager gets READY, watchdog messages, each reload, and the end, in order.

    A refused configuration is reported with all its problems, including those of the assembled
    whole, and the old one stays in force. An accepted one takes effect with the present content of
    its key file.
    """
    address = f"@ftbridge-{uuid.uuid4()}"
    with (
        Simulator(jobs=[job("ftjob-a")], clock=Clock()) as simulator,
        notify_socket(address) as manager,
    ):
        entry = keyed(tmp_path, simulator.openai_url)
        config = write(tmp_path, uri, {"first": entry})
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "800000"}
        with started("run", "--config", config, env=env) as process:

            def keys() -> set[str]:
                return {each.headers["authorization"] for each in simulator.requests[-2:]}

            wait_until(lambda: manager.states() == ["READY=1"], "READY", process)
            wait_until(lambda: "STATUS=first: 1 open" in manager.listen(), "status", process)
            alive = manager.heard.count("WATCHDOG=1")
            wait_until(lambda: manager.listen().count("WATCHDOG=1") > alive + 2, "life", process)

            write(tmp_path, uri, {"first": {**entry, "requests": 1}}, mlfow={})
            (tmp_path / "key").write_text("the-second-key")
            process.send(signal.SIGHUP)
            wait_until(lambda: len(manager.states()) == 3, "READY after it", process)
            assert process.count("configuration refused") == 2, process.said
            assert "providers[0].requests: unknown key" in process.said
            assert "mlfow: unknown key; did you mean mlflow?" in process.said
            with socket.create_server(("127.0.0.1", 0)) as taken:
                listen = f"127.0.0.1:{taken.getsockname()[1]}"
                write(tmp_path, uri, {"first": entry}, listen=listen)
                process.send(signal.SIGHUP)
                wait_until(lambda: len(manager.states()) == 5, "READY after that", process)
            assert process.count("cannot be used") == 1, process.said

            asked = len(simulator.requests)
            wait_until(lambda: len(simulator.requests) > asked + 1, "passes", process)
            assert keys() == {"Bearer the-first-key"}

            write(tmp_path, uri, {"first": entry, "second": entry})
            process.send(signal.SIGHUP)
            wait_until(lambda: len(manager.states()) == 7, "READY again", process)
            wait_until(lambda: len(active_runs(uri)) == 2, "the second provider's run", process)
            assert keys() == {"Bearer the-second-key"}
            assert process.count("configuration reloaded") == 1, process.said

            process.send(signal.SIGTERM)
            # The socket holds few messages that nobody has received.
            wait_until(lambda: "STOPPING=1" in manager.states(), "STOPPING", process)
            assert process.end() == 0, process.said
        reloads = ["RELOADING=1", "READY=1"] * 3
        assert manager.states() == ["READY=1", *reloads, "STOPPING=1"]
    assert {run.data.tags["fine_tuning_provider"] for run in active_runs(uri)} == {
        "first",
        "second",
    }
    assert "Traceback" not in process.said
    assert "-key" not in process.said.replace("api_key", "")


def test_work_in_hand_is_finished_before_a_new_configuration_holds(
    uri: str, tmp_path: Path
) -> None:
    """A reload waits for a request in progress, longer than an end would."""
    asked, release = threading.Event(), threading.Event()

    def hang(_: Request) -> Reply | None:
        asked.set()
        release.wait(PATIENCE)
        return None

    with Simulator(jobs=[job("ftjob-a")], clock=Clock(), intercept=hang) as simulator:
        entry = keyed(tmp_path, simulator.openai_url)
        config = write(tmp_path, uri, {"openai": entry})
        with started("run", "--config", config) as process:
            try:
                wait_until(asked.is_set, "request", process)
                process.send(signal.SIGHUP)
                process.wait_for("] stopping ")
                # A daemon that waits logs nothing.
                write(tmp_path, uri, {"openai": entry, "another": entry})
                process.send(signal.SIGHUP)
                wait_until(lambda: process.count("reloaded") == 2, "another reload", process)
                assert process.count("] started ") == 1, process.said
            finally:
                release.set()
            wait_until(lambda: len(active_runs(uri)) == 2, "runs of both", process)
            assert process.count("] started ") == 2, process.said
            process.send(signal.SIGTERM)
            assert process.end() == 0, process.said


HEARS = """
import sys, threading
from bridge.daemon.signals import reload_on_hangup
reloading = threading.Event()
with reload_on_hangup(reloading):
    print("ready", flush=True)
    while True:
        if reloading.wait(0.05):
            reloading.clear()
            print("reload", flush=True)
"""


def hearing(*before: str, terminal: int | None = None) -> subprocess.Popen[str]:
    """Run a process that handles SIGHUP as the daemon does, once it is ready."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", HEARS],
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=terminal is None,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def hears(process: subprocess.Popen[str]) -> bool:
    """Return whether a SIGHUP is a request to reload."""
    process.send_signal(signal.SIGHUP)
    assert process.stdout
    return process.stdout.readline() == "reload\n"


def test_a_hangup_without_a_terminal_is_a_wish_to_reload() -> None:
    """A SIGHUP without a terminal, as in a service, reloads instead of ending the process."""
    with hearing() as process:
        assert hears(process)
        assert hears(process)
        process.kill()


def test_a_process_ends_with_its_own_terminal() -> None:
    """A SIGHUP reloads while the terminal exists, and ends the process once it is gone."""
    master, slave = pty.openpty()
    # The tests may run under nohup.
    starter = ("setsid", "--ctty", "env", "--default-signal=HUP")
    with hearing(*starter, terminal=slave) as process:
        os.close(slave)
        assert hears(process)
        os.close(master)
        assert process.wait(PATIENCE) == -signal.SIGHUP


def test_nohup_holds() -> None:
    """A daemon that is started with nohup outlives the terminal, and can still be reloaded."""
    master, slave = pty.openpty()
    with hearing("setsid", "--ctty", "nohup", terminal=slave) as process:
        os.close(slave)
        os.close(master)
        assert process.stdout
        assert process.stdout.readline() == "reload\n"
        assert hears(process)
        process.kill()


def test_a_port_in_force_is_kept_over_a_reload(uri: str, tmp_path: Path) -> None:
    """A reload keeps the port if it stays the same, and the metrics count passes of both lives."""
    listen = f"127.0.0.1:{free_port()}"

    def passes() -> bool:
        try:
            text = httpx.get(f"http://{listen}/metrics", trust_env=False).text
        except httpx.HTTPError:
            return False
        return 'ftbridge_pass_duration_seconds_count{provider="first"} 0.0' not in text

    with Simulator(jobs=[job("ftjob-a")], clock=Clock()) as simulator:
        config = write(
            tmp_path, uri, {"first": keyed(tmp_path, simulator.openai_url)}, listen=listen
        )
        with started("run", "--config", config) as process:
            wait_until(passes, "pass", process)
            process.send(signal.SIGHUP)
            process.wait_for("configuration reloaded")
            wait_until(lambda: process.count("] listening ") == 2, "second life", process)
            wait_until(passes, "pass of it", process)
            assert "configuration refused" not in process.said
            process.send(signal.SIGTERM)
            assert process.end() == 0, process.said
