"""The simulator as a server: keys, errors and broken replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import httpx
import openai
import pytest

from bridge.simulator import (
    Outcome,
    Reply,
    Request,
    Simulator,
    all_end_by,
    all_jobs,
    demo_jobs,
    json_reply,
)
from bridge.simulator.jobs import Provider
from tests.support.simulated import (
    LONG_AFTER,
    MISTRAL,
    MISTRAL_JOBS,
    OPENAI,
    SETTLED,
    START,
    World,
    conforms,
    ids,
    intercepted,
)
from tests.support.world import Clock


def test_a_key_is_needed() -> None:
    """Each provider refuses a missing or wrong key in its specific form."""
    with Simulator(jobs=[OPENAI, MISTRAL], api_key="sk-the-right-one") as simulator:
        openai_jobs = f"{simulator.openai_url}/fine_tuning/jobs"
        mistral_jobs = f"{simulator.mistral_url}/fine_tuning/jobs"
        wrong = {"Authorization": "Bearer sk-some-other-one"}
        right = {"Authorization": "Bearer sk-the-right-one"}

        missing = httpx.get(openai_jobs)
        conforms(missing.json(), "openai_error")
        assert (missing.status_code, missing.json()["error"]["code"]) == (401, None)
        refused = httpx.get(openai_jobs, headers=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert "some-other" not in refused.text
        for headers in ({}, wrong, {"Authorization": "Basic sk-the-right-one"}):
            unauthorized = httpx.get(mistral_jobs, headers=headers)
            assert unauthorized.status_code == 401
            assert unauthorized.json() == {"detail": "Unauthorized"}
        assert httpx.get(openai_jobs, headers=right).is_success
        assert httpx.get(mistral_jobs, headers=right).is_success
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(
                base_url=simulator.openai_url, api_key="sk-wrong", max_retries=0
            ).fine_tuning.jobs.list()


def test_any_key_will_do_by_default_but_none(world: World) -> None:
    """A simulator that accepts any key still refuses requests without one."""
    assert httpx.get(f"{world.simulator.openai_url}/fine_tuning/jobs").status_code == 401
    assert world.mistral("/fine_tuning/jobs")["total"] == len(MISTRAL_JOBS)


def test_it_can_only_be_read(world: World) -> None:
    """Creating a job is refused, and the connection stays usable."""
    for url in (world.simulator.openai_url, world.simulator.mistral_url):
        reply = world.http.post(f"{url}/fine_tuning/jobs", json={"model": "any"})
        assert reply.status_code == 405
        assert world.http.get(f"{url}/fine_tuning/jobs").is_success


def test_it_says_that_it_is_simulated(world: World) -> None:
    """The front page, the server's name and all models say that everything is simulated."""
    page = httpx.get(world.simulator.url)
    assert "simulated" in page.text
    assert page.headers["Content-Type"].startswith("text/plain")
    assert page.headers.get_list("Server") == ["ftbridge-simulator"]
    assert world.simulator.openai_url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{world.simulator.url}/elsewhere").status_code == 404


def test_an_intercepted_request_can_get_any_reply(world: World) -> None:
    """The hook sees each request before the key is checked, and can let it pass."""

    def busy_once(request: Request) -> Reply | None:
        if len(simulator.requests) > 1:
            return None
        assert request.query == {"limit": "3"}
        busy = json_reply({"error": {"message": "slow down"}}, 429)
        return replace(busy, headers={**busy.headers, "Retry-After": "7"})

    with intercepted(busy_once) as simulator:
        url = f"{simulator.openai_url}/fine_tuning/jobs"
        first, second = (
            world.http.get(url, params={"limit": "3"}, headers={"X-Count": str(n)})
            for n in range(2)
        )
    assert (first.status_code, first.headers["Retry-After"]) == (429, "7")
    assert second.json()["data"][0]["id"] == OPENAI.id
    assert [request.headers["x-count"] for request in simulator.requests] == ["0", "1"]
    assert {request.path for request in simulator.requests} == {"/openai/v1/fine_tuning/jobs"}


def test_a_truncated_reply_breaks_off() -> None:
    """A truncated reply promises the whole body and delivers its beginning."""
    with (
        intercepted(Reply(body=b"0123456789", truncate_at=4)) as simulator,
        pytest.raises(httpx.RemoteProtocolError, match="received 4 bytes, expected 10"),
    ):
        httpx.get(simulator.url)


def test_a_reset_connection_is_reset() -> None:
    """A reset connection ends in a reset, not in an orderly close."""
    with intercepted(Reply(reset=True)) as simulator:
        with pytest.raises(httpx.ReadError) as failure:
            httpx.get(simulator.url)
        assert "reset" in str(failure.value).lower()
        assert len(simulator.requests) == 1


def test_connections_are_kept_alive_until_the_end(world: World) -> None:
    """A stopped simulator closes its connections, and continues where it was when restarted."""
    simulator = Simulator(jobs=[OPENAI], clock=Clock(LONG_AFTER))
    peers: set[tuple[str, int]] = set()
    with httpx.Client() as client:
        for _ in range(2):
            with simulator:
                for _ in range(3):
                    with client.stream("GET", simulator.url) as reply:
                        stream = reply.extensions["network_stream"]
                        peers.add(stream.get_extra_info("client_addr"))
                        reply.read()
            with pytest.raises(httpx.TransportError):
                client.get(simulator.url)
    assert len(peers) == 2
    assert world.http.get(world.simulator.url).is_success


@pytest.mark.parametrize(
    "nonsense",
    [
        {"total_steps": 0},
        {"seconds_per_step": 0.0},
        {"provider": "mistral", "outcome": Outcome.PAUSED},
        {"provider": "mistral", "metadata": {"team": "search"}},
    ],
)
def test_impossible_jobs_are_refused(nonsense: Mapping[str, Any]) -> None:
    """A job that no provider can have is an error at once."""
    with pytest.raises(ValueError, match=r"start at 1|takes time|does not pause|no metadata"):
        replace(OPENAI, **nonsense)


def test_the_demo_has_a_history_and_a_present() -> None:
    """The demo has both providers, all outcomes, and jobs that run now and end soon."""
    jobs = demo_jobs(START)
    end = all_end_by(jobs)
    live = [job for job in jobs if job.created_at >= START]

    assert {job.provider for job in live} == {"openai", "mistral"}
    assert {job.outcome for job in jobs} == set(Outcome) - {Outcome.PAUSED}
    assert min(job.settled_at for job in live) - START > 45
    assert end - START < 90
    assert all(job.settled_at < START or job.outcome is Outcome.WAITING for job in jobs[:5])
    assert not set(ids(jobs)) & set(ids(demo_jobs(START + 1)))
    headers = {"Authorization": "Bearer any"}
    with Simulator(jobs=jobs, clock=Clock(end)) as simulator:
        for url in (simulator.openai_url, simulator.mistral_url):
            rows = httpx.get(f"{url}/fine_tuning/jobs", headers=headers).json()["data"]
            models = [row["fine_tuned_model"] for row in rows if row["fine_tuned_model"]]
            assert len(models) >= 3
            assert all(":simulated:" in model for model in models)


def test_only_the_simulator_has_jobs_of_all_providers() -> None:
    """Each provider has a job that has succeeded and one that ends within a minute and a half."""
    jobs = all_jobs(START)
    assert len(set(ids(jobs))) == len(jobs)
    for provider in get_args(Provider):
        mine = [job for job in jobs if job.provider == provider]
        assert any(job.settled_at < START and job.outcome is Outcome.SUCCEEDED for job in mine)
        assert any(START + 45 < job.settled_at < START + 90 for job in mine)


def test_nothing_to_wait_for() -> None:
    """Jobs that wait for ever do not count when the end of all jobs is computed."""
    assert all_end_by([replace(OPENAI, outcome=Outcome.WAITING)]) == 0.0
    assert all_end_by([OPENAI, replace(OPENAI, outcome=Outcome.WAITING)]) == SETTLED
