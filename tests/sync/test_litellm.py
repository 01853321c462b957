"""LiteLLM's proxy before the simulator, by its pass-through addresses and by its functions.

This runs only in ``make soak``, which installs LiteLLM below ``.compat``.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from bridge.plan.incomplete import PATIENCE
from bridge.simulator import Simulator, all_end_by
from bridge.simulator.jobs import Provider
from bridge.tracking import Tracking
from tests.compat.environments import LITELLM, environment
from tests.support.config_file import write_config
from tests.support.ports import free_port
from tests.support.processes import invoke, wait_until
from tests.support.recorded import RunRows, recorded
from tests.support.world import KEY, Clock, job, make_sync

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("COMPAT", ROOT / ".compat"))
JOBS = [
    *(job(f"ftjob-{n}", total_steps=30, seed=n) for n in range(3)),
    *(job(f"ftjob-azure{n}", "azure", total_steps=30, seed=n) for n in range(3)),
]
VERSION = "2025-04-01-preview"
PASSED = {
    "openai": ("openai", "/openai_passthrough/v1"),
    "azure": ("azure", "/azure/openai/v1"),
    "azure by date": ("azure", f"/azure/openai?api-version={VERSION}"),
}


@pytest.fixture(scope="module")
def litellm() -> Path:
    """Return the folder of LiteLLM's programs, or skip the test."""
    try:
        return environment(CACHE / "litellm", LITELLM).parent
    except subprocess.CalledProcessError:
        pytest.skip("pip cannot install LiteLLM")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Run a simulator of ended jobs."""
    with Simulator(jobs=JOBS, clock=Clock(all_end_by(JOBS) + 1000)) as running:
        yield running


@contextmanager
def served(command: list[str | Path], port: int, alive: str, log: Path) -> Iterator[str]:
    """Run a program, and return the address at which it answers."""
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(url + alive, timeout=5.0).is_success
        except httpx.TransportError:
            return False

    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as it:
        try:
            wait_until(lambda: it.poll() is not None or answers(), "answer", seconds=300)
            assert it.poll() is None, log.read_text()[-3000:]
            yield url
        finally:
            it.terminate()


@pytest.fixture(scope="module")
def proxy(
    litellm: Path, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Run the proxy itself, without a licence."""
    folder = tmp_path_factory.mktemp("litellm")
    config = folder / "config.yaml"
    azure = simulator.base_urls["azure"].removesuffix("/openai/v1")
    settings = {"custom_llm_provider": "openai", "api_base": simulator.openai_url, "api_key": "k"}
    config.write_text(
        json.dumps({"general_settings": {"master_key": KEY}, "finetune_settings": [settings]})
    )
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "OPENAI_API_BASE": simulator.openai_url.removesuffix("/v1"),
            "OPENAI_API_KEY": "a-key",
            "AZURE_API_BASE": azure,
            "AZURE_API_KEY": "a-key",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }.items():
            patched.setenv(name, value)
        port = free_port()
        command: list[str | Path] = [
            litellm / "litellm",
            "--config",
            config,
            "--host",
            "127.0.0.1",
            "--port",
        ]
        with served([*command, str(port)], port, "/health/liveliness", folder / "log") as url:
            yield url


def configured(folder: Path, name: str, kind: str, url: str) -> Path:
    """Return a configuration of one provider, with a database beside it."""
    uri = f"sqlite:///{folder / name}.db"
    return write_config(folder / f"{name}.yaml", uri, {"p": {"type": kind, "base_url": url}})


@pytest.mark.parametrize(("kind", "path"), PASSED.values(), ids=PASSED)
def test_the_pass_through_address_is_as_good_as_the_provider(
    proxy: str, simulator: Simulator, tmp_path: Path, kind: str, path: str
) -> None:
    """The pass-through address gives the same runs with every row as the provider itself."""
    urls = {"direct": simulator.base_urls[kind], "passed": proxy + path}  # type: ignore[index] # a type
    for name, url in urls.items():
        done = invoke("backfill", "--config", configured(tmp_path, name, kind, url))
        assert done.exit_code == 0, done.output
    direct, passed = (recorded(f"sqlite:///{tmp_path / name}.db") for name in urls)
    assert len(passed) == 3
    assert passed == direct


def test_the_own_address_needs_a_licence(proxy: str, tmp_path: Path) -> None:
    """The proxy's message about its licence is shown."""
    url = f"{proxy}/v1?custom_llm_provider=openai"
    done = invoke("check", "--config", configured(tmp_path, "p", "openai", url))
    assert done.exit_code == 1
    assert "LITELLM_LICENSE" in done.output


@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_its_own_functions_know_jobs_and_nothing_below(
    litellm: Path,
    simulator: Simulator,
    executor: ThreadPoolExecutor,
    tmp_path: Path,
    kind: str,
) -> None:
    """LiteLLM's functions give jobs at once; their parts are awaited for a day, and then named."""
    uri, port = f"sqlite:///{tmp_path / 'followed.db'}", free_port()
    azure = simulator.base_urls["azure"].removesuffix("/openai/v1")
    functions = ROOT / "tests" / "support" / "litellm_jobs.py"
    command: list[str | Path] = [litellm / "python", functions, str(port)]
    command += [simulator.openai_url, azure]
    clock = Clock(all_end_by(JOBS) + 1000)
    with served(command, port, "/openapi.json", tmp_path / "log") as url:
        address = f"{url}/v1?custom_llm_provider={kind}"
        asked = cast("Simulator", SimpleNamespace(base_urls={kind: address}))

        def follow() -> list[RunRows]:
            sync = make_sync(asked, Tracking(uri), executor, clock, kind=cast("Provider", kind))
            sync.run()
            return [*recorded(uri).values()]

        first = follow()
        clock.now += PATIENCE / 1000 + 1
        second = follow()
    assert [run.status for run in first] == ["RUNNING"] * 3
    assert [run.status for run in second] == ["FINISHED"] * 3
    for run in second:
        assert run.tags["fine_tuning_incomplete"] == "checkpoints, events"
        assert run.tags["fine_tuned_model"]
        assert run.params["n_epochs"] == "3"
        assert run.end_time is not None
