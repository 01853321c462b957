"""A tracking store that is gone after a number of writes, as for a process that dies."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tests.support.wrapped_store import WrappedTracking

_WRITES: Final = {
    *("create_run", "log_inputs", "log_outputs", "create_logged_model", "finalize_logged_model"),
    *("set_terminated", "update_run", "set_tag", "log_param"),
}


class Interrupted(WrappedTracking):
    """Lets so many writes through, and none of the later ones."""

    def __init__(self, uri: str, writes: int) -> None:
        super().__init__(uri, self._call)
        self._left = writes

    def _call(self, name: str, do: partial[Any]) -> Any:  # noqa: ANN401 - MLflow's
        if name == "log_batch":
            # Params, metrics and tags are committed one after the other.
            for part in ("params", "metrics", "tags"):
                self._count()
                do.func(*do.args, **{part: do.keywords.get(part, [])})
            return None
        if name in _WRITES:
            self._count()
        return do()

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ConnectionError("cut off")
