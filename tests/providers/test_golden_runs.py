"""Recorded replies with failing parts or late checkpoints, and the runs that they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.plan import tags
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import make_plan
from tests.providers.test_golden import READS, job_id_of, load, named, provider, read, serving

RUNS = [case for case in READS if "run" in load(case / "expected.json")]
LONG_AFTER = 1_800_000_000_000
"""Unix milliseconds, long after every recorded job has ended."""


@pytest.mark.parametrize("case", RUNS, ids=named)
def test_a_recorded_job_becomes_the_run_of_its_expectation(case: Path) -> None:
    """Status, missing parts and each point with its time are as the expectation says."""
    expected = load(case / "expected.json")["run"]
    snapshot = read(provider(case, serving(case)), job_id_of(case))
    plan = make_plan("p", snapshot, None, RecordingOptions(), now=LONG_AFTER)
    points = [[each.name, each.step, each.value, each.timestamp] for each in plan.points]
    assert sorted(points) == sorted(expected["points"])
    assert plan.status == expected["status"]
    assert plan.tags.get(tags.INCOMPLETE) == expected["incomplete"]
    assert bool(plan.awaited) == expected["awaits"]
    assert plan.is_final is not expected["awaits"]
    assert all(part.reason for part in snapshot.missing)


def test_time_never_runs_backwards_where_checkpoints_are_late() -> None:
    """Each step is recorded once, with a time that is not before that of the step before."""
    (late,) = (case for case in RUNS if case.name == "checkpoints_published_late")
    snapshot = read(provider(late, serving(late)), job_id_of(late))
    plan = make_plan("p", snapshot, None, RecordingOptions(), now=LONG_AFTER)
    for name in {point.name for point in plan.points}:
        curve = sorted((p.step, p.timestamp) for p in plan.points if p.name == name)
        assert len({step for step, _ in curve}) == len(curve)
        assert [at for _, at in curve] == sorted(at for _, at in curve)
