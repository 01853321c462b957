"""The section ``poll`` of the configuration: intervals, workers and executor."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from bridge.settings.section import Section

SCHEMES: Final = {"dask": "tcp", "dask+tls": "tls"}
"""The configuration's schemes, and Dask's own. Dask reads certificates from its own
configuration."""
_DURATION: Final = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|s|m|h|d|)")
_DURATION_PATTERN: Final = r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)?\s*$"
AUTO: Final = "auto"
THREADS: Final = "threads"
PROCESSES: Final = "processes"
_SCHEDULER: Final = re.compile(rf"({'|'.join(map(re.escape, SCHEMES))})://[^\s/@?#]+:\d{{1,5}}")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: object) -> object:
    """Return the seconds of ``60s``, ``5m``, ``1h`` or a number; pydantic refuses anything else."""
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    return float(match["number"]) * _SECONDS[match["unit"]] if match else text


def _executor(text: str) -> str:
    if text not in {AUTO, THREADS, PROCESSES} and _SCHEDULER.fullmatch(text) is None:
        raise ValueError(
            f"must be {AUTO}, {THREADS}, {PROCESSES}, or the address of a Dask scheduler:"
            " dask://host:8786, or dask+tls://host:8786"
        )
    return text


Seconds = Annotated[
    float,
    BeforeValidator(duration),
    Field(ge=1, le=86400),
    WithJsonSchema(
        {"type": ["number", "string"], "minimum": 1, "maximum": 86400, "pattern": _DURATION_PATTERN}
    ),
]
"""A number of seconds, or a number with its unit: 30s, 5m, 1h."""


class PollSettings(Section):
    """Schedule of the passes, and where and how many jobs are synced at the same time."""

    interval: Seconds = 60.0
    """Time between two passes over a provider with open jobs: 30s, 5m, 1h."""
    idle_interval: Seconds | None = None
    """Time between two passes over a provider without open jobs; a new job is noticed within it.
    Default: five times the interval, up to ten minutes."""
    workers: Annotated[int, Field(ge=1, le=64)] = 16
    """Jobs of one provider that are synced at the same time."""
    executor: Annotated[str, AfterValidator(_executor)] = AUTO
    """Place where jobs are synced: threads; processes, for ftbridge backfill only; auto, which
    starts processes once a backfill has enough to do; or the scheduler of a Dask cluster:
    dask://host:8786."""

    @property
    def is_cluster(self) -> bool:
        """Whether a cluster syncs the jobs."""
        return self.executor.partition("://")[0] in SCHEMES
