"""A tracking store whose calls to MLflow go through a test's function; MLflow itself is real."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from mlflow import MlflowClient

from bridge.tracking import Tracking

Around = Callable[[str, partial[Any]], Any]
"""Gets the name of a method of MLflow's client and the call, and returns its result."""


class WrappedTracking(Tracking):
    """Makes each call of MLflow's client in ``around``."""

    def __init__(self, uri: str, around: Around, *, page_size: int = 1000) -> None:
        super().__init__(uri, page_size=page_size)
        self._around = around

    @contextlib.contextmanager
    def asked(self, *, one_job: bool = False) -> Iterator[MlflowClient]:
        """Lend MLflow's client, wrapped."""
        with super().asked(one_job=one_job) as client:
            yield cast("MlflowClient", _Client(client, self._around, self.page_size))


class _Client:
    def __init__(self, client: MlflowClient, around: Around, page_size: int) -> None:
        self._client = client
        self._page_size = page_size
        self._around = around

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: object, **more: Any) -> Any:  # noqa: ANN401 - as in MLflow
            if "max_results" in more:
                more["max_results"] = min(more["max_results"], self._page_size)
            return self._around(name, partial(method, *args, **more))

        return call
