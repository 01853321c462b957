"""The jobs in MLflow, newest first, for people rather than passes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from bridge.plan import tags
from bridge.plan.recorded import RecordedRun
from bridge.tracking.client import TrackingClient
from bridge.tracking.runs import recorded_run

_PAGE: Final = 100
"""Number of runs in a page; a whole history takes seconds, and a person reads twenty."""
_MONTHS: Final = 24
"""Number of months in which the next shutdown is searched for."""
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A run that carries a job, with the newest value of each metric."""

    run: RecordedRun
    values: Mapping[str, float]
    ended_at: int | None
    """Time of the value, Unix milliseconds."""


def newest_jobs(tracking: TrackingClient, experiment_ids: Sequence[str]) -> Iterator[Seen]:
    """Yield the runs that carry jobs, the latest start first."""
    token: str | None = None
    while experiment_ids:
        with tracking.asked() as client:
            page = client.search_runs(
                list(experiment_ids),
                filter_string=f"tags.{tags.JOB} != ''",
                max_results=_PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
        for run in page:
            yield Seen(
                run=recorded_run(run), values=dict(run.data.metrics), ended_at=run.info.end_time
            )
        token = page.token
        if not token:
            return


def models_ending(
    tracking: TrackingClient, experiment_ids: Sequence[str], provider: str, day: str
) -> list[str]:
    """Return the models of a provider that it shuts down on a day, at most a thousand.

    Args:
        tracking: the tracking store.
        experiment_ids: experiments to search.
        provider: the provider's name in the configuration.
        day: date in ISO 8601.
    """
    if not experiment_ids:
        return []
    with tracking.asked() as client:
        found = client.search_runs(
            list(experiment_ids),
            filter_string=f"tags.{tags.PROVIDER} = '{provider}' and tags.{tags.SHUTDOWN} = '{day}'",
        )
    return [model for run in found if (model := run.data.tags.get(tags.MODEL))]


def next_shutdown(
    tracking: TrackingClient, experiment_ids: Sequence[str], provider: str, today: date
) -> str | None:
    """Return the next day on which a provider shuts down models, within two years.

    MLflow can sort by a tag but not compare it by order, so each search finds the last unknown day
    of a month.

    Args:
        tracking: the tracking store.
        experiment_ids: experiments to search.
        provider: the provider's name in the configuration.
        today: the first day that counts.
    """

    def latest(days: str, but: Sequence[str] = ()) -> str:
        wanted = f"tags.{tags.PROVIDER} = '{provider}' and tags.{tags.SHUTDOWN} LIKE '{days}'"
        with tracking.asked() as client:
            found = client.search_runs(
                list(experiment_ids),
                filter_string=wanted + "".join(f" and tags.{tags.SHUTDOWN} != '{d}'" for d in but),
                max_results=1,
                order_by=[f"tags.{tags.SHUTDOWN} DESC"],
            )
        day = next((run.data.tags[tags.SHUTDOWN] for run in found), "")
        # A user may have changed the tag to anything.
        return day if _DAY.fullmatch(day) else ""

    if not experiment_ids or latest("____-__-__") < today.isoformat():
        return None
    first = today.year * 12 + today.month - 1
    for year, month in (divmod(number, 12) for number in range(first, first + _MONTHS)):
        found: list[str] = []
        while (day := latest(f"{year}-{month + 1:02}-__", found)) >= today.isoformat():
            found.append(day)
        if found:
            return found[-1]
    return None


def curve(tracking: TrackingClient, run_id: str, metric: str) -> list[tuple[int, float]]:
    """Return the values of a metric by ascending step, one for each step."""
    with tracking.asked(one_job=True) as client:
        history = client.get_metric_history(run_id, metric)
    return sorted({point.step: point.value for point in history}.items())
