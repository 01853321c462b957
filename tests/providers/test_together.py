"""Together AI's peculiarities; ``test_provider_contract`` has what all providers share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import Checkpoint, CurvePoint, Job, JobStatus, LoggedSteps, Snapshot
from bridge.providers.base import Provider
from bridge.providers.registry import TYPES
from tests.support.contract import logged_at
from tests.support.moments import iso
from tests.support.wire_server import CREATED, Row, over, sent
from tests.support.wire_together import TogetherApi

JOB = "ft-1"


def train(step: object, loss: object, **more: object) -> Row:
    """Return a row of a training step."""
    at = CREATED + step if isinstance(step, int) else CREATED
    return {
        "timestamp": at * 10**9 + 123_456,
        "train/global_step": step,
        "train/epoch": 0.1,
        "train/loss": loss,
        **more,
    }


def evaluation(step: int, loss: object) -> Row:
    """Return a row of an evaluation, half a minute after its training step."""
    at = (CREATED + step + 30) * 10**9
    return {"timestamp": at, "train/global_step": step, "eval/loss": loss}


def event(kind: str, at: float, **more: object) -> Row:
    """Return an event this many seconds after the creation."""
    return {
        "object": "fine-tune-event",
        "created_at": iso(CREATED + at),
        "level": "info",
        "message": f"about {kind}",
        "type": kind,
        "step": 0,
        "total_steps": 0,
        **more,
    }


def api_of(status: str = "running", **fields: object) -> TogetherApi:
    """Return an API with one job."""
    api = TogetherApi()
    api.jobs = [api.row(JOB, status=status, **fields)]
    return api


def up_to(step: int) -> LoggedSteps:
    """Return everything measured up to a step, as logged."""
    return {"train/loss": frozenset(range(step + 1))}


def look(
    source: TogetherApi | Provider, logged: LoggedSteps | None = None, **how: bool
) -> Snapshot:
    """Read the one job, as it is listed."""
    provider = source.provider() if isinstance(source, TogetherApi) else source
    (page,) = provider.pages()
    (job,) = page.jobs
    return provider.read(job, logged=logged or {}, **how)


def listed(api: TogetherApi) -> list[Job]:
    """Return all jobs."""
    return [job for page in api.provider().pages() for job in page.jobs]


def asked_from(api: TogetherApi) -> list[str | None]:
    """Return the first steps of the requests for metrics, in order."""
    return [request.url.params.get("global_step_from") for request in api.asked("/metrics")]


def test_every_word_for_a_status_means_what_it_says() -> None:
    """Every word of the specification is known, and one more that the official client has."""
    words = {
        "queued": ("pending", "queued"),
        "running": ("running", "compressing", "uploading", "cancel_requested"),
        "succeeded": ("completed",),
        "failed": ("error", "user_error"),
        "cancelled": ("cancelled",),
    }
    reported = {word: status for status, known in words.items() for word in known}
    assert TYPES["together"].statuses == reported


# Lists and details


def test_the_newest_job_comes_first() -> None:
    """The newest job comes first in any order of the list, and jobs without a time precede it."""
    api = TogetherApi()
    times = {"old": iso(1), "new": iso(3), "middle": iso(2), "unknown": None}
    api.jobs = [api.row(job_id, created_at=time) for job_id, time in times.items()]
    assert [job.id for job in listed(api)] == ["unknown", "new", "middle", "old"]


def test_a_job_has_what_its_row_and_its_own_reply_say() -> None:
    """A job combines its row, which has the suffix, with its own reply, requested once."""
    row: Row = {"id": JOB, "status": "running", "suffix": "mine", "warmup_ratio": None}
    reply: Row = {"id": JOB, "status": "running", "suffix": None, "warmup_ratio": 0.1}
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.removeprefix("/v1/fine-tunes"))
        replies: dict[str, object] = {"": {"data": [row]}, f"/{JOB}": reply}
        return sent(replies.get(asked[-1], {"data": [], "metrics": []}))

    job = look(over(answer, "together")).job
    assert job.suffix == "mine"
    assert job.params == {"warmup_ratio": 0.1}
    assert asked.count(f"/{JOB}") == 1


def test_a_row_that_lacks_nothing_is_not_asked_for_again() -> None:
    """A complete row, as some servers list it, is not requested again."""
    api = api_of(eval_steps=4)
    assert look(api).job.params["eval_steps"] == 4
    assert not api.asked(f"/{JOB}")


def test_a_job_keeps_the_status_that_it_was_listed_with() -> None:
    """A job keeps the status of the list: one that ends meanwhile is final in the next pass."""
    api = api_of()
    provider = api.provider()
    (page,) = provider.pages()
    api.jobs = [api.row(JOB, status="completed", model="other")]
    (job,) = page.jobs
    snapshot = provider.read(job, logged={})
    assert snapshot.job.status is JobStatus.RUNNING
    assert snapshot.job.base_model == job.base_model
    assert look(provider).job.status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ("2023-05-17T17:35:45.123Z", 1_684_344_945_123),
        ("2023-05-17T17:35:45.123456789Z", 1_684_344_945_123),
        ("2023-05-17T19:35:45+02:00", 1_684_344_945_000),
        ("2023-05-17T17:35:45", 1_684_344_945_000),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_text(times: str | None, expected: int | None) -> None:
    """Times are read as text with and without an offset, and the year 1 means never."""
    (job,) = listed(api_of("completed", created_at=times, updated_at=times))
    assert (job.created_at, job.finished_at, job.skipped) == (expected, expected, ())


# Other facts about a job


def test_params_have_their_innermost_names() -> None:
    """Method, kind of training and schedule become params of these names, if they are set."""
    (job,) = listed(api_of())
    assert job.params == {
        "n_epochs": 3,
        "batch_size": 8,
        "learning_rate": 1e-5,
        "warmup_ratio": 0.05,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "n_evals": 3,
        "n_checkpoints": 3,
        "max_seq_length": 8192,
        "packing": True,
        "random_seed": 42,
        "training_method": "sft",
        "training_type": "Lora",
        "lora_r": 64,
        "lora_alpha": 128,
        "lr_scheduler_type": "cosine",
        "min_lr_ratio": 0.1,
        "num_cycles": 0.5,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"batch_size": "max", "train_on_inputs": "auto", "from_hf_model": ""}, {}),
        (
            {"batch_size": 16, "train_on_inputs": False},
            {"batch_size": 16, "train_on_inputs": False},
        ),
        ({"batch_size": [16], "learning_rate": {"a": 1}, "n_evals": None}, {}),
        (
            {"training_method": {"method": "dpo", "dpo_beta": 0.1, "x": {"y": 1}}},
            {"training_method": "dpo", "dpo_beta": 0.1},
        ),
        ({"training_type": {"type": "Full"}}, {"training_type": "Full"}),
        ({"lr_scheduler": {"lr_scheduler_type": "linear"}}, {"lr_scheduler_type": "linear"}),
        ({"lr_scheduler": {"lr_scheduler_args": [1]}}, {}),
    ],
)
def test_params_are_values_that_are_resolved(fields: Row, expected: Row) -> None:
    """A param has a resolved value without parts; anything else is left out."""
    api = TogetherApi()
    api.jobs = [{"id": JOB, **fields}]
    (job,) = listed(api)
    assert (job.params, job.skipped) == (expected, ())


@pytest.mark.parametrize(
    ("epochs", "expected"), [(3, 3.0), (3.0, 3.0), (None, None), (10**400, None), (2.5, None)]
)
def test_epochs_are_a_number(epochs: object, expected: float | None) -> None:
    """The number of epochs is a number or unknown."""
    assert listed(api_of(n_epochs=epochs))[0].epochs == expected


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (1_500_000_000, "1.50 USD"),
        (1_234_567_890_123, "1234.57 USD"),
        (4_200_000, "0.00 USD"),
        (0, None),
        (-1, None),
        (10**19, None),
        (10**400, None),
        (math.nan, None),
        (None, None),
    ],
)
def test_a_price_is_in_billionths_of_a_dollar(price: object, expected: str | None) -> None:
    """The price is read in billionths of a dollar, as the official client does; zero is unknown."""
    assert listed(api_of(total_price=price))[0].cost == expected


@pytest.mark.parametrize(
    ("status", "made", "tokens"),
    [
        ("running", None, None),
        ("uploading", None, None),
        ("completed", "acme/m:1", 1000),
        ("error", None, 1000),
        ("cancelled", None, 1000),
    ],
)
def test_what_a_job_makes_is_there_once_it_has_succeeded(
    status: str, made: str | None, tokens: int | None
) -> None:
    """The model and the count of tokens appear only after success."""
    (job,) = listed(api_of(status, model_output_name="acme/m:1"))
    assert (job.fine_tuned_model, job.trained_tokens) == (made, tokens)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("ft-parent", "acme/made-by-parent"),
        ("ft-parent:24", "acme/made-by-parent"),
        ("acme/made-by-parent", "acme/made-by-parent"),
        ("acme/made-by-parent:24", "acme/made-by-parent"),
        ("acme/base:suffix:ft-9", "acme/base:suffix:ft-9"),
        ("ft-unknown", "meta/base"),
        ("", "meta/base"),
        (None, "meta/base"),
    ],
)
def test_a_job_that_goes_on_has_the_other_ones_model_as_its_base(
    origin: str | None, expected: str
) -> None:
    """A continued job has the other job's model as its base, and the original base as a param."""
    api = TogetherApi()
    parent = api.row("ft-parent", model_output_name="acme/made-by-parent")
    api.jobs = [api.row(JOB, model="meta/base", from_checkpoint=origin), parent]
    for job in (listed(api)[0], api.provider().job(JOB)):
        assert job.base_model == expected
        assert job.params.get("model") == ("meta/base" if expected != "meta/base" else None)
        assert job.params.get("from_checkpoint") == (origin or None)


def test_other_jobs_are_listed_only_to_find_where_one_goes_on_from() -> None:
    """Other jobs are listed only to find the one that a job continues."""
    for origin, requests in (("", 1), ("acme/model", 1), ("ft-other", 2)):
        api = api_of(from_checkpoint=origin)
        api.provider().job(JOB)
        assert len(api.requests) == requests


# Events


def test_events_tell_what_the_job_does_not() -> None:
    """Events give the start of training, its end, its length and the reason of a failure."""
    api = api_of("error")
    api.events = [
        event("job_error", 500, message="Out of memory", level="error"),
        event("refund", 900),
        event("training_start", 30),
        event("job_error", 40, message="Node lost"),
        event("job_restarted", 50),
        event("training_start", 60, total_steps=12),
        event("epoch_complete", 70, total_steps=24),
    ]
    job = look(api).job
    assert job.started_at == (CREATED + 30) * 1000
    assert job.finished_at == (CREATED + 500) * 1000
    assert job.total_steps == 24
    assert job.error == "Out of memory"


@pytest.mark.parametrize("kind", ["job_complete", "job_error", "job_stopped"])
def test_the_last_change_stands_in_for_an_end_that_no_event_tells(kind: str) -> None:
    """The last change is the end if no event has it, unless the job continues."""
    for status, expected in (("cancelled", CREATED + 60), ("running", None)):
        job = look(api_of(status)).job
        assert job.finished_at == (expected and expected * 1000)
        api = api_of(status)
        api.events = [event(kind, 55)]
        assert look(api).job.finished_at == (expected and (CREATED + 55) * 1000)


@pytest.mark.parametrize("status", ["completed", "running", "cancelled"])
def test_an_error_that_was_overcome_is_none(status: str) -> None:
    """An error before a restart does not count."""
    api = api_of(status)
    api.events = [event("job_error", 40, message="Node lost")]
    assert look(api).job.error is None


def test_events_that_cannot_be_read_are_named() -> None:
    """Unreadable events are named, and impossible times and counts are skipped."""
    api = api_of("error")
    odd = {"created_at": "soon", "total_steps": 2**70, "message": 5, "type": None}
    api.events = [7, event("training_start", 30) | odd, event("job_error", 40, message=None)]
    snapshot = look(api)
    assert [sentence for sentence in snapshot.skipped if "event" in sentence]
    assert snapshot.job.error is None
    assert snapshot.job.total_steps is None


@pytest.mark.parametrize(("status", "expected"), [("completed", 12), ("error", None)])
def test_the_last_step_of_a_success_is_its_length(status: str, expected: int | None) -> None:
    """The last step of a success is its length if no event gives it."""
    api = api_of(status)
    api.metrics = [train(n, 0.5) for n in range(1, 13)]
    assert look(api).job.total_steps == expected


# Metrics and checkpoints


def test_training_and_evaluation_of_a_step_belong_together() -> None:
    """Training and evaluation rows of a step become one, at the first time, without the axes."""
    api = api_of()
    api.metrics = [
        train(1, 2.0, **{"train/learning_rate": 1e-5, "eval/some_step": 7, "epoch": 1}),
        train(2, 1.5, **{"train/tokens": 512}),
        evaluation(2, 1.75),
    ]
    first, second = (CREATED + 1) * 1000, (CREATED + 2) * 1000
    assert look(api).curve == (
        CurvePoint("train/loss", 1, 2.0, first),
        CurvePoint("train/learning_rate", 1, 1e-5, first),
        CurvePoint("train/loss", 2, 1.5, second),
        CurvePoint("train/tokens", 2, 512.0, second),
        CurvePoint("eval/loss", 2, 1.75, second),
    )


def test_a_checkpoint_has_the_metrics_of_its_step() -> None:
    """A checkpoint has the metrics of its step, which are not repeated in the curve."""
    api = api_of()
    api.checkpoints = [api.checkpoint(2) | {"object_id": "ml_1"}, api.checkpoint(4)]
    api.metrics = [*(train(n, 0.5) for n in (1, 2, 3)), evaluation(2, 0.75)]
    snapshot = look(api)
    assert snapshot.checkpoints == (
        Checkpoint(
            step=2,
            created_at=(CREATED + 2) * 1000,
            metrics={"train/loss": 0.5, "eval/loss": 0.75},
            id="ml_1",
        ),
        Checkpoint(step=4, created_at=(CREATED + 100) * 1000, metrics={}),
    )
    assert [point.step for point in snapshot.curve] == [1, 3]


@pytest.mark.parametrize("order", [1, -1])
def test_an_adapter_is_no_checkpoint_of_its_own(order: int) -> None:
    """The model's row counts for a step, not the adapter's."""
    api = api_of()
    rows = [
        api.checkpoint(2) | {"checkpoint": part, "object_id": f"ml_{part}"}
        for part in ("model", "adapter")
    ]
    api.checkpoints = rows[::order]
    assert [checkpoint.id for checkpoint in look(api).checkpoints] == ["ml_model"]


@pytest.mark.parametrize(
    ("status", "label", "step", "expected"),
    [
        ("completed", "Final checkpoint (step 8)", 8, {8: "acme/m"}),
        ("completed", "FINAL", 8, {8: "acme/m"}),
        ("completed", "Intermediate checkpoint", 8, {8: None}),
        ("completed", None, 8, {8: None}),
        ("completed", "Final Merged", 0, {}),
        ("completed", "Intermediate", 0, {0: None}),
        ("cancelled", "Final checkpoint", 8, {8: None}),
        ("running", "Final checkpoint", 8, {8: None}),
    ],
)
def test_only_the_result_can_be_called(
    status: str, label: str | None, step: int, expected: dict[int, str | None]
) -> None:
    """Only the result of a success can be called; old servers give it step 0, which is left out."""
    api = api_of(status, model_output_name="acme/m")
    api.checkpoints = [api.checkpoint(step) | {"checkpoint_type": label}]
    assert {each.step: each.model for each in look(api).checkpoints} == expected


def test_numbers_that_are_not_finite_are_named() -> None:
    """Numbers that are not finite are named, and the row's other values are kept."""
    api = api_of()
    api.metrics = [train(3, math.nan, **{"train/grad_norm": math.inf, "train/x": 1.0})]
    snapshot = look(api)
    assert [(point.name, point.value) for point in snapshot.curve] == [("train/x", 1.0)]
    assert snapshot.skipped == (
        "step 3: train/loss is not a finite number",
        "step 3: train/grad_norm is not a finite number",
    )


@pytest.mark.parametrize("step", [None, 1.5, "last", [], 2**63, math.nan])
def test_a_row_without_a_step_is_named(step: object) -> None:
    """A row without a step is named, and the others are read."""
    api = api_of()
    api.metrics = [train(step, 0.5), train(2, 0.25), 7, None]
    snapshot = look(api)
    assert [(point.step, point.value) for point in snapshot.curve] == [(2, 0.25)]
    assert len(snapshot.skipped) == 3
    assert all("row of metrics" in sentence for sentence in snapshot.skipped)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1_779_196_193_564_587_000, 1_779_196_193_564),
        (1_779_196_193_564_000_000, 1_779_196_193_564),
        (0, None),
        (-1, None),
        (2**63, 2**63 // 10**6),
        (10**400, None),
        (None, None),
        ("noon", None),
        (math.nan, None),
    ],
)
def test_rows_count_nanoseconds(timestamp: object, expected: int | None) -> None:
    """Nanoseconds are read to the millisecond, and a bad time leaves the value."""
    api = api_of()
    api.metrics = [train(1, 0.5) | {"timestamp": timestamp}]
    (point,) = look(api).curve
    assert (point.value, point.created_at) == (0.5, expected)


@pytest.mark.parametrize("metrics", [None, []])
def test_a_job_may_have_no_metrics_yet(metrics: object) -> None:
    """A job without its optional list of metrics is complete."""
    api = api_of()

    def answer(request: httpx.Request) -> httpx.Response:
        is_metrics = request.url.path.endswith("/metrics")
        return sent({} if metrics is None else {"metrics": metrics}) if is_metrics else api(request)

    snapshot = look(over(answer, "together"))
    assert (snapshot.curve, snapshot.skipped) == ((), ())


@pytest.mark.parametrize("reply", [{"data": []}, {"error": "later"}, {"metrics": "none"}, []])
def test_a_reply_without_metrics_is_not_taken_for_none(reply: object) -> None:
    """A reply without metrics is an error, so that a finished job does not lose its curve."""
    api = api_of("completed")

    def answer(request: httpx.Request) -> httpx.Response:
        return sent(reply) if request.url.path.endswith("/metrics") else api(request)

    snapshot = look(over(answer, "together"))
    assert [(part.name, part.is_lasting) for part in snapshot.missing] == [("metrics", True)]


# Lists that a job lacks


PARTS = ("events", "checkpoints", "metrics")


def without(api: TogetherApi, parts: Iterable[str], status: int = 404) -> Provider:
    """Return a server that lacks these lists for any job."""

    def answer(request: httpx.Request) -> httpx.Response:
        is_missing = request.url.path.endswith(tuple(f"/{part}" for part in parts))
        return httpx.Response(status, json={"error": "none"}) if is_missing else api(request)

    return over(answer, "together")


@pytest.mark.parametrize("status", [404, 405, 410, 501])
@pytest.mark.parametrize("parts", [*((part,) for part in PARTS), PARTS])
def test_an_old_job_is_recorded_with_what_there_is(parts: tuple[str, ...], status: int) -> None:
    """A list that is gone costs its points and is named, and the job is recorded."""
    api = api_of("completed")
    api.checkpoints = [api.checkpoint(2, **{"train/loss": 0.5})]
    api.metrics = [train(1, 0.75)]
    api.events = [event("training_start", 30)]
    snapshot = look(without(api, parts, status), keep=True)
    assert [(part.name, part.is_lasting) for part in snapshot.missing] == [
        (name, True) for name in parts
    ]
    assert bool(snapshot.checkpoints) == ("checkpoints" not in parts)
    assert bool(snapshot.curve) == ("metrics" not in parts)
    assert bool(snapshot.job.started_at) == ("events" not in parts)
    assert {f"{part}.jsonl" for part in PARTS if part not in parts} < set(snapshot.documents)


def test_a_job_that_no_address_shows_is_recorded_from_the_list() -> None:
    """A job that only the list has is recorded from its row, and everything below it is missing."""
    api = api_of("completed")
    provider = api.provider()
    (page,) = provider.pages()
    api.jobs = []
    snapshot = without(api, PARTS).read(page.jobs[0], logged={})
    assert snapshot.job.status is JobStatus.SUCCEEDED
    assert [part.name for part in snapshot.missing] == ["details", *PARTS]


# Logged points are not requested again


def test_metrics_are_asked_for_from_the_last_step_that_is_logged() -> None:
    """Metrics are requested from the last logged step on, whose evaluation may have been late."""
    api = api_of()
    api.metrics = [train(n, 0.5) for n in range(1, 41)]
    provider = api.provider()
    assert len(look(provider).curve) == 40
    api.metrics += [evaluation(40, 0.25), train(41, 0.5)]
    snapshot = look(provider, up_to(40))
    assert asked_from(api) == [None, "40"]
    assert [(point.name, point.step) for point in snapshot.curve] == [
        ("train/loss", 40),
        ("eval/loss", 40),
        ("train/loss", 41),
    ]


def test_rows_may_be_far_apart() -> None:
    """A job that measures every 500th step is followed as well."""
    api = api_of()
    steps = range(500, 5001, 500)
    api.metrics = [train(n, 0.5) for n in steps]
    look(api, {"train/loss": frozenset(steps[:-1])})
    assert asked_from(api) == ["4500"]


def test_every_look_shows_all_checkpoints_with_their_metrics() -> None:
    """Every read has all checkpoints with their metrics, and requests only unknown ones."""
    api = api_of()
    api.metrics = [train(n, n / 64) for n in range(1, 41)]
    api.checkpoints = [api.checkpoint(10), api.checkpoint(20)]
    provider = api.provider()
    full = look(provider)
    assert look(provider, up_to(40)).checkpoints == full.checkpoints
    # One more, saved after its metrics were read, and a new process.
    api.checkpoints.append(api.checkpoint(30))
    assert [c.metrics for c in look(provider, up_to(40)).checkpoints] == [
        {"train/loss": step / 64} for step in (10, 20, 30)
    ]
    assert look(api, up_to(40)).checkpoints == look(api).checkpoints
    assert asked_from(api) == [None, "40", "30", "10", None]


def test_a_checkpoint_gets_an_evaluation_that_was_late() -> None:
    """A late evaluation reaches its checkpoint: new values replace the remembered ones."""
    api = api_of()
    api.metrics = [train(40, 0.5)]
    api.checkpoints = [api.checkpoint(40)]
    provider = api.provider()
    look(provider)
    api.metrics.append(evaluation(40, 0.25))
    (checkpoint,) = look(provider, up_to(40)).checkpoints
    assert checkpoint.metrics == {"train/loss": 0.5, "eval/loss": 0.25}


def test_without_curves_metrics_are_asked_for_at_checkpoints_only() -> None:
    """Without curves, metrics are requested once per checkpoint, and all of them at the end."""
    api = api_of()
    api.metrics = [train(n, n / 64) for n in range(1, 41)]
    provider = api.provider(curves=False)
    assert look(provider).checkpoints == ()
    api.checkpoints = [api.checkpoint(10), api.checkpoint(20)]
    for _ in range(3):
        snapshot = look(provider)
        assert [len(c.metrics) for c in snapshot.checkpoints] == [1, 1]
        assert snapshot.curve == ()
    assert asked_from(api) == ["10"]
    api.jobs = [api.row(JOB, status="completed")]
    assert look(provider).curve == ()
    assert asked_from(api) == ["10", None]


@pytest.mark.parametrize("status", ["completed", "error", "cancelled"])
def test_the_last_look_reads_everything(status: str) -> None:
    """The last read requests everything, and so adds late evaluations and steps without curves."""
    api = api_of()
    api.metrics = [train(n, 0.5) for n in range(1, 41)]
    api.checkpoints = [api.checkpoint(10)]
    provider = api.provider()
    look(provider)
    api.metrics.append(evaluation(10, 0.25))
    api.jobs = [api.row(JOB, status=status)]
    snapshot = look(provider, up_to(40))
    assert asked_from(api) == [None, None]
    assert snapshot == replace(look(api), job=snapshot.job)
    assert snapshot.checkpoints[0].metrics == {"train/loss": 0.5, "eval/loss": 0.25}


def test_whatever_is_kept_is_whole() -> None:
    """An archived document has all rows of metrics, even if most of them are logged."""
    api = api_of("completed")
    api.metrics = [train(n, 0.5) for n in range(1, 41)]
    documents = look(api, up_to(40), keep=True).documents
    assert documents["metrics.jsonl"].count(b"\n") == 40
    assert asked_from(api) == [None]


Logged = dict[tuple[int, str], tuple[float, int | None]]


def logged_by(snapshot: Snapshot) -> Logged:
    """Return all points of a read, checkpoints first."""
    found: Logged = {}
    for checkpoint in snapshot.checkpoints:
        for name, value in checkpoint.metrics.items():
            found[checkpoint.step, name] = (value, checkpoint.created_at)
    for point in snapshot.curve:
        found.setdefault((point.step, point.name), (point.value, point.created_at))
    return found


@given(
    every=st.sampled_from([1, 3, 7]),
    saves=st.lists(st.integers(1, 60), max_size=6, unique=True),
    looks=st.lists(st.integers(0, 60), max_size=6).map(sorted),
    restarts=st.sets(st.integers(0, 6)),
    late=st.integers(0, 8),
)
def test_many_looks_find_what_one_does(
    every: int, saves: list[int], looks: list[int], restarts: set[int], late: int
) -> None:
    """Many reads find the points of one, despite restarts and late checkpoints."""
    api = api_of()
    rows = [
        row
        for step in range(every, 61, every)
        for row in (train(step, step / 64), evaluation(step, step / 32))
    ]
    have: Logged = {}
    provider = api.provider()
    for number, now in enumerate([*looks, 99]):
        if number in restarts:
            provider = api.provider()
        api.metrics = [row for row in rows if row["train/global_step"] <= now]  # type: ignore[operator] # it is a number
        if number % 2 and api.metrics and now < 99:
            api.metrics.pop()  # an evaluation that is not there yet
        api.checkpoints = [api.checkpoint(step) for step in saves if step + late <= now]
        if now == 99:
            api.jobs = [api.row(JOB, status="completed")]
        snapshot = look(provider, logged_at((name, step) for step, name in have))
        have = logged_by(snapshot) | have
        known = {step: name for step, name in have if step in saves and name == "train/loss"}
        shown = {each.step for each in snapshot.checkpoints if "train/loss" in each.metrics}
        assert shown == known.keys() & {each.step for each in snapshot.checkpoints}
    assert have == logged_by(look(api))


def test_jobs_are_read_side_by_side() -> None:
    """Jobs are read at the same time, without sharing what is remembered."""
    api = TogetherApi()
    api.jobs = [api.row("a"), api.row("b")]
    api.checkpoints = [api.checkpoint(1, **{"train/loss": 0.5})]
    provider = api.provider()
    (page,) = provider.pages()
    for job, _ in itertools.product(page.jobs, range(2)):
        assert provider.read(job, logged={}).checkpoints[0].metrics == {"train/loss": 0.5}
