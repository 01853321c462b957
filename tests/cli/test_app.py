"""The command line: its imports, its output and its exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import Result

from bridge import __version__
from bridge.cli.app import app
from bridge.providers.registry import TYPES
from bridge.settings.load import STARTER, load
from bridge.simulator import Simulator
from tests.support import processes
from tests.support.ports import free_port
from tests.support.processes import run, started
from tests.support.recorded import active_runs
from tests.support.world import job

KEY = "sk-that-must-not-show"
DEADLINE = 120.0
"""Seconds without an answer after which a program counts as hung."""

COMMANDS = [
    str(command.name or getattr(command.callback, "__name__", ""))
    for command in app.registered_commands
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Enter an empty working folder."""
    (tmp_path / "work").mkdir()
    with contextlib.chdir(tmp_path / "work"):
        yield tmp_path / "work"


def invoke(*arguments: str, environ: Mapping[str, str] | None = None) -> Result:
    """Run a command in this process; no exception leaves it."""
    result = processes.invoke(*arguments, env={"OPENAI_API_KEY": KEY, **(environ or {})})
    assert isinstance(result.exception, SystemExit | None), repr(result.exception)
    assert "Traceback" not in result.output
    return result


def ftbridge(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process, as users do."""
    return run(*arguments, env={"OPENAI_API_KEY": KEY, **(environ or {})})


def environ_of(simulator: Simulator, uri: str) -> dict[str, str]:
    """Return an environment with a simulated provider and a tracking store."""
    return {"OPENAI_BASE_URL": simulator.openai_url, "MLFLOW_TRACKING_URI": uri}


# Help


def test_the_documented_commands_are_there() -> None:
    """The commands that documents and scripts rely on exist."""
    assert set(COMMANDS) == {
        *("demo", "run", "backfill", "doctor", "check", "status", "init", "simulate"),
        *("jobs", "show", "open"),
    }


def test_help_waits_for_nothing_heavy() -> None:
    """``--help`` imports neither MLflow, nor its dependencies, nor an HTTP client."""
    script = (
        "import sys\n"
        "from bridge.cli import main\n"
        f"for words in [[], *([each] for each in {COMMANDS!r})]:\n"
        "    sys.argv = ['ftbridge', *words, '--help']\n"
        "    try:\n        main()\n    except SystemExit as end:\n"
        "        print(*words, end.code or 0, *sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    heavy = {"mlflow", "pandas", "numpy", "sqlalchemy", "httpx", "apscheduler"}
    reported = [line.split() for line in done.stderr.splitlines()]
    assert done.stdout.count("Usage") == len(reported)
    for words, line in zip([[], *([each] for each in COMMANDS)], reported, strict=True):
        assert line[: len(words) + 1] == [*words, "0"]
        assert heavy.isdisjoint(line), words


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("demo", ["--port", "--once"]),
        ("run", ["--config"]),
        (
            "backfill",
            [
                *("--config", "--provider", "--job", "--since", "--until", "--status"),
                *("--limit", "--dry-run", "--json"),
            ],
        ),
        ("check", ["--config", "--json"]),
        ("status", ["--config", "--json"]),
        ("init", []),
        ("simulate", ["--port"]),
    ],
)
def test_the_documented_options_are_there(command: str, options: list[str]) -> None:
    """Each command has the options that the documentation names."""
    text = invoke(command, "--help", environ={"COLUMNS": "200"}).stdout
    for option in options:
        assert option in text


def test_the_version_is_reported() -> None:
    """``--version`` prints name and version."""
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"ftbridge {__version__}\n")


# Wrong usage


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["check", "--nonsense"],
        ["check", "extra"],
        ["backfill", "--limit", "0"],
        ["backfill", "--limit", "many"],
        ["backfill", "--job"],
        ["simulate", "--port", "many"],
        ["simulate", "--port", "70000"],
        ["simulate", "--port", "-1"],
        ["backfill", "--provider", "nobody"],
        ["backfill", "--status", "nonsense"],
        ["backfill", "--since", "nonsense"],
        ["backfill", "--since", ""],
        ["backfill", "--since", "30"],
        ["backfill", "--until", "2026-13-01"],
        ["backfill", "--since", "99999999999d"],
        ["check", "--config", "missing.yaml"],
        ["status", "--config", "."],
        ["run", "--config", "missing.yaml"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    """An error in the command line or the configuration is reported on stderr, with exit code 2."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr or not arguments
    if arguments:
        assert not result.stdout


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_demo_on_a_port_that_cannot_be_is_exit_code_2(port: str) -> None:
    """An impossible port of the demo is reported before anything starts."""
    done = ftbridge("demo", "--once", "--port", port)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "port" in done.stderr


def test_everything_wrong_on_the_command_line_is_reported_at_once(folder: Path) -> None:
    """All wrong values on the command line are listed together, and nothing is done."""
    result = invoke(
        *("backfill", "--since", "soon", "--until", "later", "--status", "odd"),
        *("--status", "odder", "--provider", "nobody", "--provider", "no-one"),
    )
    assert result.exit_code == 2
    for part in (
        *("--since soon", "--until later", "--status odd:", "--status odder:"),
        *("--provider nobody", "--provider no-one"),
    ):
        assert part in result.stderr
    assert list(folder.iterdir()) == []


def test_a_value_is_repeated_as_it_was_written() -> None:
    """A sentence about a value shows it as it was written, without escapes."""
    assert "--since [soon]:" in invoke("backfill", "--since", "[soon]").stderr


@pytest.mark.parametrize("command", ["run", "backfill", "check", "status"])
def test_all_problems_of_the_configuration_are_sentences(command: str, folder: Path) -> None:
    """Each problem of the configuration is a line on stderr that begins with the program's name."""
    (folder / "wrong.yaml").write_text(
        "mlfow: {}\npoll: {interval: soon}\nproviders: [{name: openai, type: opnai}]\n"
    )
    result = invoke(command, "--config", "wrong.yaml")
    assert result.exit_code == 2
    assert not result.stdout
    lines = result.stderr.splitlines()
    assert all(line.startswith("ftbridge: ") for line in lines)
    for key in ("mlfow", "poll.interval", "providers[0].type"):
        assert any(line.startswith(f"ftbridge: wrong.yaml: {key}: ") for line in lines), key


@pytest.mark.parametrize("command", ["run", "backfill", "check", "status"])
def test_no_provider_is_a_sentence(command: str) -> None:
    """A sentence says what to do if no provider is configured."""
    result = invoke(command, environ={"OPENAI_API_KEY": ""})
    assert result.exit_code == 2
    assert "OPENAI_API_KEY" in result.stderr
    assert "ftbridge init" in result.stderr


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": "sk-key-with-an-ellipsis…"},
        {"OPENAI_API_KEY": "sk-key-with-a-newline\n"},
        {"OPENAI_ORG_ID": "örg"},
        {"OPENAI_BASE_URL": "http://[bad"},
        {"OPENAI_BASE_URL": "http://host:port/v1"},
        {"OPENAI_BASE_URL": "api.openai.com"},
        {"MLFLOW_TRACKING_URI": "http://[bad"},
        {
            "MLFLOW_TRACKING_URI": "mssql://user:pass[word@127.0.0.1/db"
        },  # an unknown driver, to avoid waiting
        {"MLFLOW_TRACKING_URI": "postgresql://user:pw@host:port/db"},
        {"MLFLOW_TRACKING_URI": "sqlite:////no/such/folder/mlflow.db"},
        {"MLFLOW_TRACKING_URI": "nonsense://x"},
        {"MLFLOW_TRACKING_URI": "mlruns"},
    ],
    ids=lambda environ: " ".join(f"{k}={v!r}" for k, v in environ.items()),
)
def test_an_environment_that_does_not_hold_is_no_traceback(environ: Mapping[str, str]) -> None:
    """Every mistyped variable of the environment ends in an exit code and a sentence."""
    usable = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
        "MLFLOW_TRACKING_URI": "sqlite:///none.db",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    result = invoke("check", environ=usable | dict(environ))
    assert result.exit_code in {1, 2}
    assert KEY not in result.output


# init


def test_init_writes_the_starter(folder: Path) -> None:
    """``init`` writes the commented configuration to the default path."""
    result = invoke("init")
    assert result.exit_code == 0
    written = folder / "config" / "bridge.yaml"
    assert written.read_text() == STARTER.read_text()
    assert "config/bridge.yaml" in result.stdout
    assert "ftbridge check" in result.stdout
    assert load(None, {"OPENAI_API_KEY": KEY}).providers[0].name == "openai"


def test_init_creates_folders(folder: Path) -> None:
    """``init`` creates the folders of its path."""
    assert invoke("init", "a/b/c.yaml").exit_code == 0
    assert (folder / "a/b/c.yaml").read_text() == STARTER.read_text()


def test_init_says_how_to_use_a_path_of_ones_own() -> None:
    """The next command that ``init`` suggests names a file outside the default path."""
    assert "--config mine.yaml" in invoke("init", "mine.yaml").stdout


def test_init_overwrites_nothing(folder: Path) -> None:
    """``init`` leaves an existing file as it is."""
    (folder / "mine.yaml").write_text("mine")
    result = invoke("init", "mine.yaml")
    assert result.exit_code == 2
    assert "mine.yaml exists already" in result.stderr
    assert (folder / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize("path", ["file/bridge.yaml", "file/a/bridge.yaml", "/proc/none/b.yaml"])
def test_init_says_where_it_cannot_write(folder: Path, path: str) -> None:
    """``init`` reports a path below a file, or in a folder that it cannot write to."""
    (folder / "file").write_text("")
    result = invoke("init", path)
    assert result.exit_code == 2
    assert f"{path} cannot be written" in result.stderr


def test_init_does_not_write_over_a_folder() -> None:
    """``init`` refuses a folder in the file's place."""
    result = invoke("init", ".")
    assert result.exit_code == 2
    assert result.stderr.startswith("ftbridge: . ")


# Streams


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Return an environment with a provider that has two finished jobs."""
    with Simulator(jobs=[job("ftjob-a"), job("ftjob-b")]) as running:
        yield running


def test_a_backfill_as_json_prints_one_document(simulator: Simulator, uri: str) -> None:
    """Stdout holds only the document, stderr the log, and a second backfill finds nothing new."""
    done = ftbridge("backfill", "--json", environ=environ_of(simulator, uri))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["providers"][0]["jobs"]["new"] == 2
    assert set(document["links"]) == {"hosted-fine-tunes"}
    assert KEY not in done.stdout + done.stderr
    assert len(active_runs(uri)) == 2


def test_a_dry_run_as_json_prints_its_plans(simulator: Simulator, uri: str) -> None:
    """The document of a dry run has the plans, and nothing is written."""
    result = invoke("backfill", "--dry-run", "--json", environ=environ_of(simulator, uri))
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert {plan["job"] for plan in document["providers"][0]["plans"]} == {"ftjob-a", "ftjob-b"}
    assert document["providers"][0]["dry_run"] is True
    assert active_runs(uri) == []


def test_a_status_as_json_prints_one_document(simulator: Simulator, uri: str) -> None:
    """Stdout holds one document and nothing else."""
    result = invoke("status", "--json", environ=environ_of(simulator, uri))
    assert result.exit_code == 0, result.output
    assert isinstance(json.loads(result.stdout), dict)


def test_a_job_that_is_lost_is_exit_code_1(uri: str) -> None:
    """A job that fails gives exit code 1, and the other job is recorded."""
    with Simulator(jobs=[job("ftjob-a")]) as simulator:
        asked = ("--job", "ftjob-a", "--job", "ftjob-b")
        result = invoke("backfill", *asked, environ=environ_of(simulator, uri))
    assert result.exit_code == 1
    assert "ftjob-b" in result.stdout
    assert [run.data.tags["fine_tuning_job_id"] for run in active_runs(uri)] == ["ftjob-a"]


def test_a_provider_that_is_down_is_exit_code_1(uri: str) -> None:
    """A provider that is down gives exit code 1 and a sentence without a traceback."""
    url = f"http://127.0.0.1:{free_port()}/v1"
    environ = {"OPENAI_BASE_URL": url, "MLFLOW_TRACKING_URI": uri}
    result = invoke("backfill", environ=environ)
    assert result.exit_code == 1
    assert "cannot be reached" in result.stdout


def test_one_provider_only_can_be_chosen(simulator: Simulator, uri: str) -> None:
    """``--provider`` chooses one provider, and an unreachable other one does not matter."""
    environ = environ_of(simulator, uri) | {"MISTRAL_API_KEY": "k" * 12}
    environ["MISTRAL_BASE_URL"] = f"http://127.0.0.1:{free_port()}/v1"
    result = invoke("backfill", "--provider", "openai", "--json", environ=environ)
    assert result.exit_code == 0
    assert [each["provider"] for each in json.loads(result.stdout)["providers"]] == ["openai"]


DOCUMENT = """
import typer
from bridge.cli.terminal.console import print_json
from bridge.cli.terminal.finish import finish
from bridge.redaction import Redactor

app = typer.Typer()
app.command()(lambda: finish(lambda: print_json({"jobs": ["one"] * 100_000}, Redactor()) or 0))
app()
"""
"""A command that prints a long document, without the seconds of importing MLflow."""


@pytest.mark.parametrize(
    "arguments",
    [
        *(["-m", "bridge", word] for word in ("--help", "--version", "init")),
        ["-c", DOCUMENT],
        *(
            pytest.param(["-m", "bridge", "status", *more], marks=pytest.mark.soak)
            for more in ([], ["--json"])
        ),
    ],
    ids=lambda arguments: "document" if DOCUMENT in arguments else " ".join(arguments[2:]),
)
def test_a_reader_that_leaves_is_no_traceback(arguments: list[str], folder: Path) -> None:
    """A command ends in silence when its reader, such as ``head``, has read enough."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OPENAI_API_KEY": KEY, "MLFLOW_TRACKING_URI": "sqlite:///none.db"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    process.wait(timeout=DEADLINE)
    assert not said


def test_a_terminal_without_unicode_is_no_traceback(simulator: Simulator, uri: str) -> None:
    """A terminal that can show only ASCII gets replacements for other signs."""
    environ = environ_of(simulator, uri) | {"PYTHONIOENCODING": "ascii"}
    done = ftbridge("check", environ=environ)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert "? " in done.stdout


# simulate


def test_simulate_prints_what_copies_every_provider(folder: Path, uri: str) -> None:
    """``simulate`` prints a configuration that copies every provider, and ends with SIGTERM."""
    with started("simulate", "--port", "0") as process:
        process.wait_for("Ctrl-C")
        lines = process.said.splitlines()
        start = lines.index("providers:")
        printed = folder / "printed.yaml"
        printed.write_text("\n".join(lines[start : lines.index("", start)]))
        arguments = ("backfill", "--limit", "1", "--config", str(printed))
        done = invoke(*arguments, environ={"MLFLOW_TRACKING_URI": uri})
        assert done.exit_code == 0, done.output
        process.send(signal.SIGTERM)
        assert process.end() == 0, process.said
    assert "Traceback" not in process.said
    reported = {run.data.tags["fine_tuning_provider"] for run in active_runs(uri)}
    assert reported == {*TYPES}


def test_simulate_ends_with_ctrl_c() -> None:
    """Ctrl-C ends ``simulate`` in order, without a traceback."""
    with started("simulate", "--port", "0") as process:
        process.wait_for("Ctrl-C")
        process.send(signal.SIGINT)
        assert process.end() == 0, process.said
    assert "Traceback" not in process.said


def test_simulate_says_that_a_port_is_taken() -> None:
    """A port in use is a sentence that names it, with exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = invoke("simulate", "--port", str(port))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"ftbridge: --port {port}: ")
    assert not result.stdout
