"""The package as a user installs it, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

import pytest

from bridge import __version__
from tests.support.processes import PATIENCE

ROOT: Final = Path(__file__).parents[2]


def test_the_changelog_begins_with_this_version() -> None:
    """The newest heading of the changelog names the package's version, and a day."""
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert re.fullmatch(rf"\[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d", headings[0])


def test_the_package_page_leads_to_the_repository() -> None:
    """With the repository's address, the package's links and pictures lead to its files there."""
    env = {**os.environ, "FTBRIDGE_REPOSITORY": "https://git.example/owner/name/"}
    shown = [sys.executable, "-m", "hatchling", "metadata"]
    done = subprocess.run(shown, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    metadata = json.loads(done.stdout)
    assert metadata["urls"]["Repository"] == "https://git.example/owner/name"
    text = metadata["readme"]["text"]
    addresses = re.findall(r"\]\((\S+?)\)", text)
    assert all(re.match("https?://|#", each) for each in addresses)
    here = re.findall(rf"https://git.example/owner/name/(blob|raw)/v{__version__}/([^#)]+)", text)
    assert ("raw", ".github/charts.png") in here
    assert ("blob", "CHANGELOG.md") in here
    assert all((ROOT / path).exists() for _, path in here)


@pytest.mark.soak
def test_the_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    """The demo runs to its end in an empty folder, installed from the file of ``make wheel``."""
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, timeout=PATIENCE)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.startswith(f"mlflow_finetune_bridge-{__version__}-")
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    constraints = ROOT / "config" / "constraints.txt"
    pip = [str(programs / "pip"), "install", "--quiet", "--constraint", str(constraints)]
    subprocess.run([*pip, str(wheel)], check=True, timeout=10 * PATIENCE)
    (folder := tmp_path / "empty").mkdir()
    # Neither the checkout nor the packages of the tests are in reach.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [programs / "ftbridge", "demo", "--once"],
        cwd=folder,
        env={**env, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "openai/support-bot" in done.stdout
    assert "mistral/changelog-writer" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert list(folder.iterdir()) == []
