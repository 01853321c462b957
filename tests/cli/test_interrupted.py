"""SIGTERM while a provider leaves a request unanswered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.simulator import Simulator, all_end_by
from tests.support.config_file import write_config
from tests.support.forked import Forked
from tests.support.processes import invoke, wait_until
from tests.support.recorded import active_runs, recorded
from tests.support.tcp_proxy import Line, TcpProxy
from tests.support.world import Clock, job


@pytest.mark.parametrize("arguments", [["backfill"], ["backfill", "--json"], ["doctor", "--fix"]])
def test_a_silent_provider_does_not_hold_up_the_end(
    uri: str, tmp_path: Path, clock: Clock, arguments: list[str]
) -> None:
    """SIGTERM cuts a silent request off after a while; records stay, and the rest comes later."""
    one, other = job("ftjob-one"), job("ftjob-other")
    clock.now = all_end_by([one, other]) + 1000
    with (
        Simulator(jobs=[one], clock=clock) as well,
        Simulator(jobs=[other], clock=clock) as behind,
        TcpProxy(behind.openai_url, lambda _: Line(answers=False)) as silent,
    ):
        urls = {"silent": silent.url, "well": well.openai_url}
        config = write_config(tmp_path, uri, urls)
        with Forked(*arguments, "--config", config, output=tmp_path / "said") as process:
            wait_until(lambda: silent.connections, "request")
            if "backfill" in arguments:
                wait_until(
                    lambda: {run.status for run in recorded(uri).values()} == {"FINISHED"}, "run"
                )
            process.stop()
            assert process.end() == 1, process.said
        assert "Work in hand took longer than 5 s" in process.said
        assert "Traceback" not in process.said
        if "--json" in arguments:
            said = json.loads(process.streams[0])
            assert [each["stopped"] is None for each in said["providers"]] == [False, True]
        assert len(behind.requests) == 0
        silent.line = lambda _: Line()
        done = invoke("backfill", "--config", config)
        assert done.exit_code == 0, done.output
    assert {job_id: run.status for job_id, run in recorded(uri).items()} == {
        one.id: "FINISHED",
        other.id: "FINISHED",
    }
    assert len(active_runs(uri)) == 2
