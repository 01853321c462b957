"""Expose the daemon's metrics to Prometheus.

Labels contain only the names of configured providers and a few fixed words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

from bridge import __version__
from bridge.daemon.status import ProviderView, View
from bridge.errors import Stopped
from bridge.http.retries import RESULTS
from bridge.sync.events import Event, JobDone, NextPass, PassEnded
from bridge.sync.outcome import Synced
from bridge.sync.report import Report

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the histogram of pass durations in seconds."""
_PROVIDER: Final = ("provider",)

_MLFLOW_UP: Final = "Whether MLflow answered the last request."
_INTERVAL: Final = "Time between the beginnings of the last pass and the next."
_JOBS: Final = "Jobs by the state of their runs."
_POINTS: Final = "Metric points written to MLflow."
_REQUESTS: Final = "Attempts at requests to the provider's API, by result."
_RETRIES: Final = "Repeated attempts at requests to the provider's API."
_FAILURES: Final = "Jobs that a pass could not record."
_SHUTDOWN: Final = "Beginning of the next day on which the provider shuts down fine-tuned models."

_GAUGES: Final[dict[str, tuple[str, Callable[[ProviderView, float], float | None]]]] = {
    "ftbridge_provider_up": (
        "1 if the provider answered in the last pass, 0 if it stopped the pass.",
        lambda each, _: each.is_up,
    ),
    "ftbridge_last_success_timestamp_seconds": (
        "End of the last pass that was not stopped.",
        lambda each, _: each.succeeded,
    ),
    "ftbridge_next_pass_timestamp_seconds": (
        "Beginning of the next pass.",
        lambda each, _: each.due,
    ),
    "ftbridge_lag_seconds": (
        "Age of the newest point of a running job; absent without one.",
        lambda each, now: each.lag(now),
    ),
    "ftbridge_failing_jobs": (
        "Jobs that the last pass could not record.",
        lambda each, _: each.failing,
    ),
}
"""Gauges that are read from the status of a provider; ``None`` omits the sample."""


class Metrics:
    """Count events of passes, and read the rest from the status at each scrape. Thread-safe.

    Args:
        providers: their names.
        view: the status, which receives each event first.
    """

    def __init__(self, providers: Iterable[str], view: Callable[[], View]) -> None:
        self._view = view
        self._registry = registry = CollectorRegistry()
        gauge = partial(Gauge, registry=registry)
        counter = partial(Counter, registry=registry)
        self._gauges = [
            (gauge(name, what, _PROVIDER), value_of) for name, (what, value_of) in _GAUGES.items()
        ]
        # It has no label by which to omit it, so it is exposed once it is known.
        self._mlflow_up = Gauge("ftbridge_mlflow_up", _MLFLOW_UP, registry=None)
        self._interval = gauge("ftbridge_interval_seconds", _INTERVAL, _PROVIDER)
        self._shutdown = gauge("ftbridge_next_shutdown_timestamp_seconds", _SHUTDOWN, _PROVIDER)
        self._jobs = gauge("ftbridge_jobs", _JOBS, ("provider", "state"))
        self._points = counter("ftbridge_points_written", _POINTS, _PROVIDER)
        self._requests = counter("ftbridge_requests", _REQUESTS, ("provider", "result"))
        self._retries = counter("ftbridge_retries", _RETRIES, _PROVIDER)
        self._failures = counter("ftbridge_job_failures", _FAILURES, _PROVIDER)
        self._passes = Histogram(
            "ftbridge_pass_duration_seconds",
            "Duration of the passes.",
            _PROVIDER,
            registry=registry,
            buckets=_BUCKETS,
        )
        version = Info("ftbridge_build", "Version of the bridge.", registry=registry)
        version.info({"version": __version__})
        ProcessCollector(registry=registry)
        # Counters exist from the start, because a rate needs their initial zero.
        self._providers = frozenset(providers)
        for name in self._providers:
            for each in (self._points, self._retries, self._failures, self._passes):
                each.labels(name)
            for result in RESULTS:
                self._requests.labels(name, result)

    def exposition(self) -> bytes:
        """Return the text for Prometheus."""
        view = self._view()
        for name, each in view.providers.items():
            for gauge, value_of in self._gauges:
                _set(gauge, name, value_of(each, view.now))
            for state, number in each.jobs.items():
                self._jobs.labels(name, state).set(number)
        metrics = _WithoutCreated(self._registry)
        if view.mlflow_is_up is None:
            return generate_latest(metrics)
        self._mlflow_up.set(view.mlflow_is_up)
        return generate_latest(self._mlflow_up) + generate_latest(metrics)

    def requested(self, provider: str, result: str, attempt: int) -> None:
        """Count an attempt at a request; a ``retries.Tell``."""
        if provider in self._providers:
            self._requests.labels(provider, result).inc()
            self._retries.labels(provider).inc(attempt > 1)

    def shutdown_known(self, provider: str, moment: float | None) -> None:
        """Record when a provider shuts down models next."""
        if provider in self._providers:
            _set(self._shutdown, provider, moment)

    def __call__(self, event: Event) -> None:
        """Count an event of a pass."""
        match event:
            case JobDone(outcome=Synced(provider=provider, plan=plan)):
                if provider in self._providers:
                    self._points.labels(provider).inc(len(plan.points))
            case PassEnded(report=report, seconds=seconds):
                self._ended(report, seconds)
            case NextPass(provider=provider, at=at):
                each = self._view().providers.get(provider)
                if each and each.begun is not None:
                    self._interval.labels(provider).set(max(0.0, at - each.begun))

    def _ended(self, report: Report, seconds: float) -> None:
        # A pass that was asked to stop says nothing about the duration of passes.
        if report.provider in self._providers and not isinstance(report.stopped, Stopped):
            self._failures.labels(report.provider).inc(len(report.failures))
            self._passes.labels(report.provider).observe(seconds)


class _WithoutCreated(Collector):
    """All metrics except the creation times of counters, which would double the series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric


def _set(gauge: Gauge, provider: str, value: float | None) -> None:
    if value is None:
        gauge.remove(provider)
    else:
        gauge.labels(provider).set(value)
