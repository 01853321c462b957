"""The note of a run: ``note.md.jinja``, filled with the facts about its job.

Untrusted text goes through the filters ``code`` and ``cell``. The note reads no clock: an
unchanged job has an unchanged note.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from bridge.model import Checkpoint, Snapshot
from bridge.plan.description.advice import advice
from bridge.plan.description.lineage import Lineage, with_lineage
from bridge.plan.description.markdown import cell, code, duration, listed, number
from bridge.plan.description.table import table_of

if TYPE_CHECKING:
    from jinja2 import Template

_LONGEST: Final = 3800
"""Longest note in characters without its lineage; with it, at most 4,900."""
# The limits in the template keep everything but the table far below that; the table takes the rest.
_LONGEST_ID: Final = 64
_LONGEST_PAGE: Final = 300
_MOST_FILES: Final = 3
_MOST_ROWS: Final = 6

_SAYS_NO_MORE: Final = frozenset(
    {
        *("created", "pending", "queued", "validating", "validating_files", "started", "running"),
        *("paused", "succeeded", "success", "completed", "failed", "error", "cancelled"),
    }
)
"""The providers' words for a status that add nothing to the shared word."""
_PAGE: Final = re.compile(r"https://[a-z0-9][a-z0-9.-]*(:\d+)?(/[\w.~%/?#=&:+,-]*)?", re.ASCII)
"""Addresses that may be linked: without a user name or characters special to Markdown."""


def _files(ids: Sequence[str]) -> str:
    return listed([code(each, _LONGEST_ID) for each in ids], _MOST_FILES)


@cache
def _template() -> Template:
    """Compile the template on first use, because most commands write no note."""
    from jinja2 import Environment  # noqa: PLC0415 - slow to import, see above

    environment = Environment(  # noqa: S701 - Markdown, in which HTML's escapes would be visible
        trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"code": code, "cell": cell, "number": number, "files": _files}
    environment.globals["duration"] = duration
    source = files("bridge.plan.description").joinpath("note.md.jinja")
    return environment.from_string(source.read_text(encoding="utf-8"))


def note(
    provider: str,
    snapshot: Snapshot,
    *,
    started_at: int | None,
    best: str | None,
    lineage: Lineage,
    metric: Callable[[str], str] = str,
    measure: str = "",
    is_highest: bool = False,
) -> str:
    """Return the description of a job's run, at most 4,900 characters of Markdown.

    Args:
        provider: the provider's name in the configuration.
        snapshot: what the provider says.
        started_at: when training began, in Unix milliseconds.
        best: the model name of the best checkpoint.
        lineage: the runs that this one is linked with.
        metric: returns the run's name of a provider's metric.
        measure: the provider's name of the metric that decides the best checkpoint.
        is_highest: whether the best checkpoint has the highest value of it, or the lowest.
    """
    job, checkpoints = snapshot.job, snapshot.checkpoints
    perplexity = _perplexity(checkpoints)
    facts = {
        "provider": provider,
        "job": job,
        "adds_nothing": job.provider_status.casefold() in _SAYS_NO_MORE,
        "started_at": started_at,
        "advice": advice(job),
        "missing": snapshot.missing,
        "page": _linked(job.page),
        "wandb_run": _linked(job.wandb_run),
        "perplexity": metric(perplexity) if perplexity else "",
        "metric": metric,
        "best": best,
        "measure": metric(measure) if measure else "",
        "is_highest": is_highest,
        "count": len(checkpoints),
    }
    template = _template()
    for most in range(_MOST_ROWS, 0, -1):
        text = template.render(facts, table=table_of(checkpoints, best, most, measure)).rstrip("\n")
        if len(text) <= _LONGEST:
            return with_lineage(text, lineage)
    return with_lineage(template.render(facts, table=None).rstrip("\n"), lineage)


def _linked(page: str | None) -> str:
    """Return the address if it can be a link, else an empty text."""
    return page if page and len(page) <= _LONGEST_PAGE and _PAGE.fullmatch(page) else ""


def _perplexity(checkpoints: Sequence[Checkpoint]) -> str:
    """Return the accuracy above 1: Mistral's is 2 to the power of a loss."""
    names = {
        name
        for checkpoint in checkpoints
        for name, value in checkpoint.metrics.items()
        if "accuracy" in name and value > 1
    }
    return min(names, default="")
