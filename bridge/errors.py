"""What can go wrong, and who does what next.

::

    BridgeError                 also itself, for a defect of the bridge's own
    ├── ConfigError             the user mends the configuration; every problem is listed
    ├── Stopped                 the user asked to stop; the next pass goes on from here
    ├── ClusterDown             no job would fare better: the pass ends, the next one connects anew
    │   └── OtherConfiguration  a worker would write something else: it writes nothing
    ├── WorkerLost              the process that did a job has died: the next pass does it again
    ├── ProviderError           one request failed: its job is reported, the others go on
    │   ├── Forbidden           403
    │   ├── NotFound            404, 410: gone, or never there
    │   │   └── JobVanished     a job that no list shows any more: not asked for again
    │   ├── Refused             any other 4xx or a redirect
    │   │   └── NotOffered      405, 501: this server does not do that
    │   ├── ServerFailed        5xx, after all retries
    │   ├── BadReply            a reply that is not what the API promises
    │   ├── NoAnswer            none in time, or only part of one, at every attempt
    │   └── ProviderDown        no request would fare better: this provider's pass ends
    │       ├── Unauthorized    401: the user mends the key
    │       ├── Withdrawn       410 where it should begin, or words to that effect: it is no more
    │       │   └── NoService   404 where it should begin: it is no more, or somewhere else
    │       ├── QuotaExhausted  429 for good: the user tops up
    │       ├── Throttled       429 for longer than a pass may wait: the next pass
    │       └── Unreachable     no connection: the next pass
    └── TrackingError           MLflow refused one write: its job is reported, the others go on
        ├── RunChanged          others deleted it or wrote to it meanwhile: looked up anew
        ├── ArchiveFailed       all but the archive is there: the next pass tries again
        └── TrackingDown        no write would fare better: the pass ends, the next one converges
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
        """What it is made of again, on another machine."""
        return type(self), (self.sentence, self.remedy)

    def alone(self) -> Self:
        """The same without what caused it, which may hold secrets, and what cannot travel.

        Dask lets every exception take its causes along, whatever ``__reduce__`` says.
        """
        kind, arguments = self.__reduce__()
        return kind(*arguments)  # type: ignore[arg-type] # as many as it gave itself


class ConfigError(BridgeError):
    """The configuration or the command line does not hold.

    Attributes:
        problems: every problem found, one sentence each with the way out.
        file: the file that they are in; empty where they are elsewhere.
    """

    def __init__(self, problems: Sequence[str], file: str = "") -> None:
        self.problems = tuple(problems)
        self.file = file
        super().__init__("; ".join(problem.rstrip(".") for problem in self.problems))

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """The problems, of which the rest follows."""
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
    """A provider did not give what was asked of it."""


class Forbidden(ProviderError):
    """The key may not do this (403)."""


class NotFound(ProviderError):
    """There is nothing at this address (404), or no longer (410)."""


class JobVanished(NotFound):
    """The provider no longer has a job."""

    @classmethod
    def of(cls, error: NotFound) -> JobVanished:
        """A 404 for a job that was asked for by its id."""
        return cls(error.sentence, "The provider no longer has this job; its run stays as it is")


class Refused(ProviderError):
    """The provider refused the request (other 4xx, 3xx)."""


class NotOffered(Refused):
    """The server does not do that (405, 501)."""


class ServerFailed(ProviderError):
    """The provider failed (5xx) at every attempt."""


class BadReply(ProviderError):
    """The reply is not what the API promises."""


class NoAnswer(ProviderError):
    """No complete answer in time, at every attempt."""


class ProviderDown(ProviderError):
    """No other request to this provider would fare better now."""


class Unauthorized(ProviderDown):
    """The key was refused (401)."""


class Withdrawn(ProviderDown):
    """The provider has ended this service, for all or for this account."""


class NoService(Withdrawn):
    """There is nothing where the service should begin (404)."""


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
    """A defect of the bridge's own, as an error that one job can have."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return BridgeError(
        f"Unexpected {type(error).__name__} in the bridge{where}: {error}",
        "Please report it; other jobs are not affected",
    )
