"""Providers from other packages, which need an entry point and a name in the configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from bridge.simulator import Reply, Request, Simulator, demo_jobs
from tests.support.config_file import write_config
from tests.support.moments import iso
from tests.support.processes import run
from tests.support.recorded import recorded
from tests.support.wire_acme import AcmeApi
from tests.support.wire_server import CREATED
from tests.support.world import KEY, NOW, Clock

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
    """Install a package that brings the provider type ``acme``."""
    folder = tmp_path / "site"
    info = folder / "acme_ftbridge-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-ftbridge\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftbridge.providers]\nacme = acme_ftbridge:Acme\n")
    (folder / "acme_ftbridge.py").write_text(PLUGIN)
    return folder


def configured(folder: Path, kind: str, url: str, uri: str = "") -> Path:
    """Write a configuration with one provider."""
    entry = {"type": kind, "base_url": url}
    return write_config(
        folder / f"{kind}.yaml", uri or f"sqlite:///{folder}/mlflow.db", {"mine": entry}
    )


def test_a_package_may_bring_a_provider(package: Path, tmp_path: Path) -> None:
    """A package's provider works once the configuration names it, and is not imported before."""
    environment = {"PYTHONPATH": str(package)}
    with Simulator(jobs=demo_jobs(NOW), clock=Clock()) as simulator:
        config = configured(tmp_path, "openai", simulator.openai_url)
        done = run("check", "--json", "--config", config, env=environment, fresh=True)
        assert done.returncode == 0, done.stdout + done.stderr
        # Whatever MLflow and its libraries print while they are imported, stdout is one document.
        assert isinstance(json.loads(done.stdout), dict)
        assert not (package / "loaded").exists()
        config = configured(tmp_path, "acme", simulator.openai_url)
        done = run("backfill", "--dry-run", "--config", config, env=environment, fresh=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "create mine/support-bot" in done.stdout
    assert (package / "loaded").exists()


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import a_module_that_is_not_there\n", "ModuleNotFoundError"),
        (
            "class Acme:\n    base_url = ''\n    pages = job = read = None\n",
            "statuses, meanings, file",
        ),
        ("Acme = 7\n", "it lacks base_url"),
    ],
)
def test_a_package_that_is_broken_is_a_sentence(
    package: Path, tmp_path: Path, source: str, why: str
) -> None:
    """A broken package gives a sentence that says where to look, without a traceback."""
    (package / "acme_ftbridge.py").write_text(source)
    config = configured(tmp_path, "acme", "http://127.0.0.1:9/v1")
    done = run("check", "--config", config, env={"PYTHONPATH": str(package)}, fresh=True)
    assert done.returncode == 2
    assert "the provider type acme cannot be loaded from acme_ftbridge:Acme" in done.stderr
    assert why in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_type_that_nobody_brings_is_a_sentence(tmp_path: Path) -> None:
    """An unknown type gives a sentence with the known types."""
    # A new interpreter: a fork would have the plug-in of the tests on its path.
    config = configured(tmp_path, "acme", "http://127.0.0.1:9/v1")
    done = run("check", "--config", config, fresh=True)
    assert done.returncode == 2
    assert "must be one of openai, " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


# A whole one: tests/plugin/acme_ftbridge.py

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "plugin"


def serving(api: AcmeApi) -> Simulator:
    """Run the scripted service on a port of this machine."""

    def answer(request: Request) -> Reply:
        url = httpx.URL("http://acme.example").copy_with(path=request.path, params=request.query)
        reply = api(httpx.Request("GET", url, headers=dict(request.headers)))
        return Reply(status=reply.status_code, headers=reply.headers, body=reply.content)

    return Simulator(intercept=answer)


def test_a_package_with_a_wire_format_of_its_own_is_recorded(uri: str, tmp_path: Path) -> None:
    """A job of a package's wire format is recorded whole, with its own words and key header."""
    api = AcmeApi()
    api.fill(30)
    api.jobs = [api.row("a-job", phase="graduated", ended_at=iso(CREATED + 90))]
    with serving(api) as server:
        config = configured(tmp_path, "acme", f"{server.url}/v1", uri)
        done = run("backfill", "--status", "graduated", "--config", config)
    assert done.returncode == 0, done.stdout + done.stderr
    found = recorded(uri)["a-job"]
    assert (found.name, found.status) == ("mine/a-suffix-a-job", "FINISHED")
    assert [(step, value) for _, step, value, _ in found.rows] == [
        (step, step / 1024) for step in range(1, 31)
    ]
    assert found.tags["fine_tuned_model_checkpoint"] == "acme+30"
    assert found.params == {"rounds": "3", "pace": "0.5"}
    assert {request.headers["x-acme-key"] for request in api.requests} == {KEY}


def lines(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_readme_counts_what_a_provider_takes() -> None:
    """The figures in bridge/README.md match the files that they count."""
    text = (ROOT / "bridge" / "README.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Add a provider$(.*?)(?:^## |\Z)", text, re.DOTALL | re.MULTILINE)
    said = " ".join(section.split())
    golden = [path for path in (ROOT / "tests/golden/acme").rglob("*") if path.is_file()]
    assert f"one file of {lines(PACKAGE / 'acme_ftbridge.py')} lines" in said
    assert f"[tests/golden/acme](../tests/golden/acme), {len(golden)} files" in said
    assert f"{lines(ROOT / 'tests/support/wire_acme.py')} lines that answer" in said
    (line,) = (line for line in section.splitlines() if "acme_ftbridge:Acme" in line)
    (entry,) = PACKAGE.glob("*/entry_points.txt")
    assert line.strip().replace('"', "") == entry.read_text(encoding="utf-8").splitlines()[1]


def test_a_provider_is_named_in_its_own_files_only() -> None:
    """Acme is named only in its own files: no list in the bridge or its tests mentions it."""
    knowing = {
        str(path.relative_to(ROOT))
        for folder in ("bridge", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bacme_ftbridge|\bAcme(Api)?\b", path.read_text(encoding="utf-8"))
    }
    own = {"tests/plugin/acme_ftbridge.py", "tests/support/wire_acme.py"}
    assert knowing == own | {
        "tests/providers/test_plugins.py",
        "tests/providers/test_public_surface.py",
    }
