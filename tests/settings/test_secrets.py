"""No command reveals a secret, however a server repeats its requests."""

from __future__ import annotations

import base64
import binascii
import contextlib
import html
import io
import logging
import re
import shutil
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest

from bridge import log
from bridge.daemon.delivery import Delivery, Message, to_webhook
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from bridge.simulator import Outcome, Reply, Request, Simulator
from bridge.simulator.jobs import Provider
from tests.support.config_file import write_config
from tests.support.processes import invoke, run, started, wait_until
from tests.support.recorded import active_runs
from tests.support.scripted import JSON
from tests.support.world import job

MARK = "hush"
"""Part of every secret, and of nothing else."""
PACKED = tuple(
    base64.b64encode(b"-" * before + MARK.encode()).decode()[start:end]
    for before, start, end in ((0, 0, 5), (1, 2, 6), (2, 3, 8))
)
"""Characters that the mark always becomes in base64, at each of the three places it may begin."""
ECHO = b"ECHO"
"""Places of a reply that repeat the secrets of its request."""
PROVIDERS: tuple[Provider, ...] = (
    "openai",
    "azure",
    "mistral",
    "together",
    "fireworks",
    "vertex",
    "prime",
)
"""Types with simulators; Nebius reads OpenAI's."""


def secret(name: str) -> str:
    """Return a secret that looks different in every encoding."""
    return f"sk-{MARK}/{name}+{MARK}=="


def writings(text: str) -> Iterator[str]:
    """Return a text in the encodings in which servers repeat it."""
    yield text
    yield quote(text, safe="")
    yield "".join(f"\\u{ord(char):04x}" for char in text)
    yield f"{text[:5]}\\u{ord(text[5]):04x}{text[6:]}".replace("/", r"\/")
    yield "".join(f"&#{ord(char)};" for char in text)
    yield from (base64.b64encode((before + text).encode()).decode() for before in ("", "a:", "me:"))


def sent(request: Request) -> list[str]:
    """Return the secrets of a request, including packed ones."""
    found = [request.headers.get(name, "") for name in ("api-key", "x-team")]
    for name in ("authorization", "proxy-authorization"):
        scheme, _, value = request.headers.get(name, "").partition(" ")
        found.append(base64.b64decode(value).decode() if scheme == "Basic" else value)
    return [value for value in found if value]


def echoed(request: Request) -> bytes:
    """Return the secrets of a request in every encoding, as a part of a text in JSON."""
    return " ".join(each for text in sent(request) for each in writings(text)).encode()


@dataclass(slots=True)
class Front:
    """Repeats the secrets of each request in the reply of another server, good or bad."""

    answer: Callable[[Request], Reply]
    seen: set[str] = field(default_factory=set)

    def __call__(self, request: Request) -> Reply:
        """Answer a request with an echo."""
        self.seen.update(sent(request))
        echo = echoed(request)
        reply = self.answer(request)
        body = re.sub(rb'("message": ?")', rb"\1ECHO ", reply.body)
        headers = {
            name: value.replace(ECHO.decode(), echo.decode())
            for name, value in reply.headers.items()
        }
        return Reply(
            status=reply.status,
            headers={**headers, "x-request-id": " ".join(sent(request))},
            body=body.replace(ECHO, echo),
        )


def always(reply: Reply) -> Callable[[Request], Reply]:
    """Return a server that gives every request the same reply."""
    return lambda _request: reply


REFUSALS = [
    Reply(status=401, body=b'{"error": {"message": "no", "code": "ECHO"}}'),
    Reply(status=403, body=b"<html>ECHO</html>", headers={"Content-Type": "text/html ECHO"}),
    Reply(status=302, headers={"Location": "https://elsewhere.example/?key=ECHO"}),
    Reply(status=500, headers={"x-should-retry": "false"}, body=b'{"detail": [{"input": "ECHO"}]}'),
    Reply(status=200, headers={"Content-Type": "application/ECHO"}, body=b"ECHO"),
]


def leaks(content: bytes) -> list[str]:
    """Return the places of ``content`` that show a secret in any encoding."""
    text = content.decode("utf-8", "replace")
    plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    plain = html.unescape(unquote(plain.replace("\\/", "/")))
    found = [plain[max(0, at.start() - 80) :][:160] for at in re.finditer(MARK, plain)]
    for token in {*re.findall(r"[A-Za-z0-9+/_-]{8,}", text + plain)}:
        if not any(packed in token for packed in PACKED):
            continue
        for start in range(4):
            part = token[start:].replace("-", "+").replace("_", "/")
            part = part[: len(part) // 4 * 4]
            try:
                if MARK.encode() in base64.b64decode(part):
                    found.append(token)
            except binascii.Error:
                continue
    return found


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield all files that commands have left."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """Collect the records of all libraries at every level."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Set a secret in every possible place, for commands that write below ``work``."""
    (tmp_path / "key").write_text(secret("file"), encoding="utf-8")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    found = {kind.key_variable: secret(name) for name, kind in TYPES.items()}
    del found["MISTRAL_API_KEY"]
    found |= {
        "MISTRAL_API_KEY_FILE": str(tmp_path / "key"),
        "HEADER": secret("header"),
        "PASSWORD": quote(secret("password"), safe=""),
        "MLFLOW_TRACKING_PASSWORD": secret("mlflow-password"),
        "MLFLOW_TRACKING_TOKEN": secret("mlflow-token"),
        "HTTPS_PROXY": f"http://me:{quote(secret('proxy'), safe='')}@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "PYTHONWARNINGS": "default",
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def store_below(folder: Path, name: str = "mlflow") -> str:
    """Return a tracking store in the folder where commands write.

    MLflow keeps the store of an address for the process: tests would share a relative one.
    """
    return f"sqlite:///{folder / 'work' / name}.db"


def configured(
    path: Path,
    front: Simulator,
    sections: Mapping[str, object] | None = None,
    types: Collection[str] = TYPES,
    **mlflow: object,
) -> Path:
    """Write a configuration with these types of providers, whose keys are in the environment."""
    urls = {str(name): url for name, url in front.base_urls.items()}
    urls["azure"] = urls["azure"].replace("//", "//me:${PASSWORD}@")
    urls["nebius"] = urls["openai"]
    providers: dict[str, dict[str, object]] = {
        name: {"api_key": None, "base_url": urls[name], **front.more_settings(name)}
        for name in types
    }
    providers["openai"]["headers"] = {"X-Team": "${HEADER}"}
    return write_config(
        path,
        store_below(path.parent),
        providers,
        mlflow={"register": True, **mlflow},
        **(sections or {}),
    )


def watched(front: Simulator) -> dict[str, object]:
    """Return the sections for status pages and notified addresses, which answer with an error."""
    hook = f"{front.url}/{quote(secret('hook'), safe='')}"
    return {
        "listen": "127.0.0.1:0",
        "heartbeat": hook,
        "notify": {"webhook": f"{hook}?key={quote(secret('query'))}", "on": ["outage", "failed"]},
    }


@pytest.mark.usefixtures("environ")
def test_no_command_gives_a_secret_away(
    tmp_path: Path, empty_database: Path, everything_logged: io.StringIO
) -> None:
    """No command reveals a secret in its output, its log, the database or the archive.

    Every reply repeats the key in many encodings.
    """
    # A few steps are enough: none of them holds a secret.
    short = partial(job, suffix="ECHO", total_steps=2, n_epochs=1, eval_every=2)
    jobs = [short(f"ftjob-{name}", name) for name in PROVIDERS]
    jobs.append(short("ftjob-lost", outcome=Outcome.FAILED))
    for name in ("mlflow", "live"):
        shutil.copy(empty_database, tmp_path / "work" / f"{name}.db")
    front = Front(Simulator(jobs=jobs).answer)
    with Simulator(intercept=front) as simulator:
        config = configured(tmp_path / "bridge.yaml", simulator)
        other = configured(tmp_path / "b.yaml", simulator, metric_names="huggingface")
        live = configured(
            tmp_path / "c.yaml",
            simulator,
            watched(simulator),
            types=("openai", "azure", "mistral"),  # backfill has the others' replies
            tracking_uri=store_below(tmp_path, "live"),
            register=False,  # backfill does
        )
        commands: list[tuple[object, ...]] = [
            ("check",),
            ("check", "--json"),
            ("backfill", "--dry-run"),
            ("backfill", "--dry-run", "--json"),
            ("backfill",),
            ("backfill", "--json", "--job", "ftjob-openai"),
            ("status",),
            ("status", "--json"),
        ]
        # The daemon makes its first passes meanwhile.
        with started("run", "--config", live) as process:
            said = [invoke(*map(str, each), "--config", config).output for each in commands]
            assert len(active_runs(store_below(tmp_path))) == 10, "some job was not recorded"
            said.append(invoke("backfill", "--rename", "--config", other).output)
            said.append(invoke("backfill", "--rename", "--json", "--config", other).output)
            wait_until(
                lambda: any(MARK in each.path for each in simulator.requests),
                "sign of life",
                process,
            )
            at = re.search(r"at=(http://\S+)", process.said)
            assert at, process.said
            with httpx.Client(base_url=at[1], trust_env=False) as client:
                pages = [client.get(page) for page in ("", "status.json", "metrics")]
            assert "openai" in pages[0].text
            said += [page.text for page in pages]
            said.append(invoke("status", "--json", "--config", live).output)
            process.send(signal.SIGTERM)
            process.end()
            said.append(process.said)
    for name in ("openai", "azure", "nebius", "together", "fireworks", "file", "header"):
        assert secret(name) in front.seen, f"{name} was never sent"
    assert f"me:{secret('password')}" in front.seen
    assert all("Traceback" not in text for text in said)
    for text in (*said, everything_logged.getvalue()):
        assert leaks(text.encode()) == []
    files = dict(written(tmp_path / "work"))
    assert {"mlflow.db", "job.json", "events.jsonl"} <= {path.name for path in files}
    for path, content in files.items():
        assert leaks(content) == [], path


def test_a_notified_address_that_fails_stays_hidden(everything_logged: io.StringIO) -> None:
    """The log names the host of a notified address that fails, and nothing else of it."""
    told = io.StringIO()
    with Simulator() as simulator, contextlib.redirect_stderr(told):
        log.set_up(Redactor())
        url = f"{simulator.url}/{quote(secret('hook'), safe='')}?key={quote(secret('query'))}"
        delivery = Delivery("webhook", url, to_webhook(url), pause=lambda _: None)
        delivery.send(Message("failed", "A job failed", {}))
        wait_until(lambda: "not reached" in told.getvalue())
        delivery.close()
        assert secret("hook") in simulator.requests[0].path
    assert "it answered 404" in told.getvalue()
    for text in (told.getvalue(), everything_logged.getvalue()):
        assert leaks(text.encode()) == []


@pytest.mark.usefixtures("environ")
def test_no_refusal_gives_a_secret_away(
    tmp_path: Path, empty_database: Path, everything_logged: io.StringIO
) -> None:
    """A refusal that repeats the key reveals it in no command, neither for people nor as JSON."""
    shutil.copy(empty_database, tmp_path / "work" / "mlflow.db")
    front = Front(Simulator().answer)
    said = []
    with Simulator(intercept=front) as simulator:
        config = configured(tmp_path / "bridge.yaml", simulator)
        for refusal in REFUSALS:
            front.answer = always(refusal)
            for command in (("check", "--json"), ("backfill",)):
                done = invoke(*command, "--config", config)
                assert done.exit_code == 1, done.output
                said.append(done.output)
    assert {secret(name) for name in ("openai", "azure", "together", "file")} <= {*front.seen}
    assert all("Traceback" not in text for text in said)
    for text in (*said, everything_logged.getvalue()):
        assert leaks(text.encode()) == []


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 500])
def test_no_command_gives_mlflows_login_away(
    tmp_path: Path, everything_logged: io.StringIO, status: int
) -> None:
    """A server that repeats MLflow's login, or redirects to another host, reveals nothing."""
    with Simulator(intercept=always(Reply(status=404))) as elsewhere:
        there = elsewhere.url.replace("127.0.0.1", "localhost")
        headers = {"Location": f"{there}/ECHO"} if status == 302 else JSON
        body = b'{"error_code": "X", "message": "no", "more": "ECHO"}'
        front = Front(always(Reply(status=status, headers=headers, body=body)))
        with Simulator(intercept=front) as mlflow, Simulator() as simulator:
            uri = mlflow.url.replace("//", "//me:${PASSWORD}@")
            config = configured(tmp_path / "bridge.yaml", simulator, tracking_uri=uri)
            said = [
                invoke(*arguments, "--config", config).output
                for command in (["check"], ["status"], ["backfill"], ["backfill", "--rename"])
                for arguments in (command, [*command, "--json"])
            ]
        assert not [each for each in elsewhere.requests if sent(each)]
    assert any(secret("password") in each for each in front.seen)
    assert all("Traceback" not in text for text in said)
    for text in (*said, everything_logged.getvalue()):
        assert leaks(text.encode()) == []


@pytest.mark.usefixtures("environ")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: str(refusal.status))
def test_a_proxy_that_repeats_its_password_does_not_show_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    everything_logged: io.StringIO,
    refusal: Reply,
) -> None:
    """A proxy that repeats its password, in place of the provider, does not reveal it."""
    front = Front(always(refusal))
    entry = {"api_key": None, "base_url": "http://provider.invalid/v1", "allow_http": True}
    config = write_config(tmp_path, store_below(tmp_path), {"openai": entry})
    with Simulator(intercept=front) as proxy:
        login = f"me:{quote(secret('proxy'), safe='')}"
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", f"//{login}@"))
        said = [
            invoke(*arguments, "--config", config).output
            for arguments in (["check"], ["check", "--json"], ["backfill"], ["backfill", "--json"])
        ]
    assert f"me:{secret('proxy')}" in front.seen
    assert all("Traceback" not in text for text in said)
    for text in (*said, everything_logged.getvalue()):
        assert leaks(text.encode()) == []


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_no_command_gives_a_proxys_password_away(
    tmp_path: Path, environ: Mapping[str, str], scheme: str
) -> None:
    """A proxy's password stays hidden if the proxy is down or unusable."""
    proxy = environ["HTTPS_PROXY"].replace("http:", f"{scheme}:")
    entry = {"api_key": None, "base_url": "https://provider.invalid/v1"}
    config = write_config(tmp_path, store_below(tmp_path), {"openai": entry})
    for arguments in (["check"], ["check", "--json"]):
        done = run(*arguments, "--config", config, env={"HTTPS_PROXY": proxy, "https_proxy": proxy})
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert leaks(f"{done.stdout}{done.stderr}".encode()) == []


@pytest.mark.parametrize("writing", [*writings(secret("x"))])
def test_leaks_are_found(writing: str) -> None:
    """The search of these tests finds a leak within other text."""
    assert leaks(f'{{"a": "b {writing}, c"}}'.encode())
    assert leaks(b"nothing of the kind: sk-***, aHVoaHVoaHVo") == []
