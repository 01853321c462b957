"""OpenAI's cursors, checkpoints and curves."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence

import httpx
import pytest

from bridge.model import Checkpoint
from tests.support.contract import (
    DONE,
    JOB,
    listed,
    openai_with_steps,
    points,
    points_of,
    read,
    resumed,
    up_to,
)
from tests.support.scripted import answer, script
from tests.support.wire_server import (
    CREATED,
    OpenAIApi,
    over,
    sent,
)
from tests.support.wires import WIRES


def test_openai_ends_where_a_cursor_repeats() -> None:
    """A cursor that leads back to an earlier page ends the list, after at most one round."""
    api = OpenAIApi()
    pages = [[api.row("a"), api.row("b")], [api.row("c"), api.row("d")]]
    turns = [answer(200, {"data": page, "has_more": True}) for page in pages]
    scripted = script(*turns * 5, most=9)
    provider = over(scripted, "openai")
    *found, last = provider.pages()
    assert [job.id for page in found for job in page.jobs] == ["a", "b", "c", "d"]
    assert last.cut is not None
    assert "do not end" in last.cut.reason
    cursors = [request.url.params.get("after") for request in scripted.requests]
    assert [cursor for cursor in cursors if cursor] == ["b", "d"]


@pytest.mark.parametrize("last", [{"status": "running"}, None, {"id": None}, {"id": 7}])
def test_openai_says_that_it_cannot_go_on_without_a_cursor(last: object) -> None:
    """A page that promises more, but has no id to continue from, is reported."""
    reply = {"data": [{"id": "a"}, last], "has_more": True}
    *_, page = over(lambda _request: sent(reply), "openai").pages()
    assert page.cut is not None
    assert "cursor" in page.cut.reason


@pytest.mark.parametrize("kind", ["openai", "fireworks", "mistral"])
@pytest.mark.parametrize("status", [404, 410, 422])
def test_a_later_page_that_is_refused_does_not_end_the_service(kind: str, status: int) -> None:
    """A refused later page ends the list with a sentence; the service is not withdrawn."""
    api = WIRES[kind]()
    api.jobs = [api.row(f"job-{n}") for n in range(250)]

    def answer(request: httpx.Request) -> httpx.Response:
        is_later = {"after", "pageToken"} & request.url.params.keys()
        is_later = is_later or request.url.params.get("page", "0") != "0"
        gone = {"error": {"message": "This cursor is no longer available"}}
        return httpx.Response(status, json=gone) if is_later else api(request)

    *found, last = over(answer, kind).pages()
    assert [page.cut for page in found] == [None] * len(found)
    assert sum(len(page.jobs) for page in found) == api.page_size
    assert last.cut is not None
    assert last.cut.is_lasting
    assert str(status) in last.cut.reason


def test_openai_goes_on_where_has_more_is_missing() -> None:
    """A list without ``has_more`` ends with its first empty page."""
    api = OpenAIApi()
    api.jobs = [api.row(f"job-{n}") for n in range(150)]

    def answer(request: httpx.Request) -> httpx.Response:
        reply = json.loads(api(request).content)
        del reply["has_more"]
        return sent(reply)

    jobs = listed(over(answer, "openai"))
    assert len({job.id for job in jobs}) == len(jobs) == 150


def test_openai_cursors_may_hold_any_character() -> None:
    """A cursor is sent back unchanged, whatever characters it has."""
    api = OpenAIApi()
    ids = [f"job {n}/?&=+%#'🦙" for n in range(150)]
    api.jobs = [api.row(job_id) for job_id in ids]
    assert [job.id for job in listed(api.provider())] == ids


def test_openai_checkpoints_are_read_to_the_last_page() -> None:
    """Checkpoints are read to the last page."""
    api = openai_with_steps(0)
    api.checkpoints = [api.checkpoint(n, train_loss=0.5) for n in range(250, 0, -1)]
    assert [c.step for c in read(api.provider()).checkpoints] == list(range(1, 251))


def test_openai_checkpoint_has_its_model_and_time() -> None:
    """A checkpoint has the model name and the time that the provider gives."""
    api = openai_with_steps(0)
    api.checkpoints = [api.checkpoint(7, train_loss=0.5)]
    assert read(api.provider()).checkpoints == (
        Checkpoint(
            step=7,
            created_at=(CREATED + 100) * 1000,
            metrics={"train_loss": 0.5},
            id="ftckpt_7",
            model="ft:model:ckpt-step-7",
        ),
    )


def test_openai_running_job_has_all_its_events() -> None:
    """A running job has the curve of all its events, however many pages they fill."""
    api = openai_with_steps(350)
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 351)}
    assert not api.asked("/content")


def test_openai_reads_no_further_than_to_what_is_logged() -> None:
    """Events are read back to the page that holds a logged point."""
    api = openai_with_steps(350)
    provider = api.provider()
    snapshot = provider.read(provider.job(JOB), logged=up_to(340))
    assert len(api.asked("/events")) == 1
    assert set(points(snapshot.curve)) >= set(range(341, 351))


def test_openai_finished_job_has_its_newest_events_and_its_result_file() -> None:
    """A finished job has exact values from its newest events, and the rest from the result file."""
    api = openai_with_steps(350, **DONE)
    curve = points(read(api.provider()).curve)
    assert len(api.asked("/events")) == len(api.asked("/content")) == 1
    exact = {n: float(n) for n in range(259, 351)}
    assert curve == {n: n + 0.5 for n in range(1, 259)} | exact


def test_openai_job_with_validation_is_read_from_its_events() -> None:
    """A job with validation is read from its events: the result file lacks the full validation."""
    api = openai_with_steps(350, **DONE | {"validation_file": "file-v"})
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 351)}
    assert not api.asked("/content")


@pytest.mark.parametrize("rows", [[], [1, 19], [1, 2, 3, 5], range(1, 120)])
def test_openai_result_file_with_holes_does_not_take_the_events_place(
    rows: Sequence[int],
) -> None:
    """A result file that lacks steps does not replace the events."""
    api = openai_with_steps(350, **DONE)
    api.result = "\n".join(["step,train_loss", *(f"{n},0.5" for n in rows)]).encode()
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 351)}


def test_openai_result_file_fills_in_for_events_that_are_gone() -> None:
    """A result file fills in for events that no longer reach back to the first step."""
    api = openai_with_steps(20, **DONE | {"validation_file": "file-v"})
    assert isinstance(api.events, list)
    api.events = api.events[:13]  # eight messages, then the steps 20 to 16
    curve = points(read(api.provider()).curve)
    assert curve == {n: n + 0.5 for n in range(1, 16)} | {n: float(n) for n in range(16, 21)}


def test_openai_short_job_needs_no_result_file() -> None:
    """A result file is not requested if one page of events reaches back to the first step."""
    api = openai_with_steps(50, **DONE)
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 51)}
    assert not api.asked("/content")
    assert len(api.asked("/events")) == 1


def test_openai_finished_job_without_result_file_has_all_its_events() -> None:
    """A finished job without a result file, such as a cancelled one, has all its events."""
    api = openai_with_steps(350, status="cancelled", result_files=[])
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 351)}


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"<html>not found</html>",
        b"PK\x03\x04\xff\xfe",
        base64.b64encode(b"%PDF-1.7"),
        "step,loss".encode("utf-16-le"),
        b'{"error": {"message": "expired"}}',
        b"step,train_loss\r1,0.5\r2,0.25\r",
        b"step,train_loss\n1," + b"9" * 200_000,
        base64.b64encode(b'step,x\n"' + b"a" * 200_000),
    ],
    ids=lambda body: repr(body)[:24],
)
def test_openai_falls_back_on_events_where_the_result_file_is_useless(body: bytes | None) -> None:
    """A missing or useless result file costs no points, and is named once."""
    api = openai_with_steps(350, **DONE)
    api.result = body
    snapshot = read(api.provider())
    assert points(snapshot.curve) == {n: float(n) for n in range(1, 351)}
    assert [part.name for part in snapshot.missing] == ["result file"]
    assert "file-r" in snapshot.missing[0].reason


def test_openai_asks_once_for_a_result_file_that_is_gone() -> None:
    """A missing result file is requested only once, however many pages of events follow."""
    api = openai_with_steps(900, **DONE)
    api.result = None
    assert len(points(read(api.provider()).curve)) == 900
    assert len(api.asked("/content")) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_openai_job_is_complete_without_access_to_its_result_file(status: int) -> None:
    """A refused or expired result file costs no points."""
    api = openai_with_steps(350, **DONE)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={}) if "/files/" in request.url.path else api(request)

    snapshot = read(over(answer, "openai"))
    assert points(snapshot.curve) == {n: float(n) for n in range(1, 351)}


def test_openai_result_file_may_be_labelled_as_json() -> None:
    """A result file is recognized by its content, not by its label, which can be JSON."""
    api = openai_with_steps(350, **DONE)
    api.result_type = "application/json"
    assert len(points(read(api.provider()).curve)) == 350


def test_openai_result_file_id_is_one_segment_of_the_path() -> None:
    """A result file's id fills one segment of the path: it is untrusted text."""
    api = openai_with_steps(350, **DONE | {"result_files": ["../../admin"]})
    read(api.provider())
    (request,) = api.asked("/content")
    assert request.url.raw_path == b"/v1/files/..%2F..%2Fadmin/content"


def test_openai_without_curves_reads_checkpoints_only() -> None:
    """Without curves neither events nor the result file are requested."""
    api = openai_with_steps(350, **DONE)
    api.checkpoints = [api.checkpoint(350, train_loss=0.5)]
    snapshot = read(api.provider(curves=False))
    assert snapshot.curve == ()
    assert len(snapshot.checkpoints) == 1
    assert not api.asked("/events")
    assert not api.asked("/content")


@pytest.mark.parametrize("cut", [1, 100, 257, 258, 259, 260, 300, 349, 350])
def test_openai_finished_job_is_resumed_to_the_same_points(cut: int) -> None:
    """An interrupted write of a finished job is resumed to the same points."""
    api = openai_with_steps(350, **DONE)
    full = points_of(read(api.provider()))
    assert resumed(api.provider(), full[:cut]) == full


@pytest.mark.parametrize("cut", [1, 300, 520, 600, 650, 690])
def test_openai_columns_only_in_the_result_file_survive_an_interruption(cut: int) -> None:
    """A metric that only the result file has survives an interrupted write."""
    api = openai_with_steps(350, **DONE)
    lines = [f"{n},{n}.5,{n}.25" for n in range(1, 351)]
    api.result = "\n".join(["step,train_loss,entropy_loss_sum", *lines]).encode()
    full = points_of(read(api.provider()))
    assert resumed(api.provider(), full[:cut]) == full


def test_openai_step_may_be_a_whole_float() -> None:
    """An event's step can be written as 3.0."""
    api = OpenAIApi(events=[])
    api.jobs = [api.row(JOB)]
    api.events = [api.event(3.0, train_loss=0.5)]
    (point,) = read(api.provider()).curve
    assert (point.name, point.step, point.value) == ("train_loss", 3, 0.5)
    assert isinstance(point.step, int)


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 1e300])
def test_openai_event_at_a_step_that_no_store_can_hold_is_left_out(step: object) -> None:
    """An event at a step that no store can hold is reported, and the others are kept."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [api.event(step, train_loss=0.5), api.event(2, train_loss=0.25)]
    snapshot = read(api.provider())
    assert points(snapshot.curve) == {2: 0.25}
    assert snapshot.skipped


@pytest.mark.parametrize("step", ["7", "last", 1.5, True, []])
def test_openai_metrics_at_a_step_that_is_none_are_reported(step: object) -> None:
    """An event with metrics but an impossible step is reported."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [api.event(step, train_loss=0.5), api.event(2, train_loss=0.25)]
    snapshot = read(api.provider())
    assert points(snapshot.curve)[2] == 0.25
    assert snapshot.skipped or points(snapshot.curve) == {2: 0.25, 7: 0.5}


@pytest.mark.parametrize("step", [2**63, 10**30, "1e300"])
def test_openai_result_row_at_a_step_that_no_store_can_hold_is_left_out(step: object) -> None:
    """A result row at a step that no store can hold is left out, and the others are kept."""
    api = openai_with_steps(350, **DONE)
    rows = [f"{n},0.5" for n in range(1, 300)]
    api.result = "\n".join(["step,train_loss", *rows, f"{step},0.25"]).encode()
    curve = points(read(api.provider()).curve)
    assert curve[1] == 0.5
    assert max(curve) == 350


def test_openai_messages_are_no_points() -> None:
    """Events without metrics are skipped in silence, in all their forms."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [
        api.message(0),
        api.message(1),
        api.message(2) | {"type": None},
        {"object": "fine_tuning.job.event"},
        api.event(5, train_loss=0.5) | {"type": "message"},
        api.event(4, train_loss=0.5),
    ]
    snapshot = read(api.provider())
    assert points(snapshot.curve) == {4: 0.5}
    assert snapshot.skipped == ()


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["exact", "style"], ["exact", "style"]),
        (["exact", "exact"], ["0", "1"]),
        (["exact", None], ["0", "1"]),
        (["exact", ""], ["0", "1"]),
    ],
)
def test_openai_nested_numbers_of_an_event_are_flattened(
    names: list[str | None], shown: list[str]
) -> None:
    """Nested scores become metrics under the graders' names, and text does not.

    Graders without a name, or with the same one, go by their places.
    """
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [
        api.event(
            4,
            train_mean_reward=0.5,
            scores={
                "graders": [{"name": name, "train_reward_mean": 0.25} for name in names],
                "ok": True,
            },
            errors=["none"],
        )
    ]
    curve = read(api.provider()).curve
    assert {(point.name, point.value) for point in curve} == {
        ("train_mean_reward", 0.5),
        *((f"scores.graders.{each}.train_reward_mean", 0.25) for each in shown),
    }


def test_openai_numbers_of_an_event_that_are_not_finite_are_reported() -> None:
    """A number that is not finite is reported, and the event's other numbers are kept."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [api.event(4, train_loss=math.nan, accuracy=0.5)]
    snapshot = read(api.provider())
    assert [(point.name, point.value) for point in snapshot.curve] == [("accuracy", 0.5)]
    assert snapshot.skipped == ("event at step 4: train_loss is not a finite number",)
