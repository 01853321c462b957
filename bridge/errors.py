"""Errors of the bridge, and who does what next.

::

    BridgeError                 raised itself for a defect of the bridge
    ├── ConfigError             the user corrects the configuration; every problem is listed
    ├── Stopped                 the user asked to stop; the next pass goes on from here
    ├── ClusterDown             no job can succeed: the pass ends, the next one reconnects
    │   └── OtherConfiguration  a worker has another configuration: it writes nothing
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
        ├── RunChanged          others deleted it or wrote to it meanwhile: it is read again
        ├── ArchiveFailed       all but the archive is there: the next pass tries again
        └── TrackingDown        no write can succeed: the pass ends, the next one converges
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Self


class BridgeError(Exception):
    """Something went wrong that has a name and a remedy.

    Attributes:
        sentence: what happened.
        remedy: what to do about it; empty where there is nothing to do.
    """

    def __init__(self, sentence: str, remedy: str = "") -> None:
        self.sentence = sentence
        self.remedy = remedy
        super().__init__(f"{sentence}. {remedy}".rstrip(". ") + ".")

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Return what makes it again in another process."""
        return type(self), (self.sentence, self.remedy)

    def alone(self) -> Self:
        """Return the same without its causes, which may hold secrets or be impossible to pickle.

        Dask lets every exception take its causes along, whatever ``__reduce__`` says.
        """
        kind, arguments = self.__reduce__()
        return kind(*arguments)  # type: ignore[arg-type] # as many as it gave itself


class ConfigError(BridgeError):
    """The configuration or the command line is invalid.

    Attributes:
        problems: every problem found, one sentence each with the way out.
        file: the file that they are in; empty where they are elsewhere.
    """

    def __init__(self, problems: Sequence[str], file: str = "") -> None:
        self.problems = tuple(problems)
        self.file = file
        super().__init__("; ".join(problem.rstrip(".") for problem in self.problems))

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Return the problems; the rest follows from them."""
        return type(self), (self.problems, self.file)


class Stopped(BridgeError):
    """Asked to stop."""


class ClusterDown(BridgeError):
    """The cluster that the jobs are sent to cannot be reached, or does not do them."""


class OtherConfiguration(ClusterDown):
    """A worker's own configuration, or its version of the bridge, is not the daemon's."""


class WorkerLost(BridgeError):
    """The process that worked on a job has died, or could not take it."""


class ProviderError(BridgeError):
    """A provider failed a request."""


class Forbidden(ProviderError):
    """The key may not do this (403)."""


class NotFound(ProviderError):
    """Nothing is at this address (404), or no longer (410)."""


class JobVanished(NotFound):
    """The provider no longer has a job."""

    @classmethod
    def of(cls, error: NotFound) -> JobVanished:
        """Make one of a 404 for a job that was requested by its id."""
        return cls(error.sentence, "The provider no longer has this job; its run stays as it is")


class Refused(ProviderError):
    """The provider refused the request (other 4xx, 3xx)."""


class NotOffered(Refused):
    """The server does not do that (405, 501)."""


class ServerFailed(ProviderError):
    """The provider failed (5xx, 408, 425) at every attempt."""


class BadReply(ProviderError):
    """The reply is not what the API promises."""


class NoAnswer(ProviderError):
    """No complete answer in time, at every attempt."""


class ProviderDown(ProviderError):
    """Error after which no other request to this provider can succeed now."""


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
    """No connection at every attempt."""


class TrackingError(BridgeError):
    """MLflow refused one job's data."""


class RunChanged(TrackingError):
    """The run was deleted, or written to by another process, at the same time."""


class ArchiveFailed(TrackingError):
    """The artifact store does not take a run's archive."""


class TrackingDown(TrackingError):
    """MLflow cannot be reached, or refuses everything."""


def unexpected(error: Exception) -> BridgeError:
    """Return a defect of the bridge as an error that one job can have."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return BridgeError(
        f"Unexpected {type(error).__name__} in the bridge{where}: {error}",
        "Please report it; other jobs are not affected",
    )
