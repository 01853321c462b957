"""The simulator as an HTTP server on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, NamedTuple, Self

from bridge.simulator import (
    azure,
    bedrock,
    bedrock_files,
    bedrock_mantle,
    fireworks,
    fireworks_objects,
    mistral,
    nebius,
    openai,
    prime,
    together,
    vertex,
)
from bridge.simulator.http_server import HOST, HttpServer
from bridge.simulator.jobs import Provider, SimulatedJob
from bridge.simulator.messages import RefusedError, Reply, Request, json_reply

Intercept = Callable[[Request], Reply | None]


class _Api(NamedTuple):
    provider: Provider
    base: str
    answer: Callable[[Iterable[SimulatedJob], float, Request], Reply]
    unauthorized: Callable[[str], Reply] | None
    """Returns the reply to a missing or wrong key; ``None``: no key is required."""


_OPENAI = _Api("openai", "/openai/v1", openai.answer, openai.unauthorized)
_MISTRAL = _Api("mistral", "/mistral/v1", mistral.answer, mistral.unauthorized)
_TOGETHER = _Api("together", "/together/v1", together.answer, together.unauthorized)
_FIREWORKS = _Api(
    "fireworks",
    f"/fireworks/v1/{fireworks_objects.ACCOUNT}",
    fireworks.answer,
    fireworks.unauthorized,
)
_AZURE = _Api("azure", "/azure", azure.answer, azure.unauthorized)
_NEBIUS = _Api("nebius", "/nebius/v1", nebius.answer, nebius.unauthorized)
_VERTEX = _Api("vertex", "/vertex", vertex.answer, vertex.unauthorized)
_PRIME = _Api("prime", "/prime/api/v1", prime.answer, prime.unauthorized)
_BEDROCK = _Api("bedrock", "/bedrock", bedrock.answer, bedrock.unauthorized)
_S3 = _Api("bedrock", "/s3", bedrock_files.objects, None)
_MANTLE = _Api(
    "bedrock-mantle", "/bedrock-mantle/v1", bedrock_mantle.answer, bedrock_mantle.unauthorized
)
_FIREWORKS_FILES = _Api("fireworks", fireworks.FILES, fireworks.file, None)
_LIMITS: Final = frozenset({"limit", "page_size", "pageSize", "maxResults"})
"""Parameters for the size of a page."""
_APIS: Final = (
    *(
        _BEDROCK,
        _S3,
        _OPENAI,
        _AZURE,
        _NEBIUS,
        _MISTRAL,
        _TOGETHER,
        _FIREWORKS,
        _FIREWORKS_FILES,
        _MANTLE,
    ),
    *(_VERTEX, _PRIME),
)


class Simulator:
    """Serves simulated jobs while it is used as a context manager.

    ``intercept`` receives every request first and may answer it; it is called from several threads.
    Port 0 chooses a free port, which is kept if the simulator is entered again. Without an
    ``api_key``, any key is accepted, but not a missing one. ``page_limit`` is the largest page of a
    list, so that short lists have several pages.
    """

    def __init__(
        self,
        *,
        jobs: Sequence[SimulatedJob] = (),
        clock: Callable[[], float] = time.time,
        port: int = 0,
        api_key: str | None = None,
        intercept: Intercept | None = None,
        page_limit: int | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, SimulatedJob] = {}
        self._requests: list[Request] = []
        self._clock = clock
        self._port = port
        self._api_key = api_key
        self._intercept = intercept
        self._page_limit = page_limit
        self._server: HttpServer | None = None
        for job in jobs:
            self.add(job)

    def add(self, job: SimulatedJob) -> None:
        """Serve ``job`` as well, from its time of creation on.

        Raises:
            ValueError: a job with this id exists.
        """
        with self._lock:
            if job.id in self._jobs:
                raise ValueError(f"there is a job {job.id} already")
            self._jobs[job.id] = job

    def remove(self, job_id: str) -> None:
        """Stop serving a job, as if it had never existed."""
        with self._lock:
            del self._jobs[job_id]

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests so far, in order of arrival."""
        with self._lock:
            return tuple(self._requests)

    @property
    def url(self) -> str:
        """Address of a page that explains the simulator."""
        return f"http://{HOST}:{self._port}"

    @property
    def openai_url(self) -> str:
        """The base URL that takes the place of https://api.openai.com/v1."""
        return self.url + _OPENAI.base

    @property
    def azure_url(self) -> str:
        """The endpoint that takes the place of https://RESOURCE.openai.azure.com."""
        return self.url + _AZURE.base

    @property
    def mistral_url(self) -> str:
        """The base URL that takes the place of https://api.mistral.ai/v1."""
        return self.url + _MISTRAL.base

    @property
    def together_url(self) -> str:
        """The base URL that takes the place of https://api.together.ai/v1."""
        return self.url + _TOGETHER.base

    @property
    def fireworks_url(self) -> str:
        """The base URL that takes the place of https://api.fireworks.ai/v1/accounts/ACCOUNT."""
        return self.url + _FIREWORKS.base

    @property
    def vertex_url(self) -> str:
        """The base URL that takes the place of https://LOCATION-aiplatform.googleapis.com."""
        return self.url + _VERTEX.base

    @property
    def prime_url(self) -> str:
        """The base URL that takes the place of https://api.primeintellect.ai/api/v1."""
        return self.url + _PRIME.base

    @property
    def s3_url(self) -> str:
        """The base URL that takes the place of S3's."""
        return self.url + _S3.base

    @property
    def base_urls(self) -> Mapping[Provider, str]:
        """Values for each provider's ``base_url``."""
        return {
            "openai": self.openai_url,
            "azure": f"{self.azure_url}/openai/v1",
            "nebius": self.url + _NEBIUS.base,
            "mistral": self.mistral_url,
            "together": self.together_url,
            "fireworks": self.fireworks_url,
            "vertex": self.vertex_url,
            "prime": self.prime_url,
            "bedrock": self.url + _BEDROCK.base,
            "bedrock-mantle": self.url + _MANTLE.base,
        }

    def more_settings(self, provider: str) -> Mapping[str, str]:
        """Return the further settings of a provider, in addition to its ``base_url``."""
        more = {"bedrock": {"s3_url": self.s3_url}, "vertex": {"project": "simulated-project"}}
        return more.get(provider, {})

    def __enter__(self) -> Self:
        self._server = HttpServer(self._port, self.answer)
        self._port = self._server.server_port
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="simulator",
            daemon=True,
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server:
            self._server.stop()
            self._server = None

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request, as the server sends it."""
        with self._lock:
            self._requests.append(request)
            jobs = tuple(self._jobs.values())
        if self._intercept and (reply := self._intercept(request)):
            return reply
        if request.path == "/":
            return self._page()
        for api in _APIS:
            if request.path.startswith(api.base + "/"):
                key = _KEYS.get(api.provider, _bearer)(request)
                is_known = key and self._api_key in (None, key)
                if api.unauthorized and not is_known:
                    return api.unauthorized(key)
                path = request.path.removeprefix(api.base)
                asked = replace(request, path=path, query=self._limited(request.query))
                mine = [job for job in jobs if job.provider == api.provider]
                try:
                    return api.answer(mine, self._clock(), asked)
                except RefusedError as refused:
                    return refused.reply
        return json_reply({"error": f"The simulator has nothing at {request.path}"}, 404)

    def _limited(self, query: Mapping[str, str]) -> Mapping[str, str]:
        if self._page_limit is None:
            return query
        limit = self._page_limit
        return {
            name: str(min(int(value), limit)) if name in _LIMITS and value.isdecimal() else value
            for name, value in query.items()
        }

    def _page(self) -> Reply:
        text = (
            "ftbridge simulator\n\n"
            "Everything here is simulated: jobs, models and metrics are made up, nothing is\n"
            "trained and nobody is billed. The formats are those of the real APIs.\n\n"
            + "".join(f"{name:15}{url}\n" for name, url in self.base_urls.items())
        )
        return Reply(headers={"Content-Type": "text/plain; charset=utf-8"}, body=text.encode())


_KEYS: Final[Mapping[Provider, Callable[[Request], str]]] = {
    "azure": azure.key_of,
    "bedrock": bedrock.key_of,
    "bedrock-mantle": bedrock.key_of,
}
"""Functions that return a request's key if it is not in the usual header."""


def _bearer(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
