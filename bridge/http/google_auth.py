"""Application Default Credentials of Google Cloud instead of a key.

The package ``google-auth``, which comes with MLflow, finds the credentials: the file of a service
account, a login with gcloud, the metadata server, or workload identity. It also renews the
token, and names the project whose quota counts.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import httpx

from bridge import errors
from bridge.redaction import Redactor
from bridge.text import one_line

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport import Request

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_QUOTA_PROJECT: Final = "x-goog-user-project"
_TIMEOUT: Final = 20.0
"""Timeout of each request to the token service in seconds."""
_LOGIN: Final = "gcloud auth application-default login"


class GoogleAuth(httpx.Auth):
    """Gives each request the current token.

    Credentials are searched for on the first request, which fails if there are none.
    """

    def __init__(self, ask: Request, project: str | None, redactor: Redactor) -> None:
        self._ask = ask
        self._project = project
        self._redactor = redactor
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send ``request`` with a token, and once more with a new one if that is refused."""
        request.headers.update(self._headers(request, is_new=False))
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            request.headers.update(self._headers(request, is_new=True))
            yield request

    def _headers(self, request: httpx.Request, *, is_new: bool) -> dict[str, str]:
        headers: dict[str, str] = {}
        with self._lock, _named():  # otherwise several threads would renew one token several times
            if self._credentials is None:
                self._credentials = _found(self._ask, self._project)
            if is_new:
                self._credentials.refresh(self._ask)  # type: ignore[no-untyped-call] # Google's
            self._credentials.before_request(  # type: ignore[no-untyped-call] # Google's
                self._ask, request.method, str(request.url), headers
            )
        _, _, token = headers.get("authorization", "").partition(" ")
        self._redactor.learn(f"Google {self._project}", token)
        if _QUOTA_PROJECT in request.headers:
            # A configured value has precedence.
            headers.pop(_QUOTA_PROJECT, None)
        return headers


@contextmanager
def signed_in(project: str | None, redactor: Redactor) -> Iterator[GoogleAuth]:
    """Yield the identity of this machine or its user; its connections end with the context.

    Args:
        project: its quota counts for a user's login that names no project.
        redactor: learns each token.
    """
    import requests
    from google.auth.transport.requests import Request as RequestsTransport

    with requests.Session() as session:
        ask = cast("Request", partial(RequestsTransport(session), timeout=_TIMEOUT))
        yield GoogleAuth(ask, project, redactor)


def _found(ask: Request, project: str | None) -> Credentials:
    import google.auth
    from google.oauth2.credentials import Credentials as UserCredentials

    found: tuple[Credentials, object] = google.auth.default(scopes=_SCOPES, request=ask)
    credentials = found[0]
    if project and isinstance(credentials, UserCredentials) and not credentials.quota_project_id:
        owned: Credentials = credentials.with_quota_project(project)
        # The copy keeps the login's token, but not the token's expiry.
        owned.expiry = credentials.expiry
        return owned
    return credentials


@contextmanager
def _named() -> Iterator[None]:
    """Convert the package's errors into the bridge's own, with remedies."""
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError

    try:
        yield
    except DefaultCredentialsError as error:
        raise errors.Unauthorized(
            f"Google Cloud credentials were not found ({_said(error)})",
            f"Sign in with: {_LOGIN}; or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a"
            " service account; or set auth: token and api_key",
        ) from None
    except TransportError as error:
        raise errors.Unreachable(
            f"Google's service for access tokens cannot be reached ({_said(error)})",
            "Check the network and its proxy; the next pass tries again",
        ) from None
    except GoogleAuthError as error:
        if error.retryable:
            raise errors.Unreachable(
                f"Google failed to give an access token ({_said(error)})",
                "The next pass tries again",
            ) from None
        raise errors.Unauthorized(
            f"Google gave no access token: the login has expired or was revoked ({_said(error)})",
            f"Sign in again with: {_LOGIN}; or check that the service account and the key that"
            " GOOGLE_APPLICATION_CREDENTIALS names are still valid",
        ) from None


def _said(error: Exception) -> str:
    """Return the first of an error's arguments, because others may contain a whole reply."""
    return one_line(str(error.args[0]) if error.args else type(error).__name__, 200)
