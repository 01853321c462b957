"""What every provider promises, whatever its wire format: see ``tests.support.wires``."""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import errors
from bridge.http import connect
from bridge.model import Checkpoint, CurvePoint, Job, JobStatus, Meaning, Snapshot
from bridge.providers import ENTRY_POINTS, TYPES, Provider
from bridge.providers.documents import documents
from bridge.untrusted import Redactor, clean
from tests.support.wire_server import (
    BASE_URL,
    CREATED,
    Api,
    MistralApi,
    OpenAIApi,
    over,
    sent,
)
from tests.support.wires import WIRES

KINDS = sorted(WIRES)
JOB = "a-job"
DOCUMENTS = {
    *("job.json", "checkpoints.jsonl", "events.jsonl", "result-file.csv", "result-file"),
    *(name for api in WIRES.values() for name in api.more_documents),
}

every_kind = pytest.mark.parametrize("kind", KINDS)


def nothing_logged(_name: str, _step: int) -> bool:
    """A tracking store that is empty."""
    return False


def listed(provider: Provider) -> list[Job]:
    """All jobs of all pages."""
    return [job for page in provider.pages() for job in page.jobs]


def read(
    provider: Provider, job_id: str = JOB, job: Job | None = None, *, keep: bool = False
) -> Snapshot:
    """A full look at one job, as it was listed or else as its own address has it."""
    return provider.read(job or by_id(provider, job_id), is_logged=nothing_logged, keep=keep)


def by_id(provider: Provider, job_id: str = JOB) -> Job:
    """One job, as its own address has it."""
    (api,) = (api for kind, api in WIRES.items() if type(provider) is TYPES[kind])
    return provider.job(f"{api.id_prefix}{job_id}")


def measured(api: Api, snapshot: Snapshot) -> tuple[Checkpoint, ...]:
    """The checkpoints; where a provider measures steps but no checkpoints, these steps."""
    if api.measures_checkpoints:
        return snapshot.checkpoints
    assert snapshot.checkpoints == ()
    steps: dict[int, dict[str, float]] = {}
    for point in snapshot.curve:
        steps.setdefault(point.step, {}).setdefault(point.name, point.value)
    return tuple(Checkpoint(step=n, created_at=None, metrics=steps[n]) for n in steps)


def lines_of(document: bytes) -> list[object]:
    """What a JSON document holds, or each line of a JSONL one."""
    text = document.decode("utf-8")
    if text.startswith("{\n") or text == "{}\n":
        return [json.loads(text)]
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def addresses(api: Api) -> list[str]:
    """What was asked of an API."""
    return [str(request.url) for request in api.requests]


def only(api: Api) -> Job:
    """The one job of an API, as its list has it."""
    (job,) = listed(api.provider())
    return job


def as_sent(job: Job) -> Job:
    """The job without the sentences about it."""
    return replace(job, skipped=())


def test_every_provider_has_a_wire_format_here() -> None:
    """No provider goes without the tests of this file, not even one that a package brings."""
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
    """Who stops after the first page causes one request."""
    api = WIRES[kind]()
    api.jobs = [api.row(f"job-{n}") for n in range(250)]
    page = next(iter(api.provider().pages()))
    assert len(page.jobs) == (api.page_size or 250)
    assert len(api.requests) == api.requests_a_page


@every_kind
def test_jobs_that_appear_between_pages_push_none_out(kind: str) -> None:
    """A job that is created while pages are read shifts others; all that were there are listed."""
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
    """Some other service's JSON is not mistaken for an account without jobs."""
    provider = over(httpx.MockTransport(lambda _request: sent(reply)), kind)
    if reply == {} and WIRES[kind].omits_empty_lists:
        assert listed(provider) == []
        return
    with pytest.raises(errors.BadReply):
        listed(provider)


@every_kind
def test_a_list_that_is_null_is_empty(kind: str) -> None:
    """A null for a list means no jobs."""
    transport = httpx.MockTransport(lambda _request: sent(WIRES[kind].null_list))
    assert listed(over(transport, kind)) == []


@every_kind
def test_a_server_that_repeats_its_page_for_ever_is_left(kind: str) -> None:
    """A server that ignores which page is asked for does not hold the bridge for ever."""
    api = WIRES[kind]()
    rows: list[object] = [api.row(f"job-{n}") for n in range(100)]
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        assert len(asked) < 20, "the provider asks without end"
        return sent(api.list_of(rows, has_more=True))

    provider = over(httpx.MockTransport(answer), kind)
    if api.page_size is None:
        assert len(listed(provider)) == 100
        assert len(asked) == 1
    else:
        with pytest.raises(errors.BadReply):
            listed(provider)


@every_kind
def test_a_server_that_repeats_its_page_and_does_not_count_is_left(kind: str) -> None:
    """The same, where the server says neither how many jobs there are nor whether more follow."""
    api = WIRES[kind]()
    rows: list[object] = [api.row(f"job-{n}") for n in range(100)]
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        assert len(asked) < 20, "the provider asks without end"
        return sent(api.list_of(rows, has_more=None))

    try:
        found = {job.id for job in listed(over(httpx.MockTransport(answer), kind))}
    except errors.BadReply:
        return
    assert len(found) == 100 * api.requests_a_page


# The life of a job


@every_kind
def test_every_word_for_a_status_is_known(kind: str) -> None:
    """Each word of the table becomes its status, in the list and in the job's own reply."""
    api = WIRES[kind]()
    for word, status in TYPES[kind].statuses.items():
        api.jobs = [api.row(JOB, **{api.status_key: word})]
        for job in (only(api), read(api.provider()).job):
            assert (job.status, job.provider_status) == (status, word)


@every_kind
@pytest.mark.parametrize("word", ["", "melting", "  ", "Running!", "完了", "x" * 5000, None])
def test_an_unknown_word_counts_as_still_running(kind: str, word: str | None) -> None:
    """A status that nobody knows yet is kept as a word, is not final, and is looked into."""
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
    """None of them is left to count as running by accident."""
    api = WIRES[kind]
    assert api.words <= TYPES[kind].statuses.keys()
    assert {api.running, api.succeeded} <= api.words


@every_kind
def test_final_words_are_final(kind: str) -> None:
    """Success, failure and cancellation each have a word, and end the job."""
    ends = {status for status in TYPES[kind].statuses.values() if status.is_final}
    assert ends == {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


def test_a_paused_job_is_not_over() -> None:
    """OpenAI's ``paused`` is no member of its own enumeration; the job may resume."""
    api = OpenAIApi()
    api.jobs = [{"object": "fine_tuning.job", "id": JOB, "status": "paused"}]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    snapshot = read(api.provider())
    assert snapshot.job.status is JobStatus.PAUSED
    assert not snapshot.job.status.is_final
    assert len(snapshot.checkpoints) == 1


@every_kind
def test_a_listed_job_that_waits_costs_no_request(kind: str) -> None:
    """Before a job has started there is nothing to read beyond the list."""
    api = WIRES[kind]()
    waiting = next(w for w, s in TYPES[kind].statuses.items() if s is JobStatus.QUEUED)
    api.jobs = [api.row(JOB, **{api.status_key: waiting})]
    provider = api.provider()
    (job,) = listed(provider)
    before = len(api.requests)
    assert read(provider, job=job) == Snapshot(job=job, skipped=job.skipped)
    assert len(api.requests) == before


# Leniency


@every_kind
def test_an_id_alone_makes_a_job(kind: str) -> None:
    """Nothing but the id is required."""
    api = WIRES[kind]()
    api.jobs = [api.bare(JOB)]
    expected = Job(id=f"{api.id_prefix}{JOB}", status=JobStatus.UNKNOWN, provider_status="")
    assert only(api) == expected
    assert read(api.provider()) == Snapshot(job=expected)


@every_kind
def test_nulls_everywhere_are_as_good_as_missing_keys(kind: str) -> None:
    """A null in the place of any value means that the provider did not say."""
    api = WIRES[kind]()
    full = api.row(JOB)
    for key in full.keys() - {api.id_key}:
        api.jobs = [full | {key: None}]
        with_null = only(api)
        api.jobs = [{name: value for name, value in full.items() if name != key}]
        assert with_null == only(api), key
    api.jobs = [dict.fromkeys(full) | api.bare(JOB)]
    expected = Job(id=f"{api.id_prefix}{JOB}", status=JobStatus.UNKNOWN, provider_status="")
    assert only(api) == expected


@every_kind
def test_nulls_in_a_checkpoint_leave_the_rest(kind: str) -> None:
    """Of a checkpoint only the step is required; a metric that is null is absent, not zero."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    whole = api.checkpoint(3, train_loss=0.5, valid_loss=None)
    api.checkpoints = [
        whole,
        dict.fromkeys(whole) | {api.step_key: 2},
        {api.step_key: 1},
    ]
    snapshot = read(api.provider())
    found = [(c.step, dict(c.metrics)) for c in measured(api, snapshot)]
    if api.measures_checkpoints:
        assert found[:-1] == [(1, {}), (2, {})]
        assert snapshot.checkpoints[0].created_at is None
    assert found[-1] == (3, {"train_loss": 0.5})
    assert snapshot.skipped == ()


@every_kind
def test_unknown_keys_change_nothing(kind: str) -> None:
    """A provider may add to its replies without notice."""
    api = WIRES[kind]()
    news: dict[str, object] = {"shared_with": True, "usage": {"a": [1, {"b": None}]}, "": 1}
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    api.jobs = [api.row(JOB)]
    plain = read(api.provider())
    api.jobs = [api.row(JOB) | news]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5) | news]
    assert read(api.provider()) == plain


def wrong_values() -> Iterator[tuple[str, str, object]]:
    """Provider, key and a value that cannot be under that key."""
    for kind, api in WIRES.items():
        for key, value in api.wrong.items():
            yield kind, key, value


@pytest.mark.parametrize(("kind", "key", "value"), list(wrong_values()))
def test_a_value_of_the_wrong_type_is_left_out_alone(kind: str, key: str, value: object) -> None:
    """The job is read as if the key were missing, and a sentence names the key."""
    api = WIRES[kind]()
    full = api.row(JOB)
    api.jobs = [{name: old for name, old in full.items() if name != key}]
    without = only(api)
    api.jobs = [full | {key: value}]
    for job in (only(api), read(api.provider()).job):
        assert as_sent(job) == without
        assert len(job.skipped) == 1
        assert job.skipped[0].startswith(key)


@every_kind
def test_wrong_values_of_a_job_are_reported_with_its_snapshot(kind: str) -> None:
    """What was left out of the job itself is in the snapshot, once."""
    api = WIRES[kind]()
    key = next(key for key in api.wrong if "model" in key.lower())
    api.jobs = [api.row(JOB, **{key: api.wrong[key]})]
    provider = api.provider()
    (job,) = listed(provider)
    for snapshot in (read(provider), read(provider, job=job)):
        assert [s for s in snapshot.skipped if s.startswith(key)] == list(job.skipped)
        assert len(job.skipped) == 1


@every_kind
def test_all_values_wrong_at_once_leave_the_id(kind: str) -> None:
    """A job of which nothing else can be read is still a job."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, **api.wrong)]
    job = only(api)
    assert job.id == f"{api.id_prefix}{JOB}"
    assert job.status is JobStatus.UNKNOWN
    assert len(job.skipped) == len(api.wrong)


@every_kind
def test_wrong_values_deep_inside_are_left_out_alone(kind: str) -> None:
    """Of a checkpoint's metrics only those that are no numbers are left out, and each is named."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [
        api.checkpoint(1, train_loss=0.5, text="0.5", truth=True),
        api.checkpoint(2, train_loss=0.25),
        api.checkpoint(3) | {"metrics": [0.5]},
        api.checkpoint(4, train_loss=0.125) | {"created_at": "noon"},
    ]
    snapshot = read(api.provider())
    found = measured(api, snapshot)
    losses = [(1, 0.5), (2, 0.25), (3, None), (4, 0.125)]
    assert [(c.step, c.metrics.get("train_loss")) for c in found] == [
        loss for loss in losses if api.measures_checkpoints or loss[1] is not None
    ]
    assert {name for c in found for name in c.metrics} == {"train_loss"}
    if not api.measures_checkpoints:
        return  # As of every curve, what is no number is passed over.
    assert snapshot.checkpoints[3].created_at is None
    said = "\n".join(snapshot.skipped)
    assert all(name in said for name in ("text", "truth", "metrics", "created_at")), said


@every_kind
def test_a_value_wrong_in_every_checkpoint_is_left_out_of_every_checkpoint(kind: str) -> None:
    """A provider that sends one metric as text at each of 200 steps loses that metric alone."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(n, train_loss=0.5, odd="x") for n in range(1, 201)]
    found = measured(api, read(api.provider()))
    assert [dict(c.metrics) for c in found] == [{"train_loss": 0.5}] * 200


NO_JOBS: list[object] = [
    None,
    5,
    "a-job",
    [],
    {},
    {"id": None},
    {"id": ""},
    {"id": 7},
    {"id": ["a"]},
    {"id": "x" * 251},
    {"id": "two\nlines"},
    {"id": "nul\x00"},
    {"id": "half \ud800"},
]


@every_kind
@pytest.mark.parametrize("row", NO_JOBS, ids=lambda row: repr(row)[:20])
def test_a_row_without_a_usable_id_is_unreadable(kind: str, row: object) -> None:
    """It becomes one sentence, and the rows around it become jobs."""
    api = WIRES[kind]()
    if isinstance(row, dict):
        row = {api.id_key if key == "id" else key: value for key, value in row.items()}
    api.jobs = [api.row("before"), row, api.row("after")]
    (page,) = api.provider().pages()
    assert [job.id for job in page.jobs] == api.ids(["before", "after"])
    assert len(page.unreadable) == 1
    assert page.unreadable[0].isprintable()


@every_kind
def test_an_unreadable_row_at_the_end_of_a_page_hides_no_job(kind: str) -> None:
    """Jobs on later pages are listed, or the bridge says that it could not go on."""
    api = WIRES[kind]()
    for row in NO_JOBS:
        good = [api.row(f"job-{n}") for n in range(150)]
        api.jobs = [*good[:99], row, *good[99:]]
        try:
            found = [job.id for job in listed(api.provider())]
        except errors.ProviderError:
            continue
        assert len(found) == 150, row


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


@every_kind
@pytest.mark.parametrize("job_id", ODD_IDS)
def test_an_odd_id_is_one_segment_of_the_path(kind: str, job_id: str) -> None:
    """Whatever characters an id holds, the request goes below the jobs and nowhere else."""
    api = WIRES[kind]()
    job_id = job_id[: api.longest_id]
    api.jobs = [api.row(job_id)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    assert len(measured(api, read(api.provider(), job_id))) == 1
    base = httpx.URL(BASE_URL).path
    for request in api.requests:
        raw = request.url.raw_path.decode().split("?")[0]
        *root, segment = raw.removeprefix(f"{base}/").split("/")[: len(api.root) + 1]
        assert tuple(root) == api.root
        assert unquote(segment) == job_id
        assert segment not in {".", ".."}
        assert request.url.host == "provider.example"


@every_kind
@pytest.mark.parametrize("job_id", ["a\u202eb", "a\x9bb", "\u200ea", "a\u2066b"])
def test_an_id_that_text_cleaning_would_change_names_no_job(kind: str, job_id: str) -> None:
    """A run is found by its id: one that could not be written as it is would be lost each time."""
    api = WIRES[kind]()
    api.jobs = [api.row(job_id), api.row("good")]
    jobs = listed(api.provider())
    assert [job.id for job in jobs] == [clean(job.id, 5000) for job in jobs]
    assert jobs[-1].id == f"{api.id_prefix}good"


# Numbers


@every_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_a_number_that_is_not_finite_is_left_out(kind: str, value: float) -> None:
    """Bare NaN and Infinity are JSON to most writers; the metric is left out, and named."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [
        api.checkpoint(1, train_loss=value, other=0.25),
        api.checkpoint(2, train_loss=0.5),
    ]
    snapshot = read(api.provider())
    found = [dict(c.metrics) for c in measured(api, snapshot)]
    assert found == [{"other": 0.25}, {"train_loss": 0.5}]
    (sentence,) = snapshot.skipped
    assert "train_loss" in sentence


@every_kind
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 1e300, 1e306, 1.7e308, 10**400, -5, 0, "soon", [], {}, True]
)
def test_a_time_that_is_no_time_stops_nothing(kind: str, value: object) -> None:
    """The job and its checkpoints are read, whatever their time is said to be."""
    api = WIRES[kind]()
    times = {key: value for key in api.row(JOB) if key.endswith(("_at", "Time"))}
    api.jobs = [api.row(JOB, **times), api.row("good")]
    api.checkpoints = [
        api.checkpoint(1, train_loss=0.5) | {"created_at": value, "timestamp": value}
    ]
    assert {job.id for job in listed(api.provider())} == {*api.ids([JOB, "good"])}
    found = measured(api, read(api.provider()))
    assert [dict(c.metrics) for c in found] == [{"train_loss": 0.5}]


@every_kind
@pytest.mark.parametrize("digits", [400, 4000])
def test_a_huge_whole_number_stops_nothing(kind: str, digits: int) -> None:
    """Numbers beyond any machine's are read or left out."""
    api = WIRES[kind]()
    huge = 10**digits
    api.jobs = [api.row(JOB, trained_tokens=huge, seed=huge, hyperparameters={"n": huge})]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    assert len(listed(api.provider())) == 1
    assert [c.step for c in measured(api, read(api.provider()))] == [1]


@every_kind
@pytest.mark.parametrize(
    ("step", "expected"), [(3.0, 3), (-4, -4), (0, 0), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63))]
)
def test_a_whole_step_is_a_step(kind: str, step: object, expected: int) -> None:
    """A step may be written as 3.0, and any that a tracking store can hold is taken."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(step, train_loss=0.5)]
    assert [c.step for c in measured(api, read(api.provider()))] == [expected]


@every_kind
@pytest.mark.parametrize(
    "step", [1.5, 2**63, -(2**63) - 1, 10**400, 1e300, math.nan, None, "last", [], {}]
)
def test_a_checkpoint_whose_step_is_none_is_left_out(kind: str, step: object) -> None:
    """The other checkpoints are read, and a sentence says that one was not."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [
        api.checkpoint(8, train_loss=0.5),
        api.checkpoint(step, train_loss=0.5),
        api.checkpoint(4, train_loss=0.5),
    ]
    snapshot = read(api.provider())
    assert [c.step for c in measured(api, snapshot)] == [4, 8]
    assert snapshot.skipped


@every_kind
def test_checkpoints_come_by_ascending_step(kind: str) -> None:
    """In whatever order the provider lists them, and a step that it repeats comes once."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(n, train_loss=n / 16) for n in (5, 40, 1, 7, 40, 3)]
    snapshot = read(api.provider())
    assert [c.step for c in measured(api, snapshot)] == [1, 3, 5, 7, 40]
    assert snapshot.newest_checkpoint == (snapshot.checkpoints or [None])[-1]


@every_kind
@pytest.mark.parametrize("curves", [True, False])
def test_checkpoints_do_not_depend_on_curves(kind: str, *, curves: bool) -> None:
    """Without curves the checkpoints are the same, and there is nothing beside them."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, **{api.status_key: api.succeeded})]
    api.checkpoints = [api.checkpoint(n, train_loss=n / 16) for n in (1, 2)]
    snapshot = read(api.provider(curves=curves))
    if not api.measures_checkpoints:
        assert len(measured(api, snapshot)) == (2 if curves else 0)
        return
    assert [dict(c.metrics) for c in snapshot.checkpoints] == [
        {"train_loss": 1 / 16},
        {"train_loss": 2 / 16},
    ]
    assert snapshot.curve == ()
    if not curves and api.curve_part:
        assert not api.asked(api.curve_part)


# Failures


@every_kind
def test_a_job_that_is_gone_is_not_found(kind: str) -> None:
    """404 for one job says that this job is gone, and nothing of the others."""
    with pytest.raises(errors.NotFound):
        read(WIRES[kind]().provider())


@every_kind
def test_a_service_that_has_ended_is_withdrawn(kind: str) -> None:
    """410 for the list ends the pass with a sentence that says what becomes of the runs."""
    transport = httpx.MockTransport(lambda _request: httpx.Response(410, json={}))
    with pytest.raises(errors.Withdrawn, match="MLflow"):
        listed(over(transport, kind))


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


@every_kind
@given(replies=st.lists(json_values, min_size=1, max_size=4))
def test_no_json_whatever_makes_a_provider_fail_without_a_name(
    kind: str, replies: list[object]
) -> None:
    """Any reply becomes values of the model or an error that has a sentence."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        assert len(asked) < 50, "the provider asks without end"
        return sent(replies[min(len(asked), len(replies)) - 1])

    provider = over(httpx.MockTransport(answer), kind)
    try:
        jobs = listed(provider)
    except errors.ProviderError:
        jobs = []
    for job, keep in itertools.product((None, *jobs), (False, True)):
        asked.clear()
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


def nested(depth: int) -> dict[str, object]:
    """Objects within objects."""
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@every_kind
@pytest.mark.parametrize("depth", [100, 400, 900])
def test_deeply_nested_values_stop_no_other_job(kind: str, depth: int) -> None:
    """However deep one job's values go, the job beside it is listed."""
    api = WIRES[kind]()
    deep = nested(depth)
    odd = {api.status_key: 5, "news": deep, "hyperparameters": deep}
    api.jobs = [api.row("deep", **odd), api.row("good")]
    assert [job.id for job in listed(api.provider())][-1] == f"{api.id_prefix}good"


@every_kind
def test_json_that_is_nested_beyond_reason_is_a_bad_reply(kind: str) -> None:
    """A hundred thousand brackets are an error with a name."""
    reply = httpx.Response(200, headers={"Content-Type": "application/json"}, content=b"[" * 10**5)
    with pytest.raises(errors.BadReply):
        listed(over(httpx.MockTransport(lambda _request: reply), kind))


# What a request brings is not asked for twice


@every_kind
def test_a_job_by_its_id_costs_one_request(kind: str) -> None:
    """It is the job that the list has, and whatever its own reply says beyond."""
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
    """Whoever has a job reads it without asking for any of it again."""
    api = WIRES[kind]()
    api.fill(150)
    provider = api.provider()
    job = only(api) if found == "listed" else by_id(provider)
    snapshot = read(provider, job=job, keep=keep)
    assert measured(api, snapshot)
    assert len(set(addresses(api))) == len(api.requests)


@every_kind
def test_a_job_is_read_anew_each_time(kind: str) -> None:
    """What was read once does not stand in for what has come since."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    provider = api.provider()
    for number in (1, 2, 3):
        api.checkpoints = [api.checkpoint(n, train_loss=0.5) for n in range(1, number + 1)]
        assert len(measured(api, read(provider))) == number
        assert len(measured(api, read(provider, job=only(api)))) == number


@every_kind
def test_a_job_has_the_reply_that_it_was_made_of(kind: str) -> None:
    """As it came: with what nobody knows, and with what could not be read."""
    api = WIRES[kind]()
    row = api.row(JOB, **{api.status_key: 7}, news={"a": [1, None]})
    api.jobs = [row]
    job = only(api)
    assert job.raw == row
    assert job.skipped
    assert row.items() <= by_id(api.provider()).raw.items()


# The replies themselves


@every_kind
@pytest.mark.parametrize("curves", [True, False])
def test_no_documents_are_kept_unasked(kind: str, *, curves: bool) -> None:
    """They cost memory."""
    api = WIRES[kind]()
    api.fill(3)
    assert read(api.provider(curves=curves)).documents == {}


@every_kind
@pytest.mark.parametrize("curves", [True, False])
def test_kept_documents_are_the_replies(kind: str, *, curves: bool) -> None:
    """All rows of all pages, in the provider's order, one on a line, also if nothing wants them."""
    api = WIRES[kind]()
    api.fill(350)
    events = [{"name": "status-updated", "created_at": CREATED + n} for n in range(3)]
    if isinstance(api, OpenAIApi):
        assert isinstance(api.events, list)
        events = api.events
    else:
        api.jobs = [api.row(JOB, events=events)]
    documents = read(api.provider(curves=curves), keep=True).documents
    assert set(documents) == {"job.json"} | api.lists | api.more_documents
    assert lines_of(documents[api.measured_document]) == api.sent_checkpoints()
    if "events.jsonl" in api.lists:
        assert lines_of(documents["events.jsonl"]) == events
    (row,) = api.jobs
    assert isinstance(row, dict)
    (kept,) = lines_of(documents["job.json"])
    assert isinstance(kept, dict)
    assert row.items() <= kept.items()
    assert documents["job.json"].startswith(b'{\n  "')
    assert all(b'": ' not in documents[name] for name in api.lists)


@every_kind
def test_keeping_documents_changes_nothing_else(kind: str) -> None:
    """Points, checkpoints and sentences are those of a fresh job."""
    api = WIRES[kind]()
    api.fill(350)
    plain, kept = read(api.provider()), read(api.provider(), keep=True)
    assert replace(kept, documents={}) == plain


@every_kind
def test_documents_are_complete_whatever_is_logged(kind: str) -> None:
    """A job that was followed to its end has all of its replies, not the last few."""
    api = WIRES[kind]()
    api.fill(350)
    provider = api.provider()
    fresh = read(provider, keep=True)
    logged = provider.read(by_id(provider), is_logged=lambda _name, _step: True, keep=True)
    assert logged == fresh


@every_kind
def test_an_empty_list_is_no_document(kind: str) -> None:
    """There is always the job itself."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    assert set(read(api.provider(), keep=True).documents) == {"job.json"}


@every_kind
def test_of_a_job_that_waits_its_own_reply_is_kept(kind: str) -> None:
    """It costs no request."""
    api = WIRES[kind]()
    waiting = next(w for w, s in TYPES[kind].statuses.items() if s is JobStatus.QUEUED)
    api.jobs = [api.row(JOB, **{api.status_key: waiting}, suffix="größe")]
    job = only(api)
    before = len(api.requests)
    documents = read(api.provider(), job=job, keep=True).documents
    assert len(api.requests) == before
    assert set(documents) == {"job.json"}
    assert lines_of(documents["job.json"]) == api.jobs
    assert "größe".encode() in documents["job.json"]


@every_kind
def test_any_text_and_number_is_kept_as_it_is(kind: str) -> None:
    """Line ends, halves of characters, numbers beyond reason: a row stays one line of JSON."""
    api = WIRES[kind]()
    odd = {"text": "a\r\n\u2028\x85\x00 \ud800 日本 \u202e", "huge": 10**400, "inf": math.inf}
    api.jobs = [api.row(JOB, odd=odd)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5) | odd, 7, "x", None]
    documents = read(api.provider(), keep=True).documents
    assert lines_of(documents[api.measured_document]) == api.sent_checkpoints()
    (job,) = lines_of(documents["job.json"])
    assert isinstance(job, dict)
    assert job["odd"] == odd
    assert documents[api.measured_document].count(b"\n") == 4


@every_kind
@pytest.mark.parametrize("depth", [100, 400, 900])
def test_deeply_nested_values_are_kept_or_named(kind: str, depth: int) -> None:
    """The job is read, and the other documents are kept."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, news=nested(depth))]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    snapshot = read(api.provider(), keep=True)
    assert len(measured(api, snapshot)) == 1
    assert api.measured_document in snapshot.documents
    assert len(snapshot.skipped) == ("job.json" not in snapshot.documents)


def test_what_is_nested_too_deep_to_be_kept_is_named() -> None:
    """A document that cannot be written is missing as a whole; the others are there."""
    skipped: list[str] = []
    kept = documents({"id": "a"}, skipped, events=[{"id": 1}, nested(10**5)], checkpoints=[1, 2])
    assert set(kept) == {"job.json", "checkpoints.jsonl"}
    assert skipped == ["events.jsonl cannot be kept: it is nested too deep"]


# Files


@every_kind
def test_a_file_is_streamed(kind: str) -> None:
    """A training file's content is as it was uploaded; nothing is asked before it is wanted."""
    api = WIRES[kind]()
    api.files = {"file-t": b'{"messages": []}\n' * 9999}
    file = api.provider().file("file-t")
    assert api.requests == []
    with file as pieces:
        assert b"".join(pieces) == api.files["file-t"]
    assert addresses(api) == [BASE_URL + api.file_address.format("file-t")]


@every_kind
def test_a_file_that_is_gone_is_not_found(kind: str) -> None:
    """Providers forget files before jobs."""
    with pytest.raises(errors.NotFound), WIRES[kind]().provider().file("file-t"):
        pytest.fail("there is nothing to read")


@every_kind
@pytest.mark.parametrize("file_id", ODD_IDS)
def test_an_odd_file_id_is_one_segment_of_the_path(kind: str, file_id: str) -> None:
    """Whatever characters it holds, the request goes to the files and nowhere else."""
    api = WIRES[kind]()
    api.files = {file_id: b"a"}
    with api.provider().file(file_id) as pieces:
        assert b"".join(pieces) == b"a"
    (request,) = api.requests
    raw = request.url.raw_path.decode().removeprefix(httpx.URL(BASE_URL).path)
    before, after = api.file_address.split("{}")
    assert raw.startswith(before)
    assert raw.endswith(after)
    segment = raw.removeprefix(before).removesuffix(after)
    assert "/" not in segment
    assert segment not in {".", ".."}
    assert unquote(segment) == file_id


@every_kind
def test_files_of_a_job_are_told(kind: str) -> None:
    """Those it trains on and those it validates on, by the provider's ids."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    job = only(api)
    training, validation = api.files_told
    assert (job.training_files, job.validation_files) == ((training,), (validation,))
    assert job.has_validation
    api.jobs = [
        {
            name: None if value in (validation, [validation]) else value
            for name, value in row.items()
        }
        for row in [api.row(JOB)]
    ]
    assert only(api).validation_files == ()
    assert not only(api).has_validation


# What else is known of a job


@every_kind
def test_every_meaning_is_of_a_name_that_the_provider_uses(kind: str) -> None:
    """No two names of a provider mean the same; epochs are known everywhere."""
    meanings = TYPES[kind].meanings
    assert len(set(meanings.values())) == len(meanings)
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    about_params = {Meaning.EPOCHS, Meaning.STEPS, Meaning.BATCH_SIZE, Meaning.WARMUP}
    params = {name for name, meaning in meanings.items() if meaning in about_params}
    assert Meaning.EPOCHS in meanings.values()
    row = api.row(JOB)
    chosen = row.get(api.params_key, row)
    assert isinstance(chosen, dict)
    assert params <= chosen.keys()


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
    """As a number, or not at all."""
    api = WIRES[kind]()
    api.jobs = [{"id": JOB, "hyperparameters": chosen}]
    assert only(api).epochs == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_where_the_public_service_shows_it(kind: str) -> None:
    """Some have an address for each job; a server of one's own, and Mistral, have none."""
    api = WIRES[kind]()
    api.jobs = [api.row("job/1")]
    assert only(api).page is None
    if TYPES[kind].base_url.startswith("$"):
        return  # Each of its users has an address of their own.
    http = connect(
        TYPES[kind].base_url,
        headers={},
        redactor=Redactor(),
        transport=httpx.MockTransport(api),
    )
    (job,) = listed(TYPES[kind](http, curves=True))
    assert job.page == (api.public_page and api.public_page.format("job%2F1"))


# What is logged is not read again


Point = tuple[int, str, float, int | None]


def points_of(snapshot: Snapshot) -> list[Point]:
    """All points by step and name, checkpoints before the curve, as a plan writes them."""
    found: dict[tuple[int, str], Point] = {}
    for checkpoint in snapshot.checkpoints:
        for name, value in checkpoint.metrics.items():
            key = (checkpoint.step, name)
            found.setdefault(key, (*key, value, checkpoint.created_at))
    for point in snapshot.curve:
        key = (point.step, point.name)
        found.setdefault(key, (*key, point.value, point.created_at))
    return [found[key] for key in sorted(found)]


def resumed(provider: Provider, written: list[Point]) -> list[Point]:
    """What a tracking store has in the end, of which ``written`` was there before."""
    logged = {(name, step) for step, name, *_ in written}
    job = by_id(provider)
    snapshot = provider.read(job, is_logged=lambda name, step: (name, step) in logged)
    have = {(step, name) for step, name, *_ in written}
    return sorted([*written, *(p for p in points_of(snapshot) if p[:2] not in have)])


@every_kind
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 180, 181, 400, 599, 600, 601])
def test_an_interrupted_read_is_resumed_to_the_same_points(kind: str, cut: int) -> None:
    """What was written before a kill and what is read after it are together what one read gives."""
    api = WIRES[kind]()
    api.fill(300)
    full = points_of(read(api.provider()))
    assert len(full) >= 300
    assert resumed(api.provider(), full[:cut]) == full


# Cursors, as OpenAI has them


def test_openai_ends_where_a_cursor_repeats() -> None:
    """A cursor that leads back to an earlier page is an error, after at most one round."""
    api = OpenAIApi()
    pages = [[api.row("a"), api.row("b")], [api.row("c"), api.row("d")]]
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("after"))
        assert len(asked) < 10, "the provider asks without end"
        return sent({"data": pages[len(asked) % 2 - 1], "has_more": True})

    with pytest.raises(errors.BadReply, match="do not end"):
        listed(over(httpx.MockTransport(answer), "openai"))
    assert asked == [None, "b", "d"]


@pytest.mark.parametrize("last", [{"status": "running"}, None, {"id": None}, {"id": 7}])
def test_openai_says_that_it_cannot_go_on_without_a_cursor(last: object) -> None:
    """More is promised, but the last row has no id to go on from."""
    reply = {"data": [{"id": "a"}, last], "has_more": True}
    with pytest.raises(errors.BadReply, match="cursor"):
        listed(over(httpx.MockTransport(lambda _request: sent(reply)), "openai"))


@pytest.mark.parametrize("kind", ["openai", "fireworks", "mistral"])
@pytest.mark.parametrize("status", [404, 410, 422])
def test_a_later_page_that_is_refused_does_not_end_the_service(kind: str, status: int) -> None:
    """The job at a cursor may be gone by now: that is this pass's trouble and no farewell."""
    api = WIRES[kind]()
    api.jobs = [api.row(f"job-{n}") for n in range(250)]

    def answer(request: httpx.Request) -> httpx.Response:
        is_later = {"after", "pageToken"} & request.url.params.keys()
        is_later = is_later or request.url.params.get("page", "0") != "0"
        gone = {"error": {"message": "This cursor is no longer available"}}
        return httpx.Response(status, json=gone) if is_later else api(request)

    with pytest.raises(errors.ProviderError) as caught:
        listed(over(httpx.MockTransport(answer), kind))
    assert not isinstance(caught.value, errors.ProviderDown)


def test_openai_goes_on_where_has_more_is_missing() -> None:
    """Without ``has_more`` the list ends with the first empty page."""
    api = OpenAIApi()
    api.jobs = [api.row(f"job-{n}") for n in range(150)]

    def answer(request: httpx.Request) -> httpx.Response:
        reply = json.loads(api(request).content)
        del reply["has_more"]
        return sent(reply)

    jobs = listed(over(httpx.MockTransport(answer), "openai"))
    assert len({job.id for job in jobs}) == len(jobs) == 150


def test_openai_cursors_may_hold_any_character() -> None:
    """The id of a page's last job is sent back as it was."""
    api = OpenAIApi()
    ids = [f"job {n}/?&=+%#'🦙" for n in range(150)]
    api.jobs = [api.row(job_id) for job_id in ids]
    assert [job.id for job in listed(api.provider())] == ids


# Checkpoints and the curve, as OpenAI has them


def points(curve: tuple[CurvePoint, ...], name: str = "train_loss") -> dict[int, float]:
    """One metric of a curve."""
    found: dict[int, float] = {}
    for point in curve:
        if point.name == name:
            found.setdefault(point.step, point.value)
    return found


def openai_with_steps(steps: int, **fields: object) -> OpenAIApi:
    """A job with an event for each step, and a result file that differs from them visibly."""
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


def test_openai_checkpoints_are_read_to_the_last_page() -> None:
    """A job with more checkpoints than a page holds has all of them."""
    api = openai_with_steps(0)
    api.checkpoints = [api.checkpoint(n, train_loss=0.5) for n in range(250, 0, -1)]
    assert [c.step for c in read(api.provider()).checkpoints] == list(range(1, 251))


def test_openai_checkpoint_has_its_model_and_time() -> None:
    """The name to run a checkpoint with comes from the provider, and so does its time."""
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
    """While a job trains its curve is its events, however many pages they fill."""
    api = openai_with_steps(350)
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 351)}
    assert not api.asked("/content")


def test_openai_reads_no_further_than_to_what_is_logged() -> None:
    """The page of events that holds a logged point is the last one."""
    api = openai_with_steps(350)
    provider = api.provider()
    snapshot = provider.read(provider.job(JOB), is_logged=lambda _name, step: step <= 340)
    assert len(api.asked("/events")) == 1
    assert set(points(snapshot.curve)) >= set(range(341, 351))


def test_openai_finished_job_has_its_newest_events_and_its_result_file() -> None:
    """The newest page is exact; the steps before it come from the file, in one request."""
    api = openai_with_steps(350, **DONE)
    curve = points(read(api.provider()).curve)
    assert len(api.asked("/events")) == len(api.asked("/content")) == 1
    exact = {n: float(n) for n in range(259, 351)}
    assert curve == {n: n + 0.5 for n in range(1, 259)} | exact


def test_openai_job_with_validation_is_read_from_its_events() -> None:
    """The result file has nothing of the whole validation set: the events have, and exactly."""
    api = openai_with_steps(350, **DONE | {"validation_file": "file-v"})
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 351)}
    assert not api.asked("/content")


@pytest.mark.parametrize("rows", [[], [1, 19], [1, 2, 3, 5], range(1, 120)])
def test_openai_result_file_with_holes_does_not_take_the_events_place(
    rows: Sequence[int],
) -> None:
    """A file that lacks steps is no reason to leave them out."""
    api = openai_with_steps(350, **DONE)
    api.result = "\n".join(["step,train_loss", *(f"{n},0.5" for n in rows)]).encode()
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 351)}


def test_openai_result_file_fills_in_for_events_that_are_gone() -> None:
    """Where events no longer reach back to the first step, the file has the rest."""
    api = openai_with_steps(20, **DONE | {"validation_file": "file-v"})
    assert isinstance(api.events, list)
    api.events = api.events[:13]  # eight messages, then the steps 20 to 16
    curve = points(read(api.provider()).curve)
    assert curve == {n: n + 0.5 for n in range(1, 16)} | {n: float(n) for n in range(16, 21)}


def test_openai_short_job_needs_no_result_file() -> None:
    """Where one page of events reaches back to the first step the file has nothing to add."""
    api = openai_with_steps(50, **DONE)
    assert points(read(api.provider()).curve) == {n: float(n) for n in range(1, 51)}
    assert not api.asked("/content")
    assert len(api.asked("/events")) == 1


def test_openai_finished_job_without_result_file_has_all_its_events() -> None:
    """A job that was cancelled has no file: its events are read to the first one."""
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
        "step,loss".encode("utf-16"),
        b'{"error": {"message": "expired"}}',
        b"step,train_loss\r1,0.5\r2,0.25\r",
        b"step,train_loss\n1," + b"9" * 200_000,
        base64.b64encode(b'step,x\n"' + b"a" * 200_000),
    ],
    ids=lambda body: repr(body)[:24],
)
def test_openai_falls_back_on_events_where_the_result_file_is_useless(body: bytes | None) -> None:
    """A file that is gone or garbage costs requests, not points, and is named once."""
    api = openai_with_steps(350, **DONE)
    api.result = body
    snapshot = read(api.provider())
    assert points(snapshot.curve) == {n: float(n) for n in range(1, 351)}
    assert len(snapshot.skipped) == 1
    assert "file-r" in snapshot.skipped[0]


def test_openai_asks_once_for_a_result_file_that_is_gone() -> None:
    """Each further page of events does not ask for the file again."""
    api = openai_with_steps(900, **DONE)
    api.result = None
    assert len(points(read(api.provider()).curve)) == 900
    assert len(api.asked("/content")) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_openai_job_is_complete_without_access_to_its_result_file(status: int) -> None:
    """A key that may read fine-tuning but no files, and a file that expired, cost no points."""
    api = openai_with_steps(350, **DONE)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={}) if "/files/" in request.url.path else api(request)

    snapshot = read(over(httpx.MockTransport(answer), "openai"))
    assert points(snapshot.curve) == {n: float(n) for n in range(1, 351)}


def test_openai_result_file_may_be_labelled_as_json() -> None:
    """Some servers label every reply as JSON; the file is known by its content."""
    api = openai_with_steps(350, **DONE)
    api.result_type = "application/json"
    assert len(points(read(api.provider()).curve)) == 350


def test_openai_result_file_id_is_one_segment_of_the_path() -> None:
    """The id of a file is a provider's text as well."""
    api = openai_with_steps(350, **DONE | {"result_files": ["../../admin"]})
    read(api.provider())
    (request,) = api.asked("/content")
    assert request.url.raw_path == b"/v1/files/..%2F..%2Fadmin/content"


def test_openai_without_curves_reads_checkpoints_alone() -> None:
    """Neither events nor the result file are asked for."""
    api = openai_with_steps(350, **DONE)
    api.checkpoints = [api.checkpoint(350, train_loss=0.5)]
    snapshot = read(api.provider(curves=False))
    assert snapshot.curve == ()
    assert len(snapshot.checkpoints) == 1
    assert not api.asked("/events")
    assert not api.asked("/content")


@pytest.mark.parametrize("cut", [1, 100, 257, 258, 259, 260, 300, 349, 350])
def test_openai_finished_job_is_resumed_to_the_same_points(cut: int) -> None:
    """Also where the rest comes from the result file."""
    api = openai_with_steps(350, **DONE)
    full = points_of(read(api.provider()))
    assert resumed(api.provider(), full[:cut]) == full


@pytest.mark.parametrize("cut", [1, 300, 520, 600, 650, 690])
def test_openai_columns_of_the_result_file_alone_survive_an_interruption(cut: int) -> None:
    """A metric that only the file has is resumed to the same points as well."""
    api = openai_with_steps(350, **DONE)
    lines = [f"{n},{n}.5,{n}.25" for n in range(1, 351)]
    api.result = "\n".join(["step,train_loss,entropy_loss_sum", *lines]).encode()
    full = points_of(read(api.provider()))
    assert resumed(api.provider(), full[:cut]) == full


def test_openai_step_may_be_a_whole_float() -> None:
    """An event's step may be written as 3.0."""
    api = OpenAIApi(events=[])
    api.jobs = [api.row(JOB)]
    api.events = [api.event(3.0, train_loss=0.5)]
    (point,) = read(api.provider()).curve
    assert (point.name, point.step, point.value) == ("train_loss", 3, 0.5)
    assert isinstance(point.step, int)


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 1e300])
def test_openai_event_at_a_step_that_no_store_can_hold_is_left_out(step: object) -> None:
    """It is reported, and the job's other events are kept."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [api.event(step, train_loss=0.5), api.event(2, train_loss=0.25)]
    snapshot = read(api.provider())
    assert points(snapshot.curve) == {2: 0.25}
    assert snapshot.skipped


@pytest.mark.parametrize("step", ["7", "last", 1.5, True, []])
def test_openai_metrics_at_a_step_that_is_none_are_reported(step: object) -> None:
    """An event with metrics that cannot be placed is not dropped without a word."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [api.event(step, train_loss=0.5), api.event(2, train_loss=0.25)]
    snapshot = read(api.provider())
    assert points(snapshot.curve)[2] == 0.25
    assert snapshot.skipped or points(snapshot.curve) == {2: 0.25, 7: 0.5}


@pytest.mark.parametrize("step", [2**63, 10**30, "1e300"])
def test_openai_result_row_at_a_step_that_no_store_can_hold_is_left_out(step: object) -> None:
    """The file's other rows are kept."""
    api = openai_with_steps(350, **DONE)
    rows = [f"{n},0.5" for n in range(1, 300)]
    api.result = "\n".join(["step,train_loss", *rows, f"{step},0.25"]).encode()
    curve = points(read(api.provider()).curve)
    assert curve[1] == 0.5
    assert max(curve) == 350


def test_openai_messages_are_no_points() -> None:
    """Events without metrics, in all their forms, are passed over without a word."""
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


def test_openai_nested_numbers_of_an_event_are_flattened() -> None:
    """Reinforcement fine-tuning nests its scores; text and lists of text are no metrics."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [
        api.event(
            4,
            train_mean_reward=0.5,
            scores={"graders": [{"name": "g", "train_reward_mean": 0.25}], "ok": True},
            errors=["none"],
        )
    ]
    curve = read(api.provider()).curve
    assert {(point.name, point.value) for point in curve} == {
        ("train_mean_reward", 0.5),
        ("scores.graders.0.train_reward_mean", 0.25),
    }


def test_openai_numbers_of_an_event_that_are_not_finite_are_reported() -> None:
    """The event's other numbers are kept."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [api.event(4, train_loss=math.nan, accuracy=0.5)]
    snapshot = read(api.provider())
    assert [(point.name, point.value) for point in snapshot.curve] == [("accuracy", 0.5)]
    assert snapshot.skipped == ("event at step 4: train_loss is not a finite number",)


# The job, as OpenAI has it


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"hyperparameters": {"n_epochs": "auto", "batch_size": -1}}, {}),
        (
            {"hyperparameters": {"n_epochs": 3, "batch_size": 1.5}},
            {"n_epochs": 3, "batch_size": 1.5},
        ),
        ({"hyperparameters": None}, {}),
        ({"hyperparameters": {"n_epochs": None, "x": {}, "y": []}}, {}),
        ({"seed": 7}, {"seed": 7}),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n": "auto"}}}},
            {"method": "dpo", "beta": 0.1},
        ),
        ({"method": {"type": "dpo"}}, {"method": "dpo"}),
        ({"method": {"type": "dpo", "dpo": None}}, {"method": "dpo"}),
        ({"method": {"type": ["dpo"], "dpo": {"hyperparameters": {"beta": 1}}}}, {}),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": ["beta"]}}}, {"method": "dpo"}),
        (
            {
                "hyperparameters": {"n_epochs": 3},
                "method": {
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"n_epochs": "auto"}},
                },
            },
            {"n_epochs": 3, "method": "supervised"},
        ),
    ],
)
def test_openai_params_are_the_hyperparameters_that_are_resolved(
    fields: dict[str, object], expected: dict[str, object]
) -> None:
    """``auto``, -1 and nulls are left out; a value that is resolved in one place is kept."""
    api = OpenAIApi()
    api.jobs = [{"id": JOB, **fields}]
    assert only(api).params == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, None),
        ({}, None),
        ({"code": None, "message": None, "param": None}, None),
        ({"code": "", "message": ""}, None),
        ({"code": "bad_file", "message": "No.", "param": "training_file"}, "bad_file: No."),
        ({"message": "No."}, "No."),
        ({"code": "bad_file", "message": None}, "bad_file"),
        ({"code": 5, "message": "No."}, "No."),
    ],
)
def test_openai_error_is_one_only_if_it_says_something(error: object, expected: str | None) -> None:
    """Healthy jobs carry an error object full of nulls."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, error=error)]
    assert only(api).error == expected


def test_openai_suffix_has_two_names() -> None:
    """Older and newer servers call the suffix differently."""
    api = OpenAIApi()
    api.jobs = [{"id": "old", "suffix": "a"}, {"id": "new", "user_provided_suffix": "b"}]
    assert [job.suffix for job in listed(api.provider())] == ["a", "b"]


STARTED = "Fine-tuning job started"


def told(api: OpenAIApi, message: object, at: int, number: int = 90) -> dict[str, object]:
    """An event that says something."""
    return api.message(number) | {"message": message, "created_at": CREATED + at}


@pytest.mark.parametrize("message", [STARTED, "Job started."])
def test_openai_training_begins_when_an_event_says_so(message: str) -> None:
    """The job itself does not tell; of two such events the first counts."""
    api = openai_with_steps(5)
    assert isinstance(api.events, list)
    api.events += [told(api, message, 60, 91), told(api, message, 30, 90)]
    snapshot = read(api.provider())
    assert snapshot.job.started_at == (CREATED + 30) * 1000
    assert replace(snapshot.job, started_at=None, total_steps=None) == only(api)


@pytest.mark.parametrize(
    "event",
    [
        {"message": "Fine-tuning job started soon"},
        {"message": 7},
        {"message": STARTED, "created_at": "noon"},
        {"message": STARTED, "created_at": None},
    ],
)
def test_openai_start_that_no_event_tells_is_unknown(event: dict[str, object]) -> None:
    """And nothing is said of it."""
    api = openai_with_steps(5)
    assert isinstance(api.events, list)
    api.events.append(api.message(90) | event)
    snapshot = read(api.provider())
    assert snapshot.job.started_at is None
    assert snapshot.skipped == ()


def test_openai_start_is_unknown_until_its_event_is_read() -> None:
    """The newest events alone do not tell; who keeps the replies reads them all."""
    api = openai_with_steps(350)
    assert isinstance(api.events, list)
    api.events.append(told(api, STARTED, 30))
    provider = api.provider()
    job = provider.job(JOB)
    late = provider.read(job, is_logged=lambda _name, step: step <= 340)
    assert late.job.started_at is None
    assert read(api.provider(curves=False), job=job).job.started_at is None
    for curves in (True, False):
        kept = read(api.provider(curves=curves), job=job, keep=True)
        assert kept.job.started_at == (CREATED + 30) * 1000


@pytest.mark.parametrize("keep", [False, True])
def test_openai_events_tell_how_many_steps_there_will_be(*, keep: bool) -> None:
    """While the job trains, from its first step on; in whatever order, the most that was said."""
    api = openai_with_steps(2)
    assert read(api.provider(), keep=keep).job.total_steps == 1000
    for totals in ((1000, 1200), (1200, 1000)):
        api.events = [api.event(n, total_steps=total) for n, total in enumerate(totals)]
        assert read(api.provider(), keep=keep).job.total_steps == 1200


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (7, 7),
        (7.0, 7),
        (7.5, None),
        (0, None),
        (-7, None),
        (None, None),
        ("7", None),
        (True, None),
        (math.nan, None),
        (2**63, None),
        (10**400, None),
        ([7], None),
    ],
)
def test_openai_total_that_is_no_number_of_steps_is_unknown(
    total: object, expected: int | None
) -> None:
    """The curve is read all the same."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB)]
    api.events = [api.event(3, total_steps=total, train_loss=0.5)]
    snapshot = read(api.provider())
    assert snapshot.job.total_steps == expected
    assert points(snapshot.curve) == {3: 0.5}


@pytest.mark.parametrize(
    ("status", "expected"), [("succeeded", 240), ("failed", None), ("running", None)]
)
def test_openai_highest_step_of_a_success_is_its_last(status: str, expected: int | None) -> None:
    """Where no event tells; a job that broke off says nothing of how far it was to go."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, status=status)]
    api.checkpoints = [api.checkpoint(n, train_loss=0.5) for n in (240, 160, 80)]
    for curves in (True, False):
        assert read(api.provider(curves=curves)).job.total_steps == expected


def test_openai_result_file_tells_how_many_steps_there_were() -> None:
    """Where events and checkpoints are gone."""
    api = openai_with_steps(350, **DONE)
    api.events = []
    assert read(api.provider()).job.total_steps == 350


def test_openai_result_file_is_kept_decoded() -> None:
    """The file is one request, whether the points need it or not."""
    for steps, validation in ((350, None), (350, "file-v"), (50, None)):
        for curves in (True, False):
            api = openai_with_steps(steps, **DONE | {"validation_file": validation})
            assert api.result is not None
            snapshot = read(api.provider(curves=curves), keep=True)
            assert snapshot.documents["result-file.csv"] == base64.b64decode(api.result)
            assert len(lines_of(snapshot.documents["events.jsonl"])) == steps + 9
            assert len(api.asked("/content")) == 1
            assert bool(snapshot.curve) == curves
            assert snapshot.skipped == ()


@given(
    steps=st.sampled_from([0, 1, 20, 99, 100, 101, 230]),
    gone=st.sampled_from([0, 1, 2, 15, 95, 150]),
    rows=st.sampled_from([0, 1, 90, 230]),
    fields=st.fixed_dictionaries(
        {
            "validation_file": st.sampled_from([None, "file-v"]),
            "status": st.sampled_from(["succeeded", "cancelled", "running"]),
            "result_files": st.sampled_from([[], ["file-r"]]),
        }
    ),
)
def test_openai_keeping_replies_does_not_change_where_points_come_from(
    steps: int, gone: int, rows: int, fields: dict[str, object]
) -> None:
    """All events are read to be kept, and the result file still counts where it would have."""
    api = openai_with_steps(steps, **DONE | fields)
    assert isinstance(api.events, list)
    api.events = [
        event
        for event in api.events
        if event["data"] is None or event["data"].get("step", 999) > gone
    ]
    api.result = "\n".join(["step,train_loss", *(f"{n},0.5" for n in range(1, rows + 1))]).encode()
    plain, kept = read(api.provider()), read(api.provider(), keep=True)
    assert kept.curve == plain.curve
    assert kept.checkpoints == plain.checkpoints
    assert set(plain.skipped) <= set(kept.skipped)
    assert len(lines_of(kept.documents["events.jsonl"])) == len(api.events)
    assert len(api.asked("/content")) <= 2


@pytest.mark.parametrize("status", ["running", "paused"])
def test_openai_result_file_of_a_job_that_goes_on_is_not_kept(status: str) -> None:
    """It may be written anew."""
    api = openai_with_steps(20, **DONE | {"status": status})
    documents = read(api.provider(), keep=True).documents
    assert set(documents) == {"job.json", "events.jsonl"}
    assert not api.asked("/content")


@pytest.mark.parametrize("curves", [True, False])
@pytest.mark.parametrize("steps", [20, 350])
@pytest.mark.parametrize("body", [None, b"", b"PK\x03\x04\xff"])
def test_openai_result_file_that_cannot_be_kept_is_named(
    body: bytes | None, steps: int, *, curves: bool
) -> None:
    """Once, and no document promises to be a table."""
    api = openai_with_steps(steps, **DONE)
    api.result = body
    snapshot = read(api.provider(curves=curves), keep=True)
    assert snapshot.skipped == ("result file file-r is gone or unreadable",)
    assert snapshot.documents.get("result-file") == (body or None)
    assert "result-file.csv" not in snapshot.documents
    assert len(api.asked("/content")) == 1


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"team": "a", "mlflow.experiment": "b"}, {"team": "a", "mlflow.experiment": "b"}),
        ({"a": 1, "b": None, "c": ["d"], "e": "f"}, {"e": "f"}),
        ({"a\nb": "c\x00\u202ed"}, {"a b": "cd"}),
    ],
)
def test_openai_metadata_is_what_its_owner_noted(
    metadata: object, expected: dict[str, str]
) -> None:
    """Text under text; whatever else a server sends there is no note."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, metadata=metadata)]
    job = only(api)
    assert job.metadata == expected
    assert job.skipped == ()


def test_openai_metadata_is_bounded() -> None:
    """By the limits that OpenAI documents, whatever a server sends."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, metadata={f"{n}{'k' * 999}": "v" * 9999 for n in range(99)})]
    found = only(api).metadata
    assert len(found) == 16
    assert max(map(len, found)) == 64
    assert {len(value) for value in found.values()} == {512}


# Mistral's own ways


def test_mistral_counts_jobs_not_pages() -> None:
    """A server whose pages are smaller than asked for loses no job."""
    api = MistralApi(largest_page=50)
    ids = [f"job-{n}" for n in range(130)]
    api.jobs = [api.row(job_id) for job_id in ids]
    assert [job.id for job in listed(api.provider())] == ids


@pytest.mark.parametrize("total", [None, "130", [], 10**9, 1e9])
def test_mistral_ends_without_a_usable_total(total: object) -> None:
    """Where the number of jobs is missing or wrong the list ends with an empty page."""
    api = MistralApi(total=total)
    ids = [f"job-{n}" for n in range(130)]
    api.jobs = [api.row(job_id) for job_id in ids]
    assert [job.id for job in listed(api.provider())] == ids


def test_mistral_list_may_lack_its_data() -> None:
    """The specification allows a list without ``data``: there are no jobs."""
    transport = httpx.MockTransport(lambda _request: sent({"object": "list", "total": 0}))
    assert listed(over(transport, "mistral")) == []


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"valid_loss": 0.0, "valid_mean_token_accuracy": 0.0}, {}),
        ({"valid_loss": 0, "valid_mean_token_accuracy": 0}, {}),
        ({"valid_loss": None, "valid_mean_token_accuracy": None}, {}),
        (
            {"valid_loss": 0.0, "valid_mean_token_accuracy": 1.0},
            {"valid_loss": 0.0, "valid_mean_token_accuracy": 1.0},
        ),
        (
            {"valid_loss": 0.000625, "valid_mean_token_accuracy": 1.000433},
            {"valid_loss": 0.000625, "valid_mean_token_accuracy": 1.000433},
        ),
        ({"valid_loss": 0.0}, {"valid_loss": 0.0}),
    ],
)
def test_mistral_zeros_are_placeholders_only_as_a_pair(
    metrics: dict[str, object], expected: dict[str, float]
) -> None:
    """A step without validation has two exact zeros; a perplexity above 1 is kept as it is."""
    api = MistralApi()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5, **metrics)]
    (checkpoint,) = read(api.provider()).checkpoints
    assert dict(checkpoint.metrics) == {"train_loss": 0.5, **expected}


@pytest.mark.parametrize("order", [1, -1])
def test_mistral_job_ends_with_its_last_event(order: int) -> None:
    """There is no field for the end, and events come newest or oldest first."""
    api = MistralApi()
    events = [{"name": "status-updated", "created_at": CREATED + n} for n in (0, 5, 90)]
    api.jobs = [api.row(JOB, status="SUCCESS", events=events[::order])]
    assert read(api.provider()).job.finished_at == (CREATED + 90) * 1000


def test_mistral_job_that_runs_has_no_end() -> None:
    """Its last event is the last so far."""
    api = MistralApi()
    api.jobs = [api.row(JOB, events=[{"created_at": CREATED + 5}])]
    assert read(api.provider()).job.finished_at is None


@pytest.mark.parametrize(
    ("status", "data", "expected"),
    [
        ("FAILED", {"status": "FAILED", "error": "out of luck"}, "out of luck"),
        ("FAILED", {"status": "FAILED"}, None),
        ("FAILED", None, None),
        ("FAILED_VALIDATION", {"status": "FAILED_VALIDATION"}, "validation failed"),
        ("SUCCESS", {"status": "SUCCESS", "message": "fine"}, None),
    ],
)
def test_mistral_failure_is_what_its_events_say(
    status: str, data: object, expected: str | None
) -> None:
    """The job has no field for an error; an event may tell."""
    api = MistralApi()
    api.jobs = [api.row(JOB, status=status, events=[{"created_at": CREATED, "data": data}])]
    assert read(api.provider()).job.error == expected


def test_mistral_listed_job_is_read_for_its_checkpoints() -> None:
    """A list has no checkpoints: they are in the job's own reply alone."""
    api = MistralApi()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    provider = api.provider()
    (job,) = listed(provider)
    snapshot = read(provider, job=job)
    assert snapshot.job == job
    assert len(snapshot.checkpoints) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_mistral_training_begins_when_it_is_first_said_to_run(order: int) -> None:
    """Events come newest or oldest first, and only the job's own reply has them."""
    api = MistralApi()
    words = ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCESS"]
    events = [
        {"name": "status-updated", "data": {"status": word}, "created_at": CREATED + 10 * n}
        for n, word in enumerate(words)
    ]
    api.jobs = [api.row(JOB, status="SUCCESS", events=events[::order])]
    assert read(api.provider()).job.started_at == (CREATED + 10) * 1000


@pytest.mark.parametrize(
    "event",
    [
        {"created_at": CREATED},
        {"created_at": CREATED, "data": None},
        {"created_at": CREATED, "data": {"status": "QUEUED"}},
        {"created_at": CREATED, "data": {"status": ["RUNNING"]}},
        {"created_at": None, "data": {"status": "RUNNING"}},
    ],
)
def test_mistral_start_that_no_event_tells_is_unknown(event: object) -> None:
    """Recordings have events without data."""
    api = MistralApi()
    api.jobs = [api.row(JOB, events=[event])]
    assert read(api.provider()).job.started_at is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        *((10, 10), (10.0, 10), (None, None), (0, None), (-1, None), (1.5, None), ("10", None)),
        *((2**63, None), (10**400, None), (math.nan, None), (True, None)),
    ],
)
def test_mistral_steps_are_a_hyperparameter(steps: object, expected: int | None) -> None:
    """Known before the job begins."""
    api = MistralApi()
    api.jobs = [api.row(JOB, hyperparameters={"training_steps": steps})]
    assert only(api).total_steps == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"cost": 2.6214, "cost_currency": "USD"}, "2.62 USD"),
        ({"cost": 3.28, "cost_currency": "EUR"}, "3.28 EUR"),
        ({"cost": 120, "cost_currency": "EUR"}, "120.00 EUR"),
        ({"cost": 0.0, "cost_currency": "EUR"}, "0.00 EUR"),
        ({"cost": 0.0042, "cost_currency": "EUR"}, "0.004 EUR"),
        ({"cost": 2.5}, "2.50"),
        ({"cost": 2.5, "cost_currency": None}, "2.50"),
        ({"cost": 2.5, "cost_currency": "E\nU" + "R" * 999}, "2.50 E U" + "R" * 31 + "…"),
        ({"cost": None, "cost_currency": "EUR"}, None),
        ({"cost": "2.5", "cost_currency": "EUR"}, None),
        ({"cost": True, "cost_currency": "EUR"}, None),
        ({"cost": -1, "cost_currency": "EUR"}, None),
        ({"cost": 1e300, "cost_currency": "EUR"}, None),
        ({"cost": math.nan, "cost_currency": "EUR"}, None),
        ({"cost_currency": "EUR"}, None),
        (None, None),
    ],
)
def test_mistral_tells_what_a_job_costs(metadata: object, expected: str | None) -> None:
    """To the cent, with the currency; what else is under ``metadata`` is not its owner's."""
    api = MistralApi()
    api.jobs = [api.row(JOB, metadata=metadata)]
    job = only(api)
    assert job.cost == expected
    assert job.metadata == {}


@pytest.mark.parametrize("parts", [{"events": []}, {"checkpoints": []}, {"events": None}])
def test_mistral_reply_without_all_its_parts_is_not_asked_for_again(
    parts: dict[str, object],
) -> None:
    """Recorded replies lack the list of checkpoints as long as it is empty."""
    row = MistralApi().row(JOB) | parts
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return sent(row)

    provider = over(httpx.MockTransport(answer), "mistral")
    assert read(provider, keep=True).checkpoints == ()
    assert len(asked) == 1


def test_mistral_keeps_checkpoints_and_events_beside_the_job() -> None:
    """They are parts of its reply, and so is everything else."""
    api = MistralApi()
    events = [{"name": "status-updated", "created_at": CREATED}]
    api.jobs = [api.row(JOB, status="SUCCESS", events=events)]
    api.checkpoints = [api.checkpoint(n, train_loss=0.5) for n in (3, 2, 1)]
    provider = api.provider()
    documents = read(provider, job=only(api), keep=True).documents
    (job,) = lines_of(documents["job.json"])
    assert job == provider.job(JOB).raw
    assert lines_of(documents["events.jsonl"]) == events
