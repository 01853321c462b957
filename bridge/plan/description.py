"""The description of a run: what became of its job, in markdown.

Whatever others wrote stands in code spans: nothing is markup there, and no reader of markdown makes
a link of it. The words around them are the bridge's own. There is no clock in it: an unchanged job
has an unchanged note.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import count
from typing import Final

from bridge.model import Checkpoint, Job, MissingPart, Snapshot
from bridge.text import one_line

_LONGEST: Final = 3800
"""Characters of a note without its lineage; with it there are never more than 4,500."""
# These keep all but the table far below that; the table takes what is left.
_LONGEST_WORD: Final = 60
_LONGEST_ID: Final = 64
_LONGEST_MODEL: Final = 150
_LONGEST_PAGE: Final = 300
_LONGEST_ERROR: Final = 700
_LONGEST_REASON: Final = 200
_MOST_MISSING: Final = 4
_MOST_FILES: Final = 3
_MOST_ROWS: Final = 6
_MOST_METRICS: Final = 3
"""Columns; one less beside the models' names, which are long."""
_MOST_CHILDREN: Final = 5
_MOST: Final = 10**15
"""A count or a time beyond this is nonsense, and perhaps thousands of digits long."""

_SAYS_NO_MORE: Final = frozenset(
    {
        *("created", "pending", "queued", "validating", "validating_files", "started", "running"),
        *("paused", "succeeded", "success", "completed", "failed", "error", "cancelled"),
    }
)
"""The providers' words for a status beside which they say no more than the shared word."""
_VALIDATION: Final = re.compile("valid|eval")
"""In the names of metrics that are measured in validation."""
_FIRST_METRICS: Final = ("loss", "reward", "accuracy")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

_PAGE: Final = re.compile(r"https://[a-z0-9][a-z0-9.-]*(:\d+)?(/[\w.~%/?#=&:+,-]*)?", re.ASCII)
"""The addresses that are linked: no user name, and nothing that means something in markdown."""
_RUN_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
_WITHIN_TAG: Final = re.compile(r"(?<=<)(?=[a-zA-Z/!?])|(?<=\\)(?=<)")
"""Where a tag, or an escaped one, can be parted."""
_LINEAGE: Final = re.compile(r" {2}\nFine-tuned (from|further in) \[run [^\n]*")
"""The line of a lineage. No text of others gets here: it has no line of its own."""

_REFUSED: Final = "correct what the message names, upload the file again and start a new job."
_LIMIT: Final = (
    "The job needs more than the account may use or spend: raise its quota, limit or credit, and"
    " start the job again."
)
_FAULT: Final = (
    "This is a fault of the provider's, not of the data: start the job again, and ask its support"
    " if that fails too."
)
_ADVICE: Final = {
    # OpenAI; Azure has some of them too. `invalid_..._file` is also said of moderated files.
    "invalid_training_file": f"The provider does not accept the training file: {_REFUSED}",
    "invalid_validation_file": f"The provider does not accept the validation file: {_REFUSED}",
    "invalid_file_format": f"An example in a file does not have the form it must have: {_REFUSED}",
    "invalid_n_examples": (
        "The number of examples in a file is out of bounds: upload one with as many as the message"
        " asks for and start a new job."
    ),
    "unsafe_file": (
        "The provider's moderation flagged too many examples: take out what breaks its usage"
        " policies, upload the file again and start a new job."
    ),
    "exceeded_quota": _LIMIT,
    "insufficient_quota": _LIMIT,
    "server_error": _FAULT,
    # Azure.
    "jsonlValidationFailed": f"A line of a file is not what it must be: {_REFUSED}",
    "fileImportFailed": "A file could not be imported: upload it again and start a new job.",
    "quotaExceeded": _LIMIT,
    "internalFailure": _FAULT,
    "serviceUnavailable": _FAULT,
    # Mistral, which has no codes: the word for the status.
    "FAILED_VALIDATION": (
        "The provider does not accept the job's files or settings: correct them and start a new"
        " job."
    ),
}
"""What the code of an error means and what to do, where that is known."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The runs before and after a run, by MLflow's ids: each trained the other's model further."""

    parent: str | None = None
    children: tuple[str, ...] = ()


def note(
    provider: str,
    snapshot: Snapshot,
    *,
    started_at: int | None,
    best: str | None,
    lineage: Lineage,
    metric: Callable[[str], str] = str,
) -> str:
    """The description of a job's run, at most 4,500 characters of markdown.

    Args:
        provider: the provider's name in the configuration.
        snapshot: what the provider says.
        started_at: when training began, in Unix milliseconds.
        best: the model name of the best checkpoint.
        lineage: the runs that this one is linked with.
        metric: what the run calls a metric of the provider's.
    """
    job = snapshot.job
    blocks = [
        _state(job, started_at),
        *_failure(job),
        *_missing(snapshot.missing),
        _facts(provider, job),
    ]
    blocks += _misnamed(snapshot.checkpoints, metric)
    room = _LONGEST - len("\n\n".join([*blocks, ""]))
    blocks += filter(None, [_table(snapshot.checkpoints, best, room, metric)])
    return with_lineage("\n\n".join(blocks), lineage)


def with_lineage(text: str, lineage: Lineage) -> str:
    """The note ``text`` with another lineage, and otherwise as it is."""
    # Stands at the top: MLflow folds a note, and a fold's lower half takes no clicks.
    state, gap, rest = _LINEAGE.sub("", text).partition("\n\n")
    sentences = " ".join(_lineage(lineage))
    return state + (f"  \n{sentences}" if sentences else "") + gap + rest


def _lineage(lineage: Lineage) -> Iterator[str]:
    parents = _run_links([lineage.parent] if lineage.parent else [])
    children = _run_links(lineage.children)
    if parents:
        yield f"Fine-tuned from {parents}."
    if children:
        yield f"Fine-tuned further in {children}."


def _run_links(run_ids: Sequence[str]) -> str:
    known = [run_id for run_id in run_ids if _RUN_ID.fullmatch(run_id)]
    links = [f"[run {_code(run_id[:8])}]({_run_address(run_id)})" for run_id in known]
    return _listed(links, _MOST_CHILDREN)


def _run_address(run_id: str) -> str:
    """Where MLflow shows a run, from any page of it."""
    return f"#/runs/{run_id}"


def _state(job: Job, started_at: int | None) -> str:
    """One line: how it stands, how long it took, what it cost."""
    is_known = job.provider_status.casefold() in _SAYS_NO_MORE
    word = "" if is_known else _code(job.provider_status, _LONGEST_WORD)
    queued = _duration(job.created_at, started_at)
    trained = _duration(started_at, job.finished_at)
    total = "" if queued or trained else _duration(job.created_at, job.finished_at)
    tokens = _count(job.trained_tokens)
    cost = _code(job.cost, _LONGEST_WORD)
    parts = [
        f"**{job.status.capitalize()}**" + (f" ({word})" if word else ""),
        queued and f"queued for {queued}",
        trained and f"trained for {trained}",
        total and f"took {total}",
        tokens and f"{tokens} trained tokens",
        cost and f"cost {cost}",
    ]
    return " · ".join(filter(None, parts))


def _failure(job: Job) -> Iterator[str]:
    """The error as a quotation, and what it means where that is known."""
    error = _code(job.error, _LONGEST_ERROR)
    if error:
        yield f"> {error}"
    code = (job.error or "").partition(":")[0].strip()
    advice = _ADVICE.get(code) or _ADVICE.get(job.provider_status)
    if advice:
        yield advice


def _missing(parts: Sequence[MissingPart]) -> Iterator[str]:
    """What could not be read, and why."""
    for part in parts[:_MOST_MISSING]:
        yield f"Not recorded: {part.name} ({_code(part.reason, _LONGEST_REASON)})."


def _facts(provider: str, job: Job) -> str:
    names = [_code(job.id, _LONGEST_ID), _code(provider, _LONGEST_ID)]
    page = job.page or ""
    is_linked = len(page) <= _LONGEST_PAGE and _PAGE.fullmatch(page)
    link = f" ([open it there]({page}))" if is_linked else ""
    facts = {
        "Fine-tuned model": _code(job.fine_tuned_model),
        "Base model": _code(job.base_model),
        "Job": " at ".join(filter(None, names)) + link,
        "Training data": _files(job.training_files),
        "Validation data": _files(job.validation_files),
    }
    return "\n".join(f"- {label}: {value}" for label, value in facts.items() if value)


def _files(ids: Sequence[str]) -> str:
    spans = [_code(identifier, _LONGEST_ID) for identifier in ids]
    return _listed([span for span in spans if span], _MOST_FILES)


def _table(
    checkpoints: Sequence[Checkpoint], best: str | None, room: int, metric: Callable[[str], str]
) -> str:
    """The checkpoints that can be called, else the steps that were validated; few of them."""
    named = [row for row in checkpoints if row.model]
    validated = [row for row in checkpoints if any(map(_VALIDATION.search, row.metrics))]
    if named or not validated:
        rows, which = named or checkpoints, "the newest"
    else:
        rows, which = validated, "the newest with validation"
    for most in range(_MOST_ROWS, 0, -1):
        newest = rows[-most:]
        older = [row for row in rows[:-most] if best and row.model == best][-1:]
        shown = [*older, *newest[len(older) :]]
        blocks = [_drawn(shown, best, metric)]
        if blocks[0] and len(shown) < len(checkpoints):
            only = f"{which} and the best" if older else which
            blocks.append(f"Rows shown: {len(shown)} of {_count(len(checkpoints))}, {only}.")
        text = "\n\n".join(blocks)
        if len(text) <= room:
            return text
    return ""


def _misnamed(checkpoints: Sequence[Checkpoint], metric: Callable[[str], str]) -> Iterator[str]:
    """Yield what an accuracy is that no accuracy can be: Mistral's is 2 to the power of a loss."""
    names = {
        name
        for checkpoint in checkpoints
        for name, value in checkpoint.metrics.items()
        if "accuracy" in name and value > 1
    }
    for name in sorted(names)[:1]:
        yield (
            f"{_code(metric(name))} is above 1: the provider calls it an accuracy, but it is a"
            " perplexity (2 to the power of the validation loss). Lower is better."
        )


def _drawn(rows: Sequence[Checkpoint], best: str | None, metric: Callable[[str], str]) -> str:
    """A table, if there is more to show than steps."""
    names = {name for row in rows for name in row.metrics if _cell(name)}
    has_models = any(row.model for row in rows)
    metrics = sorted(names, key=_rank)[: _MOST_METRICS - has_models]
    if not (metrics or has_models):
        return ""
    # MLflow draws tables without any space between their columns.
    headings = [
        f"{heading}&emsp;" for heading in ("step", *(_cell(metric(name)) for name in metrics))
    ]
    headings += ["checkpoint"] if has_models else []
    lines = [headings, ["---" for _ in headings]]
    for row in rows:
        values = [f"{row.metrics[name]:.4g}" if name in row.metrics else "" for name in metrics]
        mark = "**best** " if row.model == best else ""
        model = [mark + _cell(row.model)] if has_models else []
        lines.append([_count(row.step), *values, *model])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rank(name: str) -> tuple[int, bool, str]:
    """What says most of a training first: losses, and of them those in validation."""
    places = [place for place, word in enumerate(_FIRST_METRICS) if word in name]
    return min(places, default=len(_FIRST_METRICS)), _VALIDATION.search(name) is None, name


def _code(text: str | None, limit: int = _LONGEST_MODEL) -> str:
    """``text`` on one line as a code span; empty if nothing of it can be seen."""
    shown = one_line(text or "", limit).strip()
    if not shown:
        return ""
    # MLflow's reader of markdown looks for tags before it looks for code.
    shown = _WITHIN_TAG.sub("\N{ZERO WIDTH SPACE}", shown)
    inside = {len(run) for run in re.findall("`+", shown)}
    fence = "`" * next(length for length in count(1) if length not in inside)
    pad = " " if "`" in {shown[0], shown[-1]} else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _cell(text: str | None) -> str:
    """``text`` as a code span in a table."""
    # A bar ends a cell even in code, and readers disagree on how one is escaped.
    return _code((text or "").replace("|", "\N{BROKEN BAR}"))


def _listed(parts: Sequence[str], most: int) -> str:
    """The first parts, and how many there are beyond ``most``."""
    more = f" and {_count(len(parts) - most)} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def counted(things: Sized, what: str) -> str:
    """How many there are, as in ``1 tag`` and ``3 tags``; empty where there are none."""
    number = len(things)
    return f"{number:,} {what}{'s' if number > 1 else ''}" if number else ""


def _count(number: int | None) -> str:
    return f"{number:,}" if number is not None and 0 <= number < _MOST else ""


def _duration(start: int | None, end: int | None) -> str:
    """The time between two moments in its two largest units; empty if it is not known."""
    if start is None or end is None or not 0 <= end - start < _MOST:
        return ""
    rest = (end - start) // 1000
    parts: list[str] = []
    for seconds, unit in _UNITS:
        number, rest = divmod(rest, seconds)
        if number or parts:
            parts.append(f"{number} {unit}" if number else "")
    return " ".join(filter(None, parts[:2])) or "less than 1 s"
