"""Failing replies, which become sentences with remedies, including those of AWS and Google."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx
import pytest

from bridge import errors
from bridge.http.aws_failures import REGION_REMEDY, error_type
from bridge.http.failures import failed, unanswered
from bridge.http.google_failures import place_of
from bridge.http.transports import TooLarge
from bridge.redaction import Redactor

HOST = "api.example"
KEY = "made-up-key-0123456789"
VIEWER = "Vertex AI Viewer (roles/aiplatform.viewer)"
TUNING = "/projects/p/locations/x/tuningJobs"


def reply(status: int, body: object = None, **headers: str) -> httpx.Response:
    """Return a reply that has been read."""
    content = body.encode() if isinstance(body, str) else json.dumps(body or {}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = httpx.Request("GET", f"https://{HOST}/v1/jobs")
    return httpx.Response(status, content=content, headers=named, request=request)


def error_of(
    status: int, body: object = None, path: str = "/jobs", *, is_entry: bool = False, **headers: str
) -> errors.ProviderError:
    """Return the error of a reply."""
    return failed(reply(status, body, **headers), path, Redactor([KEY]), is_entry=is_entry)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "why"}},
        {"error": {"detail": "why"}},
        {"error": {"error": "why"}},
        {"message": "why"},
        {"detail": "why"},
        {"error": "why"},
        {"Message": "why"},
        {"message": "", "detail": None, "error": "why"},
        "<Error><Message>why</Message></Error>",
    ],
)
def test_the_providers_words_are_found_in_any_form(body: object) -> None:
    """The provider's words are found in every form."""
    assert error_of(403, body).sentence == f"{HOST} denied access (403): why"


@pytest.mark.parametrize("body", ["", "no JSON", "[1]", {"error": {}}, {"error": {"code": 7}}])
def test_an_error_may_have_no_words(body: object) -> None:
    """A status without words gives a sentence."""
    assert error_of(403, body).sentence == f"{HOST} denied access (403)"


def test_words_that_are_no_text_are_shown_as_they_are() -> None:
    """Words in a list, as some APIs send them, are shown as they are."""
    assert error_of(400, {"detail": [{"loc": "ä"}]}).sentence.endswith(': [{"loc": "ä"}]')


def test_both_words_of_s3_are_shown() -> None:
    """The code and the sentence of S3 are both shown; its period comes where ours ends."""
    body = "<Error><Code>NoSuchKey</Code><Message>It is gone.</Message></Error>"
    assert error_of(404, body).sentence.endswith(": NoSuchKey: It is gone")


def test_a_key_in_an_errors_words_is_masked() -> None:
    """A key in an error's words is masked, however often it was escaped."""
    said = error_of(400, {"message": f"bad key {KEY}"}).sentence
    assert KEY not in said
    assert "bad key" in said


@pytest.mark.parametrize(
    ("status", "is_entry", "kind", "sentence"),
    [
        (401, False, errors.Unauthorized, f"{HOST} refused the API key (401): why"),
        (403, True, errors.Forbidden, f"{HOST} denied access (403): why"),
        (404, False, errors.NotFound, f"{HOST} answered 404 to /jobs: why"),
        (410, False, errors.NotFound, f"{HOST} answered 410 to /jobs: why"),
        (
            404,
            True,
            errors.NoService,
            f"{HOST} answered 404 to /jobs: it offers no fine-tuning there: why",
        ),
        (410, True, errors.Withdrawn, f"{HOST} has withdrawn this service (410): why"),
        (405, False, errors.NotOffered, f"{HOST} answered 405 to /jobs: why"),
        (501, True, errors.NotOffered, f"{HOST} answered 501 to /jobs: why"),
        (429, False, errors.Throttled, f"{HOST} limited the rate of requests (429): why"),
        (
            500,
            False,
            errors.ServerFailed,
            f"{HOST} answered 500 to /jobs at every attempt: why",
        ),
        (418, False, errors.Refused, f"{HOST} answered 418 to /jobs: why"),
    ],
)
def test_each_status_has_a_sentence(
    status: int, kind: type[errors.ProviderError], sentence: str, *, is_entry: bool
) -> None:
    """Each status has a sentence and a remedy, and a 404 for the list means the service."""
    error = error_of(status, {"message": "why"}, is_entry=is_entry)
    assert type(error) is kind
    assert error.sentence == sentence
    assert error.remedy


@pytest.mark.parametrize("status", [400, 403, 422])
@pytest.mark.parametrize(
    ("words", "is_farewell"),
    [
        ("Fine-tuning was DISCONTINUED.", True),
        ("This API is deprecated", True),
        ("it is no longer supported", True),
        ("it was shut down", True),
        ("indiscontinued", False),
        ("it is no longer", False),
    ],
)
def test_a_service_says_farewell_in_words(status: int, words: str, *, is_farewell: bool) -> None:
    """Words of withdrawal count for the list, and not for a single job or file."""
    assert isinstance(error_of(status, {"message": words}, is_entry=True), errors.Withdrawn) is (
        is_farewell
    )
    assert not isinstance(error_of(status, {"message": words}), errors.Withdrawn)
    assert not isinstance(error_of(401, {"message": words}, is_entry=True), errors.Withdrawn)


@pytest.mark.parametrize(("status", "is_over"), [(403, True), (400, False)])
def test_an_account_may_have_no_training_any_more(status: int, *, is_over: bool) -> None:
    """A code that bars an account from training counts for any request."""
    error = error_of(status, {"error": {"code": "training_not_available"}})
    assert isinstance(error, errors.Withdrawn) is is_over


def test_an_empty_account_is_no_matter_of_the_rate() -> None:
    """An empty account differs from a rate limit, because waiting does not fill it."""
    error = error_of(429, {"error": {"code": "insufficient_quota", "message": "pay"}})
    assert isinstance(error, errors.QuotaExhausted)
    assert error.sentence == f"The quota at {HOST} is exhausted (429): pay"


@pytest.mark.parametrize("status", [405, 418, 500])
def test_the_number_of_a_request_is_in_the_remedy(status: int) -> None:
    """The request id is in the remedy, because the sentence identifies the error."""
    error = error_of(status, x_request_id="req-1" + "x" * 100)
    assert "ask the provider about request req-1xxx" in error.remedy
    assert "req-1" not in error.sentence
    assert len(error.remedy) < 130
    assert "request" not in error_of(status).remedy


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (TooLarge("more than 5 bytes"), errors.BadReply, "https://a sent more than 5 bytes"),
        (httpx.DecodingError("x"), errors.BadReply, "https://a sent incomplete JSON"),
        (httpx.LocalProtocolError(KEY), errors.Refused, "a header is malformed"),
        (httpx.UnsupportedProtocol("x"), errors.Refused, "https://a is not a web address"),
        (httpx.ConnectError("no route"), errors.Unreachable, "https://a cannot be reached (no rou"),
        (httpx.ConnectTimeout(""), errors.Unreachable, "cannot be reached (ConnectTimeout)"),
        (httpx.ReadTimeout("slow"), errors.NoAnswer, "https://a gave no complete answer"),
        (httpx.ReadError(""), errors.NoAnswer, "(ReadError)"),
    ],
)
def test_no_reply_has_a_sentence_too(
    error: httpx.RequestError, kind: type[errors.ProviderError], said: str
) -> None:
    """A missing reply has a sentence, and ends the pass only if the host is down."""
    found = unanswered("https://a", error)
    assert type(found) is kind
    assert said in found.sentence
    assert KEY not in str(found)


# AWS


@pytest.mark.parametrize(
    ("header", "body", "kind"),
    [
        ("ExpiredTokenException", "", "ExpiredTokenException"),
        ("ExpiredTokenException:http://x", "", "ExpiredTokenException"),
        ("com.amazon.x#ExpiredTokenException:y", "", "ExpiredTokenException"),
        ("", "<Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
        ("First", "<Error><Code>Second</Code></Error>", "First"),
        ("", "", ""),
    ],
)
def test_aws_names_an_error(header: str, body: str, kind: str) -> None:
    """AWS's error is named in a header, or in XML."""
    headers = {"x_amzn_errortype": header} if header else {}
    assert error_type(reply(400, body, **headers)) == kind


@pytest.mark.parametrize(
    "kind",
    [
        *("UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch"),
        *("InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken", "IncompleteSignature"),
        *("ExpiredTokenException", "ExpiredToken", "MissingAuthenticationTokenException"),
        *("IncompleteSignatureException", "RequestTimeTooSkewed", "TokenRefreshRequired"),
    ],
)
def test_aws_refuses_who_asks(kind: str) -> None:
    """AWS refuses credentials with 403 or 400, as it does missing permissions."""
    error = error_of(400, {"message": "why"}, x_amzn_errortype=kind)
    assert isinstance(error, errors.Unauthorized)
    assert error.sentence == f"{HOST} refused the AWS credentials (400 {kind}): why"


@pytest.mark.parametrize(
    ("status", "words", "kind", "remedy"),
    [
        (403, "The API Key is not valid", errors.Unauthorized, "AWS_BEARER_TOKEN_BEDROCK"),
        (403, "your bearer token ended", errors.Unauthorized, "AWS_BEARER_TOKEN_BEDROCK"),
        (400, "The API key is not valid", errors.Refused, "Check base_url"),
        (
            403,
            "User: a is not authorized to perform: bedrock:ListModelCustomizationJobs on x",
            errors.Forbidden,
            '"Action": "bedrock:ListModelCustomizationJobs", "Resource": "*"} to an IAM policy',
        ),
        (
            400,
            "not authorized to perform s3:GetObject",
            errors.Forbidden,
            '"Action": "s3:GetObject"',
        ),
        (400, "It is not supported in this region.", errors.NoService, REGION_REMEDY),
        (404, "not Available in the us-east-2 Region", errors.NoService, REGION_REMEDY),
        (500, "It is not supported in this region.", errors.ServerFailed, "Try again later"),
        (422, "not authorized to perform: a:B", errors.Refused, "Check base_url"),
    ],
)
def test_aws_says_what_is_wrong_in_words(
    status: int, words: str, kind: type[errors.ProviderError], remedy: str
) -> None:
    """AWS's words give the remedy: the key, the action, or the region."""
    error = error_of(status, {"message": words})
    assert type(error) is kind
    assert remedy in error.remedy
    assert error.sentence.endswith(f": {words}".rstrip("."))


def test_an_operation_that_a_region_does_not_know() -> None:
    """An operation that a region does not know means that the region lacks the service."""
    error = error_of(404, x_amzn_errortype="UnknownOperationException")
    assert isinstance(error, errors.NoService)
    assert error.remedy == REGION_REMEDY


# Google


def google(
    status: int,
    said: str = "why",
    *,
    reason: str | None = None,
    about: Mapping[str, str] | None = None,
    path: str = TUNING,
    is_entry: bool = False,
) -> errors.ProviderError:
    """Return an error as Google writes it."""
    details: list[object] = ["odd", {"reason": None}, {"@type": "Help"}]
    if reason:
        details.append({"reason": reason, "metadata": about or {}})
        details.append({"reason": "LATER", "metadata": {}})
    error = {"code": status, "status": "SOME_STATUS", "message": said, "details": details}
    return error_of(status, {"error": error}, path, is_entry=is_entry)


@pytest.mark.parametrize(
    ("said", "reason", "about", "remedy"),
    [
        (
            "why",
            "SERVICE_DISABLED",
            {"service": "x.googleapis.com", "consumer": "projects/acme"},
            "Enable the API with: gcloud services enable x.googleapis.com --project acme",
        ),
        (
            "Vertex has not been used in project 7 before",
            None,
            {},
            "Enable the API with: gcloud services enable aiplatform.googleapis.com --project",
        ),
        (
            "why",
            "BILLING_DISABLED",
            {"consumer": "projects/7"},
            "Enable billing for the project 7",
        ),
        ("why", "USER_PROJECT_DENIED", {}, "Grant Service Usage Consumer"),
        ("needs serviceusage.services.use", None, {}, "Grant Service Usage Consumer"),
        ("why", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", {}, "Give the credentials the scope"),
        ("insufficient authentication scopes", None, {}, "Give the credentials the scope"),
        (
            "Permission 'aiplatform.tuningJobs.list' denied",
            "IAM_PERMISSION_DENIED",
            {},
            f"Grant the role {VIEWER}, which has the permission aiplatform.tuningJobs.list, on the",
        ),
        (
            "why",
            None,
            {},
            f"Grant the role {VIEWER} on the project to this account",
        ),
    ],
)
def test_google_says_what_has_to_be_granted(
    said: str, reason: str | None, about: dict[str, str], remedy: str
) -> None:
    """Google's first machine-readable reason, or else its words, give the remedy."""
    error = google(403, said, reason=reason, about=about)
    assert isinstance(error, errors.Forbidden)
    assert error.sentence == f"{HOST} denied access (403): {said}"
    assert error.remedy.startswith(remedy)


def test_details_that_are_none_are_ignored() -> None:
    """Impossible details are ignored in favour of the error's words."""
    odd: tuple[object, ...] = (None, "odd", {}, [{"reason": "BILLING_DISABLED", "metadata": "odd"}])
    for details in odd:
        body = {"error": {"code": 403, "status": "X", "message": "why", "details": details}}
        remedy = error_of(403, body).remedy
        expected = "Enable billing" if isinstance(details, list) else "Grant the role"
        assert remedy.startswith(expected)


def test_a_token_of_google_ends() -> None:
    """An expired token of Google gets the command that renews it; another API's 401 its key."""
    assert "gcloud auth print-access-token" in google(401).remedy
    for body in ({"status": "X"}, {"code": 401}, {"code": "401", "status": "X"}):
        assert "Check api_key" in error_of(401, {"error": body}).remedy


@pytest.mark.parametrize(
    ("status", "said", "path", "is_entry", "kind"),
    [
        (404, "why", TUNING, True, errors.NoService),
        (404, "why", TUNING, False, errors.NotFound),
        (404, "why", f"{TUNING}/7", False, errors.NotFound),
        (400, "Location x is not known", TUNING, True, errors.NoService),
        (400, "It is not offered in x", TUNING, True, errors.NoService),
        (400, "Location x is not known", TUNING, False, errors.Refused),
        (400, "why", TUNING, True, errors.Refused),
        (429, "why", TUNING, True, errors.Throttled),
    ],
)
def test_google_has_no_tuning_everywhere(
    status: int, said: str, path: str, kind: type[errors.ProviderError], *, is_entry: bool
) -> None:
    """A location without tuning is reported with the locations that have it."""
    error = google(status, said, path=path, is_entry=is_entry)
    assert type(error) is kind
    assert ("us-central1" in error.remedy) is (kind is errors.NoService)


@pytest.mark.parametrize(
    ("base_url", "place"),
    [
        ("https://us-central1-aiplatform.googleapis.com", "location"),
        ("https://us-central1-aiplatform.googleapis.com/", "location"),
        ("https://aiplatform.googleapis.com", "base_url"),
        ("https://api.example/v1", "base_url"),
    ],
)
def test_a_location_is_part_of_an_address(base_url: str, place: str) -> None:
    """A wrong location is reported with the setting to change."""
    assert place_of(base_url) == place
    error = unanswered(base_url, httpx.ConnectError("x"))
    assert f"Check {place}, the network" in error.remedy
