"""Show the daemon's status to a person, as a page without scripts, and to programs, as JSON."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

from jinja2 import Environment

from bridge import __version__
from bridge.daemon.recent_jobs import RecentJob
from bridge.daemon.stalls import Stalled
from bridge.daemon.status import ProviderView, View
from bridge.listing.curves import polyline
from bridge.plan import tags
from bridge.text import number_of, one_line

_SOURCE: Final = files("bridge.daemon").joinpath("status_page.html").read_text(encoding="utf-8")
_STYLE: Final = _SOURCE.partition("<style>")[2].partition("</style>")[0]
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: a browser may only render it."""


_MOST_STALLED: Final = 20
"""Number of jobs that are named."""
_LONGEST_ERROR: Final = 160
"""Longest error of a job in characters."""
_SPARKLINE: Final = (96, 20)
"""Width and height of a job's curve in pixels."""


def age(seconds: float) -> str:
    """Return a duration in the unit that a person would use."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


_ENVIRONMENT: Final = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.filters["age"] = age
_PAGE: Final = _ENVIRONMENT.from_string(_SOURCE)


def html(view: View, mlflow: str = "") -> str:
    """Return the page, which reloads itself.

    Args:
        view: the status.
        mlflow: the address of MLflow's UI, for a link to it.
    """
    return _PAGE.render(
        version=__version__,
        view=view,
        mlflow=mlflow,
        headline=headline(view),
        jobs=[_row(view, job) for job in view.jobs],
        box=_SPARKLINE,
        troubles={subject: tuple(what) for subject, what in _troubles(view) if what},
        since=datetime.fromtimestamp(view.started, UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _row(view: View, job: RecentJob) -> dict[str, object]:
    """Return a job for the page."""
    line = job.line
    silent = next((each.seconds for each in view.stalled if _key(each) == job.key), None)
    error = line.seen.run.tags.get(tags.ERROR, "")
    return {
        "line": line,
        "curve": polyline([value for _, value in job.curve], *_SPARKLINE),
        "state": line.state if silent is None else "stalled",
        "silent": silent,
        "age": view.now - line.created_at / 1000,
        "error": one_line(error, _LONGEST_ERROR) if line.state == "failed" else "",
    }


def _key(stalled: Stalled) -> tuple[str, str]:
    return stalled.provider, stalled.job_id


def headline(view: View) -> str:
    """Return a headline about what is wrong; empty if all is well."""
    providers = view.providers.items()
    down = ["MLflow"] if view.mlflow_is_up is False else []
    down += [name for name, each in providers if each.is_up is False]
    hanging = [name for name, each in providers if each.is_hanging]
    failing = sum(each.failing for _, each in providers)
    stalled = len(view.stalled)
    words = (
        f"{', '.join(down)} down" if down else "",
        f"{', '.join(hanging)} hanging" if hanging else "",
        f"{number_of(failing, 'job')} not recorded" if failing else "",
        f"{number_of(stalled, 'job')} stalled" if stalled else "",
    )
    return "; ".join(filter(None, words))


def _troubles(view: View) -> Iterator[tuple[str, list[str]]]:
    """Yield each subject that has troubles, with sentences about them."""
    yield "MLflow", [view.mlflow_trouble] if view.mlflow_trouble else []
    for name, each in view.providers.items():
        # An outage of MLflow ends the passes of all providers, so it is shown once.
        own = each.stopped if each.stopped != view.mlflow_trouble else None
        rest = each.failing - len(each.failures)
        more = f"{number_of(rest, 'more job')} not recorded" if rest > 0 else None
        stalled = [
            f"{job.name} has shown nothing new for {age(job.seconds)}"
            for job in view.stalled[:_MOST_STALLED]
            if job.provider == name
        ]
        yield name, [sentence for sentence in (own, *each.failures, more, *stalled) if sentence]


def document(view: View) -> dict[str, object]:
    """Return the status for a JSON document; times are Unix seconds, those of jobs milliseconds."""
    stalled = {_key(each) for each in view.stalled}
    return {
        "version": __version__,
        "now": view.now,
        "started": view.started,
        "ready": view.is_ready,
        "mlflow": {"up": view.mlflow_is_up, "failure": view.mlflow_trouble},
        "providers": {name: _entry(each, view.now) for name, each in view.providers.items()},
        "stalled": [asdict(each) for each in view.stalled],
        "jobs": [job.document(is_stalled=job.key in stalled) for job in view.jobs],
    }


def readiness(view: View) -> dict[str, object]:
    """Return whether a pass has succeeded, and why not."""
    waiting = {
        name: each.stopped or "no pass has ended yet" for name, each in view.providers.items()
    }
    return {"ready": view.is_ready, "why": {} if view.is_ready else waiting}


def _entry(each: ProviderView, now: float) -> dict[str, object]:
    return {
        "up": each.is_up,
        "busy": each.is_busy,
        "last_pass": {"begun": each.begun, "ended": each.ended, "seconds": each.seconds},
        "last_success": each.succeeded,
        "next_pass": each.due,
        "stopped": each.stopped,
        "failures": list(each.failures),
        "failing_jobs": each.failing,
        "jobs": dict(each.jobs),
        "lag_seconds": each.lag(now),
        "points_written": each.points,
    }
