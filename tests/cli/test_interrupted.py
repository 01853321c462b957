"""SIGTERM while a provider leaves a request unanswered."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from bridge.simulator import Simulator, all_end_by
from tests.support.config_file import write_config
from tests.support.forked import Forked
from tests.support.processes import invoke, wait_until
from tests.support.recorded import active_runs, recorded
from tests.support.tcp_proxy import Line, TcpProxy
from tests.support.world import Clock, job

FORMS = {
    "backfill": ["backfill"],
    "json": ["backfill", "--json"],
    "doctor": ["doctor", "--fix"],
}
"""Commands by the name of the database that each writes to."""


def test_a_silent_provider_does_not_hold_up_the_end(
    empty_database: Path, tmp_path: Path, clock: Clock
) -> None:
    """SIGTERM cuts a silent request off after a while; records stay, and the rest comes later.

    All commands wait at the same time, because each waits for seconds.
    """
    one, other = job("ftjob-one"), job("ftjob-other")
    clock.now = all_end_by([one, other]) + 1000
    with contextlib.ExitStack() as stack:
        well = stack.enter_context(Simulator(jobs=[one], clock=clock))
        behind = stack.enter_context(Simulator(jobs=[other], clock=clock))
        silent = {
            name: stack.enter_context(TcpProxy(behind.openai_url, lambda _: Line(answers=False)))
            for name in FORMS
        }
        uris, configs = {}, {}
        for name in FORMS:
            # In a shared database they would wait for one another.
            uris[name] = f"sqlite:///{shutil.copy(empty_database, tmp_path / f'{name}.db')}"
            urls = {"silent": silent[name].url, "well": well.openai_url}
            configs[name] = write_config(tmp_path / f"{name}.yaml", uris[name], urls)
        processes = {
            name: stack.enter_context(
                Forked(*arguments, "--config", configs[name], output=tmp_path / name)
            )
            for name, arguments in FORMS.items()
        }
        wait_until(lambda: all(each.connections for each in silent.values()), "requests")
        for name in ("backfill", "json"):
            wait_until(
                lambda name=name: (
                    {run.status for run in recorded(uris[name]).values()}  # type: ignore[misc] # a default binds it
                    == {"FINISHED"}
                ),
                "run",
            )
        for process in processes.values():
            process.stop()
        for name, process in processes.items():
            assert process.end() == 1, process.said
            assert "Work in hand took longer than 5 s" in process.said, name
            assert "Traceback" not in process.said, name
        said = json.loads(processes["json"].streams[0])
        assert [each["stopped"] is None for each in said["providers"]] == [False, True]
        assert len(behind.requests) == 0
        for name in ("backfill", "doctor"):  # "json" has left the same as "backfill"
            silent[name].line = lambda _: Line()
            done = invoke("backfill", "--config", configs[name])
            assert done.exit_code == 0, done.output
            assert {job_id: run.status for job_id, run in recorded(uris[name]).items()} == {
                one.id: "FINISHED",
                other.id: "FINISHED",
            }
            assert len(active_runs(uris[name])) == 2
