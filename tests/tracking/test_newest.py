"""Lists of jobs, curves and the ends of models for people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from mlflow import MlflowClient

from bridge.tracking import Tracking
from bridge.tracking.newest import curve, models_ending, newest_jobs, next_shutdown
from tests.support.in_memory import START, InMemoryProvider, snapshot_of
from tests.support.wrapped_store import WrappedTracking


@pytest.fixture
def experiment_id(tracking: Tracking, executor: ThreadPoolExecutor) -> str:
    """Create three jobs, the second of which is the newest."""
    jobs = [
        snapshot_of(name, 0.9, 0.4, created_at=START + later)
        for name, later in (("a", 10), ("b", 30), ("c", 20))
    ]
    assert InMemoryProvider(*jobs).sync(tracking, executor).run().is_well
    found = tracking.experiment("hosted-fine-tunes", create=False)
    assert found
    return found


def test_the_newest_job_comes_first(tracking: Tracking, experiment_id: str) -> None:
    """The newest job comes first, with its run, newest values and end, without other runs."""
    with tracking.asked() as client:
        client.create_run(experiment_id, start_time=START + 99)
    found = [*newest_jobs(tracking, [experiment_id])]
    assert [each.run.job_id for each in found] == ["b", "c", "a"]
    assert found[0].values == {"train_loss": 0.5, "valid_loss": 0.4}
    assert found[0].ended_at == START + 60_000
    assert [*newest_jobs(tracking, [])] == []


def test_a_curve_has_its_steps_in_order(tracking: Tracking, experiment_id: str) -> None:
    """A curve has each step once and in order, whenever it was logged."""
    (_, _, oldest) = newest_jobs(tracking, [experiment_id])
    run_id = oldest.run.run_id
    assert curve(tracking, run_id, "valid_loss") == [(1, 0.9), (2, 0.4)]
    with tracking.asked() as client:
        client.log_metric(run_id, "valid_loss", 0.7, step=0, timestamp=START + 99_000)
    assert curve(tracking, run_id, "valid_loss") == [(0, 0.7), (1, 0.9), (2, 0.4)]
    assert curve(tracking, run_id, "other") == []
    assert curve(tracking, "no run", "valid_loss") == []


def test_mlflow_is_asked_by_tags(uri: str, tracking: Tracking) -> None:
    """The search is for one provider's models of one day, and skips runs without a model."""
    client = MlflowClient(uri)
    place = client.create_experiment("ends")

    def run(provider: str, day: str, **tags: str) -> None:
        of = {"fine_tuning_provider": provider, "fine_tuned_model_shutdown": day}
        client.create_run(place, tags=of | tags)

    run("openai", "2025-10-16", fine_tuned_model="ft:a")
    run("openai", "2025-10-17", fine_tuned_model="ft:b")
    run("azure", "2025-10-16", fine_tuned_model="ft:c")
    run("openai", "2025-10-16")
    assert models_ending(tracking, [place], "openai", "2025-10-16") == ["ft:a"]
    assert models_ending(tracking, [], "openai", "2025-10-16") == []


def test_the_next_day_is_found_among_all(uri: str, tracking: Tracking) -> None:
    """The next day counts from today on, whatever else the tags of runs say."""
    client = MlflowClient(uri)
    place = client.create_experiment("ends")
    for day in ("2025-10-01", "2025-10-31", "2025-10-20", "2025-10-31", "2026-02-03", "2026-01-'x"):
        tags = {"fine_tuning_provider": "openai", "fine_tuned_model_shutdown": day}
        client.create_run(place, tags=tags)

    def first(today: str, provider: str = "openai", places: tuple[str, ...] = (place,)) -> object:
        return next_shutdown(tracking, places, provider, date.fromisoformat(today))

    assert first("2025-10-09") == "2025-10-20"
    assert first("2025-10-20") == "2025-10-20"
    assert first("2025-10-21") == "2025-10-31"
    assert first("2025-11-01") == "2026-02-03"
    assert first("2026-02-04") is None
    assert first("2025-10-09", "azure") is None
    assert first("2025-10-09", places=()) is None


def test_jobs_beyond_the_first_page_are_listed_too(uri: str, experiment_id: str) -> None:
    """A list of jobs goes on to the next page."""
    paged = WrappedTracking(uri, lambda _name, call: call(), page_size=2)
    assert [each.run.job_id for each in newest_jobs(paged, [experiment_id])] == ["b", "c", "a"]
