"""Promises of every provider, whatever its wire format: see ``tests.support.wires``."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import entry_points

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import errors
from bridge.http.client import connect
from bridge.model import JobStatus, Meaning, Snapshot
from bridge.providers.records import reply_of
from bridge.providers.registry import ENTRY_POINTS, TYPES
from bridge.redaction import Redactor
from tests.support.contract import (
    DOCUMENTS,
    JOB,
    KINDS,
    addresses,
    by_id,
    every_kind,
    json_values,
    lines_of,
    listed,
    measured,
    nested,
    only,
    points_of,
    read,
    resumed,
)
from tests.support.scripted import Answer, answer, script
from tests.support.wire_server import (
    CREATED,
    OpenAIApi,
    over,
    sent,
)
from tests.support.wires import WIRES


def test_every_provider_has_a_wire_format_here() -> None:
    """Every provider, even one from a package, has a wire format for the tests of this file."""
    brought = {entry.name for entry in entry_points(group=ENTRY_POINTS)}
    assert set(WIRES) == set(TYPES) | brought


# Pages


@every_kind
@pytest.mark.parametrize("number", [0, 1, 99, 100, 101, 250])
def test_pages_go_to_the_last_one(kind: str, number: int) -> None:
    """Every job is listed once, in the provider's order, however many pages they fill."""
    api = WIRES[kind]()
    ids = [f"job-{n}" for n in range(number)]
    api.jobs = [api.row(job_id) for job_id in ids]
    assert [job.id for job in listed(api.provider())] == api.ids(ids)


@every_kind
def test_pages_are_asked_for_as_they_are_wanted(kind: str) -> None:
    """Pages are requested on demand: a reader that stops after the first causes one request."""
    api = WIRES[kind]()
    api.jobs = [api.row(f"job-{n}") for n in range(250)]
    page = next(iter(api.provider().pages()))
    assert len(page.jobs) == (api.page_size or 250)
    assert len(api.requests) == api.requests_a_page


@every_kind
def test_jobs_that_appear_between_pages_push_none_out(kind: str) -> None:
    """Jobs that are created between two pages push none of the existing ones out of the list."""
    api = WIRES[kind]()
    ids = [f"job-{n}" for n in range(250)]
    api.jobs = [api.row(job_id) for job_id in ids]
    api.between = lambda: api.jobs.insert(0, api.row(f"new-{len(api.jobs)}"))
    found = [job.id for job in listed(api.provider())]
    ids = api.ids(ids)
    assert set(ids) <= set(found)
    old = list(dict.fromkeys(job_id for job_id in found if job_id in ids))
    assert old == ids, "the order is the provider's"


@every_kind
@pytest.mark.parametrize("reply", [{}, {"object": "list"}, {"data": 7}, {"detail": "no"}, []])
def test_a_reply_without_a_list_is_a_bad_reply(kind: str, reply: object) -> None:
    """A reply without a list is a bad reply, not an account without jobs."""
    provider = over(lambda _request: sent(reply), kind)
    if reply == {} and WIRES[kind].omits_empty_lists:
        assert listed(provider) == []
        return
    with pytest.raises(errors.BadReply):
        listed(provider)


@every_kind
def test_a_list_that_is_null_is_empty(kind: str) -> None:
    """A null in place of a list means no jobs."""
    assert listed(over(lambda _request: sent(WIRES[kind].null_list), kind)) == []


@every_kind
def test_a_server_that_repeats_its_page_for_ever_is_left(kind: str) -> None:
    """A server that ignores the requested page does not keep the bridge paging for ever."""
    api = WIRES[kind]()
    rows: list[object] = [api.row(f"job-{n}") for n in range(100)]
    repeating = script(lambda _request: sent(api.list_of(rows, has_more=True)), most=19)
    provider = over(repeating, kind)
    if api.page_size is None:
        assert len(listed(provider)) == 100
        assert len(repeating.requests) == 1
    else:
        *found, last = provider.pages()
        assert len({job.id for page in found for job in page.jobs}) == 100 * api.requests_a_page
        assert last.cut is not None
        assert last.cut.is_lasting


@every_kind
def test_a_server_that_repeats_its_page_and_does_not_count_is_left(kind: str) -> None:
    """A server that repeats its page, and gives neither count nor end, does not either."""
    api = WIRES[kind]()
    rows: list[object] = [api.row(f"job-{n}") for n in range(100)]
    repeating = script(lambda _request: sent(api.list_of(rows, has_more=None)), most=19)
    provider = over(repeating, kind)
    if kind == "mistral":  # its pages have numbers: the same one twice is an error of the server
        *_, last = provider.pages()
        assert last.cut is not None
        assert "repeat" in last.cut.reason
    else:
        assert len({job.id for job in listed(provider)}) == 100 * api.requests_a_page


# The life of a job


@every_kind
def test_every_word_for_a_status_is_known(kind: str) -> None:
    """Each word of the table becomes its status, in the list and in the job's own reply."""
    for word, status in TYPES[kind].statuses.items():
        api = WIRES[kind]()
        api.jobs = [api.row(JOB, **{api.status_key: word})]
        for job in (only(api), read(api.provider()).job):
            assert (job.status, job.provider_status) == (status, word)


@every_kind
@pytest.mark.parametrize("word", ["", "melting", "  ", "Jogging!", "完了", "x" * 5000, None])
def test_an_unknown_word_counts_as_still_running(kind: str, word: str | None) -> None:
    """An unknown word is kept, is not final, and has the job read again."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, **{api.status_key: word})]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    job = only(api)
    assert job.status is JobStatus.UNKNOWN
    assert job.provider_status == (word or "")
    assert not job.status.is_final
    assert len(measured(api, read(api.provider(), job=job))) == 1


@every_kind
def test_every_word_of_the_specification_is_known(kind: str) -> None:
    """Every word of the specification is known, so that none counts as running by accident."""
    api = WIRES[kind]
    assert api.words <= TYPES[kind].statuses.keys()
    assert {api.running, api.succeeded} <= api.words


@every_kind
def test_final_words_are_final(kind: str) -> None:
    """Success, failure and cancellation each have a word that ends the job."""
    ends = {status for status in TYPES[kind].statuses.values() if status.is_final}
    assert ends == {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


def test_a_paused_job_is_not_over() -> None:
    """A paused job can resume: ``paused`` is missing from OpenAI's own enumeration."""
    api = OpenAIApi()
    api.jobs = [{"object": "fine_tuning.job", "id": JOB, "status": "paused"}]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    snapshot = read(api.provider())
    assert snapshot.job.status is JobStatus.PAUSED
    assert not snapshot.job.status.is_final
    assert len(snapshot.checkpoints) == 1


@every_kind
def test_a_listed_job_that_waits_costs_no_request(kind: str) -> None:
    """A listed job that waits costs no request, because the list has everything."""
    api = WIRES[kind]()
    waiting = next(w for w, s in TYPES[kind].statuses.items() if s is JobStatus.QUEUED)
    api.jobs = [api.row(JOB, **{api.status_key: waiting})]
    provider = api.provider()
    (job,) = listed(provider)
    before = len(api.requests)
    assert read(provider, job=job) == Snapshot(job=job, skipped=job.skipped)
    # Where the list can be stale, the job itself has to say that it waits.
    assert len(api.requests) == before + (not api.trusts_list)


# Failures


@every_kind
def test_a_job_that_is_gone_is_not_found(kind: str) -> None:
    """A 404 for one job means that this job is gone, and says nothing of the others."""
    with pytest.raises(errors.NotFound):
        read(WIRES[kind]().provider())


@every_kind
def test_a_service_that_has_ended_is_withdrawn(kind: str) -> None:
    """A 410 for the list ends the pass with a sentence about what happens to the runs."""
    with pytest.raises(errors.Withdrawn, match="MLflow"):
        listed(over(answer(410), kind))


@pytest.mark.long
@every_kind
@settings(max_examples=1000 if os.environ.get("SOAK") else 25)
@given(replies=st.lists(json_values, min_size=1, max_size=4))
def test_no_json_whatever_makes_a_provider_fail_without_a_name(
    kind: str, replies: list[object]
) -> None:
    """Any reply becomes values of the model, or an error that has a sentence."""
    scripted = script(*(Answer(content=json.dumps(reply).encode()) for reply in replies), most=49)
    provider = over(scripted, kind)
    try:
        jobs = listed(provider)
    except errors.ProviderError:
        jobs = []
    for job, keep in itertools.product((None, *jobs), (False, True)):
        scripted.requests.clear()
        try:
            snapshot = read(provider, job.id if job else JOB, job, keep=keep)
        except errors.ProviderError:
            continue
        assert set(snapshot.documents) <= DOCUMENTS
        assert bool(snapshot.documents) == keep
        for name, document in snapshot.documents.items():
            assert name.endswith(".csv") or lines_of(document) or name == "result-file"
        assert snapshot.job.epochs is None or math.isfinite(snapshot.job.epochs)
        assert snapshot.job.total_steps is None or 0 < snapshot.job.total_steps < 2**63
        assert len(snapshot.job.metadata) <= 16
        assert all(math.isfinite(v) for c in snapshot.checkpoints for v in c.metrics.values())
        assert all(math.isfinite(point.value) for point in snapshot.curve)
        assert all(-(2**63) <= point.step < 2**63 for point in snapshot.curve)


@every_kind
@pytest.mark.parametrize("depth", [100, 400, 900])
def test_deeply_nested_values_stop_no_other_job(kind: str, depth: int) -> None:
    """A deeply nested value costs no other job its place in the list."""
    api = WIRES[kind]()
    deep = nested(depth)
    odd = {api.status_key: 5, "news": deep, "hyperparameters": deep}
    api.jobs = [api.row("deep", **odd), api.row("good")]
    assert [job.id for job in listed(api.provider())][-1] == f"{api.id_prefix}good"


@every_kind
def test_json_that_is_nested_beyond_reason_is_a_bad_reply(kind: str) -> None:
    """A hundred thousand brackets are a bad reply."""
    reply = httpx.Response(200, headers={"Content-Type": "application/json"}, content=b"[" * 10**5)
    with pytest.raises(errors.BadReply):
        listed(over(lambda _request: reply, kind))


# No request is made twice


@every_kind
def test_a_job_by_its_id_costs_one_request(kind: str) -> None:
    """Reading a job by its id costs one request, and gives at least the list's fields."""
    api = WIRES[kind]()
    api.jobs = [api.row("another"), api.row(JOB)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    provider = api.provider()
    job = by_id(provider)
    assert len(api.requests) == 1
    assert job == listed(provider)[1]


@every_kind
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("found", ["listed", "by its id"])
def test_no_request_is_made_twice(kind: str, found: str, *, keep: bool) -> None:
    """A job that was already read is completed without a repeated request."""
    api = WIRES[kind]()
    api.fill(150)
    provider = api.provider()
    job = only(api) if found == "listed" else by_id(provider)
    snapshot = read(provider, job=job, keep=keep)
    assert measured(api, snapshot)
    assert len(set(addresses(api))) == len(api.requests)


@every_kind
def test_a_job_is_read_again_each_time(kind: str) -> None:
    """A second read of a job requests it again, and sees the changes."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    provider = api.provider()
    for number in (1, 2, 3):
        api.checkpoints = [api.checkpoint(n, train_loss=0.5) for n in range(1, number + 1)]
        assert len(measured(api, read(provider))) == number
        assert len(measured(api, read(provider, job=only(api)))) == number


@every_kind
def test_a_job_has_the_reply_that_it_was_made_of(kind: str) -> None:
    """A job carries its reply as it came, including unknown and unreadable parts."""
    api = WIRES[kind]()
    row = api.row(JOB, **{api.status_key: 7}, news={"a": [1, None]})
    api.jobs = [row]
    job = only(api)
    assert reply_of(job) == row
    assert job.skipped
    assert row.items() <= reply_of(by_id(api.provider())).items()


# Other facts about a job


@every_kind
def test_every_meaning_is_of_a_name_that_the_provider_uses(kind: str) -> None:
    """No two names of a provider mean the same, and epochs have a name if jobs have them."""
    meanings = TYPES[kind].meanings
    api = WIRES[kind]()
    together = [what for name, what in meanings.items() if name not in api.of_some_jobs]
    assert len(set(together)) == len(together)
    api.jobs = [api.row(JOB)]
    about_params = {Meaning.EPOCHS, Meaning.STEPS, Meaning.BATCH_SIZE, Meaning.WARMUP}
    params = {name for name, meaning in meanings.items() if meaning in about_params}
    assert (Meaning.EPOCHS in meanings.values()) == api.has_epochs
    row = api.row(JOB)
    chosen: object = row
    for key in api.params_key.split("."):
        assert isinstance(chosen, dict)
        chosen = chosen.get(key, chosen)
    assert isinstance(chosen, dict)
    assert params - api.of_some_jobs <= chosen.keys()


@pytest.mark.parametrize(
    ("kind", "chosen", "expected"),
    [
        ("openai", {"n_epochs": 3}, 3.0),
        ("openai", {"n_epochs": 2.5}, 2.5),
        ("openai", {"n_epochs": "auto"}, None),
        ("openai", {"n_epochs": -1}, None),
        ("openai", {"n_epochs": "3"}, None),
        ("openai", {"n_epochs": 10**400}, None),
        ("openai", {"epochs": 3}, None),
        ("openai", None, None),
        ("mistral", {"epochs": 0.0431941570306258}, 0.0431941570306258),
        ("mistral", {"epochs": None}, None),
        ("mistral", {"n_epochs": 3}, None),
        ("mistral", {"epochs": math.nan}, None),
    ],
)
def test_epochs_are_known_once_they_are_resolved(
    kind: str, chosen: object, expected: float | None
) -> None:
    """The number of epochs is a number once it is resolved, and absent before."""
    api = WIRES[kind]()
    api.jobs = [{"id": JOB, "hyperparameters": chosen}]
    assert only(api).epochs == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_where_the_public_service_shows_it(kind: str) -> None:
    """A page exists where the public service shows jobs; other servers and Mistral have none."""
    api = WIRES[kind]()
    api.jobs = [api.row("job/1")]
    assert only(api).page is None
    if "$" in TYPES[kind].base_url and not api.public_page:
        return  # Each user has a separate address.
    http = connect(
        TYPES[kind].base_url,
        headers={},
        redactor=Redactor(),
        transport=httpx.MockTransport(api),
    )
    (job,) = listed(TYPES[kind](http, curves=True, statuses=None, **api.options))
    assert job.page == (api.public_page and api.public_page.format("job%2F1"))


# Logged points are not read again


@every_kind
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 180, 181, 400, 599, 600, 601])
def test_an_interrupted_read_is_resumed_to_the_same_points(kind: str, cut: int) -> None:
    """The points before and after a kill together equal those of one uninterrupted read."""
    api = WIRES[kind]()
    api.fill(300)
    full = points_of(read(api.provider()))
    assert len(full) >= 300
    assert resumed(api.provider(), full[:cut]) == full


TIMES = {
    "seconds": str,
    "milliseconds": lambda at: at * 1000,
    "microseconds": lambda at: at * 10**6,
    "text": lambda at: f"{at}.0",
    "ISO 8601": lambda at: datetime.fromtimestamp(at, UTC).isoformat(),
}


@every_kind
@pytest.mark.parametrize("written", TIMES.values(), ids=TIMES)
def test_a_time_in_another_unit_is_the_same_time(
    kind: str, written: Callable[[int], object]
) -> None:
    """A job begins and ends at the same time in whichever unit the service writes times."""
    api = WIRES[kind]()
    final = next(word for word, status in TYPES[kind].statuses.items() if status.is_final)
    times = {api.created_key: written(CREATED), api.ended_key: written(CREATED + 800)}
    api.jobs = [api.row(JOB, **{api.status_key: final}, **times)]
    job = only(api)
    assert (job.created_at, job.finished_at) == (CREATED * 1000, (CREATED + 800) * 1000)
    assert job.skipped == ()
