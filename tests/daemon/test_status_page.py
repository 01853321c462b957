"""The daemon's page for people, its document for programs, and its probes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict

import httpx
import pytest

from bridge import __version__, errors
from bridge.daemon.http_server import application
from bridge.daemon.metrics import Metrics
from bridge.daemon.stalls import Stalled
from bridge.daemon.status import DaemonStatus, ProviderView, View
from bridge.daemon.status_page import age, document, headline, html, readiness
from bridge.plan.ownership import Ownership
from bridge.sync.events import JobDone, NextPass, PassBegan, RunsRead
from tests.support.outcomes import outcome
from tests.support.passes import AWAY, DOWN, ended, status_of_two
from tests.support.run_states import run_state
from tests.support.world import NOW, Clock


@pytest.fixture
def status(clock: Clock) -> DaemonStatus:
    """Return the status of two providers."""
    return status_of_two(clock)


# Probes


def answered(status: DaemonStatus, path: str) -> int:
    """Return the code of an answer."""
    app = application(status.view, Metrics([], status.view))

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return (await client.get(f"http://daemon{path}")).status_code

    return asyncio.run(ask())


def test_a_pass_that_does_not_begin_is_late(status: DaemonStatus, clock: Clock) -> None:
    """A pass that does not begin is late, and a long one only once it seems to hang."""
    for name in ("openai", "mistral"):
        status(PassBegan(name))
        ended(status, provider=name)
        status(NextPass(name, clock.now + 60))
    clock.now += 110
    assert answered(status, "/healthz") == 200
    clock.now += 20
    assert answered(status, "/healthz") == 503
    for name in ("openai", "mistral"):
        status(PassBegan(name))
    clock.now += 7200
    assert answered(status, "/healthz") == 200
    clock.now += 1
    assert answered(status, "/healthz") == 503


def test_readiness_says_what_it_waits_for(status: DaemonStatus) -> None:
    """Readiness names each provider that it waits for, until one pass has succeeded."""
    ended(status, DOWN)
    assert readiness(status.view()) == {
        "ready": False,
        "why": {
            "openai": "No connection with ***. Check the network",
            "mistral": "no pass has ended yet",
        },
    }
    assert answered(status, "/readyz") == 503
    ended(status)
    assert readiness(status.view()) == {"ready": True, "why": {}}
    assert answered(status, "/readyz") == 200


# The document


def test_the_document_has_what_the_page_has(status: DaemonStatus) -> None:
    """The document has the facts of the page, with times as numbers."""
    ended(status, DOWN)
    found = document(status.view())
    assert found["ready"] is False
    providers = found["providers"]
    assert isinstance(providers, dict)
    assert providers["openai"]["stopped"] == "No connection with ***. Check the network"
    assert providers["mistral"]["up"] is None


# The page


def test_the_page_says_who_is_up_and_what_to_do(status: DaemonStatus) -> None:
    """The page escapes other people's text, and has neither scripts nor external content."""
    ended(status, None, ("<b>job</b>", errors.NotFound("<script>alert(1)</script>")))
    ended(status, DOWN, provider="mistral")
    shown = html(status.view(), "https://mlflow.example/?a&b")
    assert "<dd>&lt;b&gt;job&lt;/b&gt;: &lt;script&gt;alert(1)&lt;/script&gt;.</dd>" in shown
    assert "<dt>mistral</dt>\n<dd>No connection with ***. Check the network.</dd>" in shown
    assert "▲ down" in shown
    for forbidden in ("<script", "<b>", "src=", "url("):
        assert forbidden not in shown
    links = re.findall(r"""href=["']?([^"'>]*)""", shown)
    assert links == ["https://mlflow.example/?a&amp;b", "/metrics", "/status.json"]


def test_mlflows_outage_is_shown_once(status: DaemonStatus) -> None:
    """MLflow's outage is shown once, although it ends the pass of every provider."""
    for name in ("openai", "mistral"):
        ended(status, AWAY, provider=name)
    assert html(status.view()).count("MLflow is down. Start it") == 1


def test_jobs_beyond_those_that_are_shown_are_counted(status: DaemonStatus) -> None:
    """A page shows some lost jobs and counts the others."""
    lost = [(f"job-{number}", errors.NotFound("It is gone")) for number in range(50)]
    ended(status, None, *lost)
    shown = html(status.view())
    assert shown.count("It is gone") == 20
    assert "30 more jobs not recorded." in shown


def test_the_title_says_what_is_wrong(status: DaemonStatus, clock: Clock) -> None:
    """The title names the worst trouble, or the program if all is well."""
    assert "<title>ftbridge</title>" in html(status.view())
    ended(status, None, ("job-1", errors.NotFound("It is gone")))
    assert headline(status.view()) == "1 job not recorded"
    status(PassBegan("mistral"))
    clock.now += 7201
    assert headline(status.view()) == "mistral hanging; 1 job not recorded"
    ended(status, DOWN)
    assert headline(status.view()) == "openai down; mistral hanging"
    ended(status, AWAY)
    ended(status, AWAY, provider="mistral")
    assert "<title>ftbridge: MLflow, openai down</title>" in html(status.view())


def test_what_is_zero_is_left_out(status: DaemonStatus) -> None:
    """Counts of zero are left out."""
    status(RunsRead("openai", Ownership(open={"a": run_state("a", at=int(NOW) - 60)})))
    shown = html(status.view())
    assert "1 running</span>" in shown
    assert "60 s ago" in shown
    assert not re.search(r">\s*0[ <]", shown)


def test_a_view_of_nothing_can_be_shown() -> None:
    """A page without any facts is complete."""
    view = View(now=NOW, started=NOW, providers={"openai": ProviderView()})
    assert "not asked yet" in html(view)


def test_a_stalled_job_is_named() -> None:
    """Stalled jobs are counted in the title, and named below their provider."""
    stalled = Stalled(
        provider="openai",
        job_id="a",
        name="openai/bot-a",
        run_id="r",
        experiment_id="1",
        seconds=9e3,
    )
    view = View(
        now=NOW,
        started=NOW,
        providers={"openai": ProviderView(), "mistral": ProviderView()},
        stalled=(stalled,),
    )
    assert "<title>ftbridge: 1 job stalled</title>" in html(view)
    assert html(view).count("openai/bot-a has shown nothing new for 2 h.") == 1
    assert document(view)["stalled"] == [asdict(stalled)]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5.0, "0 s"),
        (0.9, "0 s"),
        (119.9, "119 s"),
        (120.0, "2 min"),
        (7199.0, "119 min"),
        (7200.0, "2 h"),
        (172_799.0, "47 h"),
        (172_800.0, "2 d"),
        (864_000.0, "10 d"),
    ],
)
def test_an_age_is_reported_in_the_unit_of_a_person(seconds: float, shown: str) -> None:
    """An age has two units that a person would use."""
    assert age(seconds) == shown


def test_a_document_has_everything(status: DaemonStatus, clock: Clock) -> None:
    """The document has all facts, for providers with and without a pass."""
    status(PassBegan("openai"))
    status(RunsRead("openai", Ownership(open={"a": run_state("a", at=int(NOW) - 60)})))
    status(JobDone(outcome("b", "FAILED", at=5, is_final=True)))
    clock.now += 2
    ended(status, None, ("job-1", errors.NotFound("It is gone")))
    status(NextPass("openai", NOW + 60))
    found = document(status.view())
    states = {"waiting": 0, "running": 1, "succeeded": 0, "failed": 1, "cancelled": 0}
    nothing: dict[str, object] = {
        "up": None,
        "busy": False,
        "last_pass": {"begun": None, "ended": None, "seconds": None},
        "last_success": None,
        "next_pass": None,
        "stopped": None,
        "failures": [],
        "failing_jobs": 0,
        "jobs": dict.fromkeys(states, 0),
        "lag_seconds": None,
        "points_written": 0,
    }
    assert found == {
        "version": __version__,
        "now": NOW + 2,
        "started": NOW,
        "ready": True,
        "mlflow": {"up": True, "failure": None},
        "providers": {
            "openai": nothing
            | {
                "up": True,
                "last_pass": {"begun": NOW, "ended": NOW + 2, "seconds": 2.0},
                "last_success": NOW + 2,
                "next_pass": NOW + 60,
                "failures": ["job-1: It is gone"],
                "failing_jobs": 1,
                "jobs": states,
                "lag_seconds": 62.0,
                "points_written": 1,
            },
            "mistral": nothing,
        },
        "stalled": [],
        "jobs": [],
    }


def test_many_lost_jobs_are_counted_with_a_comma(status: DaemonStatus) -> None:
    """Many lost jobs are counted with a thousands separator, in the title and in the text."""
    lost = [(f"job-{number}", errors.NotFound("It is gone")) for number in range(1021)]
    ended(status, None, *lost)
    assert headline(status.view()) == "1,021 jobs not recorded"
    assert "1,001 more jobs not recorded." in html(status.view())
    ended(status, None, *lost[:20])
    assert "more jobs" not in html(status.view())


def test_the_page_says_since_when_it_runs(status: DaemonStatus) -> None:
    """The page has the time of the start in UTC."""
    assert "2025-10-09 08:53 UTC" in html(status.view())
