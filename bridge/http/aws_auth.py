"""AWS's signature instead of a key: each request is signed with the current credentials.

The package ``botocore`` (extra ``aws``) finds the credentials as AWS's own tools do: the
environment, a profile, an SSO login, a web identity, a container's or an instance's role. It also
renews them. It does not send the requests: retries, limits and the handling of redirects remain
those of ``bridge.http``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from bridge import errors
from bridge.redaction import Redactor
from bridge.text import one_line

if TYPE_CHECKING:
    from botocore.auth import SigV4Auth
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

S3: Final = "s3"
_SESSION_NAME: Final = "ftbridge"
_REGION: Final = re.compile(r"[a-z]{2,8}(-[a-z0-9]+)+-\d+")
_REGION_IN_ERROR: Final = re.compile(rb"<Region>([a-z0-9-]+)</Region>")

Credentials = Callable[[], "ReadOnlyCredentials"]
"""The current credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The configured identity."""

    profile: str | None = None
    """Profile of AWS's own configuration; ``None``: the one that AWS's tools would use."""
    role_arn: str | None = None
    """ARN of a role to assume with these credentials."""
    region: str | None = None
    """Region in which the role is assumed."""

    @property
    def login(self) -> str:
        """The command that renews an SSO login."""
        return (
            f"aws sso login --profile {one_line(self.profile, 80)}"
            if self.profile
            else ("aws sso login")
        )


class AwsSignature(httpx.Auth):
    """Signs each request for a service in a region.

    If S3 replies that a bucket is in another region, the request is sent again to that region.
    """

    def __init__(self, credentials: Credentials, service: str, region: str) -> None:
        self._credentials = credentials
        self._service = service
        self._home = region
        self._region = region

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send ``request`` with a signature."""
        request.url = _canonical(request.url)
        asked = self._region
        self._sign(request, self._home, asked)
        response = yield request
        named = _named_region(response) if self._service == S3 else None
        if named is not None and named != asked:
            self._region = named
            self._sign(request, asked, named)
            yield request

    def _sign(self, request: httpx.Request, before: str, region: str) -> None:
        """Sign for a region, whose name replaces that of another in an AWS address."""
        # First, because its error says what to do without botocore.
        credentials = self._credentials()
        from botocore.awsrequest import AWSRequest

        host = request.url.host.replace(f".{before}.", f".{region}.")
        request.url = request.url.copy_with(host=host)
        request.headers["Host"] = request.url.netloc.decode()
        signed = AWSRequest(method=request.method, url=str(request.url), headers={}, data=b"")
        self._signer(credentials, region).add_auth(signed)
        for name, value in signed.headers.items():
            request.headers[name] = value

    def _signer(self, credentials: ReadOnlyCredentials, region: str) -> SigV4Auth:
        from botocore.auth import S3SigV4Auth, SigV4Auth

        kind = S3SigV4Auth if self._service == S3 else SigV4Auth
        return kind(credentials, self._service, region)


def _canonical(url: httpx.URL) -> httpx.URL:
    """Return the address as it is signed, with spaces of the query as ``%20`` instead of ``+``."""
    return url.copy_with(query=url.query.replace(b"+", b"%20")) if url.query else url


def _named_region(response: httpx.Response) -> str | None:
    """Return the region of a bucket from a reply that redirects to it."""
    if response.is_success:
        return None
    response.read()
    found = _REGION_IN_ERROR.search(response.content)
    named = response.headers.get("x-amz-bucket-region", found[1].decode() if found else "")
    return named if _REGION.fullmatch(named) else None


def signed_in(identity: Identity, redactor: Redactor) -> Credentials:
    """Return a source of this machine's or user's credentials, which are found on first use."""
    lock = threading.Lock()
    known: list[Any] = []

    def ask() -> ReadOnlyCredentials:
        with lock:
            frozen = _named(lambda: _frozen(identity, known), identity)
        redactor.learn("AWS secret key", frozen.secret_key)
        redactor.learn("AWS session token", frozen.token or "")
        return frozen

    return ask


def _frozen(identity: Identity, known: list[Any]) -> ReadOnlyCredentials:
    """Return the current credentials; ``known`` caches those that renew themselves."""
    import botocore.session

    if not known:
        found = _found(botocore.session.Session(profile=identity.profile), identity)
        if found is None:
            raise _missing(identity)
        known.append(found)
    frozen: ReadOnlyCredentials = known[0].get_frozen_credentials()
    return frozen


def _found(session: Session, identity: Identity) -> Any:  # noqa: ANN401 - botocore has no types
    """Return credentials that renew themselves; ``None`` if there are none."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    found = session.get_credentials()
    if found is None or identity.role_arn is None:
        return found

    def client(service: str, **more: object) -> object:
        return session.create_client(service, region_name=identity.region, **more)

    fetcher = AssumeRoleCredentialFetcher(
        client, found, identity.role_arn, extra_args={"RoleSessionName": _SESSION_NAME}
    )
    return DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )


def _missing(identity: Identity) -> errors.Unauthorized:
    where = f"the profile {one_line(identity.profile, 80)}" if identity.profile else "this machine"
    return errors.Unauthorized(
        f"AWS has no credentials for {where}",
        f"Sign in with: {identity.login}; or set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give the"
        " machine a role",
    )


def _named(ask: Credentials, identity: Identity) -> ReadOnlyCredentials:
    """Return the credentials; raise the package's errors as the bridge's own.

    Raises:
        Unauthorized: No credentials were found.
    """
    try:
        from botocore import exceptions
    except ImportError:
        raise errors.Unauthorized(
            "AWS's signature needs the package botocore", "Install it: pip install botocore"
        ) from None
    try:
        return ask()
    except exceptions.ProfileNotFound:
        raise errors.Unauthorized(
            f"AWS's configuration has no profile {one_line(identity.profile or '', 80)}",
            "Correct profile or AWS_PROFILE; the profiles are listed by:"
            " aws configure list-profiles",
        ) from None
    except (exceptions.SSOError, exceptions.TokenRetrievalError) as error:
        raise errors.Unauthorized(
            f"The SSO login at AWS has expired ({one_line(str(error), 200)})",
            f"Sign in with: {identity.login}",
        ) from None
    except exceptions.ClientError as error:
        raise errors.Unauthorized(
            f"AWS refused the role {one_line(identity.role_arn or 'of the profile', 200)}"
            f" ({one_line(str(error), 200)})",
            "Correct role_arn, and name the calling role or user in the role's trust policy",
        ) from None
    except exceptions.BotoCoreError as error:
        raise errors.Unauthorized(
            f"AWS gave no credentials ({one_line(str(error), 200)})",
            f"Sign in with: {identity.login}; or correct AWS's configuration",
        ) from None
