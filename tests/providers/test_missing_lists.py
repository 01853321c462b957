"""Servers that speak OpenAI's API but lack lists below a job: lived with, and nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from bridge import errors
from bridge.http.client import connect
from bridge.model import Job, Snapshot
from bridge.providers.base import Provider
from bridge.providers.openai import OpenAI
from bridge.providers.registry import TYPES
from bridge.redaction import Redactor
from bridge.simulator import Outcome, Reply, Request, Simulator, json_reply
from bridge.tracking import Tracking
from tests.support.recorded import recorded
from tests.support.wire_server import OpenAIApi, over
from tests.support.world import Clock, NoSleep, job, make_sync

CHECKPOINTS, EVENTS = "/checkpoints", "/events"


@dataclass
class Proxy:
    """A server in front of OpenAI's jobs that lets only some requests through."""

    jobs: dict[str, str]
    """Statuses by id, newest first."""
    blocked: dict[str, set[str]]
    """By list the ids of jobs of which it is answered with ``status``."""
    status: int = 404
    api: OpenAIApi = field(default_factory=OpenAIApi)

    def __post_init__(self) -> None:
        """Fill in the jobs."""
        self.api.jobs = [self.api.row(name, status=word) for name, word in self.jobs.items()]
        self.api.checkpoints = [self.api.checkpoint(1, train_loss=0.5)]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        for part, names in self.blocked.items():
            if request.url.path.endswith(part) and request.url.path.split("/")[-2] in names:
                self.api.requests.append(request)
                return httpx.Response(self.status, json={"error": {"message": "Not Found"}})
        return self.api(request)

    def provider(self) -> Provider:
        """A new process that reads it."""
        return over(httpx.MockTransport(self), "openai")

    def asked(self, part: str) -> int:
        """How often a list was asked for."""
        return len(self.api.asked(part))


def listed(provider: Provider) -> dict[str, Job]:
    """The jobs by id."""
    return {each.id: each for page in provider.pages() for each in page.jobs}


def read(provider: Provider, name: str) -> Snapshot:
    """A full look at a listed job."""
    return provider.read(listed(provider)[name], is_logged=lambda _name, _step: False)


FIVE = {f"job-{number}": "succeeded" for number in range(5)}


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("part", [CHECKPOINTS, EVENTS])
def test_a_list_that_no_job_has_is_lived_with(part: str, status: int) -> None:
    """After three jobs without it, it is not asked for again; all else is read."""
    proxy = Proxy(FIVE, {part: set(FIVE)}, status)
    provider = proxy.provider()
    for name in FIVE:
        snapshot = read(provider, name)
        assert snapshot.job.fine_tuned_model
        assert len(snapshot.checkpoints) == (part != CHECKPOINTS)
    assert proxy.asked(part) == 3


def test_what_is_missing_is_said_once() -> None:
    """A sentence beside the first job that shows it, and none after."""
    provider = Proxy(FIVE, {CHECKPOINTS: set(FIVE), EVENTS: set(FIVE)}).provider()
    told = [read(provider, name).skipped for name in FIVE]
    assert [len(sentences) for sentences in told] == [2, 0, 0, 0, 0]
    assert "no checkpoints of any job" in told[0][0]
    assert "no events of any job" in told[0][1]


def test_a_new_process_asks_again() -> None:
    """A server that has learned it meanwhile is believed after a restart."""
    proxy = Proxy(FIVE, {CHECKPOINTS: set(FIVE)})
    assert read(proxy.provider(), "job-0").checkpoints == ()
    proxy.blocked = {}
    assert len(read(proxy.provider(), "job-0").checkpoints) == 1


@pytest.mark.parametrize("have", ["job-1", "job-4"])
def test_a_list_that_another_job_has_is_waited_for(have: str) -> None:
    """One job without checkpoints is not finished without them: it fails, and is asked again."""
    proxy = Proxy(
        {"job-0": "succeeded", have: "succeeded", "job-x": "failed"},
        {CHECKPOINTS: {"job-0", "job-x"}},
    )
    provider = proxy.provider()
    with pytest.raises(errors.BadReply, match="of other jobs"):
        read(provider, "job-0")
    proxy.blocked = {}
    assert len(read(provider, "job-0").checkpoints) == 1


def test_a_list_that_was_read_once_is_never_missing() -> None:
    """An outage of one address later on costs no job its checkpoints."""
    proxy = Proxy(FIVE, {})
    provider = proxy.provider()
    assert len(read(provider, "job-4").checkpoints) == 1
    proxy.blocked = {CHECKPOINTS: set(FIVE)}
    for name in ("job-0", "job-1", "job-2"):
        with pytest.raises(errors.NotFound):
            read(provider, name)


def test_what_failed_jobs_lack_says_nothing_of_those_that_succeed() -> None:
    """A server that has no checkpoints of failed jobs may have those of others."""
    failed = dict.fromkeys(("job-1", "job-2", "job-3"), "failed")
    proxy = Proxy(failed, {CHECKPOINTS: set(failed)})
    provider = proxy.provider()
    assert all(read(provider, name).checkpoints == () for name in failed)
    proxy.jobs = {"job-9": "succeeded"}
    proxy.__post_init__()
    assert len(read(provider, "job-9").checkpoints) == 1


def test_a_job_that_succeeded_is_asked_before_one_that_failed() -> None:
    """However many newer jobs have failed."""
    failed = dict.fromkeys((f"job-{number}" for number in range(5)), "failed")
    proxy = Proxy({**failed, "old": "succeeded"}, {CHECKPOINTS: set(failed)})
    with pytest.raises(errors.BadReply, match="of other jobs"):
        read(proxy.provider(), "job-0")


def test_a_job_that_trains_is_followed_without_its_lists() -> None:
    """Nothing is concluded from it: it is read again."""
    proxy = Proxy({"live": "running", **FIVE}, {CHECKPOINTS: {"live"}})
    provider = proxy.provider()
    assert read(provider, "live").checkpoints == ()
    proxy.blocked = {}
    assert len(read(provider, "live").checkpoints) == 1


def test_a_job_that_is_gone_is_gone() -> None:
    """A job that was deleted since it was listed says nothing of the server."""
    proxy = Proxy(FIVE, {})
    provider = proxy.provider()
    lost = listed(provider)["job-0"]
    proxy.api.jobs = proxy.api.jobs[1:]
    proxy.blocked = {CHECKPOINTS: {"job-0"}}
    with pytest.raises(errors.NotFound):
        provider.read(lost, is_logged=lambda _name, _step: False)
    assert len(read(provider, "job-1").checkpoints) == 1


def test_an_only_job_is_enough_where_there_is_no_other() -> None:
    """A server with one job and no events is of use too."""
    proxy = Proxy({"job-0": "succeeded"}, {EVENTS: {"job-0"}})
    snapshot = read(proxy.provider(), "job-0")
    assert len(snapshot.checkpoints) == 1
    assert "no events" in snapshot.skipped[0]


@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_any_other_failure_is_no_sign(status: int) -> None:
    """A refusal or an outage fails the job for now."""
    proxy = Proxy(FIVE, {CHECKPOINTS: set(FIVE)}, status)
    with pytest.raises(errors.ProviderError):
        read(proxy.provider(), "job-0")


def test_the_public_service_has_all_lists() -> None:
    """There a 404 is this job's trouble, whatever other jobs say."""
    proxy = Proxy(FIVE, {CHECKPOINTS: set(FIVE)})
    http = connect(
        OpenAI.base_url,
        headers={},
        redactor=Redactor(),
        sleep=NoSleep(),
        transport=httpx.MockTransport(proxy),
    )
    provider = TYPES["openai"](http, curves=True)
    with pytest.raises(errors.NotFound):
        read(provider, "job-0")
    assert proxy.asked(CHECKPOINTS) == 1


def test_many_workers_come_to_one_conclusion() -> None:
    """Jobs that are read at the same time cause no more requests than one after the other."""
    names = {f"job-{number}": "succeeded" for number in range(30)}
    proxy = Proxy(names, {EVENTS: set(names)})
    provider = proxy.provider()
    jobs = listed(provider)
    with ThreadPoolExecutor(4) as threads:
        looks = list(
            threads.map(
                lambda each: provider.read(each, is_logged=lambda _name, _step: False),
                jobs.values(),
            )
        )
    assert all(len(look.checkpoints) == 1 for look in looks)
    assert sum(len(look.skipped) for look in looks) == 1
    assert proxy.asked(EVENTS) <= 4 + 2


def test_a_server_without_the_lists_becomes_usable(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Its jobs are recorded with status, params and model, and finished; a warning says so once."""

    def without(request: Request) -> Reply | None:
        missing = request.path.endswith((CHECKPOINTS, EVENTS))
        return json_reply({"detail": "Not Found"}, 404) if missing else None

    jobs = [
        job("ftjob-done"),
        job("ftjob-failed", outcome=Outcome.FAILED),
        job("ftjob-stopped", outcome=Outcome.CANCELLED, ends_at_step=3),
    ]
    with Simulator(jobs=jobs, clock=clock, intercept=without) as simulator:
        clock.now += 100_000
        sync = make_sync(simulator, tracking, executor, clock)
        report = sync.run()
        assert report.is_well, report.failures
        assert sorted(what.split(":")[0] for _, what in report.skipped) == [
            "the server has no checkpoints of any job",
            "the server has no events of any job",
        ]
        before = len(simulator.requests)
        assert sync.run().is_well
        assert len(simulator.requests) == before + 1, "a finished job is not read again"
    found = recorded(uri)
    statuses = {job_id: run.status for job_id, run in found.items()}
    assert statuses == {
        "ftjob-done": "FINISHED",
        "ftjob-failed": "FAILED",
        "ftjob-stopped": "KILLED",
    }
    done = found["ftjob-done"]
    assert done.params["n_epochs"] == "3"
    assert done.tags["fine_tuned_model"].startswith("ft:")
