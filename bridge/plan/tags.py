"""The tags of a run. Pure.

The names are plain, so that MLflow's searches need no quoting. A tag is absent while its value is
unknown. Once written it is never removed, except the tags of missing parts.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bridge.credential_forms import masked
from bridge.model import Job, JobStatus, Snapshot
from bridge.plan.description.lineage import Lineage, names_in
from bridge.plan.description.note import note
from bridge.plan.metric_names import MetricNames
from bridge.plan.models import best_checkpoint, best_model
from bridge.text import clean

PROVIDER: Final = "fine_tuning_provider"
JOB: Final = "fine_tuning_job_id"
STATUS: Final = "fine_tuning_status"
STATE: Final = "fine_tuning_state"
"""Status in a word that all providers share; older runs lack this tag."""
MODEL: Final = "fine_tuned_model"
BASE_MODEL: Final = "base_model"
ERROR: Final = "fine_tuning_error"
CHECKPOINT: Final = "fine_tuned_model_checkpoint"
BEST_CHECKPOINT: Final = "fine_tuned_model_best_checkpoint"
MADE_MODELS: Final = (MODEL, CHECKPOINT, BEST_CHECKPOINT)
"""Tags with models from which other jobs may start."""
TOTAL_STEPS: Final = "fine_tuning_total_steps"
PAGE: Final = "fine_tuning_page"
"""Address of the job's page at the provider."""
COST: Final = "fine_tuning_cost"
WANDB_RUN: Final = "fine_tuning_wandb_run"
"""Address of the job's run at Weights & Biases."""
EVALUATION: Final = "fine_tuning_evaluation"
"""The provider's names of the job's graders or evaluations."""
INCOMPLETE: Final = "fine_tuning_incomplete"
"""Parts of the job that could not be read."""
INCOMPLETE_SINCE: Final = "mlflow.ftbridge.incompleteSince"
"""Time of the first failure of a part that is still read again."""
STARTED: Final = "fine_tuning_started_at"
SHUTDOWN: Final = "fine_tuned_model_shutdown"
"""Day on which the provider shuts down the model."""
METRIC_NAMES: Final = "fine_tuning_metric_names"
"""Label of the names under which the run's metrics are logged."""
FROM_RUN: Final = "fine_tuned_from_run"
INTO_RUNS: Final = "fine_tuned_into_runs"

BRIDGE: Final = "fine_tuning_bridge"
"""The bridge's role in a run."""
OWNED: Final = "ftbridge"
"""The bridge created the run; it deletes no others."""
ADOPTED: Final = "adopted"
"""The bridge continues a user's run, whose status does not show whether it is complete."""
COMPLETED: Final = "adopted, complete"

CLAIM: Final = "fine_tuning_job"
"""Param of a user's run with the job that continues it; unlike a tag, a param never changes."""

NOTE: Final = "mlflow.note.content"
NOTE_DIGEST: Final = "mlflow.ftbridge.noteDigest"
"""Tag that distinguishes the bridge's note from one that a user has edited."""
_FORMER: Final[Mapping[str, str]] = {
    NOTE_DIGEST: "fine_tuning_note",
    INCOMPLETE_SINCE: "fine_tuning_incomplete_since",
}
"""Names in runs of version 0.1, which keep them. MLflow's UI hides tags that begin with mlflow."""
GAPS: Final = (INCOMPLETE, INCOMPLETE_SINCE, _FORMER[INCOMPLETE_SINCE])
"""Tags that are removed once they are no longer true."""
NOTES: Final = frozenset({NOTE, NOTE_DIGEST, _FORMER[NOTE_DIGEST]})
PARENT: Final = "mlflow.parentRunId"

_PLAIN: Final = frozenset({BASE_MODEL, MODEL, "trained_tokens"})
"""Tags that a user's run keeps if it has them; those of a job do not change once known."""
_LONGEST: Final = 5000
"""Longest value of a tag in characters; MLflow silently cuts longer ones."""
_LONGEST_ERROR: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Belonging:
    """The owner of a run."""

    is_new: bool
    """Whether the run is about to be created."""
    is_adopted: bool
    """Whether a user created the run."""
    parent_run_id: str | None = None


def job_tags(
    provider: str,
    snapshot: Snapshot,
    metric_names: MetricNames,
    known: Mapping[str, str],
    belonging: Belonging,
) -> dict[str, str]:
    """Return the tags to set on a run, without those that it has already.

    Args:
        provider: the provider's name in the configuration.
        snapshot: the provider's data.
        metric_names: the names of metrics in MLflow.
        known: the run's tags.
        belonging: the owner of the run.
    """
    wanted = _wanted(provider, snapshot, metric_names, known, belonging)
    best = best_checkpoint(snapshot, metric_names)
    text = note(
        provider,
        snapshot,
        started_at=_started_at(snapshot, known),
        best=wanted.get(BEST_CHECKPOINT),
        lineage=lineage_of(known),
        metric=metric_names.metric,
        measure=best.metric if best else "",
        is_highest=best is not None and best.is_highest,
    )
    wanted |= note_tags(text, known)
    return {name: value for name, value in wanted.items() if known.get(name) != value}


def _wanted(
    provider: str,
    snapshot: Snapshot,
    metric_names: MetricNames,
    known: Mapping[str, str],
    belonging: Belonging,
) -> dict[str, str]:
    wanted = {
        name: text
        for name, value in _facts(provider, snapshot, metric_names)
        if value is not None and (text := clean(str(value), _LONGEST))
    }
    # A run under old names is still to be renamed; and a later pass may see only the resumption of
    # a paused job, not its start.
    for name in {METRIC_NAMES, STARTED} & known.keys():
        wanted.pop(name, None)
    # An older run without a state does not get one.
    if STATE in known or PROVIDER not in known:
        status = snapshot.job.status
        wanted[STATE] = str(JobStatus.RUNNING if status is JobStatus.UNKNOWN else status)
        wanted |= _shown(snapshot.job)
    if belonging.is_new:
        wanted |= dict(_origin(provider, snapshot, belonging.parent_run_id))
    if belonging.is_adopted:
        wanted = {name: wanted[name] for name in wanted if not (name in _PLAIN and name in known)}
        wanted[BRIDGE] = known.get(BRIDGE, ADOPTED)
    return wanted


def note_tags(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """Return ``text`` as a run's note; nothing if a user has edited or removed the note."""
    current, name = known.get(NOTE), name_in(known, NOTE_DIGEST)
    is_ours = name not in known if current is None else known.get(name) == _digest(current)
    return {NOTE: text, name: _digest(text)} if is_ours else {}


def name_in(known: Mapping[str, str], name: str) -> str:
    """Return the name of a tag in a run with the tags ``known``: its former name or ``name``."""
    former = _FORMER[name]
    return former if former in known else name


def lineage_of(known: Mapping[str, str], names: Mapping[str, str] | None = None) -> Lineage:
    """Return the runs to which a run's tags link it, with their names if known.

    Args:
        known: the run's tags. Its note contains the names known when it was written.
        names: names of runs by their ids.
    """
    children = tuple(filter(None, known.get(INTO_RUNS, "").split(",")))
    return Lineage(known.get(FROM_RUN), children, names_in(known.get(NOTE, "")) | dict(names or {}))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _facts(
    provider: str, snapshot: Snapshot, metric_names: MetricNames
) -> Iterator[tuple[str, str | int | None]]:
    job = snapshot.job
    newest = snapshot.newest_checkpoint
    yield PROVIDER, provider
    yield JOB, job.id
    yield STATUS, job.provider_status
    yield BASE_MODEL, job.base_model
    yield MODEL, job.fine_tuned_model
    yield CHECKPOINT, newest.model if newest else None
    yield BEST_CHECKPOINT, best_model(snapshot, metric_names)
    yield "trained_tokens", job.trained_tokens
    yield STARTED, moment(job.started_at)
    yield SHUTDOWN, day(job.model_shutdown)
    yield ERROR, clean(masked(job.error), _LONGEST_ERROR) if job.error else None
    yield METRIC_NAMES, metric_names.label


def _shown(job: Job) -> dict[str, str]:
    """Return the facts about a job, in addition to its metrics, that a list shows."""
    facts = {
        TOTAL_STEPS: job.total_steps and str(job.total_steps),
        PAGE: job.page,
        COST: job.cost,
        WANDB_RUN: job.wandb_run,
        EVALUATION: job.evaluation,
    }
    return {name: text for name, fact in facts.items() if (text := clean(fact or "", _LONGEST))}


def _origin(
    provider: str, snapshot: Snapshot, parent_run_id: str | None
) -> Iterator[tuple[str, str]]:
    """Yield the tags that only a run's creator writes."""
    yield BRIDGE, OWNED
    yield "mlflow.user", OWNED
    yield "mlflow.runColor", color_of(provider, snapshot.job.id)
    yield "mlflow.source.type", "JOB"
    yield "mlflow.source.name", clean(f"{provider} {snapshot.job.id}", _LONGEST)
    if parent_run_id:
        yield PARENT, parent_run_id


def day(time: int | None) -> str | None:
    """Return the ISO 8601 date of Unix milliseconds."""
    written = moment(time)
    return written and written.split("T")[0]


def moment(time: int | None, timespec: str = "seconds") -> str | None:
    """Return Unix milliseconds as ISO 8601; ``None`` for an invalid time."""
    if time is None:
        return None
    try:
        return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec=timespec)
    except (OverflowError, ValueError, OSError):
        return None


def _started_at(snapshot: Snapshot, known: Mapping[str, str]) -> int | None:
    """Return the recorded start of training, because later passes may not read that far back."""
    written = known.get(STARTED) or moment(snapshot.job.started_at)
    if written is None:
        return None
    try:
        return int(datetime.fromisoformat(written).timestamp() * 1000)
    except ValueError:
        return None


_HUES: Final[Mapping[str, int]] = {
    "openai": 158,
    "azure": 210,
    "mistral": 22,
    "together": 262,
    "fireworks": 330,
    "nebius": 72,
    "bedrock": 42,
    "bedrock-mantle": 190,
    "vertex": 232,
    "prime": 0,
}
"""Hues in degrees on the color wheel; other providers get a hue derived from their name."""
_SPREAD: Final = 18
"""Variation of the hue in degrees to either side."""
_LIGHTNESS: Final = (0.36, 0.60)
"""Curves have to be visible on white and on black."""
_SATURATION: Final = (0.50, 0.90)


def color_of(provider: str, job_id: str) -> str:
    """Return the color of a job's run, such as ``#1a9c62``, which is always the same."""
    own = hashlib.sha256(f"{provider} {job_id}".encode()).digest()
    hue = _HUES.get(provider, hashlib.sha256(provider.encode()).digest()[0] * 360 // 256)
    red, green, blue = colorsys.hls_to_rgb(
        (hue + _between((-_SPREAD, _SPREAD), own[0])) % 360 / 360,
        _between(_LIGHTNESS, own[1]),
        _between(_SATURATION, own[2]),
    )
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _between(bounds: tuple[float, float], byte: int) -> float:
    low, high = bounds
    return low + (high - low) * byte / 255
