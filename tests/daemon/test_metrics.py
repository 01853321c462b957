"""The metrics that Prometheus reads from a daemon."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge import errors
from bridge.daemon.metrics import Metrics
from bridge.daemon.status import DaemonStatus
from bridge.plan.ownership import Ownership
from bridge.redaction import Redactor
from bridge.sync.events import Event, JobDone, NextPass, PassBegan, PassEnded, RunsRead
from bridge.sync.report import Report
from tests.support.outcomes import outcome
from tests.support.run_states import run_state
from tests.support.world import NOW, Clock

NAMES = ("openai", "mistral")


class Followed:
    """The passes of a daemon over two providers, and their metrics."""

    def __init__(self) -> None:
        self.clock = Clock()
        status = DaemonStatus(NAMES, Redactor(), self.clock)
        self.metrics = Metrics(NAMES, status.view)
        self._handlers = (status, self.metrics)

    def passes(self, event: Event) -> None:
        """Send an event of a pass."""
        for handler in self._handlers:
            handler(event)

    def samples(self) -> Mapping[tuple[str, tuple[str, ...]], float]:
        """Return what is exposed, by name and the values of the labels."""
        text = self.metrics.exposition().decode()
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def followed() -> Followed:
    """Return a daemon that has made no pass yet."""
    return Followed()


def test_metrics_say_what_passes_do(followed: Followed) -> None:
    """Each metric shows the value that its name states."""
    passes = followed.passes
    passes(PassBegan("openai"))
    passes(RunsRead("openai", Ownership(open={"a": run_state("a", at=int(NOW) - 60)})))
    passes(JobDone(outcome("b", "FAILED", at=5, is_final=True)))
    followed.metrics.requested("openai", "5xx", 1)
    followed.metrics.requested("openai", "429", 2)
    report = Report(provider="openai")
    report.failures.append(("c", errors.NotFound("It is gone")))
    passes(PassEnded(report, 3.0))
    passes(NextPass("openai", NOW + 30))
    followed.metrics.shutdown_known("openai", NOW + 86_400)
    followed.metrics.shutdown_known("another", NOW)
    found = followed.samples()
    expected = {
        ("ftbridge_provider_up", ("openai",)): 1,
        ("ftbridge_mlflow_up", ()): 1,
        ("ftbridge_last_success_timestamp_seconds", ("openai",)): NOW,
        ("ftbridge_next_pass_timestamp_seconds", ("openai",)): NOW + 30,
        ("ftbridge_interval_seconds", ("openai",)): 30,
        ("ftbridge_lag_seconds", ("openai",)): 60,
        ("ftbridge_jobs", ("openai", "running")): 1,
        ("ftbridge_jobs", ("openai", "failed")): 1,
        ("ftbridge_failing_jobs", ("openai",)): 1,
        ("ftbridge_next_shutdown_timestamp_seconds", ("openai",)): NOW + 86_400,
        ("ftbridge_job_failures_total", ("openai",)): 1,
        ("ftbridge_points_written_total", ("openai",)): 1,
        ("ftbridge_requests_total", ("openai", "429")): 1,
        ("ftbridge_requests_total", ("openai", "5xx")): 1,
        ("ftbridge_retries_total", ("openai",)): 1,
        ("ftbridge_pass_duration_seconds_count", ("openai",)): 1,
        ("ftbridge_pass_duration_seconds_sum", ("openai",)): 3,
        ("ftbridge_pass_duration_seconds_bucket", ("2.5", "openai")): 0,
        ("ftbridge_pass_duration_seconds_bucket", ("5.0", "openai")): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert any(name == "process_cpu_seconds_total" for name, _ in found)
    followed.metrics.shutdown_known("openai", None)
    assert not [name for name, _ in followed.samples() if "shutdown" in name]


def test_counters_begin_at_zero_and_gauges_when_they_are_known(followed: Followed) -> None:
    """A counter begins at zero, which rates need, and an unknown gauge is absent."""
    found = followed.samples()
    assert found["ftbridge_points_written_total", ("mistral",)] == 0
    assert found["ftbridge_requests_total", ("mistral", "2xx")] == 0
    assert found["ftbridge_pass_duration_seconds_count", ("mistral",)] == 0
    names = {name for name, _ in found}
    assert not names & {"ftbridge_provider_up", "ftbridge_mlflow_up", "ftbridge_lag_seconds"}
    assert not [name for name in names if name.endswith("_created")]


def test_a_lag_goes_with_the_job_that_had_it(followed: Followed) -> None:
    """A lag grows between two scrapes, and is absent again when no job runs."""
    running = run_state("a", at=int(NOW) - 60)
    followed.passes(RunsRead("openai", Ownership(open={"a": running})))
    lag = "ftbridge_lag_seconds", ("openai",)
    assert followed.samples()[lag] == 60
    followed.clock.now += 10
    assert followed.samples()[lag] == 70
    followed.passes(JobDone(outcome("a", "FINISHED", run=running, is_final=True)))
    assert lag not in followed.samples()


def test_other_providers_and_stopped_passes_count_nowhere(followed: Followed) -> None:
    """Only configured names become labels, and a pass that was asked to stop does not count."""
    before = followed.samples()
    followed.metrics.requested("stranger", "2xx", 2)
    followed.passes(PassEnded(Report(provider="stranger"), 1.0))
    followed.passes(NextPass("stranger", NOW))
    stopped = errors.Stopped("Asked to stop")
    followed.passes(PassEnded(Report(provider="openai", stopped=stopped), 1.0))
    ours = {key: value for key, value in followed.samples().items() if "ftbridge" in key[0]}
    assert ours == {key: value for key, value in before.items() if "ftbridge" in key[0]}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
def test_prometheus_own_tool_finds_no_fault(followed: Followed) -> None:
    """Prometheus' own checker accepts names, units and help."""
    followed.passes(RunsRead("openai", Ownership()))
    followed.passes(PassEnded(Report(provider="openai"), 1.0))
    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 - wherever it is
        input=followed.metrics.exposition(),
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr + checked.stdout


def test_every_metric_is_there_from_the_start(followed: Followed) -> None:
    """Every metric exists from the start with its labels, except unknown ones."""
    names = {name for name, labels in followed.samples() if name.startswith("ftbridge")}
    assert names == {
        "ftbridge_build_info",
        "ftbridge_failing_jobs",
        "ftbridge_job_failures_total",
        "ftbridge_jobs",
        "ftbridge_pass_duration_seconds_bucket",
        "ftbridge_pass_duration_seconds_count",
        "ftbridge_pass_duration_seconds_sum",
        "ftbridge_points_written_total",
        "ftbridge_requests_total",
        "ftbridge_retries_total",
    }
    results = {
        labels[1] for name, labels in followed.samples() if name == "ftbridge_requests_total"
    }
    assert results == {"2xx", "3xx", "4xx", "429", "5xx", "no_answer"}


def test_passes_are_counted_by_their_seconds(followed: Followed) -> None:
    """Passes are counted in buckets from a tenth of a second to an hour, which dashboards name."""
    found = followed.samples()
    bounds = {
        labels[0] for name, labels in found if name == "ftbridge_pass_duration_seconds_bucket"
    }
    assert bounds == {
        *("0.1", "0.5", "1.0", "2.5", "5.0", "10.0", "30.0", "60.0", "300.0", "900.0"),
        *("3600.0", "+Inf"),
    }


def test_an_interval_begins_with_the_last_pass(followed: Followed) -> None:
    """An interval is known from the first pass on, and never negative."""
    interval = "ftbridge_interval_seconds", ("openai",)
    followed.passes(NextPass("openai", NOW + 30))
    assert interval not in followed.samples()
    followed.passes(PassBegan("openai"))
    followed.passes(NextPass("openai", NOW - 5))
    assert followed.samples()[interval] == 0
    followed.passes(NextPass("openai", NOW + 30))
    assert followed.samples()[interval] == 30


def test_only_further_attempts_are_retries(followed: Followed) -> None:
    """The first attempt of a request does not count as a retry."""
    for attempt in (1, 2, 3, 1):
        followed.metrics.requested("openai", "5xx", attempt)
    found = followed.samples()
    assert found["ftbridge_requests_total", ("openai", "5xx")] == 4
    assert found["ftbridge_retries_total", ("openai",)] == 2


def test_mlflow_is_up_or_down_once_it_was_asked(followed: Followed) -> None:
    """MLflow is up or down after the first request, in a metric without a label."""
    up = "ftbridge_mlflow_up", ()
    followed.passes(RunsRead("openai", Ownership()))
    assert followed.samples()[up] == 1
    away = errors.TrackingDown("MLflow is down")
    followed.passes(PassEnded(Report(provider="openai", stopped=away), 1.0))
    assert followed.samples()[up] == 0
    assert ("ftbridge_provider_up", ("openai",)) not in followed.samples()
