"""The meaning of providers' error codes of failed jobs."""

from __future__ import annotations

from typing import Final

from bridge.model import Job

_REFUSED: Final = "correct what the message names, upload the file again and start a new job."
_LIMIT: Final = (
    "The job needs more than the account may use or spend: raise its quota, limit or credit, and"
    " start the job again."
)
_FAULT: Final = (
    "The fault is the provider's, not the data's: start the job again, and ask its support"
    " if that fails too."
)
_ADVICE: Final = {
    # OpenAI's codes, some of which Azure shares. `invalid_..._file` also covers moderated files.
    "invalid_training_file": f"The provider does not accept the training file: {_REFUSED}",
    "invalid_validation_file": f"The provider does not accept the validation file: {_REFUSED}",
    "invalid_file_format": f"An example in a file has the wrong form: {_REFUSED}",
    "invalid_n_examples": (
        "The number of examples in a file is out of bounds: upload one with as many as the message"
        " asks for and start a new job."
    ),
    "unsafe_file": (
        "The provider's moderation flagged too many examples: take out what breaks its usage"
        " policies, upload the file again and start a new job."
    ),
    "exceeded_quota": _LIMIT,
    "insufficient_quota": _LIMIT,
    "server_error": _FAULT,
    # Azure.
    "jsonlValidationFailed": f"A line of a file is invalid: {_REFUSED}",
    "fileImportFailed": "A file could not be imported: upload it again and start a new job.",
    "quotaExceeded": _LIMIT,
    "internalFailure": _FAULT,
    "serviceUnavailable": _FAULT,
    # Mistral has no codes, so the word for the status stands here.
    "FAILED_VALIDATION": (
        "The provider does not accept the job's files or settings: correct them and start a new"
        " job."
    ),
}


def advice(job: Job) -> str:
    """Return the meaning of a job's error and what to do; empty if unknown."""
    code = (job.error or "").partition(":")[0].strip()
    return _ADVICE.get(code) or _ADVICE.get(job.provider_status) or ""
