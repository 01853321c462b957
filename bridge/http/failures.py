"""Turn failed requests into errors of ``bridge.errors``, each with a sentence and a remedy."""

from __future__ import annotations

import json
import re
from typing import Final

import httpx

from bridge import errors
from bridge.http.aws_failures import aws_failure, xml_error
from bridge.http.google_failures import google_failure, place_of
from bridge.http.retries import PASSING, error_object, is_quota
from bridge.http.transports import TooLarge
from bridge.redaction import Redactor
from bridge.text import one_line

_ENDED: Final = frozenset({"training_not_available"})
"""Error codes of an account that no longer has fine-tuning."""
_FAREWELL: Final = re.compile(
    r"\b(deprecated|discontinued|decommissioned|retired|sunset|withdrawn|shut down)\b"
    r"|\bno longer (available|supported|offered)\b",
    re.IGNORECASE,
)
"""Words that announce the end of a service."""
_STAYS: Final = "Recorded runs stay in MLflow, and ftbridge run polls once a day"
_WITHDRAWN: Final = f"{_STAYS}; remove the provider from the configuration to stop that"


def unanswered(base_url: str, error: httpx.RequestError) -> errors.ProviderError:
    """Return the error for a request without a reply, or with only part of one."""
    if isinstance(error, TooLarge):
        return errors.BadReply(
            f"{base_url} sent {error}", "Check that base_url is the address of the API"
        )
    if isinstance(error, httpx.DecodingError):
        return errors.BadReply(f"{base_url} sent incomplete JSON at every attempt")
    if isinstance(error, httpx.LocalProtocolError):
        # Its text contains the header, which may be the key.
        return errors.Refused(
            f"A request to {base_url} was not sent: a header is malformed",
            "Remove line breaks and control characters from api_key and headers",
        )
    if isinstance(error, httpx.UnsupportedProtocol):
        return errors.Refused(f"{one_line(base_url)} is not a web address", "Correct base_url")
    why = one_line(str(error), 120) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return errors.Unreachable(
            f"{base_url} cannot be reached ({why})",
            f"Check {place_of(base_url)}, the network and the provider's status page",
        )
    return errors.NoAnswer(
        f"{base_url} gave no complete answer at any attempt ({why})",
        "The next pass tries again; if it persists, check the provider's status page",
    )


def not_json(base_url: str, path: str, response: httpx.Response) -> errors.BadReply:
    """Return the error for a reply that is not JSON, such as a proxy's page."""
    kind = response.headers.get("content-type", "no content type").split(";")[0]
    return errors.BadReply(
        f"{base_url} answered {path} with {one_line(kind, 80)} instead of JSON",
        "Check that base_url is the address of the API and that no proxy answers for it",
    )


def not_an_object(base_url: str, path: str, reply: object) -> errors.BadReply:
    """Return the error for JSON that is a list, a number or text."""
    return errors.BadReply(
        f"{base_url} answered {path} with a JSON {type(reply).__name__} instead of an object",
        "Check that base_url is the address of the API",
    )


def failed(
    response: httpx.Response, path: str, redactor: Redactor, *, is_entry: bool = False
) -> errors.ProviderError:
    """Return the error for a reply with a failing status.

    Args:
        response: the reply.
        path: the requested path.
        redactor: masks the secrets in the server's message.
        is_entry: whether the service begins at ``path``, so that a 404 means that there is none.
    """
    # The sentence gets its period when it is shown.
    detail = _detail(response, redactor).rstrip(".")
    said = f": {detail}" if detail else ""
    return (
        aws_failure(response, said)
        or _ended(response, said, is_entry=is_entry)
        or google_failure(response, path, said, is_entry=is_entry)
        or _refused(response, path, said, is_entry=is_entry)
    )


def _detail(response: httpx.Response, redactor: Redactor) -> str:
    """Return the provider's own message on one line; empty if it has none."""
    error = error_object(response)
    said = error.get("message") or error.get("detail") or error.get("error")
    # AWS's gateways begin with a capital; S3 writes XML.
    said = said or error.get("Message") or ": ".join(xml_error(response).values())
    # Masked again, because text that was escaped twice in the body is readable only now.
    return redactor.line(said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))


def _ended(response: httpx.Response, said: str, *, is_entry: bool) -> errors.Withdrawn | None:
    """Return the error for a service that has ended, if the reply says so."""
    host = response.request.url.host
    match response.status_code:
        # For a single job or file, the status and such words say nothing about the service.
        case 410 if is_entry:
            return errors.Withdrawn(f"{host} has withdrawn this service (410){said}", _WITHDRAWN)
        case 403 if str(error_object(response).get("code")) in _ENDED:
            return errors.Withdrawn(
                f"{host} no longer offers fine-tuning to this account (403){said}", _WITHDRAWN
            )
        case 400 | 403 | 422 as status if is_entry and _FAREWELL.search(said):
            return errors.Withdrawn(
                f"{host} no longer offers this service ({status}){said}", _WITHDRAWN
            )
    return None


def _refused(
    response: httpx.Response, path: str, said: str, *, is_entry: bool
) -> errors.ProviderError:
    status = response.status_code
    host = response.request.url.host
    request_id = response.headers.get("x-request-id")
    # Not in the sentence, because it differs each time and equal sentences are reported once.
    support = f"; ask the provider about request {one_line(request_id, 64)}" if request_id else ""
    asked = f"{host} answered {status} to {one_line(path, 120)}"
    match status:
        case 401:
            return errors.Unauthorized(
                f"{host} refused the API key (401){said}",
                "Check api_key: it may be mistyped, revoked, or of another account",
            )
        case 403:
            return errors.Forbidden(
                f"{host} denied access (403){said}",
                "Give the key permission to read fine-tuning jobs, or use one of the right project"
                " or team",
            )
        case 404 if is_entry:
            return errors.NoService(
                f"{asked}: it offers no fine-tuning there{said}",
                f"Check base_url; if it was right before, the service is withdrawn. {_STAYS}",
            )
        case 404 | 410:
            return errors.NotFound(
                f"{asked}{said}", "Check base_url, and whether the provider still has it"
            )
        case 405 | 501:
            return errors.NotOffered(f"{asked}{said}", f"Check base_url{support}")
        case 429 if is_quota(response):
            return errors.QuotaExhausted(
                f"The quota at {host} is exhausted (429){said}", "Top up the account"
            )
        case 429:
            return errors.Throttled(
                f"{host} limited the rate of requests (429){said}",
                "The next pass continues from here",
            )
        case _ if response.is_server_error or status in PASSING:
            return errors.ServerFailed(
                f"{asked} at every attempt{said}", f"Try again later{support}"
            )
        case _:
            return errors.Refused(f"{asked}{said}", f"Check base_url{support}")
