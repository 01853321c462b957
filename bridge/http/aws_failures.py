"""The meaning of AWS's errors: a wrong credential, action or region.

AWS answers 403 to a wrong credential as well as to a missing permission; the error's type and text
tell which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

import httpx

from bridge import errors
from bridge.text import one_line

_TYPE_HEADER: Final = "x-amzn-errortype"
_CREDENTIALS: Final = frozenset(
    {
        *("UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch"),
        *("InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken", "IncompleteSignature"),
        *("ExpiredTokenException", "ExpiredToken", "MissingAuthenticationTokenException"),
        *("IncompleteSignatureException", "RequestTimeTooSkewed", "TokenRefreshRequired"),
    }
)
"""Errors about the caller rather than the request."""
_KEY: Final = re.compile(r"\b(api key|bearer token)\b", re.IGNORECASE)
_ACTION: Final = re.compile(
    r"not authorized to perform:? (?P<action>[a-z0-9-]+:\w+)"
    r'(?: on resource:? "?(?P<resource>arn:[^\s",]+))?'
)
_NOT_HERE: Final = re.compile(
    r"not (supported|available|offered) in (this|the) .*region", re.IGNORECASE
)
_XML: Final = re.compile(r"<(?P<name>Code|Message)>(?P<text>[^<]*)</")
REGION_REMEDY: Final = (
    "Correct region: not every region has model customization; us-east-1 and us-west-2 do"
)


def aws_failure(response: httpx.Response, said: str) -> errors.ProviderError | None:
    """Return the error for a reply from AWS; ``None`` if its status is enough.

    Args:
        response: the reply, which is not a success.
        said: its message, after a colon, without secrets.
    """
    status, host = response.status_code, response.request.url.host
    kind = error_type(response)
    if kind in _CREDENTIALS:
        return errors.Unauthorized(
            f"{host} refused the AWS credentials ({status} {kind}){said}",
            "Renew them (aws sso login, or a new access key), and check this machine's clock",
        )
    if status not in {400, 403, 404}:
        return None
    if status == httpx.codes.FORBIDDEN and _KEY.search(said):
        return errors.Unauthorized(
            f"{host} refused the API key ({status}){said}",
            "Check api_key (AWS_BEARER_TOKEN_BEDROCK): a short-term key ends after 12 hours",
        )
    if statement := denied_statement(said):
        return errors.Forbidden(
            f"{host} denied access ({status}){said}",
            f"Add {statement} to an IAM policy of the role or user",
        )
    if kind == "UnknownOperationException" or _NOT_HERE.search(said):
        return errors.NoService(
            f"{host} has no model customization ({status}){said}", REGION_REMEDY
        )
    return None


def denied_statement(said: str) -> str | None:
    """Return the policy statement for the denied action; ``None`` if no action is named."""
    denied = _ACTION.search(said)
    return statement([denied["action"]], [denied["resource"] or "*"]) if denied else None


def statement(actions: Sequence[str], resources: Sequence[str]) -> str:
    """Return an IAM policy statement that allows an action."""
    action, resource = (each[0] if len(each) == 1 else each for each in (actions, resources))
    return json.dumps({"Effect": "Allow", "Action": action, "Resource": resource})


def error_type(response: httpx.Response) -> str:
    """Return AWS's name of an error; empty if a reply has none."""
    named = response.headers.get(_TYPE_HEADER, "")
    if not named:
        named = xml_error(response).get("Code", "")
    # AccessDeniedException:http://internal.amazon.com/coral/...
    return one_line(named.partition(":")[0].rpartition("#")[2], 80)


def xml_error(response: httpx.Response) -> dict[str, str]:
    """Return ``Code`` and ``Message`` of an error from S3, if it has them."""
    return {found["name"]: found["text"] for found in _XML.finditer(response.text)}
