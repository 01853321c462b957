"""The README: its commands, options, providers, servers and links exist, and its example runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import mlflow
import pytest
import typer
from packaging.version import Version

from bridge.cli.app import app
from bridge.providers.registry import TYPES
from bridge.settings.environment import address_variables, providers_in
from bridge.simulator import Simulator, all_end_by
from bridge.tracking.capabilities import Feature
from tests.compat.environments import OLDEST_CLIENT, VERSIONS
from tests.support.world import Clock, job

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS: Final = typer.main.get_group(app).commands


def section(heading: str) -> str:
    """Return the text below a heading."""
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def table(heading: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    rows = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def options(command: str) -> set[str]:
    """Return every option of a command."""
    return {
        name for param in COMMANDS[command].params for name in param.opts + param.secondary_opts
    }


def test_every_command_is_there_once() -> None:
    """The table has each command of ``ftbridge --help`` once, with existing options."""
    named = {}
    for cell, text in table("Commands"):
        command = shlex.split(cell.strip("`"))[1]
        named[command] = set(re.findall(r"`(--[a-z-]+)`", text))
        assert named[command] <= options(command), command
    assert named.keys() == {name for name, each in COMMANDS.items() if not each.hidden}
    assert named["backfill"] > {"--dry-run", "--rescue"}


def test_commands_with_json_are_those_that_have_it() -> None:
    """The sentence below the table names exactly the commands with ``--json``."""
    (sentence,) = re.findall(r"all options\. (.*?) with `--json`", section("Commands"), re.DOTALL)
    having = {name for name in COMMANDS if "--json" in options(name)}
    assert set(re.findall(r"`([a-z]+)`", sentence)) == having


def test_shell_commands_exist() -> None:
    """Each line to copy starts an existing command, or an existing target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    called = re.findall(r"\bftbridge (\w+)", "".join(blocks))
    assert {"demo", "check", "backfill", "open"} == set(called)
    for target in re.findall(r"\bmake (\w+)", "".join(blocks) + section("MLflow servers")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_type_is_there_with_its_variables() -> None:
    """The table of providers names the variables that make each type known."""
    found = {cells[0].strip("`"): cells[1] for cells in table("Providers")}
    assert found.keys() == TYPES.keys()
    for name, cell in found.items():
        if cell.startswith("the same"):
            cell = found["bedrock-mantle"]  # noqa: PLW2901 - as the cell says
        variables = re.findall(r"`([A-Z_]+)`", cell)
        assert set(address_variables(TYPES[name])) <= set(variables), name
        if variables[0] == "AZURE_OPENAI_ENDPOINT":
            variables.remove("AZURE_OPENAI_AD_TOKEN")  # in the place of the key
        environ = dict.fromkeys(variables, "https://a.example")
        assert name in [item["type"] for item in providers_in(environ)], name


def test_every_server_is_there_with_what_it_lacks() -> None:
    """The table of servers has the versions and gaps that ``make compat`` expects."""
    said = {}
    for versions, *works, lacking in table("MLflow servers"):
        assert {*works} == {"yes"}
        for version in versions.split(", "):
            said[version] = [] if lacking == "nothing" else lacking.split(", ")
    assert said == {
        version: [
            name for name, since in (f.value for f in Feature) if Version(version) < Version(since)
        ]
        for version in VERSIONS
    }


def test_the_oldest_mlflow_beside_the_bridge_is_the_one_that_pip_accepts() -> None:
    """The oldest MLflow beside the bridge is the one that pip accepts, here and in config."""
    assert f"brings MLflow {OLDEST_CLIENT} or newer" in README
    guide = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    assert f"`mlflow>={OLDEST_CLIENT},<4`" in guide


def test_links_lead_somewhere() -> None:
    """Links lead to existing files and headings, never to addresses outside the repository."""
    links = re.findall(r"\]\((?!https:)([^)]+)\)", README)
    assert ".github/charts.png" in links
    for link in links:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        if anchor:
            text = (ROOT / path).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert anchor in {
                re.sub(r"[^a-z ]", "", each.lower()).replace(" ", "-") for each in headings
            }


def test_the_notebook_example_runs(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notebook's example runs unchanged, with a job of its id and an SDK's client."""
    (example,) = re.findall(r"```python\n(.*?)```", section("In a notebook"), re.DOTALL)
    (job_id,) = set(re.findall(r"ftjob-\w+", example))
    jobs = [job(job_id)]
    created: list[dict[str, str]] = []

    def create(_: object, *, metadata: dict[str, str]) -> None:
        created.append(metadata)

    client = SimpleNamespace(fine_tuning=SimpleNamespace(jobs=SimpleNamespace(create=create)))
    monkeypatch.chdir(tmp_path)
    # Set by mlflow's functions, and not restored.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.setenv(name, "")
    with Simulator(jobs=jobs, clock=Clock(all_end_by(jobs) + 1)) as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.openai_url)
        mlflow.set_tracking_uri(uri)
        # Jobs of the tests are years old.
        names = {"client": client}
        exec(example.replace('since="30d"', 'since="2020-01-01"'), names)  # noqa: S102 - the test
        mlflow.set_tracking_uri("")
    frame: object = names["frame"]
    assert list(frame["tags.fine_tuning_job_id"]) == [job_id]  # type: ignore[index] # pandas'
    assert created[0].keys() == {"mlflow_run_id"}
