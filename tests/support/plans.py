"""Plans for tests that check only a few of their fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bridge.plan.plan import Plan

_PLAN = Plan(
    provider="openai",
    job_id="",
    run_id="run",
    run_name="openai/job",
    start_time=1,
    tags={},
    params={},
    points=(),
    status=None,
    end_time=None,
    is_final=False,
    is_settling=False,
    reason="",
    skipped=(),
)


def plan(job_id: str, **fields: Any) -> Plan:  # noqa: ANN401 - the fields of a plan
    """Return a plan that writes nothing but what ``fields`` say."""
    return replace(_PLAN, job_id=job_id, **fields)
