"""A tracking store that fails at a write: MLflow itself stays real."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ReadTimeout

from bridge.errors import ArchiveFailed
from bridge.tracking import Tracking, Written

_WRITES: Final = ("create_", "log_", "set_", "update_", "delete_", "finalize_")


class Trouble(StrEnum):
    """What happens at a write."""

    REFUSED = "refused"
    """Nothing is written, and the store says why."""
    LOST = "lost"
    """It is written, but the caller waits for the reply in vain."""
    DOWN = "down"
    """Nothing is written, nor answered from then on."""
    DOWN_AFTER = "down after"
    """It is written, and nothing is answered from then on."""


@dataclass(slots=True)
class Failing:
    """When a store fails, and how. Thread-safe."""

    at: int = 0
    """How many writes from now; 0: at none."""
    trouble: Trouble = Trouble.REFUSED
    is_down: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def heal(self) -> None:
        """Fail no more."""
        self.at, self.is_down = 0, False

    def call(self, do: Callable[[], Any], *, is_write: bool) -> Any:  # noqa: ANN401 - MLflow's
        """Do it, or fail."""
        with self._lock:
            if self.is_down:
                raise NoConnection("the store is down")
            is_now = is_write and self.at == 1
            self.at = max(0, self.at - is_write)
            self.is_down = is_now and self.trouble in {Trouble.DOWN, Trouble.DOWN_AFTER}
        if is_now and self.trouble is Trouble.REFUSED:
            raise MlflowException("the store refuses this")
        if is_now and self.trouble is Trouble.DOWN:
            raise NoConnection("the store goes down")
        done = do()
        if is_now:
            raise ReadTimeout("no reply")
        return done


class _Client:
    """MLflow's client, whose calls may fail."""

    def __init__(self, client: MlflowClient, failing: Failing) -> None:
        self._client = client
        self._failing = failing

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        is_write = name.startswith(_WRITES)
        return lambda *args, **more: self._failing.call(
            lambda: method(*args, **more), is_write=is_write
        )


class FailingTracking(Tracking):
    """Fails as ``failing`` says."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.failing = Failing()

    @property
    def _client(self) -> MlflowClient:
        return cast("MlflowClient", _Client(super()._client, self.failing))

    def archive(self, written: Written, folder: Path, artifact_path: str) -> None:
        """Store files, which is a write too."""
        store = super().archive
        try:
            self.failing.call(lambda: store(written, folder, artifact_path), is_write=True)
        except (MlflowException, OSError) as error:
            raise ArchiveFailed("The artifact store does not take the archive") from error
