"""A tracking store that another client changes at the worst moment; MLflow itself stays real."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

from mlflow import MlflowClient

from bridge.tracking import Tracking


class Meddled(Tracking):
    """Calls the hook in ``before`` for a method of MLflow's client, once, before the method."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.before: dict[str, Callable[[], object]] = {}

    @contextlib.contextmanager
    def asked(self, *, one_job: bool = False) -> Iterator[MlflowClient]:
        """Lend MLflow's client with these hooks."""
        with super().asked(one_job=one_job) as client:
            yield cast("MlflowClient", _Client(client, self.before))


class _Client:
    def __init__(self, client: MlflowClient, before: dict[str, Callable[[], object]]) -> None:
        self._client = client
        self._before = before

    def __getattr__(self, name: str) -> Callable[..., object]:
        method: Callable[..., object] = getattr(self._client, name)

        def call(*arguments: object, **options: object) -> object:
            if act := self._before.pop(name, None):
                act()
            return method(*arguments, **options)

        return call
