"""Helpers that the contract tests of all providers share."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import strategies as st

from bridge.model import Checkpoint, CurvePoint, Job, LoggedSteps, Snapshot
from bridge.providers.base import Provider
from bridge.providers.registry import TYPES
from tests.support.wire_server import (
    CREATED,
    Api,
    OpenAIApi,
)
from tests.support.wires import WIRES

KINDS = sorted(WIRES)


JOB = "a-job"


DOCUMENTS = {
    *("job.json", "checkpoints.jsonl", "events.jsonl", "result-file.csv", "result-file"),
    *(name for api in WIRES.values() for name in api.more_documents),
}


every_kind = pytest.mark.parametrize("kind", KINDS)


def listed(provider: Provider) -> list[Job]:
    """Return the jobs of all pages."""
    return [job for page in provider.pages() for job in page.jobs]


def read(
    provider: Provider, job_id: str = JOB, job: Job | None = None, *, keep: bool = False
) -> Snapshot:
    """Read one job completely, as the list or, failing that, its own address returns it."""
    return provider.read(job or by_id(provider, job_id), logged={}, keep=keep)


def by_id(provider: Provider, job_id: str = JOB) -> Job:
    """Return one job as its own address returns it."""
    (api,) = (api for kind, api in WIRES.items() if type(provider) is TYPES[kind])
    return provider.job(f"{api.id_prefix}{job_id}")


def measured(api: Api, snapshot: Snapshot) -> tuple[Checkpoint, ...]:
    """Return the checkpoints, or the steps if a provider measures steps but no checkpoints."""
    if api.measures_checkpoints:
        return snapshot.checkpoints
    assert snapshot.checkpoints == ()
    steps: dict[int, dict[str, float]] = {}
    for point in snapshot.curve:
        steps.setdefault(point.step, {}).setdefault(point.name, point.value)
    return tuple(Checkpoint(step=n, created_at=None, metrics=steps[n]) for n in steps)


def lines_of(document: bytes) -> list[object]:
    """Return the content of a JSON document, or of each line of a JSONL document."""
    text = document.decode("utf-8")
    if text.startswith("{\n") or text == "{}\n":
        return [json.loads(text)]
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def addresses(api: Api) -> list[str]:
    """Return the requests that an API received."""
    return [str(request.url) for request in api.requests]


def only(api: Api) -> Job:
    """Return the only job of an API, as its list returns it."""
    (job,) = listed(api.provider())
    return job


def as_sent(job: Job) -> Job:
    """Return the job without the sentences about it."""
    return replace(job, skipped=())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 10**400, CREATED, 1e306])
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["running", "RUNNING", "succeeded", "SUCCESS", "auto", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("id", "object", "data", "has_more", "total", "status", "created_at"),
                    *("hyperparameters", "method", "metrics", "step_number", "step", "type"),
                    *("events", "checkpoints", "result_files", "error", "message", "\ud800"),
                    *("train/global_step", "timestamp", "from_checkpoint", "training_method"),
                    *("name", "state", "supervisedFineTuningJobs", "dpoJobs", "nextPageToken"),
                    *("metricsFileSignedUrl", "signedUrl", "trainingConfig", "lossConfig"),
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


def nested(depth: int) -> dict[str, object]:
    """Yield objects within objects."""
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


Point = tuple[int, str, float, int | None]


def points_of(snapshot: Snapshot) -> list[Point]:
    """Return all points by step and name, checkpoints before the curve, as a plan writes them."""
    found: dict[tuple[int, str], Point] = {}
    for checkpoint in snapshot.checkpoints:
        for name, value in checkpoint.metrics.items():
            key = (checkpoint.step, name)
            found.setdefault(key, (*key, value, checkpoint.created_at))
    for point in snapshot.curve:
        key = (point.step, point.name)
        found.setdefault(key, (*key, point.value, point.created_at))
    return [found[key] for key in sorted(found)]


def logged_at(places: Iterable[tuple[str, int]]) -> LoggedSteps:
    """Group names and steps into the steps of each name."""
    found: dict[str, set[int]] = {}
    for name, step in places:
        found.setdefault(name, set()).add(step)
    return {name: frozenset(steps) for name, steps in found.items()}


def up_to(step: int, *names: str) -> LoggedSteps:
    """Return logged steps that include every step of some metrics up to ``step``."""
    return dict.fromkeys(names or ("train_loss",), frozenset(range(step + 1)))


def resumed(provider: Provider, written: list[Point]) -> list[Point]:
    """Return the final content of a tracking store, which held ``written`` before."""
    logged = logged_at((name, step) for step, name, *_ in written)
    job = by_id(provider)
    snapshot = provider.read(job, logged=logged)
    have = {(step, name) for step, name, *_ in written}
    return sorted([*written, *(p for p in points_of(snapshot) if p[:2] not in have)])


def points(curve: tuple[CurvePoint, ...], name: str = "train_loss") -> dict[int, float]:
    """Return one metric of a curve."""
    found: dict[int, float] = {}
    for point in curve:
        if point.name == name:
            found.setdefault(point.step, point.value)
    return found


def openai_with_steps(steps: int, **fields: object) -> OpenAIApi:
    """Return a job with an event for each step, and a result file with visibly different values."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, **fields)]
    api.events = [
        *(api.message(n) for n in range(8)),
        *(api.event(n, train_loss=float(n)) for n in range(steps, 0, -1)),
        api.message(9),
    ]
    lines = [f"{n},{n}.5," for n in range(1, steps + 1)]
    api.result = base64.b64encode("\n".join(["step,train_loss,valid_loss", *lines]).encode())
    return api


DONE = {
    "status": "succeeded",
    "result_files": ["file-r"],
    "finished_at": CREATED + 400,
    "validation_file": None,
}


STARTED = "Fine-tuning job started"


def reported(api: OpenAIApi, message: object, at: int, number: int = 90) -> dict[str, object]:
    """Return an event with a message."""
    return api.message(number) | {"message": message, "created_at": CREATED + at}


ODD_IDS = [
    "..",
    ".",
    "...",
    "a/b",
    "../jobs",
    "a b",
    "100%",
    "a%2Fb",
    "a?b=c#d",
    "'\"`",
    "~+;\\&=",
    "größe",
    "日本",
    "🦙",
    " ",
    "-",
    "{id}",
    "x" * 250,
]
