"""The picture for Prometheus. Labels hold the configured names of providers and words of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bridge import __version__
from bridge.daemon.status import BUCKETS, ProviderView, View
from bridge.http.retries import RESULTS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def registry_of(view: Callable[[], View]) -> CollectorRegistry:
    """A registry of its own with all metrics, and with those of the process."""
    registry = CollectorRegistry()
    registry.register(_Collector(view))
    ProcessCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """What Prometheus reads."""
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        view = self._view()
        yield InfoMetricFamily("ftbridge_build", "What is running.", {"version": __version__})
        yield _gauge(
            "ftbridge_mlflow_up",
            "Whether MLflow answered when it was asked last.",
            {None: view.mlflow_is_up},
        )
        yield from _of_health(view)
        yield from _of_work(view.providers)


def _of_health(view: View) -> Iterator[Metric]:
    providers = view.providers.items()
    yield _gauge(
        "ftbridge_provider_up",
        "Whether the last pass was not stopped on the provider's account.",
        {name: each.is_up for name, each in providers},
    )
    yield _gauge(
        "ftbridge_last_success_timestamp_seconds",
        "When the last pass was over that was not stopped.",
        {name: each.succeeded for name, each in providers},
    )
    yield _gauge(
        "ftbridge_next_pass_timestamp_seconds",
        "When the next pass begins.",
        {name: each.due for name, each in providers},
    )
    yield _gauge(
        "ftbridge_interval_seconds",
        "From the beginning of the last pass to that of the next.",
        {name: each.interval for name, each in providers},
    )
    yield _gauge(
        "ftbridge_lag_seconds",
        "Since the newest point of a running job; absent where none runs or has a point.",
        {name: each.lag(view.now) for name, each in providers},
    )
    yield _gauge(
        "ftbridge_failing_jobs",
        "Jobs that the last pass could not record.",
        {name: each.failing for name, each in providers},
    )


def _of_work(providers: Mapping[str, ProviderView]) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "ftbridge_jobs", "Jobs by the state of their runs.", labels=["provider", "state"]
    )
    points = _counter("ftbridge_points_written", "Metric points written to MLflow.")
    requests = CounterMetricFamily(
        "ftbridge_requests",
        "Requests to the provider's API, each attempt, by how it ended.",
        labels=["provider", "result"],
    )
    retries = _counter("ftbridge_retries", "Requests that were made once more.")
    failures = _counter("ftbridge_job_failures", "Jobs that a pass could not record.")
    passes = HistogramMetricFamily(
        "ftbridge_pass_duration_seconds", "How long passes take.", labels=["provider"]
    )
    for name, each in providers.items():
        for state, number in each.jobs.items():
            jobs.add_metric([name, state], number)
        points.add_metric([name], each.points)
        for result in RESULTS:
            requests.add_metric([name, result], each.requests.get(result, 0))
        retries.add_metric([name], each.retries)
        failures.add_metric([name], each.job_failures)
        limits = [*map(str, BUCKETS), "+Inf"]
        buckets = list(zip(limits, accumulate(each.passes), strict=True))
        passes.add_metric([name], buckets, each.pass_seconds)
    yield from (jobs, points, requests, retries, failures, passes)


def _gauge(name: str, what: str, values: Mapping[str | None, float | None]) -> Metric:
    """One value for each provider, or one alone; what is not known is left out."""
    family = GaugeMetricFamily(name, what, labels=[] if None in values else ["provider"])
    for provider, value in values.items():
        if value is not None:
            family.add_metric([] if provider is None else [provider], value)
    return family


def _counter(name: str, what: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, what, labels=["provider"])
