"""The words of servers for a job's status.

Letter case and separators do not matter: ``In-Progress``, ``in_progress`` and ``inProgress`` are
one word. A provider's words have precedence over the common words, and configured words over both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from bridge.model import JobStatus

_PREFIX: Final = re.compile(r"(finetun(e|ing))?(training)?(job)?(state|status)?(?=.)")
"""Prefixes of status words: JOB_STATE_FAILED, Training Completed, JobStatus.RUNNING."""
_SEPARATORS: Final = re.compile(r"[\W_]+")

_FIELD: Final[Mapping[JobStatus, str]] = {
    JobStatus.VALIDATING: """
        validating validating_files validating_data preprocessing pre_processing preparing
        preparing_data downloading tokenizing
    """,
    JobStatus.QUEUED: """
        created creating pending queued queueing enqueued re_queued requeued waiting scheduled
        scheduling submitted submitting accepted received new open validated not_running not_started
        unstarted queued_for_training pending_approval awaiting_approval
        initialized initializing initialising provisioning allocating starting
        retry retrying restarting
    """,
    JobStatus.RUNNING: """
        running in_progress processing training train fine_tuning started active executing
        ongoing working resumed resuming evaluating evaluation post_processing finalizing
        finalising finishing saving uploading compressing exporting deploying writing_results
        completing pausing stopping canceling cancelling cancel_requested cancellation_requested
        cancel_pending pending_cancellation terminating aborting not_responding
    """,
    JobStatus.PAUSED: "paused suspended idle on_hold held",
    JobStatus.SUCCEEDED: """
        succeeded success successful successfully_completed completed complete
        completed_successfully completed_with_errors completed_with_warnings partially_completed
        partially_succeeded partial_success succeeded_with_warnings done finished early_stopped
        early_stopping stopped_early completed_early finished_early ready model_ready
        deployed trained
    """,
    JobStatus.FAILED: """
        failed failure fail failed_to_start error errored dead user_error system_error
        internal_error failed_validation validation_failed invalid rejected expired
        timeout timed_out crashed failed_cleaning_up out_of_memory oom oom_killed node_failure
    """,
    JobStatus.CANCELLED: """
        cancel canceled cancelled cancelled_by_user user_cancelled user_canceled stopped
        user_stopped aborted killed terminated revoked interrupted skipped deleting deleted archived
    """,
    # The job's error and model show how it ended.
    JobStatus.ENDED: "ended exited",
    # The job may restart or continue; otherwise it has an end time.
    JobStatus.UNKNOWN: "unknown ok preempted evicted uploaded",
}


class Words(Mapping[str, JobStatus]):
    """A table of a provider's words, which also looks up the common words."""

    def __init__(self, words: Mapping[str, JobStatus] | None = None) -> None:
        self._words = dict(words or {})
        self._known = _COMMON | {_bare(word): status for word, status in self._words.items()}

    def __getitem__(self, word: str) -> JobStatus:
        """Return the status for a word."""
        return self._known[_bare(word)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)


def extended(words: Mapping[str, JobStatus], more: Mapping[str, JobStatus] | None) -> Words:
    """Return a provider's table, with configured words taking precedence."""
    bare = set(map(_bare, more or {}))
    kept = {word: status for word, status in words.items() if _bare(word) not in bare}
    return Words(kept | dict(more or {}))


def status_of(
    word: str | None,
    words: Mapping[str, JobStatus],
    *,
    has_ended: bool,
    has_failed: bool,
    has_model: bool,
) -> JobStatus:
    """Return the status of a job.

    Args:
        word: the server's word.
        words: the table of words.
        has_ended: whether the server gives an end time.
        has_failed: whether the server gives an error.
        has_model: whether the server names a resulting model.
    """
    status = words.get(word or "", JobStatus.UNKNOWN)
    if status is not JobStatus.ENDED and not (status is JobStatus.UNKNOWN and has_ended):
        return status
    # The word does not tell the outcome, but the job is over.
    if has_failed:
        return JobStatus.FAILED
    return JobStatus.SUCCEEDED if has_model else JobStatus.ENDED


def _bare(word: str) -> str:
    return _PREFIX.sub("", _SEPARATORS.sub("", word).casefold(), count=1)


_COMMON: Final = {_bare(word): status for status, words in _FIELD.items() for word in words.split()}
COMMON: Final = Words(
    {
        word: status
        for status, words in _FIELD.items()
        if status not in {JobStatus.ENDED, JobStatus.UNKNOWN}
        for word in words.split()
    }
)
"""The common words that mean one status by themselves."""
