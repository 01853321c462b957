"""The modules and their dependencies, checked against the source."""

from __future__ import annotations

import ast
import io
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from token import COMMENT
from tokenize import tokenize
from typing import Final

TESTS: Final = Path(__file__).parent
ROOT: Final = TESTS.parent / "bridge"

CORE: Final = "core"
"""Modules that lie beside the packages."""

LAYERS: Final[dict[str, set[str]]] = {
    CORE: set(),
    "http": {CORE},
    "providers": {CORE, "http"},
    "plan": {CORE},
    "tracking": {CORE, "plan"},
    "sync": {CORE, "http", "providers", "plan", "tracking"},
    "doctor": {CORE, "http", "providers", "plan", "tracking", "sync"},
    "settings": {CORE, "http", "providers", "plan", "tracking", "sync", "doctor"},
    "bootstrap": {CORE, "http", "providers", "plan", "tracking", "sync", "doctor", "settings"},
    "simulator": {CORE},
}
LAYERS["notebook"] = LAYERS["bootstrap"] | {"bootstrap"}
LAYERS["listing"] = LAYERS["bootstrap"] | {"bootstrap"}
LAYERS["daemon"] = LAYERS["listing"] | {"listing"}
LAYERS["cli"] = LAYERS["daemon"] | {"daemon", "simulator"}
"""Packages that each package may import: the table in ``bridge/__init__.py``."""

MAY_IMPORT_MLFLOW: Final = {
    "bridge.tracking": "the one place that knows MLflow",
    "bridge.notebook": "its users speak of MLflow's runs, experiments and tracking URI",
    "bridge.simulator.local_training": "a user's own script, for the demo to run beside the bridge",
}

MAY_READ_THE_WALL_CLOCK: Final = {
    "bridge.http.retries": "a Retry-After that is a date means a wait from now on",
    "bridge.simulator.server": "a provider lives by the wall clock unless a test turns one",
}
"""Modules below ``bootstrap`` that may read the clock; all others get the time as an argument."""

SIMULATOR_MAY_IMPORT: Final = {
    "bridge.model": "the words for a job's status, so that both sides mean the same by them",
}

MOST_LINES = 300
MOST_MODULES = 16


def name_of(path: Path) -> str:
    """Return a module's name."""
    parts = ["bridge", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES: Final = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def layer_of(module: str) -> str:
    """Return the package that a module belongs to."""
    package = module.split(".")[1] if "." in module else CORE
    if package == "__main__":
        return "cli"
    return package if package in LAYERS else CORE


@cache
def tree_of(module: str) -> ast.Module:
    """Return a module's source, parsed."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


@cache
def imported(module: str) -> frozenset[str]:
    """Return every module that ``module`` imports, wherever in its source the import stands."""
    return frozenset(_imported(module))


def _imported(module: str) -> Iterator[str]:
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
    """Return whether ``module`` is ``package`` or a part of it."""
    return module == package or module.startswith(f"{package}.")


FRONT_DOOR: Final = "bridge"
"""Module with the functions of ``bridge.notebook``, which it imports on use."""


def test_no_import_leads_up() -> None:
    """A module imports its own package and the layers below it."""
    wrong = {
        module: higher
        for module in FILES
        if module != FRONT_DOOR
        if (
            higher := {
                name
                for name in imported(module)
                if is_inside(name, "bridge")
                and layer_of(name) not in LAYERS[layer_of(module)] | {layer_of(module)}
            }
        )
    }
    assert wrong == {}


def test_no_imports_go_in_a_circle() -> None:
    """Inside a package each module can be read before those that import it."""
    graph = {
        module: {name for name in imported(module) if name in FILES and name != module}
        for module in FILES
    }
    # A package's own docstring and exports are read with its parts.
    graph = {
        module: {name for name in names if not is_inside(module, name)}
        for module, names in graph.items()
    }
    TopologicalSorter(graph).prepare()


def test_a_package_is_a_folder_with_a_docstring() -> None:
    """The layer table names the existing packages."""
    packages = [f"bridge.{package}" for package in LAYERS if package != CORE]
    assert [name for name in packages if not ast.get_docstring(tree_of(name))] == []


def test_the_docstring_has_the_layer_table() -> None:
    """Every package of the table is drawn in ``bridge/__init__.py``."""
    drawn = ast.get_docstring(tree_of("bridge")) or ""
    assert [name for name in LAYERS if name not in drawn] == []


def test_only_one_package_knows_mlflow() -> None:
    """MLflow is imported only in one package, and in the script that is a user's."""
    wrong = [
        module
        for module in FILES
        if not any(is_inside(module, allowed) for allowed in MAY_IMPORT_MLFLOW)
        and any(is_inside(name, "mlflow") for name in imported(module))
    ]
    assert wrong == []


def test_mlflow_is_imported_where_it_is_used() -> None:
    """No module imports MLflow at its top except for annotations, so that ``--help`` is instant."""
    top_level = [
        (module, name)
        for module in FILES
        if is_inside(module, "bridge.tracking")
        for node in tree_of(module).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [])
        if name and is_inside(name, "mlflow")
    ]
    assert top_level == []


def test_the_simulator_stands_alone() -> None:
    """The simulator shares no code with the providers, because both could err alike."""
    wrong = {
        (module, name)
        for module in FILES
        if is_inside(module, "bridge.simulator")
        for name in imported(module)
        if is_inside(name, "bridge") and not is_inside(name, "bridge.simulator")
        if name not in SIMULATOR_MAY_IMPORT
    }
    assert wrong == set()


def test_only_commands_use_the_simulator() -> None:
    """Only the commands know that a simulator exists."""
    users = [
        module
        for module in FILES
        if not is_inside(module, "bridge.simulator") and layer_of(module) != "cli"
        if any(is_inside(name, "bridge.simulator") for name in imported(module))
    ]
    assert users == []


def test_no_module_is_a_drawer() -> None:
    """A module is named after its purpose."""
    drawers = {"utils", "util", "common", "helpers", "helper", "misc", "shared", "lib"}
    assert [module for module in FILES if drawers.intersection(module.split("."))] == []


def clock_readings(module: str) -> list[int]:
    """Return the lines on which a module mentions the wall clock."""
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


def test_the_time_is_passed_in_not_read() -> None:
    """Below ``bootstrap`` only modules with a reason read the wall clock."""
    readings = {
        module: lines
        for module in FILES
        if layer_of(module) not in {"bootstrap", "daemon", "notebook", "cli"}
        if (lines := clock_readings(module))
    }
    assert readings.keys() == MAY_READ_THE_WALL_CLOCK.keys(), readings


def test_readings_of_the_clock_are_found() -> None:
    """The check above finds a reading of the clock."""
    assert clock_readings("bridge.bootstrap.factories")
    assert clock_readings("bridge.daemon.scheduler")


def exemptions(path: Path) -> Iterator[str]:
    """Yield the comments of a file that exempt a line from a rule."""
    source = path.read_bytes()
    if not re.search(rb"noqa|type: ignore", source):
        return  # tokenizing takes longer
    for token in tokenize(io.BytesIO(source).readline):
        if token.type == COMMENT and re.match(r"#\s*(noqa|type: ignore)", token.string):
            yield token.string


def test_every_exemption_has_its_reason() -> None:
    """Every exemption from a rule gives its reason on the same line, above all from security."""
    reasoned = r"# (noqa: [A-Z]+\d+(, [A-Z]+\d+)* - |type: ignore\[[\w, -]+\] # )\w"
    found = [
        (path.name, comment)
        for path in (*FILES.values(), *sorted(TESTS.rglob("*.py")))
        for comment in exemptions(path)
    ]
    assert found
    assert [each for each in found if not re.match(reasoned, each[1])] == []


def test_every_module_fits_in_the_head() -> None:
    """No file is longer than the limit."""
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in FILES.items()}
    assert {name: length for name, length in lines.items() if length > MOST_LINES} == {}


def test_every_package_fits_in_the_head() -> None:
    """No package has more modules than the limit, but for those with a module for each provider."""
    modules = Counter(path.parent for path in FILES.values() if path.name != "__init__.py")
    larger = {package.name for package, number in modules.items() if number > MOST_MODULES}
    assert larger <= {"providers", "simulator"}
