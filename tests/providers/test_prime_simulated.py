"""The simulator of Prime Intellect, read by the types of Prime's own command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from bridge.simulator import Outcome, Simulator
from tests.support.processes import PATIENCE
from tests.support.world import KEY, NOW, Clock, job

PYTHON: Final = Path(sys.prefix) / "prime" / "bin" / "python"
"""``make soak`` makes it: the command line wants an older typer than the bridge has."""
JUDGE: Final = """
import json
from prime_cli.api.billing import BillingClient
from prime_cli.api.rl import RLClient
from prime_cli.core import APIClient

client = APIClient()
runs, billing = RLClient(client), BillingClient(client)
found = {}
for run in runs.list_runs().runs:
    assert runs.get_run(run.id).model_dump() == run.model_dump()
    found[run.id] = {
        "status": run.status,
        "created": run.created_at.timestamp(),
        "steps": [row["step"] for row in runs.get_metrics(run.id, min_step=3)],
        "checkpoints": [each.step for each in runs.list_checkpoints(run.id)],
        "latest": runs.get_progress(run.id)["latest_step"],
        "tokens": billing.get_run_usage(run.id).training.tokens,
    }
print(json.dumps(found))
"""
PLAIN: Final = job("run-plain", "prime", total_steps=40, seconds_per_step=1.0)
JOBS: Final = (
    PLAIN,
    replace(PLAIN, id="run-failed", outcome=Outcome.FAILED, ends_at_step=7),
    replace(PLAIN, id="run-waiting", outcome=Outcome.WAITING),
)


@pytest.mark.soak
@pytest.mark.skipif(not PYTHON.exists(), reason="make soak installs Prime's command line")
@pytest.mark.parametrize("seconds", [0.0, 15.0, 1000.0])
def test_primes_own_types_read_the_simulator(tmp_path: Path, seconds: float) -> None:
    """Every reply is valid at the beginning of a run, in its middle, and at its end."""
    with Simulator(jobs=JOBS, clock=Clock(NOW + seconds), api_key=KEY) as simulator:
        said = subprocess.run(
            [PYTHON, "-c", JUDGE],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "PRIME_API_KEY": KEY,
                "PRIME_API_BASE_URL": simulator.prime_url,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert found.keys() == {each.id for each in JOBS}
    for run in found.values():
        assert run["created"] == PLAIN.created_at
        assert run["steps"] == list(range(3, run["latest"] + 1))
        assert run["checkpoints"] == [step for step in PLAIN.epoch_ends if step <= run["latest"]]
        assert run["tokens"] == 2_000_000 * run["latest"]
    if seconds == 1000.0:
        assert {name: run["status"] for name, run in found.items()} == {
            "run-plain": "COMPLETED",
            "run-failed": "FAILED",
            "run-waiting": "PENDING",
        }
        assert found["run-plain"]["latest"] == 40
