"""The words for a job's status: common ones, a provider's, and a configuration's."""

from __future__ import annotations

import pytest

from bridge.model import JobStatus
from bridge.providers.registry import TYPES
from bridge.providers.statuses import COMMON, Words, extended, status_of
from tests.support.contract import JOB, every_kind, only, read
from tests.support.wire_server import Api, OpenAIApi
from tests.support.wires import WIRES

FIELD = {
    JobStatus.QUEUED: (
        "queued queued_for_training pending created notRunning not_started submitted scheduled"
        " waiting"
    ),
    JobStatus.VALIDATING: "validating_files validating preprocessing",
    JobStatus.RUNNING: (
        "running in_progress inprogress in-progress IN_PROGRESS processing started training"
        " canceling cancelling cancel_requested pausing finalizing JobStatus.RUNNING aborting"
    ),
    JobStatus.PAUSED: "paused suspended",
    JobStatus.SUCCEEDED: (
        "succeeded success completed complete Completed SUCCEEDED done finished"
        " COMPLETED_WITH_ERRORS partially-succeeded TrainingCompleted STATUS_COMPLETED"
        " fine-tuning-completed complete! model_ready early-stopping stopped_early deployed"
        " partially_completed partial_success"
    ),
    JobStatus.FAILED: (
        "failed failure oom error Failed expired timeout timed_out user_error fail FAILED_TO_START"
    ),
    JobStatus.CANCELLED: "cancelled canceled Canceled CANCELLED stopped aborted skipped",
}


@pytest.mark.parametrize(
    ("word", "status"), [(word, status) for status in FIELD for word in FIELD[status].split()]
)
def test_servers_that_speak_openai_s_api_are_understood(word: str, status: JobStatus) -> None:
    """The words of servers that speak OpenAI's API are understood."""
    for kind in ("openai", "azure", "nebius"):
        api = WIRES[kind]()
        api.jobs = [api.row(JOB, status=word)]
        assert (only(api).status, only(api).provider_status) == (status, word)


@every_kind
def test_letter_case_and_separators_do_not_matter(kind: str) -> None:
    """Letter case and separators of a word do not matter."""
    for word, status in TYPES[kind].statuses.items():
        for other in (word.upper(), word.lower(), word.replace("_", "-"), word.replace("_", " ")):
            assert TYPES[kind].statuses[other] is status


def test_a_provider_s_word_comes_before_the_field_s() -> None:
    """A provider's word comes before the common one: Mistral's STARTED means that a job trains."""
    words = Words({"READY": JobStatus.QUEUED})
    assert (words["ready"], COMMON["ready"]) == (JobStatus.QUEUED, JobStatus.SUCCEEDED)
    assert words["completed"] is JobStatus.SUCCEEDED
    assert list(words) == ["READY"]
    assert words.get("melting") is None


def test_a_configuration_s_word_comes_before_both() -> None:
    """A configuration's word comes before both, in any spelling."""
    words = extended(TYPES["mistral"].statuses, {"In_Pieces": JobStatus.FAILED})
    assert words["in-pieces"] is JobStatus.FAILED
    assert extended(words, {"started": JobStatus.QUEUED})["STARTED"] is JobStatus.QUEUED
    assert extended(words, None) == words


@every_kind
def test_words_can_be_added_to_every_provider(kind: str) -> None:
    """Every provider accepts more words, for the list, the job's own reply and a deleted job."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, **{api.status_key: "melting"})]
    provider = api.provider(statuses={"Melting": JobStatus.PAUSED})
    (job,) = (job for page in provider.pages() for job in page.jobs)
    assert job.status is JobStatus.PAUSED
    assert provider.job(job.id).status is JobStatus.PAUSED
    assert provider.statuses.get("melting") is JobStatus.PAUSED


def ended(api: Api, *, model: bool, error: bool) -> dict[str, object]:
    """Return a job that ended with an unknown word."""
    fields: dict[str, object] = {api.status_key: "melted", api.ended_key: api.ended_value}
    if not model:
        fields |= dict.fromkeys(api.model_key.split())
    return {**fields, **(api.failure if error else {})}


@pytest.mark.parametrize("word", ["preempted", "evicted", "uploaded", "ok"])
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ({}, JobStatus.UNKNOWN),
        ({"finished_at": 1_760_000_800}, JobStatus.SUCCEEDED),
        ({"finished_at": 1_760_000_800, "fine_tuned_model": None}, JobStatus.ENDED),
        ({"finished_at": 1_760_000_800, **OpenAIApi.failure}, JobStatus.FAILED),
    ],
)
def test_a_word_that_may_be_followed_by_another_needs_an_end(
    word: str, end: dict[str, object], status: JobStatus
) -> None:
    """A word such as preempted is final with an end only: the job may start again."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, status=word) | {"finished_at": None} | end]
    assert only(api).status is status


@pytest.mark.parametrize("ended_at", [None, 1_760_000_800])
def test_a_job_that_has_exited_has_ended(ended_at: int | None) -> None:
    """A job that exited is final even without a time, and its error and model tell how."""
    api = OpenAIApi()
    row = api.row(JOB, status="exited", finished_at=ended_at)
    for fields, status in (
        ({}, JobStatus.SUCCEEDED),
        ({"fine_tuned_model": None}, JobStatus.ENDED),
        (OpenAIApi.failure, JobStatus.FAILED),
    ):
        api.jobs = [{**row, **fields}]
        assert only(api).status is status


ENDS = [
    (kind, model, error, status)
    for kind, api in WIRES.items()
    for model, error, status in (
        (True, False, JobStatus.SUCCEEDED),
        (False, False, JobStatus.ENDED),
        (False, True, JobStatus.FAILED),
        (True, True, JobStatus.FAILED),
    )
    if (api.failure or not error) and (api.model_key or not model)
]


@pytest.mark.parametrize(("kind", "model", "error", "status"), ENDS)
def test_an_unknown_word_with_an_end_has_ended(
    kind: str, status: JobStatus, *, model: bool, error: bool
) -> None:
    """An unknown word with an end is final: the error and the model tell failure from success."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, **ended(api, model=model, error=error))]
    for job in (only(api), read(api.provider()).job):
        assert job.status is status
        assert job.status.is_final
        assert job.provider_status == "melted"
        assert bool(job.fine_tuned_model) == (status is JobStatus.SUCCEEDED)


@every_kind
def test_a_model_counts_once_its_job_has_succeeded(kind: str) -> None:
    """A model counts only after success: some servers name it early, and never make it."""
    for word, status in TYPES[kind].statuses.items():
        api = WIRES[kind]()
        api.jobs = [api.row(JOB, **{api.status_key: word})]
        is_made = bool(api.model_key) and status is JobStatus.SUCCEEDED
        assert bool(only(api).fine_tuned_model) == is_made, word


@pytest.mark.parametrize(
    "key",
    [
        *("finished_at", "completed_at", "ended_at", "end_time", "finish_time", "failed_at"),
        *("cancelled_at", "canceled_at", "finishedAt", "completedAt", "endedAt", "endTime"),
    ],
)
def test_the_end_of_a_job_has_many_names(key: str) -> None:
    """The end of a job is the first of several fields that is not null."""
    api = OpenAIApi()
    row = api.row(JOB, status="failed")
    del row["finished_at"]
    api.jobs = [row | {"finished_at": None, key: 1_760_000_800}]
    assert only(api).finished_at == 1_760_000_800_000


def test_without_an_end_the_last_event_is_the_end() -> None:
    """A job that has ended without an end gets that of its last event."""
    api = OpenAIApi()
    api.jobs = [api.row(JOB, status="failed")]
    api.events = [api.message(1) | {"created_at": 1_760_000_900}, api.event(3, train_loss=0.5)]
    assert read(api.provider()).job.finished_at == 1_760_000_900_000
    api.jobs = [api.row(JOB, status="running")]
    assert read(api.provider()).job.finished_at is None


def test_status_of_leaves_a_known_word_alone() -> None:
    """An end, a model and an error do not change the meaning of a known word."""
    given = {"has_ended": True, "has_failed": True, "has_model": True}
    assert status_of("paused", COMMON, **given) is JobStatus.PAUSED
    assert status_of(None, COMMON, has_ended=False, has_failed=True, has_model=True) is (
        JobStatus.UNKNOWN
    )
