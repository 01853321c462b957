"""A tracking store that another client changes at the worst moment; MLflow itself is real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.wrapped_store import WrappedTracking


class Meddled(WrappedTracking):
    """Calls the hook in ``before`` for a method of MLflow's client, once, before the method."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, self._meddle)
        self.before: dict[str, Callable[[], object]] = {}

    def _meddle(self, name: str, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - MLflow's
        if act := self.before.pop(name, None):
            act()
        return do()
