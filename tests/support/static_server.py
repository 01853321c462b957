"""A provider that shares no code with the bridge or its simulator, and the expected runs.

The jobs are plain dictionaries, finished and unfinished, served over real HTTP with the paging of
the real providers. The expectations follow from the same dictionaries by the few rules that the
documentation promises.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support import config_file
from tests.support.http_server import serving
from tests.support.recorded import RunRows

Json = dict[str, Any]
Point = tuple[str, int]
"""Metric name and step."""

BORN = 1_750_000_000
"""Creation of the oldest job in Unix seconds."""
DROPPED = object()
"""Marks a value whose key is left out."""


@dataclass(slots=True)
class Case:
    """A job with all its parts and its whole curve."""

    provider: str
    job: Json
    checkpoints: list[Json] = field(default_factory=list)
    """Events in the provider's order: newest first."""
    events: list[Json] = field(default_factory=list)
    """Checkpoints in the provider's order."""
    files: dict[str, bytes] = field(default_factory=dict)
    curve: dict[Point, float] = field(default_factory=dict)
    """Every value that the provider's replies contain, unrounded."""

    @property
    def id(self) -> str:
        """Return the job's id."""
        return str(self.job["id"])


# The jobs


def _loss(number: int, step: int) -> float:
    return 0.3 + 2.0 * 0.985**step + ((number * 31 + step * 17) % 97) / 1009


def _values(number: int, step: int, *, validated: bool, whole: bool) -> dict[str, float]:
    """Return the metrics of one step, under OpenAI's names."""
    loss = _loss(number, step)
    values = {"train_loss": loss, "train_mean_token_accuracy": math.exp(-loss)}
    if validated:
        values |= {"valid_loss": loss + 0.1, "valid_mean_token_accuracy": math.exp(-loss - 0.1)}
    if whole:
        values |= {
            "full_valid_loss": loss + 0.07,
            "full_valid_mean_token_accuracy": math.exp(-loss - 0.07),
        }
    return values


def openai_case(
    number: int,
    status: str,
    *,
    steps: int = 0,
    done: int | None = None,
    epochs: int = 3,
    result: str | None = None,
    validation: bool = True,
    seconds_per_step: float = 1.0,
    checkpoints: bool = True,
    **changes: object,
) -> Case:
    """Return an OpenAI job that has completed ``done`` of its ``steps``."""
    done = steps if done is None else done
    job_id = str(changes.get("id") or f"ftjob-{number:04d}abcdefghijklmnopqrst")
    created = BORN + (100 - number) * 5000
    started = created + 60
    ended = status in {"succeeded", "failed", "cancelled"}
    finished = started + math.ceil(done * seconds_per_step) + 20
    ends = {math.ceil(steps * n / epochs) for n in range(1, epochs + 1)}
    case = Case("openai", {})
    events = [_event(job_id, 0, created, "Created fine-tuning job")]
    for step in range(1, done + 1):
        values = _values(
            number,
            step,
            validated=validation and step % 10 == 0,
            whole=validation and step in ends,
        )
        case.curve |= {(name, step): value for name, value in values.items()}
        at = started + int(step * seconds_per_step)
        message = f"Step {step}/{steps}: training loss={values['train_loss']:.2f}"
        data = {"step": step, "total_steps": steps, **values}
        events.append(_event(job_id, step, at, message, data))
    if status == "succeeded" and done:
        for step in sorted(ends)[-3:] if checkpoints else ():
            case.checkpoints.insert(0, _checkpoint(case, number, step, steps, seconds_per_step))
            at = finished - 1
            events.append(_event(job_id, 10_000 + step, at, f"Checkpoint created at step {step}"))
        events.append(_event(job_id, 20_000, finished, "The job has successfully completed"))
    case.events = events[::-1]
    if result:
        table = _table(case.curve, done)
        case.files[f"file-result{number}"] = (
            base64.b64encode(table) if result == "base64" else table
        )
    resolved = {"n_epochs": epochs, "batch_size": 4, "learning_rate_multiplier": 1.8}
    waiting = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    job: Json = {
        "object": "fine_tuning.job",
        "id": job_id,
        "model": "gpt-4.1-mini-2025-04-14",
        "created_at": created,
        "finished_at": finished if status == "succeeded" else None,
        "fine_tuned_model": _model(number) if status == "succeeded" else None,
        "organization_id": "org-123",
        "result_files": list(case.files),
        "status": status,
        "validation_file": "file-valid" if validation else None,
        "training_file": "file-train",
        "hyperparameters": resolved if done or ended else waiting,
        "trained_tokens": 1000 * done if ended else None,
        "error": {"code": None, "message": None, "param": None},
        "user_provided_suffix": f"suffix-{number}",
        "seed": 1000 + number,
        "estimated_finish": None,
        "integrations": [],
        "metadata": None,
        "method": {"type": "supervised", "supervised": {"hyperparameters": resolved}},
        "something_new": {"nested": [1, 2, {"deep": True}]},
    }
    if not (done or ended):
        job["method"]["supervised"]["hyperparameters"] = waiting
    job |= changes
    case.job = {key: value for key, value in job.items() if value is not DROPPED}
    return case


def _event(job_id: str, serial: int, at: int, message: str, data: Json | None = None) -> Json:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{zlib.crc32(job_id.encode('utf-8', 'surrogatepass')):08x}-{serial}",
        "created_at": at,
        "level": "info",
        "message": message,
        "type": "metrics" if data else "message",
        "data": data if data or serial % 2 else {},
    }


def _model(number: int) -> str:
    return f"ft:gpt-4.1-mini-2025-04-14:acme:suffix-{number}:Final{number}"


def _checkpoint(case: Case, number: int, step: int, steps: int, seconds_per_step: float) -> Json:
    """Return a checkpoint, saved a second after its event; the last one has the job's model."""
    name = f"ft:gpt-4.1-mini-2025-04-14:acme:suffix-{number}:Mid{number}{step}:ckpt-step-{step}"
    job_id = f"ftjob-{number:04d}abcdefghijklmnopqrst"
    values = {name: value for (name, at), value in case.curve.items() if at == step}
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt_{number}_{step}",
        "created_at": BORN + (100 - number) * 5000 + 60 + int(step * seconds_per_step) + 1,
        "fine_tuned_model_checkpoint": _model(number) if step == steps else name,
        "fine_tuning_job_id": job_id,
        "metrics": {"step": float(step), **values},
        "step_number": step,
    }


def _table(curve: Mapping[Point, float], steps: int) -> bytes:
    """Return the result file: one rounded row per step, other column names, empty cells."""
    columns = ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
    lines = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
    for step in range(1, steps + 1):
        cells = (curve.get((name, step)) for name in columns)
        lines.append(
            ",".join([str(step), *("" if cell is None else f"{cell:.5f}" for cell in cells)])
        )
    return "\n".join(lines).encode() + b"\n"


_ALL_BUT_THE_CORE = (
    "model",
    "finished_at",
    "fine_tuned_model",
    "organization_id",
    "result_files",
    "validation_file",
    "training_file",
    "hyperparameters",
    "trained_tokens",
    "error",
    "seed",
    "estimated_finish",
    "integrations",
    "metadata",
    "method",
)


def openai_cases() -> list[Case]:
    """Return 45 jobs, newest first: every status, and every oddity seen or possible."""
    nulls = {"code": None, "message": None, "param": None}
    broken = {
        "code": "invalid_training_file",
        "message": "The job failed due to an invalid training file. Line 3 is no JSON.",
        "param": "training_file",
    }
    bare: Json = dict.fromkeys(_ALL_BUT_THE_CORE, DROPPED)
    cases = [
        openai_case(1, "validating_files"),
        openai_case(2, "queued"),
        openai_case(3, "running", steps=120, done=35),
        openai_case(4, "running", steps=400, done=260, seconds_per_step=0.25),
        openai_case(5, "paused", steps=90, done=40),
        openai_case(6, "pausing", steps=90, done=12),
        openai_case(7, "warming_up", steps=90, done=3),
        openai_case(8, "paused", **bare),
        openai_case(9, "created", hyperparameters=None),
        openai_case(10, "pending", error=None),
        openai_case(11, "failed", error=broken),
        openai_case(12, "failed", steps=60, done=23, error=broken | {"param": None}),
        openai_case(13, "failed", error={"message": "Moderation refused the training data."}),
        openai_case(14, "cancelled", error=nulls),
        openai_case(15, "cancelled", steps=150, done=77),
        openai_case(16, "cancelled", steps=300, done=140, trained_tokens=None),
        openai_case(17, "succeeded", steps=60, result="base64"),
        openai_case(18, "succeeded", steps=60, result="plain", error=None),
        openai_case(19, "succeeded", steps=240, result="base64"),
        openai_case(20, "succeeded", steps=240, result="plain"),
        openai_case(21, "succeeded", steps=333, result="base64", seconds_per_step=0.5),
        openai_case(22, "succeeded", steps=250),
        openai_case(23, "succeeded", steps=101),
        openai_case(24, "succeeded", steps=100),
        openai_case(25, "succeeded", steps=99),
        openai_case(26, "succeeded", steps=12, validation=False),
        openai_case(27, "succeeded", steps=120, validation=False, result="base64"),
        openai_case(28, "succeeded", steps=3, user_provided_suffix=None),
        openai_case(29, "succeeded", steps=3, user_provided_suffix=DROPPED, suffix="azure-style"),
        openai_case(30, "succeeded", steps=1, epochs=1, user_provided_suffix=""),
        openai_case(31, "succeeded", steps=30, method=DROPPED, seed=DROPPED),
        openai_case(32, "succeeded", steps=30, hyperparameters=None),
        openai_case(33, "succeeded", steps=30, method={"type": "dpo"}),
        openai_case(34, "succeeded", steps=30, id="ftjob-it's/odd ?&#%20+'name"),
        openai_case(35, "succeeded", steps=30, id="ftjob-\"both'quotes"),
        openai_case(36, "succeeded", steps=30, id="ft-Zażółć-日本"),
        openai_case(37, "succeeded", steps=30, id="ftjob-" + "x" * 200),
        openai_case(38, "succeeded", steps=30, id="ft-AAAA"),
        openai_case(39, "succeeded", steps=30, id="ft-aaaa"),
        openai_case(40, "succeeded", steps=30, id="..", user_provided_suffix="naïve 'quoted' 試"),
        openai_case(41, "succeeded", steps=30, result_files=["file-that-is-gone"]),
        openai_case(42, "succeeded", steps=30),
        openai_case(43, "succeeded", steps=30, trained_tokens=None, metadata={"team": "a"}),
        openai_case(44, "succeeded", steps=30, model=None, seed=None),
        openai_case(45, "queued", seed=0, created_at=BORN + 0.5),
    ]
    _make_metrics_odd(cases[41])
    return cases


def _make_metrics_odd(case: Case) -> None:
    """Add metrics of other kinds and non-numbers to a checkpoint; events lack them."""
    case.checkpoints[0]["metrics"] |= {
        "reward/mean": 0.5,
        "an integer": 7,
        "zero": 0.0,
        "a null": None,
        "a text": "0.5",
        "a flag": True,
        "not a number": math.nan,
        "endless": math.inf,
    }
    step = case.checkpoints[0]["step_number"]
    case.curve |= {("reward/mean", step): 0.5, ("an integer", step): 7.0, ("zero", step): 0.0}


def mistral_case(
    number: int,
    status: str,
    *,
    steps: int = 0,
    eval_every: int = 10,
    old_order: bool = False,
    **changes: object,
) -> Case:
    """Return a Mistral job: one row per step, most with zeros where nothing was validated."""
    created = BORN + (100 - number) * 7000 + 3
    ended = status in {"SUCCESS", "FAILED", "FAILED_VALIDATION", "CANCELLED"}
    case = Case("mistral", {})
    for step in range(1, steps + 1):
        loss = round(_loss(number, step), 6)
        metrics: Json = {
            "train_loss": loss,
            "valid_loss": 0.0,
            "valid_mean_token_accuracy": 0.0,
        }
        case.curve["train_loss", step] = loss
        if step % eval_every == 0:
            metrics["valid_loss"] = round(loss + 0.2, 6)
            metrics["valid_mean_token_accuracy"] = round(2 ** (loss + 0.2), 6)
            for name in ("valid_loss", "valid_mean_token_accuracy"):
                case.curve[name, step] = metrics[name]
        elif step % 3 == 0:
            metrics["valid_loss"] = metrics["valid_mean_token_accuracy"] = None
        row = {"metrics": metrics, "step_number": step, "created_at": created + 30 + step // 2}
        case.checkpoints.insert(0, row)
    reported = ["QUEUED", "VALIDATING"]
    reported += [] if status in reported else (["VALIDATED", "RUNNING"] if steps else []) + [status]
    case.events = [
        {
            "name": "status-updated",
            "data": {"status": word},
            "created_at": created + (5 * place if word != status else 100 + steps),
        }
        for place, word in enumerate(reported)
    ]
    if old_order:
        case.events.reverse()
    job: Json = {
        "id": f"{number:08d}-aaaa-4bbb-8ccc-0123456789ab",
        "auto_start": True,
        "model": "open-mistral-7b",
        "status": status,
        "created_at": created,
        "modified_at": created + 100 + steps,
        "training_files": ["1b2c"],
        "validation_files": ["3d4e"],
        "object": "job",
        "job_type": "completion",
        "fine_tuned_model": f"ft:open-mistral-7b:acme:{number}" if status == "SUCCESS" else None,
        "suffix": f"mistral-{number}",
        "integrations": [],
        "trained_tokens": 500 * steps if ended and steps else None,
        "metadata": {"expected_duration_seconds": 20, "cost": 0.1},
        "hyperparameters": {
            "training_steps": steps or None,
            "learning_rate": 1e-4,
            "weight_decay": None,
            "warmup_fraction": 0.05,
            "epochs": None,
            "fim_ratio": None,
        },
        "repositories": [],
    }
    job |= changes
    case.job = {key: value for key, value in job.items() if value is not DROPPED}
    return case


def mistral_cases() -> list[Case]:
    """Return 12 jobs, newest first: every status of the last published document, and one more."""
    return [
        mistral_case(1, "QUEUED"),
        mistral_case(2, "VALIDATING", hyperparameters=DROPPED),
        mistral_case(3, "VALIDATED", auto_start=False),
        mistral_case(4, "STARTED"),
        mistral_case(5, "RUNNING", steps=27),
        mistral_case(6, "CANCELLATION_REQUESTED", steps=9),
        mistral_case(7, "REHEATING", steps=4),
        mistral_case(8, "SUCCESS", steps=69, old_order=True),
        mistral_case(9, "SUCCESS", steps=100, job_type="classifier", suffix=None),
        mistral_case(10, "FAILED", steps=11, eval_every=100),
        mistral_case(11, "FAILED_VALIDATION", validation_files=None),
        mistral_case(12, "CANCELLED", steps=33, old_order=True, job_type="FT"),
    ]


# The expected content of MLflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A run; ``None`` stands for a value that the provider leaves open."""

    name: str
    status: str
    start: int | None
    end: int | None
    has_ended: bool
    tags: Mapping[str, str]
    error: str | None
    params: Mapping[str, str]
    exact: Mapping[Point, tuple[float, int]]
    """Values and Unix milliseconds of the checkpoints' metrics."""
    curve: Mapping[Point, float]
    """All points, including those of the checkpoints."""


_STATUS = {
    "validating_files": "SCHEDULED",
    "queued": "SCHEDULED",
    "created": "SCHEDULED",
    "pending": "SCHEDULED",
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
    "QUEUED": "SCHEDULED",
    "VALIDATING": "SCHEDULED",
    "VALIDATED": "SCHEDULED",
    "SUCCESS": "FINISHED",
    "FAILED": "FAILED",
    "FAILED_VALIDATION": "FAILED",
    "CANCELLED": "KILLED",
}
"""Statuses by word; all other words mean that the job is running."""


def expected(cases: Iterable[Case]) -> dict[str, Expected]:
    """Return the expected runs after a copy of all ``cases``, by job id."""
    return {case.id: _expected(case) for case in cases}


def _expected(case: Case) -> Expected:
    job = case.job
    status = _STATUS.get(job["status"], "RUNNING")
    end = job.get("finished_at")
    if case.provider == "mistral" and status in {"FINISHED", "FAILED", "KILLED"}:
        end = max(event["created_at"] for event in case.events)
    newest = case.checkpoints[0] if case.checkpoints else {}
    error = (job.get("error") or {}).get("message")
    if job["status"] == "FAILED_VALIDATION":
        error = "validation failed"  # the status is all that the provider says
    reported = {
        "fine_tuning_provider": case.provider,
        "fine_tuning_job_id": case.id,
        "fine_tuning_status": job["status"],
        "base_model": job.get("model"),
        "fine_tuned_model": job.get("fine_tuned_model") if status == "FINISHED" else None,
        "fine_tuned_model_checkpoint": newest.get("fine_tuned_model_checkpoint"),
        "trained_tokens": job.get("trained_tokens"),
    }
    params = dict(job.get("hyperparameters") or {})
    method = job.get("method") or {}
    if case.provider == "openai":
        params |= (method.get(method.get("type")) or {}).get("hyperparameters") or {}
        params |= {"seed": job.get("seed"), "method": method.get("type")}
    exact = {
        (name, row["step_number"]): (float(value), row["created_at"] * 1000)
        for row in case.checkpoints
        for name, value in row["metrics"].items()
        if (name, row["step_number"]) in case.curve
    }
    suffix = job.get("user_provided_suffix") or job.get("suffix")
    return Expected(
        name=f"{case.provider}/{suffix}-{case.id[-6:].lstrip('-_')}"
        if suffix
        else f"{case.provider}/{case.id}",
        status=status,
        start=int(job["created_at"] * 1000) if "created_at" in job else None,
        end=end * 1000 if end is not None else None,
        has_ended=status in {"FINISHED", "FAILED", "KILLED"},
        tags={name: str(value) for name, value in reported.items() if value is not None},
        error=error,
        params={k: _param(v) for k, v in params.items() if v is not None and v != "auto"},
        exact=exact,
        curve=case.curve,
    )


def _param(value: object) -> str:
    """Return a param's value: 3 and 3.0 count as equal."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(value).removesuffix(".0") if is_whole else str(value)


_OTHER_TAGS = {
    "fine_tuning_incomplete",
    "fine_tuning_bridge",
    "fine_tuning_metric_names",
    "fine_tuning_started_at",
    "fine_tuned_model_best_checkpoint",
    *("fine_tuning_state", "fine_tuning_total_steps", "fine_tuning_page", "fine_tuning_cost"),
    *("fine_tuning_wandb_run", "fine_tuning_evaluation"),
}
"""Tags that other tests check."""


def differences(wanted: Mapping[str, Expected], found: Mapping[str, RunRows]) -> list[str]:
    """Yield a sentence for each difference between ``found`` and the expectation."""
    said = [f"{job_id}: has no run" for job_id in sorted(wanted.keys() - found.keys())]
    said += [f"{job_id}: is not expected" for job_id in sorted(found.keys() - wanted.keys())]
    for job_id in sorted(wanted.keys() & found.keys()):
        said += [f"{job_id}: {what}" for what in _differences(wanted[job_id], found[job_id])]
    return said


def _differences(wanted: Expected, found: RunRows) -> Iterable[str]:
    tags = {k: v for k, v in found.tags.items() if k not in _OTHER_TAGS}
    error = tags.pop("fine_tuning_error", None)
    for what, left, right in (
        ("name", wanted.name, found.name),
        ("status", wanted.status, found.status),
        ("start", wanted.start, found.start_time if wanted.start is not None else None),
        ("tags", wanted.tags, tags),
        ("params", wanted.params, found.params),
        ("has ended", wanted.has_ended, found.end_time is not None),
    ):
        if left != right:
            yield f"{what} is {right!r}, not {left!r}"
    if (wanted.error is None) != (error is None) or (wanted.error or "") not in (error or ""):
        yield f"error is {error!r}, not {wanted.error!r}"
    if wanted.end is not None and found.end_time != wanted.end:
        yield f"end is {found.end_time}, not {wanted.end}"
    if found.end_time is not None and found.end_time < found.start_time:
        yield "ends before it starts"
    yield from _differing_rows(wanted, found)


def _differing_rows(wanted: Expected, found: RunRows) -> Iterable[str]:
    times = Counter((name, step) for name, step, _, _ in found.rows)
    doubled = sorted(point for point, count in times.items() if count > 1)
    if doubled:
        yield f"doubled points: {doubled[:5]}"
    if times.keys() != wanted.curve.keys():
        missing = sorted(wanted.curve.keys() - times.keys())
        extra = sorted(times.keys() - wanted.curve.keys())
        yield f"{len(missing)} points are missing: {missing[:5]}; {len(extra)} new: {extra[:5]}"
    latest: dict[str, int] = {}
    for name, step, value, at in found.rows:  # sorted by name and step
        if (name, step) in wanted.exact:
            exact, published = wanted.exact[name, step]
            # The time of the step's event counts where it is read, a second before the
            # checkpoint's.
            if value != exact or at not in {published, published - 1000}:
                yield f"{name} at {step} is {(value, at)}, not {(exact, published)}"
        elif abs(value - wanted.curve.get((name, step), value)) > 5.1e-6:
            yield f"{name} at {step} is {value}, not {wanted.curve[name, step]}"
        if at < latest.get(name, 0):
            yield f"{name} at {step} lies before the step that precedes it"
        latest[name] = at
        if at < found.start_time or (wanted.end is not None and at > wanted.end):
            yield f"{name} at {step} lies outside of its job's life"


# The server


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Headers, with names in lower case."""
    serial: int
    """Number of the request, 1 for the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply, whole or broken."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    breaks: str = ""
    """Fault: ``reset`` sends nothing, ``short`` sends less than announced."""


def json_answer(value: object, status: int = 200) -> Answer:
    """Return ``value`` as JSON; NaN and infinity as Python writes them."""
    return Answer(status=status, body=json.dumps(value).encode())


Hook = Callable[[Asked], Answer | None]


class StaticServer:
    """Serves ``cases`` on 127.0.0.1 while it is entered.

    Args:
        cases: the jobs, each provider's in the order of its list.
        faults: every fifth reply or so is broken, by this seed; ``None``: none is.
        hook: sees every request and may answer it instead.
        largest_page: no page has more rows, whatever a request asks for.
        key: the only key that is accepted.
    """

    def __init__(
        self,
        cases: Iterable[Case] = (),
        *,
        faults: int | None = None,
        hook: Hook | None = None,
        largest_page: int = 100,
        key: str = "a-key-that-must-not-show",
    ) -> None:
        self.cases = list(cases)
        self.hook = hook
        self.broken = 0
        """Number of replies broken on purpose."""
        self._faults = faults
        self._largest_page = largest_page
        self._key = key
        self._asked: list[Asked] = []
        self._repeats: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.url = ""
        """The address without a path, while the server runs."""
        self._running = contextlib.ExitStack()

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Return all requests so far."""
        with self._lock:
            return tuple(self._asked)

    def entry(self, provider: str) -> dict[str, object]:
        """Return the keys of a provider in a configuration."""
        return {"api_key": self._key, "base_url": f"{self.url}/{provider}/v1"}

    def write_config(
        self,
        path: Path,
        uri: str,
        *,
        providers: Iterable[str] = ("openai", "mistral"),
        **sections: Mapping[str, object],
    ) -> Path:
        """Write a configuration, and return its path."""
        entries = {name: self.entry(name) for name in providers}
        return config_file.write_config(path, uri, entries, **sections)

    def __enter__(self) -> Self:
        self.url = self._running.enter_context(serving(self._respond))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _respond(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = self.answer(request.path, headers)
        if answer.breaks == "reset":
            _reset(request)
            return
        lines = [
            f"HTTP/1.1 {answer.status} Whatever",
            f"Content-Type: {answer.kind}",
            f"Content-Length: {len(answer.body)}",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        body = answer.body
        if answer.breaks == "short":
            body = body[: len(body) // 2]
            request.close_connection = True
        request.wfile.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def answer(self, target: str, headers: Mapping[str, str]) -> Answer:
        """Return the reply to a request for ``target``."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        with self._lock:
            asked = Asked(path=url.path, query=query, headers=headers, serial=len(self._asked) + 1)
            self._asked.append(asked)
            self._repeats[target] += 1
            repeat = self._repeats[target]
        answer = (self.hook(asked) if self.hook else None) or self._plain(asked)
        if self._faults is None:
            return answer
        # By address and attempt, so that threads cannot change which replies break.
        dice = zlib.crc32(f"{self._faults} {repeat} {target}".encode())
        if dice % 5:
            return answer
        with self._lock:
            self.broken += 1
        return _broken(answer, dice // 5)

    def _plain(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {self._key}":
            return json_answer({"error": {"message": "Incorrect API key", "code": "bad_key"}}, 401)
        # Split before unquoting: an id may contain a slash.
        _, provider, _, *rest = [unquote(part) for part in asked.path.split("/")]
        cases = {case.id: case for case in self.cases if case.provider == provider}
        if rest[:1] == ["files"]:
            found = [case.files[rest[1]] for case in cases.values() if rest[1] in case.files]
            return Answer(body=found[0], kind="application/octet-stream") if found else _missing()
        job_id, *what = rest[2:] or [""]
        if not job_id:
            rows = [case.job for case in cases.values()]
            return self._page(rows, asked) if provider == "openai" else self._numbered(rows, asked)
        case = cases.get(job_id)
        if case is None:
            return _missing()
        if what == ["checkpoints"]:
            return self._page(case.checkpoints, asked, default=10)
        if what == ["events"]:
            return self._page(case.events, asked)
        if provider == "mistral":
            lists = {"checkpoints": case.checkpoints, "events": case.events}
            return json_answer(case.job | lists)
        return json_answer(case.job)

    def _page(self, rows: list[Any], asked: Asked, *, default: int = 20) -> Answer:
        """Return a page by cursor: the rows after the one with the id ``after``."""
        after = asked.query.get("after")
        ids = [row.get("id") if isinstance(row, dict) else None for row in rows]
        begin = ids.index(after) + 1 if after is not None and after in ids else 0
        if after is not None and after not in ids:
            return json_answer({"error": {"message": "No such cursor", "code": None}}, 400)
        size = min(int(asked.query.get("limit", default)), self._largest_page)
        page = rows[begin : begin + size]
        more = begin + size < len(rows)
        return json_answer({"object": "list", "data": page, "has_more": more})

    def _numbered(self, rows: list[Json], asked: Asked) -> Answer:
        """Return a page by number, 0 for the first."""
        size = min(int(asked.query.get("page_size", 100)), self._largest_page)
        begin = int(asked.query.get("page", 0)) * size
        page = rows[begin : begin + size]
        return json_answer({"object": "list", "data": page, "total": len(rows)})


def _missing() -> Answer:
    return json_answer({"error": {"message": "Not found", "code": "not_found"}}, 404)


def _broken(answer: Answer, dice: int) -> Answer:
    half = len(answer.body) // 2
    faults = [
        Answer(
            status=429,
            body=b'{"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}',
            headers={"Retry-After": "0"},
        ),
        Answer(status=500, body=b"<html>Internal error</html>", kind="text/html"),
        Answer(breaks="reset"),
        Answer(body=answer.body, kind=answer.kind, breaks="short"),
    ]
    if answer.kind == "application/json" and half:
        faults.append(Answer(body=answer.body[:half]))
    return faults[dice % len(faults)]


def _reset(request: BaseHTTPRequestHandler) -> None:
    """Reset a connection."""
    request.close_connection = True
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.rfile.close()
    request.connection.close()
