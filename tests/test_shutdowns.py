"""When models end: read from a provider's list of models, tagged, and warned of."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.commands.status import tally
from bridge.http import connect
from bridge.ledger import RunState
from bridge.model import Job, JobStatus
from bridge.providers import TYPES
from bridge.providers.shutdowns import Shutdowns
from bridge.simulator import Simulator
from bridge.tracking import Tracking
from bridge.untrusted import Redactor
from tests.support.recorded import recorded
from tests.support.wire_server import BASE_URL, sent
from tests.support.wires import WIRES
from tests.support.world import Clock, NoSleep, job, make_sync

BASE = "gpt-4.1-mini-2025-04-14"
MADE = f"ft:{BASE}:acme::1"
DAY = 86_400_000


def midnight(day: str) -> int:
    """Unix milliseconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


@dataclass
class Models:
    """A list of models, and how often it was asked for."""

    reply: object
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.asked.append(request.url.path)
        return sent(self.reply) if self.status == 200 else httpx.Response(self.status)

    def shutdowns(self) -> Shutdowns:
        """What reads it."""
        transport = httpx.MockTransport(self)
        return Shutdowns(
            connect(BASE_URL, headers={}, redactor=Redactor(), sleep=NoSleep(), transport=transport)
        )


def listing(*rows: object) -> Models:
    """A server with these models."""
    return Models({"object": "list", "data": list(rows)})


def done(made: str | None = MADE, base: str | None = BASE) -> Job:
    """A job that has succeeded."""
    return Job(
        id="a-job",
        status=JobStatus.SUCCEEDED,
        provider_status="succeeded",
        fine_tuned_model=made,
        base_model=base,
    )


@pytest.mark.parametrize(
    "told",
    [
        {"shutdown_date": "2027-01-14"},
        {"shutdown_date": "2027-01-14T00:00:00Z"},
        {"deprecation": {"fine_tune": 1, "inference": 1799884800}},
        {"deprecation": "2027-01-14T00:00:00Z"},
        {"deprecation": "2027-01-14T01:00:00+01:00"},
        {"shutdown_date": "2027-01-14", "deprecation": None},
        {"shutdown_date": None, "deprecation": {"inference": 1799884800}},
    ],
)
def test_a_date_is_read_in_each_providers_form(told: Mapping[str, object]) -> None:
    """OpenAI's day, Azure's time for inference, Mistral's time."""
    assert listing({"id": MADE, **told}).shutdowns().of(done()) == midnight("2027-01-14")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"shutdown_date": None, "deprecation": None},
        {"shutdown_date": "soon"},
        {"shutdown_date": {}},
        {"deprecation": {}},
        {"deprecation": {"fine_tune": 1799884800}},
        {"deprecation": {"inference": "later"}},
        {"deprecation": [1799884800]},
        {"deprecation": 10**400},
    ],
)
def test_what_is_no_date_is_none(told: Mapping[str, object]) -> None:
    """A model without date is not said to end, and hides no other model's date."""
    models = listing({"id": MADE, **told}, 7, {"id": BASE, "shutdown_date": "2027-01-14"})
    assert models.shutdowns().of(done()) == midnight("2027-01-14")
    assert listing({"id": MADE, **told}).shutdowns().of(done()) is None


@pytest.mark.parametrize(
    ("made", "base", "listed"),
    [
        (MADE, BASE, MADE),
        (MADE, BASE, BASE),
        (f"ft:{BASE}:acme:again:2", MADE, BASE),
        (f"{BASE}.ft-0123456789abcdef-suffix", None, BASE),
        ("made-by-others", "open-mistral-7b", "open-mistral-7b"),
    ],
)
def test_a_model_ends_with_the_one_that_it_comes_from(
    made: str, base: str | None, listed: str
) -> None:
    """Its own date counts, else that of the model that training began with."""
    models = listing({"id": listed, "shutdown_date": "2027-01-14"})
    assert models.shutdowns().of(done(made, base)) == midnight("2027-01-14")
    other = listing({"id": "another", "shutdown_date": "2027-01-14"})
    assert other.shutdowns().of(done(made, base)) is None


def test_a_models_own_date_comes_first() -> None:
    """A provider may keep fine-tuned models longer than the base model."""
    models = listing(
        {"id": BASE, "shutdown_date": "2026-10-23"}, {"id": MADE, "shutdown_date": "2027-01-14"}
    )
    assert models.shutdowns().of(done()) == midnight("2027-01-14")


def test_the_list_is_asked_for_once_in_a_pass() -> None:
    """And only if a job has made a model."""
    models = listing({"id": MADE, "shutdown_date": "2027-01-14"})
    shutdowns = models.shutdowns()
    assert shutdowns.of(done(made=None)) is None
    assert models.asked == []
    assert shutdowns.of(done()) == shutdowns.of(done()) == midnight("2027-01-14")
    assert len(models.asked) == 1
    models.reply = {"data": [{"id": MADE, "shutdown_date": "2027-02-01"}]}
    shutdowns.forget()
    assert shutdowns.of(done()) == midnight("2027-02-01")


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500])
def test_a_server_without_such_a_list_costs_no_job(status: int) -> None:
    """Nothing is known then, and it is not asked for each job."""
    models = Models(None, status)
    shutdowns = models.shutdowns()
    assert shutdowns.of(done()) is None
    asked = len(models.asked)
    assert shutdowns.of(done()) is None
    assert len(models.asked) == asked


@given(
    reply=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["data", "id", "shutdown_date", "deprecation", "inference"]), inner
            )
        ),
    )
)
def test_no_list_whatever_breaks_a_job(reply: object) -> None:
    """Whatever a server says of its models, there is a date or none."""
    for told in (reply, {"data": reply}, {"data": [reply]}, {"data": [{"id": MADE, "a": reply}]}):
        found = Models(told).shutdowns().of(done())
        assert found is None or isinstance(found, int)
    for key in ("shutdown_date", "deprecation"):
        found = listing({"id": MADE, key: reply}).shutdowns().of(done())
        assert found is None or isinstance(found, int)


@pytest.mark.parametrize("kind", ["openai", "azure", "mistral"])
def test_a_finished_job_has_the_date_of_its_model(kind: str) -> None:
    """A job that still trains has none: its model may come to be another."""
    api = WIRES[kind]()
    made = api.row("a-job")["fine_tuned_model"]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/models"):
            return sent({"data": [{"id": made, "shutdown_date": "2027-01-14"}]})
        return api(request)

    http = connect(BASE_URL, headers={}, redactor=Redactor(), transport=httpx.MockTransport(answer))
    provider = TYPES[kind](http, curves=True)
    for word, expected in ((api.running, None), (api.succeeded, midnight("2027-01-14"))):
        api.jobs = [api.row("a-job", status=word)]
        found = provider.read(provider.job("a-job"), is_logged=lambda _name, _step: False)
        assert found.job.model_shutdown == expected


def test_a_run_is_tagged_with_the_day(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """As ISO 8601 has it; a run whose model stays has no such tag."""
    end = datetime(2027, 1, 14, tzinfo=UTC).timestamp()
    jobs = [
        job("ftjob-ends", shutdown_at=end),
        job("ftjob-stays", base_model="gpt-5-2025-08-07"),
    ]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 10_000
        assert make_sync(simulator, tracking, executor, clock).run().is_well
    found = recorded(uri)
    assert found["ftjob-ends"].tags["fine_tuned_model_shutdown"] == "2027-01-14"
    assert "fine_tuned_model_shutdown" not in found["ftjob-stays"].tags


# The warning


def run_with(end: str, model: str = MADE) -> RunState:
    """A finished run whose model ends."""
    return RunState(
        run_id=model,
        experiment_id="1",
        job_id=model,
        provider="openai",
        name="openai/a",
        status="FINISHED",
        is_deleted=False,
        start_time=1,
        artifact_uri="",
        tags={"fine_tuned_model": model, "fine_tuned_model_shutdown": end},
        params={},
        newest={},
    )


@pytest.mark.parametrize(
    ("end", "is_warned_of"),
    [
        ("2027-01-14", True),
        ("2026-11-22", True),
        ("2027-01-21", True),
        ("2027-01-22", False),
        ("2026-11-21", False),
        ("soon", False),
        ("", False),
    ],
)
def test_an_end_is_warned_of_in_time(end: str, *, is_warned_of: bool) -> None:
    """Sixty days before and on the day; not once it is over."""
    tracked = tally([run_with(end)])["openai"]
    now = midnight("2026-11-22") + DAY // 2
    assert list(tracked.ending(now)) == ([(end, [MADE])] if is_warned_of else [])


def test_models_that_end_together_are_told_together() -> None:
    """By day, each model once."""
    runs = [
        run_with("2027-01-14", "b"),
        run_with("2026-12-01", "c"),
        run_with("2027-01-14", "a"),
        run_with("2027-01-14", "b"),
    ]
    ending = list(tally(runs)["openai"].ending(midnight("2026-11-22")))
    assert ending == [("2026-12-01", ["c"]), ("2027-01-14", ["a", "b"])]
