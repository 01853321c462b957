"""The parts of a job that could not be read, and their consequences for its run. Pure.

A part that is missing for good is named on the run, which is complete without it. A part that fails
for the moment keeps the run open, so that the next pass reads it again; after a day of failures it
counts as missing for good. A settled run stays settled, and a run that has everything stays
complete when its provider no longer returns a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bridge.model import MissingPart, Snapshot
from bridge.plan import tags as run_tags
from bridge.plan.recorded import RecordedRun
from bridge.text import one_line

PATIENCE: Final = 24 * 3_600_000
"""Time in milliseconds for which a failing part is awaited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The consequences of a job's missing parts."""

    tags: Mapping[str, str]
    """Tags to set on the run."""
    removed_tags: tuple[str, ...]
    """Tags to remove from the run."""
    awaited: tuple[str, ...]
    """A sentence for each part that will be read again."""
    lost: tuple[str, ...]
    """A sentence for each part that is missing for good."""
    is_awaited: bool
    """Whether the run has to stay open."""


def gaps_of(snapshot: Snapshot, recorded: RecordedRun | None, *, now: int) -> Gaps:
    """Return the consequences of a job's missing parts.

    Args:
        snapshot: the provider's data.
        recorded: the job's run in MLflow; ``None``: no run yet.
        now: Unix milliseconds.
    """
    known = recorded.tags if recorded else {}
    is_settled = recorded is not None and recorded.is_final
    since_name = run_tags.name_in(known, run_tags.INCOMPLETE_SINCE)
    since = _since(known.get(since_name), now)
    # A settled run that is read again, for example by doctor, is not opened again.
    has_patience = is_settled or now - since < PATIENCE
    awaited = [part for part in snapshot.missing if not part.is_lasting and has_patience]
    is_awaited = bool(awaited) and not is_settled
    wanted = {} if is_settled and _had_all(known, snapshot) else dict(_tags(snapshot.missing))
    if is_awaited:
        wanted[since_name] = datetime.fromtimestamp(since / 1000, UTC).isoformat()
    return Gaps(
        tags={name: text for name, text in wanted.items() if known.get(name) != text},
        removed_tags=tuple(name for name in run_tags.GAPS if name in known and name not in wanted),
        awaited=tuple(map(_sentence, awaited)),
        lost=tuple(_sentence(part) for part in snapshot.missing if part not in awaited),
        is_awaited=is_awaited,
    )


def has_gaps(recorded: RecordedRun) -> bool:
    """Return whether points may be missing between those of a run."""
    return run_tags.INCOMPLETE in recorded.tags


def _had_all(known: Mapping[str, str], snapshot: Snapshot) -> bool:
    """Return whether a settled run was complete and lacked no part."""
    has_last_word = known.get(run_tags.STATUS) == snapshot.job.provider_status
    return has_last_word and run_tags.INCOMPLETE not in known


def _tags(missing: tuple[MissingPart, ...]) -> Iterator[tuple[str, str]]:
    if missing:
        names = dict.fromkeys(one_line(part.name, 60) for part in missing)
        yield run_tags.INCOMPLETE, ", ".join(names)


def _since(written: str | None, now: int) -> int:
    """Return when a part was first awaited; an unreadable time counts as now."""
    try:
        return round(datetime.fromisoformat(written or "").timestamp() * 1000)
    except (ValueError, OverflowError):
        return now


def _sentence(part: MissingPart) -> str:
    return f"its {part.name} cannot be read: {one_line(part.reason)}"
