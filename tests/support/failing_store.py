"""A tracking store that fails at a write; MLflow itself is real."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from mlflow.exceptions import MlflowException
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ReadTimeout

from bridge.errors import ArchiveFailed
from bridge.tracking import Written
from tests.support.wrapped_store import WrappedTracking

_WRITES: Final = ("create_", "log_", "set_", "update_", "delete_", "finalize_")


class Trouble(StrEnum):
    """Outcome of a failing write."""

    REFUSED = "refused"
    """The store writes nothing and reports an error."""
    LOST = "lost"
    """The store writes, but the reply is lost."""
    DOWN = "down"
    """The store neither writes nor answers, from this write on."""
    DOWN_AFTER = "down after"
    """The store writes, but answers nothing from this write on."""


@dataclass(slots=True)
class Failing:
    """Decides when and how a store fails. Thread-safe."""

    at: int = 0
    """Number of writes until the failure; 0: none fails."""
    trouble: Trouble = Trouble.REFUSED
    is_down: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def heal(self) -> None:
        """Stop failing."""
        self.at, self.is_down = 0, False

    def call(self, do: Callable[[], Any], *, is_write: bool) -> Any:  # noqa: ANN401 - MLflow's
        """Perform the write, or fail."""
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


class FailingTracking(WrappedTracking):
    """Fails as ``failing`` says."""

    def __init__(self, uri: str, *, page_size: int = 1000) -> None:
        super().__init__(uri, self._call, page_size=page_size)
        self.failing = Failing()

    def _call(self, name: str, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - MLflow's
        return self.failing.call(do, is_write=name.startswith(_WRITES))

    def archive(self, written: Written, folder: Path, artifact_path: str) -> None:
        """Store files, which counts as a write."""
        store = super().archive
        try:
            self.failing.call(lambda: store(written, folder, artifact_path), is_write=True)
        except (MlflowException, OSError) as error:
            raise ArchiveFailed("The artifact store refused the archive") from error
