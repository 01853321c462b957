"""The meaning of Google's errors: a missing role or API, or a wrong location.

They are JSON with a number, a name, a sentence, and sometimes a machine-readable reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import httpx

from bridge import errors
from bridge.http.retries import error_object
from bridge.text import one_line

_PERMISSION: Final = re.compile(r"\bpermission '?(?P<name>[a-z]+(\.\w+)+)", re.IGNORECASE)
_NOT_HERE: Final = re.compile(
    r"\b(location|region)\b.*\bnot\b|\bnot (supported|available|offered) in\b", re.IGNORECASE
)
_TUNING: Final = "/tuningJobs"
_VIEWER: Final = "Vertex AI Viewer (roles/aiplatform.viewer)"
_LOCATION: Final = (
    "Correct project and location: tuning is offered in us-central1, europe-west4 and a few others"
)


def place_of(base_url: str) -> str:
    """Return the configuration key that places a service: ``location`` for Google Cloud."""
    is_regional = base_url.rstrip("/").endswith("-aiplatform.googleapis.com")
    return "location" if is_regional else "base_url"


def google_failure(
    response: httpx.Response, path: str, said: str, *, is_entry: bool
) -> errors.ProviderError | None:
    """Return the error for a reply from Google; ``None`` if its status is enough.

    Args:
        response: the reply, which is not a success.
        path: the requested path.
        said: its message, after a colon, without secrets.
        is_entry: whether the service begins at ``path``.
    """
    status, host = response.status_code, response.request.url.host
    is_tuning = is_entry and path.endswith(_TUNING)
    if is_tuning and status == httpx.codes.NOT_FOUND:
        return errors.NoService(f"{host} has no tuning jobs at {path} (404){said}", _LOCATION)
    error = error_object(response)
    if not isinstance(error.get("status"), str) or not isinstance(error.get("code"), int):
        return None
    match status:
        case 401:
            return errors.Unauthorized(
                f"{host} refused the access token (401){said}",
                "A token lasts for an hour: take a new one from gcloud auth print-access-token,"
                " or set auth: google, which renews it",
            )
        case 403:
            return errors.Forbidden(f"{host} denied access (403){said}", _way_in(error, said))
        case 400 if is_tuning and _NOT_HERE.search(said):
            return errors.NoService(f"{host} has no tuning here (400){said}", _LOCATION)
    return None


def _way_in(error: Mapping[str, object], said: str) -> str:
    """Return the remedy: the permission to grant, or the API to enable."""
    about = dict(_reasons(error))
    reason = about.get("reason", "")
    project = about.get("consumer", "").removeprefix("projects/") or "PROJECT"
    if reason == "SERVICE_DISABLED" or "has not been used in project" in said:
        service = about.get("service", "aiplatform.googleapis.com")
        return f"Enable the API with: gcloud services enable {service} --project {project}"
    if reason == "BILLING_DISABLED":
        return f"Enable billing for the project {project}"
    if reason == "USER_PROJECT_DENIED" or "serviceusage.services.use" in said:
        return (
            "Grant Service Usage Consumer (roles/serviceusage.serviceUsageConsumer) on the quota"
            " project, or name another one with: gcloud auth application-default set-quota-project"
        )
    if reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT" or "insufficient authentication scopes" in said:
        return "Give the credentials the scope https://www.googleapis.com/auth/cloud-platform"
    needed = _PERMISSION.search(said)
    lacking = f", which has the permission {needed['name']}," if needed else ""
    return f"Grant the role {_VIEWER}{lacking} on the project to this account"


def _reasons(error: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each reason of an error with its details."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("reason"), str):
            about = detail.get("metadata")
            facts = {**(about if isinstance(about, dict) else {}), "reason": detail["reason"]}
            yield from ((str(name), one_line(str(text), 100)) for name, text in facts.items())
            return
