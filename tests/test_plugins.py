"""Providers that other packages bring: an entry point, a name in the configuration, no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.simulator import Simulator, demo_jobs
from tests.support.processes import run
from tests.support.world import NOW, Clock

PLUGIN = """
from pathlib import Path
from bridge.providers.openai import OpenAI

Path(__file__).with_name("loaded").touch()

class Acme(OpenAI):
    base_url = "https://api.acme.example/v1"
    key_variable = "ACME_API_KEY"
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An installed package that brings the provider type ``acme``."""
    folder = tmp_path / "site"
    info = folder / "acme_ftbridge-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-ftbridge\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftbridge.providers]\nacme = acme_ftbridge:Acme\n")
    (folder / "acme_ftbridge.py").write_text(PLUGIN)
    return folder


def configured(folder: Path, kind: str, url: str) -> Path:
    """A configuration with one provider."""
    path = folder / f"{kind}.yaml"
    path.write_text(
        f"mlflow: {{tracking_uri: 'sqlite:///{folder}/mlflow.db'}}\n"
        f"providers: [{{name: mine, type: {kind}, api_key: abcdefgh, base_url: '{url}'}}]\n"
    )
    return path


def test_a_package_may_bring_a_provider(package: Path, tmp_path: Path) -> None:
    """Named in the configuration it is loaded and works; unnamed it is not even imported."""
    environment = {"PYTHONPATH": str(package)}
    with Simulator(jobs=demo_jobs(NOW), clock=Clock()) as simulator:
        config = configured(tmp_path, "openai", simulator.openai_url)
        done = run("check", "--config", config, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (package / "loaded").exists()
        config = configured(tmp_path, "acme", simulator.openai_url)
        done = run("backfill", "--dry-run", "--config", config, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "create mine/support-bot" in done.stdout
    assert (package / "loaded").exists()


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import a_module_that_is_not_there\n", "ModuleNotFoundError"),
        (
            "class Acme:\n    base_url = ''\n    pages = job = read = None\n",
            "statuses, meanings, shutdowns, file",
        ),
        ("Acme = 7\n", "it lacks base_url"),
    ],
)
def test_a_package_that_is_broken_is_a_sentence(
    package: Path, tmp_path: Path, source: str, why: str
) -> None:
    """It is said where to look, and no traceback is shown."""
    (package / "acme_ftbridge.py").write_text(source)
    config = configured(tmp_path, "acme", "http://127.0.0.1:9/v1")
    done = run("check", "--config", config, env={"PYTHONPATH": str(package)})
    assert done.returncode == 2
    assert "the provider type acme cannot be loaded from acme_ftbridge:Acme" in done.stderr
    assert why in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_type_that_nobody_brings_is_a_sentence(tmp_path: Path) -> None:
    """With the types that there are."""
    done = run("check", "--config", configured(tmp_path, "acme", "http://127.0.0.1:9/v1"))
    assert done.returncode == 2
    assert "must be one of openai, " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
