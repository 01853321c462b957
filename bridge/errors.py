"""Errors of the bridge, and what happens after each.

::

    BridgeError raised directly for a defect of the bridge
    ├── ConfigError             the user corrects the configuration; every problem is listed
    ├── Stopped                 the user asked to stop; the next pass continues from here
    ├── ClusterDown             no job can succeed: the pass ends, the next one reconnects
    │   └── OtherConfiguration a worker has a different configuration: it writes nothing
    ├── WorkerLost              the process that did a job died: the next pass repeats it
    ├── ProviderError           one request failed: its job is reported, the others go on
    │   ├── Forbidden           403
    │   ├── NotFound            404, 410: gone, or never there
    │   │   └── JobVanished     a job that no list shows any longer: not requested again
    │   ├── Refused             any other 4xx or a redirect
    │   │   └── NotOffered      405, 501: this server does not do that
    │   ├── ServerFailed        5xx, 408, 425, after all retries
    │   ├── BadReply            a reply that is not what the API promises
    │   ├── NoAnswer            none in time, or only part of one, at every attempt
    │   └── ProviderDown        no request can succeed: this provider's pass ends
    │       ├── Unauthorized    401: the user corrects the key
    │       ├── Withdrawn       410 for the job list, or words to that effect: it has ended
    │       │   └── NoService   404 for the job list: it has ended, or is elsewhere
    │       ├── QuotaExhausted  429 for good: the user tops up
    │       ├── Throttled       429 for longer than a pass may wait: the next pass
    │       └── Unreachable     no connection: the next pass
    └── TrackingError           MLflow refused one write: its job is reported, the others go on
        ├── RunChanged          someone else deleted it or wrote to it: it is read again
        ├── ArchiveFailed       all but the archive is recorded: the next pass tries again
        └── TrackingDown        no write can succeed: the pass ends, the next one converges
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Self


class BridgeError(Exception):
    """Base class of errors that say what happened and what to do about it.

    Attributes:
        sentence: what happened.
        remedy: what to do about it; empty if there is nothing to do.
    """

    def __init__(self, sentence: str, remedy: str = "") -> None:
        self.sentence = sentence
        self.remedy = remedy
        super().__init__(f"{sentence}. {remedy}".rstrip(". ") + ".")

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Return the class and arguments that recreate the error in another process."""
        return type(self), (self.sentence, self.remedy)

    def alone(self) -> Self:
        """Return a copy without its causes, which may hold secrets or be impossible to pickle.

        Dask pickles the causes of every exception, whatever ``__reduce__`` returns.
        """
        kind, arguments = self.__reduce__()
        return kind(*arguments)  # type: ignore[arg-type] # the arguments of the same class


class ConfigError(BridgeError):
    """The configuration or the command line is invalid.

    Attributes:
        problems: every problem found, one sentence each with its remedy.
        file: the file that contains them; empty if they are elsewhere.
    """

    def __init__(self, problems: Sequence[str], file: str = "") -> None:
        self.problems = tuple(problems)
        self.file = file
        super().__init__("; ".join(problem.rstrip(".") for problem in self.problems))

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Return the problems, from which the rest is derived."""
        return type(self), (self.problems, self.file)


class Stopped(BridgeError):
    """The user asked the bridge to stop."""


class ClusterDown(BridgeError):
    """The cluster that syncs the jobs cannot be reached or does not accept them."""


class OtherConfiguration(ClusterDown):
    """A worker's configuration or version of the bridge differs from the daemon's."""


class WorkerLost(BridgeError):
    """The process that worked on a job died, or could not accept it."""


class ProviderError(BridgeError):
    """A provider failed a request."""


class Forbidden(ProviderError):
    """The key lacks permission for this request (403)."""


class NotFound(ProviderError):
    """Nothing exists at this address (404), or no longer does (410)."""


class JobVanished(NotFound):
    """The provider no longer has a job."""

    @classmethod
    def of(cls, error: NotFound) -> JobVanished:
        """Convert the 404 for a job that was requested by its id."""
        return cls(error.sentence, "The provider no longer has this job; its run stays as it is")


class Refused(ProviderError):
    """The provider refused the request (other 4xx, 3xx)."""


class NotOffered(Refused):
    """The server does not support this request (405, 501)."""


class ServerFailed(ProviderError):
    """The provider failed (5xx, 408, 425) at every attempt."""


class BadReply(ProviderError):
    """The reply is not what the API promises."""


class NoAnswer(ProviderError):
    """No attempt brought a complete answer in time."""


class ProviderDown(ProviderError):
    """An error after which no other request to this provider can succeed now."""


class Unauthorized(ProviderDown):
    """The key was refused (401)."""


class Withdrawn(ProviderDown):
    """The provider has ended this service, for all or for this account."""


class NoService(Withdrawn):
    """Nothing answers at the address of the job list (404)."""


class QuotaExhausted(ProviderDown):
    """The account has no quota left (429, permanent until topped up)."""


class Throttled(ProviderDown):
    """The provider asks for a longer wait than a pass may take (429)."""


class Unreachable(ProviderDown):
    """No attempt established a connection."""


class TrackingError(BridgeError):
    """MLflow refused one job's data."""


class RunChanged(TrackingError):
    """The run was deleted, or written to by another process, at the same time."""


class ArchiveFailed(TrackingError):
    """The artifact store refused a run's archive."""


class TrackingDown(TrackingError):
    """MLflow cannot be reached or refuses every request."""


def unexpected(error: Exception) -> BridgeError:
    """Return a defect of the bridge as an error that can be reported for one job."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return BridgeError(
        f"Unexpected {type(error).__name__} in the bridge{where}: {error}",
        "Please report it; other jobs are not affected",
    )
