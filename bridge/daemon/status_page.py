"""The picture for a person, as a page without scripts, and for programs, as JSON."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from typing import Final

from bridge import __version__
from bridge.daemon.status import STATES, ProviderView, View

_STYLE: Final = """
:root { color-scheme: light dark; --line: light-dark(#ddd, #444); --soft: light-dark(#666, #aaa);
  --good: light-dark(#1a7f37, #3fb950); --bad: light-dark(#cf222e, #ff7b72); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem } h2 { font-size: 1.1rem }
h1 small, footer, td small { color: var(--soft); font-weight: normal }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
th { font-weight: 600; color: var(--soft) } td.number, th.number { text-align: right }
.good { color: var(--good) } .bad { color: var(--bad) } li { overflow-wrap: anywhere }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may do with the page: draw it."""
_REFRESH: Final = 10
"""Seconds."""


def document(view: View) -> dict[str, object]:
    """The picture for a JSON document; moments are Unix seconds."""
    return {
        "version": __version__,
        "now": view.now,
        "started": view.started,
        "ready": view.is_ready,
        "mlflow": {"up": view.mlflow_is_up, "failure": view.mlflow_trouble},
        "providers": {name: _entry(each, view.now) for name, each in view.providers.items()},
    }


def readiness(view: View) -> dict[str, object]:
    """Whether a pass has gone through, and why not."""
    waiting = {name: each.stopped or "no pass is over yet" for name, each in view.providers.items()}
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


def html(view: View) -> str:
    """A page that loads itself anew."""
    rows = "".join(_row(name, each, view.now) for name, each in view.providers.items())
    numbers = "".join(f'<th class="number">{word}' for word in STATES.values())
    troubles = "".join(f"<li>{escape(each)}" for each in _troubles(view))
    since = datetime.fromtimestamp(view.started, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>ftbridge</title>'
        '<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="refresh" content="{_REFRESH}"><style>{_STYLE}</style></head><body>'
        f"<h1>ftbridge <small>{escape(__version__)}</small></h1>"
        f"<p>MLflow {_light(is_up=view.mlflow_is_up)}</p>"
        '<div class="wide"><table><thead><tr><th>provider<th>state<th>last pass<th>next pass'
        f'{numbers}<th class="number">lag<th class="number">points written</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        + (f"<h2>What is wrong</h2><ul>{troubles}</ul>" if troubles else "")
        + f"<footer>running since {since}</footer></body></html>\n"
    )


def _row(name: str, each: ProviderView, now: float) -> str:
    last = "-" if each.ended is None else f"{age(now - each.ended)} ago"
    took = "" if each.seconds is None else f" <small>took {each.seconds:.1f} s</small>"
    due = "-" if each.due is None else f"in {age(each.due - now)}"
    counts = "".join(f'<td class="number">{each.jobs.get(word, 0):,}' for word in STATES.values())
    lag = each.lag(now)
    return (
        f"<tr><td>{escape(name)}<td>{_light(is_up=each.is_up)}<td>{last}{took}"
        f"<td>{'under way' if each.is_busy else due}{counts}"
        f'<td class="number">{"-" if lag is None else age(lag)}'
        f'<td class="number">{each.points:,}</tr>'
    )


def _light(*, is_up: bool | None) -> str:
    if is_up is None:
        return "not asked yet"
    return '<span class="good">● up</span>' if is_up else '<span class="bad">▲ down</span>'


def _troubles(view: View) -> Iterator[str]:
    if view.mlflow_trouble:
        yield f"MLflow: {view.mlflow_trouble}"
    for name, each in view.providers.items():
        if each.stopped and each.stopped != view.mlflow_trouble:
            yield f"{name}: {each.stopped}"
        yield from (f"{name}: {failure}" for failure in each.failures)
        if (more := each.failing - len(each.failures)) > 0:
            yield f"{name}: and {more:,} more jobs"


def age(seconds: float) -> str:
    """A duration in the unit that a person would use."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
