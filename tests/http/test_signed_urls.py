"""Files behind signed URLs: the permitted addresses, and the request to them."""

from __future__ import annotations

import ipaddress
import socket

import httpx
import pytest

from bridge import errors
from bridge.http.client import connect
from bridge.http.retries import ATTEMPTS
from bridge.http.signed_urls import Found, SignedUrlFetcher, addresses_of, is_public
from bridge.http.transports import LARGEST_REPLY
from bridge.redaction import Redactor
from tests.support.scripted import Answer, Chunks, Handler, Script

URL = "https://storage.example/bucket/metrics.jsonl?X-Signature=s3cr3t-s3cr3t&b=%2F"
API = "https://api.example/v1"
PUBLIC = "93.184.215.14"

ELSEWHERE = [
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),  # noqa: S104 - not bound to
    *("169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254"),
    *("fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::"),
    *("2002:a00:1::1", "100::1", "4000::1", "2001::1", "::ffff:0:127.0.0.1"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
]
EVERYWHERE = ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::1"]


class Storage(Script):
    """A host with one file, which a test can change."""

    def __init__(self, answer: Handler | None = None, body: bytes = b"a,b\n") -> None:
        super().__init__([answer or Answer(200, body, {})])
        self.looked_up: list[tuple[str, int]] = []

    def files(self, *addresses: str, **options: object) -> SignedUrlFetcher:
        """Return a fetcher, for which the host's name has these addresses."""

        def resolve(host: str, port: int) -> list[str]:
            self.looked_up.append((host, port))
            return list(addresses or [PUBLIC])

        given: dict[str, object] = {
            "api": API,
            "sleep": self.sleep,
            "transport": httpx.MockTransport(self),
            "resolve": resolve,
        }
        return SignedUrlFetcher(Redactor(["a-key-to-hide"]), **(given | options))  # type: ignore[arg-type] # as the test says


@pytest.mark.parametrize("address", ELSEWHERE)
def test_addresses_that_are_not_on_the_public_internet(address: str) -> None:
    """An address of this machine, its network, its cloud or a group is not public, even wrapped."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", EVERYWHERE)
def test_addresses_that_are_on_the_public_internet(address: str) -> None:
    """An address of the public internet is public in both families."""
    assert is_public(ipaddress.ip_address(address))


def test_a_file_is_fetched() -> None:
    """A file is fetched unchanged, with its whole URL."""
    storage = Storage()
    assert storage.files().find(URL) == Found(b"a,b\n")
    (request,) = storage.requests
    assert request.url.raw_path == b"/bucket/metrics.jsonl?X-Signature=s3cr3t-s3cr3t&b=%2F"
    assert request.method == "GET"


def test_nothing_of_ours_goes_along() -> None:
    """Neither the key nor any header of the API's client is sent to the file's host."""
    api: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        api.append(request)
        return httpx.Response(200, json={})

    storage = Storage()
    http = connect(
        API,
        headers={"Authorization": "Bearer a-key-to-hide", "X-Team": "ours"},
        redactor=Redactor(["a-key-to-hide"]),
        transport=httpx.MockTransport(answer),
        signed=storage.files(),
    )
    http.get_object("/jobs")
    http.find_signed(URL)
    assert list(http.stream_signed(URL))
    assert len(api) == 1
    for request in storage.requests:
        assert set(request.headers) == {
            *("host", "accept", "accept-encoding", "connection", "user-agent")
        }
        assert "ftbridge" not in request.headers["user-agent"]


def test_the_connection_is_made_to_the_address_that_was_checked() -> None:
    """The connection goes to the checked address, even if the name changes between two lookups."""
    storage = Storage()
    storage.files().find(URL)
    (request,) = storage.requests
    assert storage.looked_up == [("storage.example", 443)]
    assert request.url.host == PUBLIC
    assert request.headers["host"] == "storage.example"
    assert request.extensions["sni_hostname"] == "storage.example"


def test_an_address_may_be_of_ipv6() -> None:
    """An IPv6 address is put into brackets, with the port kept."""
    storage = Storage()
    storage.files("2606:4700::1111").find(URL.replace(".example", ".example:8443"))
    (request,) = storage.requests
    assert request.url.host == "2606:4700::1111"
    assert request.url.netloc == b"[2606:4700::1111]:8443"
    assert request.headers["host"] == "storage.example:8443"
    assert storage.looked_up == [("storage.example", 8443)]


def test_every_address_is_tried() -> None:
    """Every address of a host is tried."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host != "8.8.4.4":
            raise httpx.ConnectError("no route")
        return httpx.Response(200, content=b"there")

    storage = Storage(answer)
    assert storage.files("2606:4700::1111", "8.8.8.8", "8.8.4.4").find(URL).body == b"there"
    assert [request.url.host for request in storage.requests] == [
        *("2606:4700::1111", "8.8.8.8", "8.8.4.4")
    ]


@pytest.mark.parametrize("address", [*ELSEWHERE[:9], "::1", "::ffff:127.0.0.1", "fd00::1"])
@pytest.mark.parametrize("others", [[], [PUBLIC]])
def test_a_name_that_leads_inside_is_not_followed(address: str, others: list[str]) -> None:
    """A name with an address inside the network gets no request, even if others are outside."""
    storage = Storage()
    found = storage.files(*others, address).find(URL)
    assert found.body is None
    assert found.problem == (
        "A signed URL at storage.example was not requested: its address is not public"
    )
    assert storage.requests == []
    assert storage.sleep.asked == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]", "localhost"]
)
def test_an_address_in_any_notation_is_checked(host: str) -> None:
    """An address in any notation that the system understands is checked."""
    storage = Storage()
    found = storage.files(resolve=addresses_of).find(f"https://{host}/metrics")
    assert found.body is None
    assert storage.requests == []
    assert "not public" in (found.problem or "")


@pytest.mark.parametrize(
    "url",
    [
        *("http://storage.example/a", "ftp://storage.example/a", "file:///etc/passwd"),
        *(
            "gs://bucket/a",
            "storage.example/a",
            "//storage.example/a",
            "",
            "https://",
            "https:///a",
        ),
        *("https://a..b/", "https://[::1/", "https://localhost:99999999/", "\x00", "/etc"),
        *("https://" + "a" * 300 + ".example/", "https://\ud800.example/"),
    ],
)
def test_what_is_no_https_address_is_not_asked(url: str) -> None:
    """A URL other than https is a reported problem that does not stop the job."""
    storage = Storage()

    found = storage.files(resolve=addresses_of).find(url)
    assert found.body is None
    assert found.problem
    assert " at  " not in found.problem, "a host without a name is said to be unknown"
    assert storage.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is not followed, because it would bypass the checks."""
    storage = Storage(
        lambda _request: httpx.Response(status, headers={"Location": "https://other.example/"})
    )
    found = storage.files().find(URL)
    assert found == Found(problem=f"storage.example answered {status} to a signed URL")
    assert len(storage.requests) == 1


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_not_there_is_no_problem(status: int) -> None:
    """A missing file does not count as a failure, because it may be written later."""
    assert Storage(lambda _request: httpx.Response(status)).files().find(URL) == Found()


@pytest.mark.parametrize("status", [400, 401, 403, 416])
def test_a_refusal_is_reported(status: int) -> None:
    """A permanent refusal is reported with the host, without the URL."""
    storage = Storage(lambda _request: httpx.Response(status, text="<Error>s3cr3t-s3cr3t</Error>"))
    found = storage.files().find(URL)
    assert found == Found(problem=f"storage.example answered {status} to a signed URL")
    assert len(storage.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_is_retried_and_then_an_error(status: int) -> None:
    """A temporary failure is retried, and then left to the next pass."""
    storage = Storage(lambda _request: httpx.Response(status))
    with pytest.raises(errors.ServerFailed, match=r"storage\.example") as failure:
        storage.files().find(URL)
    assert len(storage.requests) == ATTEMPTS
    assert len(storage.sleep.asked) == ATTEMPTS - 1
    assert "s3cr3t" not in str(failure.value)


def broken(request: httpx.Request) -> httpx.Response:
    """Fail as a host that does not answer in time."""
    raise httpx.ReadTimeout("timed out", request=request)


def refused(request: httpx.Request) -> httpx.Response:
    """Fail as a host on which nobody listens."""
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize("answer", [broken, refused])
def test_a_host_that_does_not_answer_stops_no_other_job(answer: Answer) -> None:
    """A storage that does not answer costs one job, because the provider itself is up."""
    with pytest.raises(errors.NoAnswer, match=r"storage\.example") as failure:
        Storage(answer).files().find(URL)
    assert not isinstance(failure.value, errors.ProviderDown)
    assert "s3cr3t" not in str(failure.value)


def nowhere(_host: str, _port: int) -> list[str]:
    """Fail as a lookup without an answer."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_without_an_address_is_asked_for_again_later() -> None:
    """A name without an address is looked up again in the next pass."""
    with pytest.raises(errors.NoAnswer, match="no address"):
        Storage().files(resolve=nowhere).find(URL)


def test_a_large_file_is_not_read_to_its_end() -> None:
    """The limit of replies applies to a file, which is not requested again."""
    storage = Storage(body=b"a" * (LARGEST_REPLY + 1))
    found = storage.files().find(URL)
    assert found.body is None
    assert "storage.example" in (found.problem or "")
    assert len(storage.requests) == 1


def test_secrets_in_a_file_are_masked() -> None:
    """Secrets in a file are masked, as in every parsed reply."""
    assert Storage(body=b"x a-key-to-hide y").files().find(URL).body == b"x *** y"


def test_a_proxy_gets_the_name() -> None:
    """A proxy gets the name, after the checks that are possible here."""
    storage = Storage()
    proxied = {"proxy_of": lambda _url: "http://proxy.example:3128"}
    assert storage.files(**proxied).find(URL).body
    assert storage.requests[-1].url.host == "storage.example"
    assert "sni_hostname" not in storage.requests[-1].extensions
    assert storage.files(**proxied, resolve=nowhere).find(URL).body
    assert storage.files("10.0.0.1", **proxied).find(URL).problem
    assert len(storage.requests) == 2


def test_a_stream_comes_in_pieces() -> None:
    """A stream comes in pieces on demand, without a limit and unchanged."""
    body = b"a-key-to-hide\n" * 20_000
    storage = Storage(body=body)
    pieces = storage.files().pieces(URL)
    assert storage.requests == []
    found = list(pieces)
    assert b"".join(found) == body
    assert len(found) > 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, errors.NotFound), (403, errors.Refused), (500, errors.ServerFailed)],
)
def test_a_stream_that_is_refused_is_an_error(status: int, error: type[Exception]) -> None:
    """A refused stream is an error, so that the archive can name the file."""
    with pytest.raises(error):
        list(Storage(lambda _request: httpx.Response(status)).files().pieces(URL))


def test_a_stream_from_inside_is_refused() -> None:
    """A stream from an address inside the network is refused."""
    storage = Storage()
    with pytest.raises(errors.Refused, match="not public"):
        list(storage.files("10.0.0.1").pieces(URL))
    assert storage.requests == []


def test_a_stream_that_breaks_off_is_an_error() -> None:
    """A stream that breaks off is an error, and its beginning does not count as a file."""
    body = Chunks([b"a"], httpx.ReadError("reset"))
    storage = Storage(lambda _request: httpx.Response(200, stream=body))
    with pytest.raises(errors.NoAnswer):
        list(storage.files().pieces(URL))


# The API's own place

LOCAL_API = "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(
    ("api", "url"),
    [
        (LOCAL_API, "http://127.0.0.1:8080/files/metrics?X-Signature=s3cr3t"),
        (LOCAL_API, "HTTP://127.0.0.1:8080"),
        ("http://127.0.0.1", "http://127.0.0.1:80/files"),
        ("http://127.0.0.1:80/v1", "http://127.0.0.1/files"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/files"),
        ("https://Gateway.internal/v1", "https://gateway.internal:443/files"),
    ],
)
def test_the_apis_own_place_may_serve_its_files(api: str, url: str) -> None:
    """Files at the API's own place are fetched, wherever it is, still without key and headers."""
    storage = Storage()
    files = storage.files("10.0.0.1", api=api)
    assert files.find(url).body == b"a,b\n"
    assert b"".join(files.pieces(url)) == b"a,b\n"
    assert storage.looked_up == []
    for request in storage.requests:
        assert request.url == httpx.URL(url)
        assert "authorization" not in request.headers


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/files", "http://127.0.0.1:8081/files", "https://127.0.0.1:8080/files"),
        *("http://127.1:8080/files", "http://localhost:8080/files", "http://[::1]:8080/files"),
        *(
            "http://127.0.0.1.:8080/files",
            "http://2130706433:8080/",
            "http://[::ffff:7f00:1]:8080/",
        ),
        *("http://127.0.0.1:8080@10.0.0.1/files", "http://127.0.0.1:8080@10.0.0.1:8080/files"),
        *("http://10.0.0.1:8080/files", "https://10.0.0.1:8080/files", "ftp://127.0.0.1:8080/a"),
    ],
)
def test_an_api_on_this_machine_opens_nothing_else_here(url: str) -> None:
    """An API on this machine permits no other port, protocol, host or name here."""
    storage = Storage()
    found = storage.files(api=LOCAL_API, resolve=addresses_of).find(url)
    assert found.body is None
    assert "was not requested" in (found.problem or "")
    assert storage.requests == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:8080/files", "https://127.0.0.1/files", "https://10.0.0.1/files"),
        *("http://api.example/files", "http://api.example:443/files"),
        *("https://api.example:8443/files", "https://files.api.example/files"),
        *("https://api.example@10.0.0.1/files", "https://api.example:443@127.0.0.1/files"),
        *("https://api.example.internal/files", "https://api.example./files"),
    ],
)
def test_a_public_api_leads_nowhere_inside(url: str) -> None:
    """A public API permits no address inside the network, not even on its own name."""
    storage = Storage()
    found = storage.files("127.0.0.1", "10.0.0.1").find(url)
    assert found.body is None
    assert "was not requested" in (found.problem or "")
    assert storage.requests == []


def test_the_apis_own_place_leads_nowhere_else() -> None:
    """A redirect at the API's own place is not followed."""
    storage = Storage(
        lambda _request: httpx.Response(307, headers={"Location": "http://127.0.0.1:9/"})
    )
    found = storage.files(api=LOCAL_API).find("http://127.0.0.1:8080/files")
    assert found == Found(problem="127.0.0.1 answered 307 to a signed URL")
    assert len(storage.requests) == 1


def test_files_beside_an_api_of_the_public_internet_are_found() -> None:
    """Files elsewhere on the public internet are fetched as well."""
    storage = Storage()
    assert storage.files(api=LOCAL_API).find(URL).body == b"a,b\n"
    assert storage.requests[-1].url.host == PUBLIC


def test_the_address_of_the_api_is_not_shown() -> None:
    """The address of the API is not shown, because it may have a password."""
    assert API not in repr(SignedUrlFetcher(Redactor(), api=API))
