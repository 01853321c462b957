"""Files in S3 buckets, each bucket read at its own address through the same layers as an API.

A refusal by a bucket is a sentence instead of an error, because a user who may list jobs may have
no right to their files.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar
from urllib.parse import quote
from xml.etree import ElementTree as ET

from bridge import errors
from bridge.http.aws_failures import denied_statement, statement
from bridge.http.client import ApiClient, segment
from bridge.text import one_line

ANY_REGION: Final = "us-east-1"
"""Region in which an unknown bucket is first requested; S3 replies with its real region."""
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_URI: Final = re.compile(r"s3://(?P<bucket>[^/]+)/?(?P<key>.*)", re.DOTALL)
_MOST_PAGES: Final = 20
"""Highest number of pages, of a thousand names each, below one folder."""
_RIGHTS: Final = ("s3:ListBucket", "s3:GetObject")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Value]):
    """Content of a bucket, and the reason why some or all of it is missing."""

    value: Value | None = None
    problem: str | None = None
    """Reason why something is missing."""


class Buckets:
    """The buckets that jobs name. Thread-safe."""

    def __init__(
        self, open_client: Callable[[str], ApiClient], *, region: str, url: str | None = None
    ) -> None:
        """Read buckets, each through its own client.

        Args:
            open_client: connects to an address.
            region: assumed region of a bucket until S3 reports another one.
            url: address of S3; ``None``: each bucket has its own address.
        """
        self._open_client = open_client
        self._region = region
        self._url = url
        self._lock = threading.Lock()
        self._clients: dict[str, ApiClient] = {}

    def files(self, folder: str) -> Answer[dict[str, int | None]]:
        """Return the files below a folder such as ``s3://bucket/path``, and when each last changed.

        If S3 does not continue a list, the files up to there are returned with the reason.

        Raises:
            ProviderError: S3 cannot answer now, but perhaps later.
        """
        found: dict[str, int | None] = {}
        done = _answered(folder, lambda: found.update(self._files(folder)))
        return Answer(found if found or done.problem is None else None, done.problem)

    def content(self, uri: str) -> Answer[bytes]:
        """Return a file's content, limited in size as every reply is.

        Raises:
            ProviderError: S3 cannot answer now, but perhaps later.
        """
        return _answered(uri, lambda: self._read(uri))

    def stream(self, uri: str) -> AbstractContextManager[Iterator[bytes]]:
        """Return a file's content in pieces as they arrive.

        Raises:
            ProviderError: there is none for us, or it breaks off in the middle.
        """
        client, key = self._place(uri)
        return _kept_to(uri, client.stream(_path(key)))

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()

    def _files(self, folder: str) -> Iterator[tuple[str, int | None]]:
        client, key = self._place(folder)
        prefix = f"{key.rstrip('/')}/" if key else ""
        query = f"list-type=2&prefix={quote(prefix, safe='')}"
        more, token = "", ""
        for _ in range(_MOST_PAGES):
            page = _parsed(client.get_bytes(f"/?{query}{more}"))
            for row in page.findall("{*}Contents"):
                name = next(_texts(row, "Key"), "")
                yield f"s3://{_bucket(folder)}/{name}", _moment(row)
            last, token = token, next(_texts(page, "NextContinuationToken"), "")
            if not token and next(_texts(page, "IsTruncated"), "") != "true":
                return
            if token in {"", last}:
                raise errors.BadReply("Its list of files continues without a new token")
            more = f"&continuation-token={quote(token, safe='')}"
        raise errors.BadReply(f"Its list of files has more than {_MOST_PAGES} pages")

    def _read(self, uri: str) -> bytes:
        client, key = self._place(uri)
        return client.get_bytes(_path(key))

    def _place(self, uri: str) -> tuple[ApiClient, str]:
        found = _URI.fullmatch(uri)
        if found is None or not _BUCKET.fullmatch(found["bucket"]):
            raise errors.Refused(f"{one_line(uri, 120)} is not an address in S3")
        with self._lock:
            client = self._clients.get(found["bucket"])
            if client is None:
                client = self._open_client(self._address(found["bucket"]))
                self._clients[found["bucket"]] = client
        return client, found["key"]

    def _address(self, bucket: str) -> str:
        if self._url:
            return f"{self._url.rstrip('/')}/{bucket}"
        host = f"s3.{self._region}.amazonaws.com"
        # S3's certificate does not cover bucket names with dots.
        return f"https://{host}/{bucket}" if "." in bucket else f"https://{bucket}.{host}"


@contextmanager
def _kept_to(
    uri: str, opened: AbstractContextManager[Iterator[bytes]]
) -> Iterator[Iterator[bytes]]:
    """Open a file; an error that ends all requests to its bucket affects only this file."""
    try:
        with opened as pieces:
            yield pieces
    except errors.Unauthorized as error:
        raise errors.Refused(f"{_named(uri)} refused ({error.sentence})", error.remedy) from error
    except errors.ProviderDown as error:
        raise errors.NoAnswer(error.sentence, "The next pass tries again") from error


def _answered(uri: str, ask: Callable[[], Value]) -> Answer[Value]:
    where = _named(uri)
    try:
        return Answer(ask())
    except errors.NotFound as error:
        return Answer(problem=f"{where} has no such object ({error.sentence})")
    except errors.Forbidden as error:
        return Answer(problem=f"{where} denied access; {_way_in(uri, error)} ({error.sentence})")
    except errors.Unauthorized as error:
        return Answer(problem=f"{where} refused ({error.sentence}): {error.remedy}")
    except (errors.Refused, errors.BadReply) as error:
        return Answer(problem=f"{where} refused ({error.sentence})")
    except errors.ProviderDown as error:
        # The provider itself may be up.
        raise errors.NoAnswer(error.sentence, "The next pass tries again") from error


def _way_in(uri: str, error: errors.Forbidden) -> str:
    """Return the statement for a policy: all that a bucket needs, or the action that S3 names."""
    needed = denied_statement(error.sentence)
    if needed is None or any(right in needed for right in _RIGHTS):
        bucket = f"arn:aws:s3:::{one_line(_bucket(uri), 80)}"
        needed = statement(_RIGHTS, [bucket, f"{bucket}/*"])
    return f"add {needed} to an IAM policy of the role or user"


def _named(uri: str) -> str:
    return f"s3://{one_line(_bucket(uri), 80)}"


def _bucket(uri: str) -> str:
    found = _URI.fullmatch(uri)
    return found["bucket"] if found else uri


def _path(key: str) -> str:
    return "/" + "/".join(map(segment, key.split("/")))


def _moment(row: ET.Element) -> int | None:
    """Return the time of a file's last change in Unix milliseconds."""
    try:
        return int(datetime.fromisoformat(next(_texts(row, "LastModified"), "")).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _parsed(body: bytes) -> ET.Element:
    """Return a page of a list; the XML may also be an error or a web page.

    Raises:
        BadReply: it is something else.
    """
    try:
        page = ET.fromstring(body)  # noqa: S314 - limited in size, and expat refuses bombs
    except ET.ParseError:
        page = None
    if page is None or page.tag.rpartition("}")[2] != "ListBucketResult":
        raise errors.BadReply("S3 sent no list of files")
    return page


def _texts(page: ET.Element, name: str) -> Iterator[str]:
    return (element.text or "" for element in page.findall(f".//{{*}}{name}"))
