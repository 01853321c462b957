"""Fireworks: its three collections as one list, its metrics files and its other peculiarities."""

from __future__ import annotations

import json
from collections import Counter
from typing import get_args

import httpx
import pytest
from fireworks.types import DpoJob, ReinforcementFineTuningJob, SupervisedFineTuningJob
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import errors
from bridge.model import JobStatus, MissingPart
from bridge.providers.base import Provider
from bridge.providers.fireworks import COLLECTIONS
from bridge.providers.registry import TYPES
from tests.support.fireworks import JOB, jobs_of, only, other, read, supervised
from tests.support.moments import time
from tests.support.scripted import answer
from tests.support.wire_fireworks import (
    ACCOUNT,
    PREFERENCE,
    REINFORCEMENT,
    STORAGE,
    SUPERVISED,
    FireworksApi,
)
from tests.support.wire_server import CREATED, Row, over

# Three lists as one


def test_ids_are_unique_over_all_collections() -> None:
    """Ids are unique over all collections, each of which can have the same name."""
    api = supervised()
    for collection in COLLECTIONS[1:]:
        api.others[collection] = [other(api, collection)]
    (ids,) = jobs_of(api.provider())
    assert ids == [f"{collection}/a-job" for collection in COLLECTIONS]
    for job_id in ids:
        assert api.provider().job(job_id).id == job_id


@pytest.mark.parametrize("job_id", ["a-job", "", "/", "dpoJobs", "dpoJobs/", "models/a-job"])
def test_an_id_without_its_collection_is_refused(job_id: str) -> None:
    """An id without its collection is refused without a request, and a sentence helps."""
    api = supervised()
    with pytest.raises(errors.Refused, match="supervisedFineTuningJobs/ID"):
        api.provider().job(job_id)
    assert api.requests == []


def test_a_page_has_one_of_each_list() -> None:
    """A page has rows of each list, and counts as old only if all three have nothing new."""
    api = FireworksApi()
    api.jobs = [api.row(f"s-{n}") for n in range(450)]
    api.others[PREFERENCE] = [other(api, PREFERENCE, f"p-{n}") for n in range(201)]
    api.others[REINFORCEMENT] = [other(api, REINFORCEMENT, "r-0")]
    kinds = [Counter(each.partition("/")[0] for each in page) for page in jobs_of(api.provider())]
    assert kinds == [
        {SUPERVISED: 200, PREFERENCE: 200, REINFORCEMENT: 1},
        {SUPERVISED: 200, PREFERENCE: 1},
        {SUPERVISED: 50},
    ]


@settings(max_examples=25)
@given(lengths=st.tuples(*(st.integers(0, 650) for _ in COLLECTIONS)))
def test_every_job_of_every_list_is_there_once(lengths: tuple[int, ...]) -> None:
    """Every job of every list appears once, in the order of its list, however uneven they are."""
    api = FireworksApi()
    api.jobs = [api.row(f"{n}") for n in range(lengths[0])]
    for collection, length in zip(COLLECTIONS[1:], lengths[1:], strict=True):
        api.others[collection] = [other(api, collection, f"{n}") for n in range(length)]
    found = [each for page in jobs_of(api.provider()) for each in page]
    for collection, length in zip(COLLECTIONS, lengths, strict=True):
        mine = [each for each in found if each.startswith(f"{collection}/")]
        assert mine == [f"{collection}/{n}" for n in range(length)]
    assert len(found) == sum(lengths)


def test_the_newest_jobs_come_first() -> None:
    """The newest jobs of all lists together come first."""
    api = FireworksApi()
    api.jobs = [api.row(f"s-{n}", createTime=time(CREATED + n)) for n in (9, 5, 1)]
    rows = [other(api, PREFERENCE, f"p-{n}", createTime=time(CREATED + n)) for n in (8, 2)]
    api.others[PREFERENCE] = [*rows, other(api, PREFERENCE, "p-x", createTime=None)]
    (page,) = jobs_of(api.provider())
    assert [each.partition("/")[2] for each in page] == ["s-9", "p-8", "s-5", "p-2", "s-1", "p-x"]


def test_lists_are_asked_for_by_time() -> None:
    """Lists are requested by time, because Fireworks sorts by name by default."""
    api = supervised()
    jobs_of(api.provider())
    assert {str(request.url.params["orderBy"]) for request in api.requests} == {"createTime desc"}


def test_a_list_in_another_order_is_read_to_its_end_at_once() -> None:
    """A list in another order is read to its end, because its first page can hide newer jobs."""
    api = FireworksApi()
    api.jobs = [api.row(f"s-{n}", createTime=time(CREATED + n % 7)) for n in range(450)]
    pages = jobs_of(api.provider())
    assert [len(page) for page in pages] == [450]


def refusing(api: FireworksApi, refused: str, status: int) -> Provider:
    """Return an account whose key or plan lacks a collection."""

    def answer(request: httpx.Request) -> httpx.Response:
        is_refused = request.url.path.endswith(refused)
        return httpx.Response(status, json={"message": "no"}) if is_refused else api(request)

    return over(answer, "fireworks")


@pytest.mark.parametrize("collection", COLLECTIONS[1:])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 422, 500, 501])
def test_a_collection_that_is_refused_costs_no_other_its_jobs(status: int, collection: str) -> None:
    """A missing collection counts as empty, and a refused one is reported."""
    api = supervised()
    pages = list(refusing(api, collection, status).pages())
    assert [each.id for page in pages for each in page.jobs] == [JOB]
    cuts = [page.cut for page in pages if page.cut]
    assert len(cuts) == (status not in {404, 405, 410, 501})
    assert all(cut.name == f"list of {collection}" for cut in cuts)
    assert all(cut.is_lasting == (status != 500) for cut in cuts)


@pytest.mark.parametrize("status", [404, 410])
def test_a_service_without_supervised_jobs_is_none(status: int) -> None:
    """A service without supervised jobs has ended, or the base_url is wrong."""
    with pytest.raises(errors.Withdrawn):
        list(refusing(supervised(), SUPERVISED, status).pages())


def test_every_state_of_the_sdk_is_known() -> None:
    """Every state of the SDK is known, for all three kinds of jobs."""
    kinds = (SupervisedFineTuningJob, DpoJob, ReinforcementFineTuningJob)
    words = {word for kind in kinds for word in literals(kind.model_fields["state"].annotation)}
    assert words >= {"JOB_STATE_UNSPECIFIED", "JOB_STATE_PAUSED"}
    assert words <= TYPES["fireworks"].statuses.keys()


def literals(annotation: object) -> set[str]:
    """Return the words that a type allows."""
    parts = get_args(annotation)
    return {p for p in parts if isinstance(p, str)}.union(*map(literals, parts))


@pytest.mark.parametrize("reply", [{"models": []}, {"code": 0}, {"totalSize": 0}])
def test_an_object_without_the_list_is_a_bad_reply(reply: Row) -> None:
    """An object without the list is a bad reply, except {}: protocol buffers omit an empty list."""
    with pytest.raises(errors.BadReply):
        jobs_of(over(answer(200, reply), "fireworks"))
    assert jobs_of(over(answer(200), "fireworks")) == [[]]


# The job


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": None}, None),
        ({"status": {}}, None),
        ({"status": {"code": "OK", "message": "training"}}, None),
        ({"status": {"code": "", "message": ""}}, None),
        ({"status": {"code": "INTERNAL", "message": "no luck"}}, "INTERNAL: no luck"),
        ({"status": {"code": "INTERNAL"}}, "INTERNAL"),
    ],
)
def test_an_error_is_one_only_if_its_code_says_so(
    fields: dict[str, object], expected: str | None
) -> None:
    """An error counts only if its code says so, because healthy jobs have a status as well."""
    assert only(supervised(state="JOB_STATE_FAILED", **fields)).error == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        *(("JOB_STATE_RUNNING", None), ("JOB_STATE_FAILED", None)),
        *(
            ("JOB_STATE_WRITING_RESULTS", None),
            ("JOB_STATE_COMPLETED", f"{ACCOUNT}/models/a-model"),
        ),
    ],
)
def test_a_model_is_there_once_the_job_has_succeeded(state: str, expected: str | None) -> None:
    """A model is recorded only after success, although its name is reserved from the start."""
    assert only(supervised(state=state)).fine_tuned_model == expected


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_a_job_may_begin_with_another_jobs_model(collection: str) -> None:
    """A job that continues another job's model has it as its base, unless its name is empty."""
    api = FireworksApi()
    made = f"{ACCOUNT}/models/made"
    if collection == SUPERVISED:
        api.jobs = [api.row("a-job", warmStartFrom=made)]
    else:
        row = other(api, collection)
        row["trainingConfig"] = {"baseModel": "", "warmStartFrom": made}
        api.others[collection] = [row]
    assert only(api).base_model == made
    assert only(supervised()).base_model == "accounts/fireworks/models/llama-v3p1-8b-instruct"


def test_params_are_what_is_set() -> None:
    """Params are the settings that have a value: a zero means that Fireworks chooses."""
    assert only(supervised()).params == {
        "epochs": 3,
        "learningRate": 0.0001,
        "loraRank": 8,
        "maxContextLength": 8192,
        "batchSizeSamples": 32,
    }


def test_params_of_a_preference_job_are_one_level_below() -> None:
    """The params of a preference job, including its loss, are read from one level deeper."""
    api = FireworksApi()
    loss = {"method": "ORPO", "klBeta": 0.1, "dpo": {"beta": 0.1}}
    api.others[PREFERENCE] = [other(api, PREFERENCE, lossConfig=loss)]
    assert only(api).params == {
        "epochs": 3,
        "learningRate": 0.0001,
        "loraRank": 8,
        "lossConfig.method": "ORPO",
        "lossConfig.klBeta": 0.1,
    }
    api.others[PREFERENCE] = [other(api, PREFERENCE, lossConfig={"method": "METHOD_UNSPECIFIED"})]
    assert "lossConfig.method" not in only(api).params


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ({"currencyCode": "USD", "units": "3", "nanos": 250_000_000}, "3.25 USD (estimated)"),
        ({"currencyCode": "USD", "units": None, "nanos": 40_000_000}, "0.04 USD (estimated)"),
        ({"currencyCode": "U\nS" + "D" * 99, "units": "3"}, None),
        *((bad, None) for bad in (None, {}, {"units": "0", "nanos": 0}, {"units": "much"})),
        *(({"units": bad}, None) for bad in ("-3", "9" * 5000, "9" * 400, "3.5", 3)),
    ],
)
def test_what_a_job_costs_is_an_estimate(cost: object, expected: str | None) -> None:
    """The cost of a job is an estimate, read as whole units in text and a rest in billionths."""
    found = only(supervised(estimatedCost=cost)).cost
    if expected is None and found is not None:
        assert found.isprintable()
        assert len(found) <= 60
    else:
        assert found == expected


# The metrics file


def test_a_metrics_file_is_the_curve() -> None:
    """A metrics file becomes the curve, because no checkpoint has a step."""
    api = supervised()
    api.checkpoints = [
        {"step": 1, "train/step": 1, "train/loss": 1.5, "train/epoch": 0},
        {"step": 2, "train/step": 2, "train/loss": 1.25, "train/epoch": 0},
        {"step": 2, "eval/loss": 1.75},
    ]
    snapshot = read(api)
    assert [(p.name, p.step, p.value) for p in snapshot.curve] == [
        *(("train/loss", 1, 1.5), ("train/loss", 2, 1.25), ("eval/loss", 2, 1.75))
    ]
    assert snapshot.checkpoints == ()
    assert snapshot.skipped == ()


def test_lines_may_tell_their_time() -> None:
    """The time of a line counts where it has one, as lines with ``data`` do."""
    api = supervised()
    api.checkpoints = [api.checkpoint(n, **{"train/loss": 0.5}) for n in (1, 2)]
    assert [point.created_at for point in read(api).curve] == [CREATED * 1000 + 100_500] * 2


def test_lines_without_a_time_are_placed_between_known_moments() -> None:
    """Lines without a time lie between the job's creation and its end or last change."""
    lines: list[object] = [{"step": n, "train/loss": 0.5} for n in (1, 2, 3, 4)]
    api = supervised(updateTime=time(CREATED + 40))
    api.checkpoints = lines
    moments = [point.created_at for point in read(api).curve]
    assert moments == [(CREATED + n) * 1000 for n in (10, 20, 30, 40)]
    api = supervised(state=FireworksApi.succeeded, completedTime=time(CREATED + 400))
    api.checkpoints = lines
    moments = [point.created_at for point in read(api).curve]
    assert moments == [(CREATED + n) * 1000 for n in (100, 200, 300, 400)]


def test_the_key_does_not_go_to_the_storage() -> None:
    """The API's key is not sent to the storage."""
    api = supervised()
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    read(api)
    (request,) = api.fetched
    assert "authorization" not in request.headers
    assert request.headers["host"] == STORAGE
    assert str(request.url).endswith("/metrics?Signature=s3cr3t")


def test_a_preference_jobs_file_is_asked_for() -> None:
    """The file of a preference job is requested, because its reply lacks the URL."""
    api = FireworksApi()
    api.others[PREFERENCE] = [other(api, PREFERENCE)]
    api.checkpoints = [api.checkpoint(1, **{"train/dpo_loss": 0.5})]
    snapshot = read(api, f"{PREFERENCE}/a-job")
    assert [(p.name, p.value) for p in snapshot.curve] == [("train/dpo_loss", 0.5)]


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_preference_job_without_a_file_is_recorded(status: int) -> None:
    """A preference job without a file is recorded, even if the endpoint refuses to name it."""
    api = FireworksApi()
    api.others[PREFERENCE] = [other(api, PREFERENCE, state="JOB_STATE_FAILED")]

    def answer(request: httpx.Request) -> httpx.Response:
        asks = ":getMetricsFileEndpoint" in str(request.url)
        return httpx.Response(status, json={}) if asks else api(request)

    provider = over(answer, "fireworks")
    found = provider.read(provider.job(f"{PREFERENCE}/a-job"), logged={})
    assert found.job.status is JobStatus.FAILED
    assert found.curve == ()


def test_a_reinforcement_job_has_no_file() -> None:
    """A reinforcement job has no curve, because no documented reply has its metrics."""
    api = FireworksApi()
    api.others[REINFORCEMENT] = [other(api, REINFORCEMENT, state=api.succeeded)]
    snapshot = read(api, f"{REINFORCEMENT}/a-job", keep=True)
    assert snapshot.curve == ()
    assert snapshot.skipped == ()
    assert set(snapshot.documents) == {"job.json"}
    assert [request.url.path for request in api.requests] == [f"/v1/{REINFORCEMENT}/a-job"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        *((FireworksApi.running, ()), ("JOB_STATE_FAILED", ()), ("JOB_STATE_CANCELLED", ())),
        (FireworksApi.succeeded, ("it is gone",)),
    ],
)
def test_a_file_that_is_not_there_is_missed_after_a_success(
    state: str, said: tuple[str, ...]
) -> None:
    """A missing file is reported only after a success: before, it may never have been written."""
    api = supervised(state=state)
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    api.storage["/metrics"] = httpx.Response(404)
    snapshot = read(api)
    assert snapshot.curve == ()
    assert tuple(part.reason for part in snapshot.missing) == said


REFUSED = MissingPart("metrics file", f"{STORAGE} answered 403 to a signed URL", is_lasting=True)


def test_a_file_that_is_refused_is_reported() -> None:
    """A refused file is named by its host, because the URL is as good as a key."""
    api = supervised()
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    api.storage["/metrics"] = httpx.Response(403)
    assert read(api).missing == (REFUSED,)


def signed_at(moment: int) -> str:
    """Return the URL that a reply of this moment has."""
    return f"https://{STORAGE}/metrics?Signature=s3cr3t-{moment}"


@pytest.mark.parametrize("listed", [signed_at(1), None, "", 7])
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_url_that_has_expired_is_asked_for_again(listed: object, status: int) -> None:
    """An expired or missing URL is requested again: hours can pass between a list and the read."""
    api = supervised(state=FireworksApi.succeeded, metricsFileSignedUrl=listed)
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    job = only(api)
    api.jobs = [api.row("a-job", metricsFileSignedUrl=signed_at(2))]

    def answer(request: httpx.Request) -> httpx.Response:
        reply = api(request)
        return httpx.Response(status) if "s3cr3t-1" in str(request.url) else reply

    provider = over(answer, "fireworks")
    snapshot = provider.read(job, logged={})
    assert [point.value for point in snapshot.curve] == [0.5]
    assert snapshot.skipped == job.skipped
    assert str(api.fetched[-1].url).endswith("s3cr3t-2")


def test_a_url_that_is_refused_again_is_not_asked_for_a_third_time() -> None:
    """A URL that is refused twice is not requested a third time, and the sentence comes once."""
    api = supervised(state=FireworksApi.succeeded, metricsFileSignedUrl=signed_at(1))
    job = only(api)
    api.jobs = [api.row("a-job", metricsFileSignedUrl=signed_at(2))]
    api.storage["/metrics"] = httpx.Response(403)
    snapshot = api.provider().read(job, logged={})
    assert len(api.fetched) == 2
    assert snapshot.missing == (REFUSED,)


def test_a_url_into_the_bridges_network_is_not_followed() -> None:
    """A URL into the bridge's network is not followed, and the job is recorded."""
    api = supervised(metricsFileSignedUrl="http://169.254.169.254/latest/meta-data")
    snapshot = read(api)
    (part,) = snapshot.missing
    assert "169.254.169.254 was not requested" in part.reason
    assert api.fetched == []


def test_a_storage_that_is_down_is_waited_for() -> None:
    """A storage that is down keeps the run open, with the job recorded so far."""
    api = supervised(state=FireworksApi.succeeded)
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    api.storage["/metrics"] = httpx.Response(503)
    assert [(part.name, part.is_lasting) for part in read(api).missing] == [("metrics file", False)]


@pytest.mark.parametrize(
    "body", [b"<html>", b"[1, 2]", b'{"loss": 1}\n', b"PK\x03\x04", b"loss,accuracy\n1,2\n", b"1"]
)
def test_an_unknown_format_is_kept_and_reported(body: bytes) -> None:
    """An unknown format is reported and archived as it came, without guesses."""
    api = supervised(state=FireworksApi.succeeded)
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    api.storage["/metrics"] = httpx.Response(200, content=body)
    snapshot = read(api, keep=True)
    assert snapshot.curve == ()
    assert [part.reason for part in snapshot.missing] == ["its format is unknown: please report it"]
    assert snapshot.documents["metrics"] == body


def test_a_table_is_read_too() -> None:
    """A table is read too, with a column for the step and numbers in any other."""
    api = supervised()
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    body = b"step,train_loss,note\n1,1.5,a\n2,,b\n3,1.25,\n"
    api.storage["/metrics"] = httpx.Response(200, content=body)
    snapshot = read(api, keep=True)
    assert [(p.name, p.step, p.value) for p in snapshot.curve] == [
        *(("train_loss", 1, 1.5), ("train_loss", 3, 1.25))
    ]
    assert snapshot.documents["metrics.csv"] == body


@pytest.mark.parametrize("body", [b"", b"\n \n"])
def test_an_empty_file_is_no_unknown_format(body: bytes) -> None:
    """An empty file counts as known, because training has only begun."""
    api = supervised()
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    api.storage["/metrics"] = httpx.Response(200, content=body)
    assert read(api).skipped == ()


def test_without_curves_the_file_is_only_kept() -> None:
    """Without curves the file is only archived, and not requested without an archive."""
    api = supervised()
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    provider = api.provider(curves=False)
    found = provider.job(JOB)
    nothing = provider.read(found, logged={})
    assert (nothing.curve, api.fetched) == ((), [])
    kept = provider.read(found, logged={}, keep=True)
    assert kept.curve == ()
    assert "metrics.jsonl" in kept.documents
    assert nothing.is_whole  # no curve is waited for
    assert kept.is_whole


def test_steps_of_a_success_are_counted() -> None:
    """The steps of a success are counted; a job that broke off does not show its length."""
    for state, expected in ((FireworksApi.succeeded, 3), ("JOB_STATE_FAILED", None)):
        api = supervised(state=state)
        api.checkpoints = [api.checkpoint(n, loss=0.5) for n in (1, 3)]
        assert read(api).job.total_steps == expected


# The archive


def test_what_opens_other_files_is_not_kept() -> None:
    """Signed URLs and keys are not archived: the archive's readers could use them."""
    secrets = {
        "metricsFileSignedUrl": f"https://{STORAGE}/metrics?Signature=s3cr3t",
        "trainerLogsSignedUrl": "https://logs.example/?s3cr3t",
        "renderSamplesSignedUrl": "https://renders.example/?s3cr3t",
        "wandbConfig": {"enabled": True, "apiKey": "s3cr3t", "project": "p"},
    }
    api = supervised(**secrets)
    api.checkpoints = [api.checkpoint(1, loss=0.5)]
    documents = read(api, keep=True).documents
    assert not any(b"s3cr3t" in document for document in documents.values())
    kept = json.loads(documents["job.json"])
    assert kept["trainerLogsSignedUrl"] == "***"
    assert kept["wandbConfig"] == {"enabled": True, "apiKey": "***", "project": "p"}


def test_checkpoints_are_kept_page_by_page() -> None:
    """Checkpoints are archived page by page, oldest first, without steps."""
    api = supervised(state=FireworksApi.succeeded)
    rows = [{"name": f"{JOB}/checkpoints/{n}"} for n in range(3)]

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/checkpoints"):
            return api(request)
        n = int(request.url.params.get("pageToken", "0"))
        token = str(n + 1) if n < 2 else ""
        return httpx.Response(200, json={"checkpoints": [rows[n]], "nextPageToken": token})

    provider = over(answer, "fireworks")
    found = provider.read(provider.job(JOB), logged={}, keep=True)
    lines = found.documents["checkpoints.jsonl"].decode().splitlines()
    assert [json.loads(line) for line in lines] == rows


@pytest.mark.parametrize("status", [400, 403, 404, 501])
def test_a_job_is_kept_without_its_checkpoints(status: int) -> None:
    """A job whose checkpoints cannot be listed is archived without them and says so."""
    api = supervised(state=FireworksApi.succeeded)

    def answer(request: httpx.Request) -> httpx.Response:
        asks = request.url.path.endswith("/checkpoints")
        return httpx.Response(status, json={}) if asks else api(request)

    provider = over(answer, "fireworks")
    found = provider.read(provider.job(JOB), logged={}, keep=True)
    assert [(part.name, part.is_lasting) for part in found.missing] == [("checkpoints", True)]
    assert set(found.documents) == {"job.json"}


def test_a_dataset_of_several_files_is_all_of_them() -> None:
    """A dataset of several files is archived whole, in the order of their names."""
    api = supervised()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["host"] == STORAGE:
            return httpx.Response(200, content=f"{request.url.path}\n".encode())
        names = {"b.jsonl": f"https://{STORAGE}/b", "a.jsonl": f"https://{STORAGE}/a"}
        api.requests.append(request)
        return httpx.Response(200, json={"filenameToSignedUrls": names})

    provider = over(answer, "fireworks")
    with provider.file(f"{ACCOUNT}/datasets/my-data") as pieces:
        assert b"".join(pieces) == b"/a\n/b\n"
    (request,) = api.requests
    assert request.url.path == "/v1/datasets/my-data:getDownloadEndpoint"


@pytest.mark.parametrize("reply", [{}, {"filenameToSignedUrls": None}, {"filenameToSignedUrls": 7}])
def test_a_dataset_without_files_is_not_found(reply: Row) -> None:
    """A dataset without files counts as not found, as a deleted one does."""
    provider = over(answer(200, reply), "fireworks")
    with pytest.raises(errors.NotFound), provider.file("my-data"):
        pytest.fail("there is nothing to read")
