"""The modules and what they may know of each other, checked against their source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from token import COMMENT
from tokenize import tokenize
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
ROOT: Final = TESTS.parent / "bridge"

_NAMED: Final = (
    # What is known everywhere.
    "bridge",
    "bridge.errors",
    "bridge.untrusted",
    "bridge.model",
    # From bytes to what a provider says.
    "bridge.wire",
    "bridge.network",
    "bridge.transport",
    "bridge.failures",
    "bridge.signed",
    "bridge.http",
    "bridge.entra",
    "bridge.providers.result_file",
    "bridge.providers.documents",
    "bridge.providers.page",
    "bridge.providers.metrics_file",
    "bridge.providers.fireworks_records",
    "bridge.providers.fireworks",
    "bridge.providers.shutdowns",
    "bridge.providers.mistral",
    "bridge.providers.openai_records",
    "bridge.providers.openai_lists",
    "bridge.providers.openai",
    "bridge.providers.azure",
    "bridge.providers.nebius",
    "bridge.providers.together_records",
    "bridge.providers.together",
    "bridge.providers",
    # The decision, pure.
    "bridge.vocabulary",
    "bridge.routing",
    "bridge.points",
    "bridge.hosted_models",
    "bridge.datasets",
    "bridge.note",
    "bridge.tags",
    "bridge.plan",
    "bridge.ledger",
    "bridge.inventory",
    "bridge.renaming",
    # MLflow.
    "bridge.tracking.replies",
    "bridge.tracking.database",
    "bridge.tracking.mlflow_errors",
    "bridge.tracking.store",
    "bridge.tracking.experiments",
    "bridge.tracking.logged_models",
    "bridge.tracking.registry",
    "bridge.tracking.run_states",
    "bridge.tracking.reading",
    "bridge.tracking.upkeep",
    "bridge.tracking.tracking",
    "bridge.tracking",
    # A pass.
    "bridge.archive",
    "bridge.carrier",
    "bridge.report",
    "bridge.one_job",
    "bridge.crew",
    "bridge.lineage",
    "bridge.announced",
    "bridge.spares",
    "bridge.sync",
    "bridge.survey",
    # What is wanted, and putting it together.
    "bridge.section",
    "bridge.addresses",
    "bridge.service",
    "bridge.service.settings",
    "bridge.cluster",
    "bridge.polling",
    "bridge.settings",
    "bridge.key_files",
    "bridge.environment",
    "bridge.config",
    "bridge.schema",
    "bridge.configured",
    "bridge.workplace",
    "bridge.assembly",
    # Running it.
    "bridge.log",
    "bridge.daemon",
    "bridge.service.picture",
    "bridge.service.metrics",
    "bridge.service.page",
    "bridge.service.listener",
    "bridge.service.site",
    "bridge.service.asking",
    "bridge.service.courier",
    "bridge.service.notifier",
    "bridge.systemd",
    # The simulator stands beside: see its own test.
    "bridge.simulator.wire",
    "bridge.simulator.world",
    "bridge.simulator.ids",
    "bridge.simulator.curves",
    "bridge.simulator.httpd",
    "bridge.simulator.datasets",
    "bridge.simulator.openai_objects",
    "bridge.simulator.openai",
    "bridge.simulator.azure",
    "bridge.simulator.nebius",
    "bridge.simulator.mistral",
    "bridge.simulator.together_objects",
    "bridge.simulator.together",
    "bridge.simulator.fireworks",
    "bridge.simulator.server",
    "bridge.simulator.demo",
    "bridge.simulator.train_locally",
    "bridge.simulator",
    # What users call.
    "bridge.commands",
    "bridge.commands.console",
    "bridge.commands.progress",
    "bridge.commands.summary",
    "bridge.commands.init",
    "bridge.commands.check",
    "bridge.commands.status",
    "bridge.commands.backfill",
    "bridge.commands.rename",
    "bridge.commands.doctor",
    "bridge.commands.run",
    "bridge.commands.simulate",
    "bridge.commands.processes",
    "bridge.commands.demo",
    "bridge.cli",
    "bridge.__main__",
)

MAY_IMPORT_MLFLOW: Final = {
    "bridge.tracking": "the one place that knows MLflow",
    "bridge.simulator.train_locally": "a user's own script, for the demo to run beside the bridge",
}

MAY_READ_THE_WALL_CLOCK: Final = {
    "bridge.transport": "a Retry-After that is a date means a wait from now on",
    "bridge.simulator.server": "a provider lives by the wall clock unless a test turns one",
}
"""Of the modules before ``configured`` and of the simulator; all others are told the time."""

SIMULATOR_MAY_IMPORT: Final = {
    "bridge.model": "the words for a job's status, so that both sides mean the same by them",
}

MOST_LINES: Final = 360


def name_of(path: Path) -> str:
    """A module's name."""
    parts = ["bridge", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES: Final = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def with_new_providers(named: tuple[str, ...]) -> tuple[str, ...]:
    """A provider that is one file has its place by itself: before what lists the providers."""
    at = named.index("bridge.providers")
    new = (module for module in FILES if module.startswith("bridge.providers."))
    return (*named[:at], *(module for module in new if module not in named), *named[at:])


ORDER: Final = with_new_providers(_NAMED)
"""Every module in the order of the flow. A module imports only what stands before it."""


@cache
def tree_of(module: str) -> ast.Module:
    """A module's source, parsed."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Every module that ``module`` imports, wherever in its source the import stands."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            base = node.module or ""
            for alias in node.names:
                # `from package import module` or `from module import name`.
                inner = f"{base}.{alias.name}"
                yield inner if inner in FILES else base


def is_inside(module: str, package: str) -> bool:
    """Whether ``module`` is ``package`` or a part of it."""
    return module == package or module.startswith(f"{package}.")


def test_every_module_has_its_place_in_the_order() -> None:
    """A new module is put into the order; one that has gone leaves it."""
    assert len(set(ORDER)) == len(ORDER)
    assert set(FILES) == set(ORDER)


@pytest.mark.parametrize("module", [*FILES])
def test_imports_point_against_the_flow(module: str) -> None:
    """A module imports only modules that stand before it in the order."""
    before = set(ORDER[: ORDER.index(module)])
    # A package's own parts import the package by their names alone.
    wrong = {name for name in imported(module) if is_inside(name, "bridge")} - before
    assert not wrong, f"{module} imports {sorted(wrong)}, which stand after it"


@pytest.mark.parametrize("module", [*FILES])
def test_only_one_package_knows_mlflow(module: str) -> None:
    """MLflow is imported in one place, and in a script that is a user's."""
    known = [name for name in imported(module) if is_inside(name, "mlflow")]
    assert not known or any(is_inside(module, allowed) for allowed in MAY_IMPORT_MLFLOW), known


@pytest.mark.parametrize("module", [m for m in FILES if is_inside(m, "bridge.tracking")])
def test_mlflow_is_imported_where_it_is_used(module: str) -> None:
    """No module imports MLflow at its top but for annotations: ``--help`` must not wait for it."""
    top_level = [
        name
        for node in tree_of(module).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [])
        if name and is_inside(name, "mlflow")
    ]
    assert top_level == []


@pytest.mark.parametrize("module", [m for m in FILES if is_inside(m, "bridge.simulator")])
def test_the_simulator_stands_alone(module: str) -> None:
    """What plays the provider shares no code with what reads it: both could err alike."""
    outside = {
        name
        for name in imported(module)
        if is_inside(name, "bridge") and not is_inside(name, "bridge.simulator")
    }
    assert outside <= SIMULATOR_MAY_IMPORT.keys(), outside


@pytest.mark.parametrize("module", [m for m in FILES if not is_inside(m, "bridge.simulator")])
def test_only_commands_use_the_simulator(module: str) -> None:
    """The bridge proper does not know that there is a simulator."""
    uses = any(is_inside(name, "bridge.simulator") for name in imported(module))
    assert not uses or is_inside(module, "bridge.commands")


@pytest.mark.parametrize("module", [*FILES])
def test_no_module_is_a_drawer(module: str) -> None:
    """A module is called after what it does."""
    drawers = {"utils", "util", "common", "helpers", "helper", "misc", "shared", "lib"}
    assert drawers.isdisjoint(module.split("."))


def clock_readings(module: str) -> list[int]:
    """The lines on which a module mentions the wall clock."""
    clocks = {
        *(("time", name) for name in ("time", "time_ns", "localtime", "gmtime")),
        *(("datetime", name) for name in ("now", "utcnow", "today")),
        ("date", "today"),
    }
    return [
        node.lineno
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (_last_name(node.value), node.attr) in clocks
    ] + [
        node.lineno
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ImportFrom)
        and node.module == "time"
        and {alias.name for alias in node.names} & {"time", "time_ns"}
    ]


def _last_name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


@pytest.mark.parametrize(
    "module",
    [
        *ORDER[: ORDER.index("bridge.configured")],
        *(m for m in ORDER if is_inside(m, "bridge.simulator")),
    ],
)
def test_the_time_is_told_not_read(module: str) -> None:
    """Before ``configured`` nobody reads the wall clock, but for the modules with a reason."""
    assert bool(clock_readings(module)) == (module in MAY_READ_THE_WALL_CLOCK), clock_readings(
        module
    )


def test_readings_of_the_clock_are_found() -> None:
    """The check above sees a reading where there is one."""
    assert clock_readings("bridge.configured")
    assert clock_readings("bridge.daemon")


@pytest.mark.parametrize("path", [*FILES.values(), *sorted(TESTS.rglob("*.py"))], ids=str)
def test_every_exemption_has_its_reason(path: Path) -> None:
    """Where a rule does not hold, the line says why: the rules for security above all."""
    with path.open("rb") as file:
        comments = [each.string for each in tokenize(file.readline) if each.type == COMMENT]
    for comment in comments:
        if re.match(r"#\s*(noqa|type: ignore)", comment):
            assert re.match(
                r"# (noqa: [A-Z]+\d+(, [A-Z]+\d+)* - |type: ignore\[[\w, -]+\] # )\w", comment
            ), f"{path.name}: {comment}"


@pytest.mark.parametrize("module", [*FILES])
def test_every_module_fits_in_the_head(module: str) -> None:
    """A file that grows beyond this is two."""
    lines = len(FILES[module].read_text(encoding="utf-8").splitlines())
    assert lines < MOST_LINES, f"{lines} lines"
