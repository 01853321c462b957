"""The scripted provider APIs by type of provider: each ``wire_*.py`` beside this file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

from tests.support.wire_server import Api


def _with_heirs(apis: Iterable[type[Api]]) -> Iterator[type[Api]]:
    for api in apis:
        yield api
        yield from _with_heirs(api.__subclasses__())


for _path in Path(__file__).parent.glob("wire_*.py"):
    import_module(f"tests.support.{_path.stem}")

WIRES: Mapping[str, type[Api]] = {
    api.kind: api for api in _with_heirs(Api.__subclasses__()) if "kind" in vars(api)
}
"""One class per type of provider, including those of packages."""
