"""``ftbridge simulate``: serve the providers' APIs on this machine, with invented jobs."""

from __future__ import annotations

import contextlib
import threading
import time

from bridge.cli.terminal.console import out
from bridge.daemon.scheduler import wait
from bridge.daemon.signals import stop_on_signals
from bridge.errors import ConfigError
from bridge.simulator import Simulator, all_jobs


def simulate(*, port: int) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        ConfigError: the port is taken.
    """
    stopping = threading.Event()
    with contextlib.ExitStack() as stack:
        try:
            simulator = stack.enter_context(Simulator(jobs=all_jobs(time.time()), port=port))
        except OSError as error:
            raise ConfigError([f"--port {port}: cannot be used ({error.strerror})"]) from None
        stack.enter_context(stop_on_signals(stopping))
        out().print(
            "Simulated fine-tuning APIs: real formats, invented jobs, any key. Write this to"
            " simulated.yaml\nand run, in another terminal:"
            " ftbridge backfill --config simulated.yaml\n\n"
            "providers:\n"
            + "".join(
                f"  - {{name: {name}, api_key: any-key, base_url: {url}"
                + "".join(f", {key}: {it}" for key, it in simulator.more_settings(name).items())
                + "}\n"
                for name, url in simulator.base_urls.items()
            )
            + "\nCtrl-C stops them.",
        )
        wait(stopping)
    return 0
