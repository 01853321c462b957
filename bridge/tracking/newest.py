"""Jobs as MLflow shows them now, newest first: for people, not for passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.plan import tags
from bridge.plan.recorded import RecordedRun
from bridge.tracking.client import TrackingClient
from bridge.tracking.runs import recorded_run

_PAGE: Final = 100
"""Number of runs in a page: a whole history takes seconds, and a person reads twenty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A run that carries a job, with the newest value of each metric."""

    run: RecordedRun
    values: Mapping[str, float]
    ended_at: int | None
    """Time in Unix milliseconds."""


def newest_jobs(tracking: TrackingClient, experiment_ids: Sequence[str]) -> Iterator[Seen]:
    """Yield the runs that carry jobs, by their start, the newest first."""
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
        tracking: MLflow.
        experiment_ids: where to look.
        provider: its name in the configuration.
        day: as ISO 8601 has it.
    """
    if not experiment_ids:
        return []
    with tracking.asked() as client:
        found = client.search_runs(
            list(experiment_ids),
            filter_string=f"tags.{tags.PROVIDER} = '{provider}' and tags.{tags.SHUTDOWN} = '{day}'",
        )
    return [model for run in found if (model := run.data.tags.get(tags.MODEL))]


def curve(tracking: TrackingClient, run_id: str, metric: str) -> list[tuple[int, float]]:
    """Return the values of a metric by ascending step, one for each step."""
    with tracking.asked(one_job=True) as client:
        history = client.get_metric_history(run_id, metric)
    return sorted({point.step: point.value for point in history}.items())
