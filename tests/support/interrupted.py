"""A process that dies in the middle of its writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

from mlflow import MlflowClient

from bridge.tracking import Tracking

WRITES = {
    "create_run",
    "log_inputs",
    "log_outputs",
    "create_logged_model",
    "finalize_logged_model",
    "set_terminated",
    "update_run",
    "set_tag",
    "log_param",
}


class Cut:
    """MLflow's client up to a number of writes; all later writes fail."""

    def __init__(self, client: MlflowClient, writes: int) -> None:
        self._client = client
        self._left = writes

    def __getattr__(self, name: str) -> Callable[..., object]:
        method: Callable[..., object] = getattr(self._client, name)

        def counted(*arguments: object, **options: object) -> object:
            if name in WRITES:
                self._count()
            return method(*arguments, **options)

        return counted

    def log_batch(self, run_id: str, **parts: list[object]) -> None:
        """Count three writes: params, metrics and tags are committed one after the other."""
        for name in ("params", "metrics", "tags"):
            self._count()
            self._client.log_batch(run_id, **{name: parts.get(name, [])})  # type: ignore[arg-type] # the name says the type

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ConnectionError("cut off")


class Interrupted(Tracking):
    """A tracking store that is gone after a number of writes."""

    def __init__(self, uri: str, writes: int) -> None:
        super().__init__(uri)
        self._cut = Cut(MlflowClient(tracking_uri=uri, registry_uri=uri), writes)

    @contextlib.contextmanager
    def asked(self, *, one_job: bool = False) -> Iterator[MlflowClient]:
        """Lend the client that is cut off."""
        with super().asked(one_job=one_job):
            yield cast("MlflowClient", self._cut)
