"""The end dates of models: read from a provider's list, tagged, and shown in warnings."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from bridge.cli.terminal.tally import tally
from bridge.errors import TrackingDown
from bridge.model import JobStatus, Snapshot
from bridge.plan import tags
from bridge.plan.recorded import RecordedRun
from bridge.providers.base import shutdowns_of
from bridge.providers.model_shutdowns import read_shutdowns, shutdown_of
from bridge.providers.registry import TYPES
from bridge.simulator import Reply, Request, Simulator, json_reply
from bridge.sync.outcome import Result
from bridge.sync.shutdown_dates import ShutdownDates
from bridge.tracking import Tracking
from tests.support.in_memory import START, InMemoryProvider, ended_job, snapshot_of
from tests.support.recorded import active_runs, recorded
from tests.support.run_states import run_state
from tests.support.scripted import Answer, Script, answer, script
from tests.support.world import Clock, job, make_sync

BASE = "gpt-4.1-mini-2025-04-14"
MADE = f"ft:{BASE}:acme::1"
DAY = 86_400_000


def midnight(day: str) -> int:
    """Return a date in Unix milliseconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


def dates(models: Script) -> Mapping[str, int]:
    """Return the dates of a list."""
    return read_shutdowns(models.http()) or {}


def date(models: Script, made: str = MADE, base: str | None = BASE) -> int | None:
    """Return the end of the model that a job has made."""
    return shutdown_of(dates(models), made, base)


def listing(*rows: object) -> Script:
    """Return a server with these models."""
    return script(answer(200, {"object": "list", "data": list(rows)}))


@pytest.mark.parametrize(
    "reported",
    [
        {"shutdown_date": "2027-01-14"},
        {"shutdown_date": "2027-01-14T00:00:00Z"},
        {"deprecation": {"fine_tune": 1, "inference": 1799884800}},
        {"deprecation": "2027-01-14T00:00:00Z"},
        {"deprecation": "2027-01-14T01:00:00+01:00"},
        {"shutdown_date": "2027-01-14", "deprecation": None},
        {"shutdown_date": None, "deprecation": {"inference": 1799884800}},
        {"shutdown_date": "2027-01-14", "deprecation": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_date_is_read_in_each_providers_form(reported: Mapping[str, object]) -> None:
    """A date is read from OpenAI's day, Azure's time for inference and Mistral's time."""
    assert date(listing({"id": MADE, **reported})) == midnight("2027-01-14")


@pytest.mark.parametrize(
    "reported",
    [
        {},
        {"shutdown_date": None, "deprecation": None},
        {"shutdown_date": "soon"},
        {"shutdown_date": {}},
        {"deprecation": {}},
        {"deprecation": {"fine_tune": 1799884800}},
        {"deprecation": {"inference": "later"}},
        {"deprecation": {"inference": 0}},
        {"deprecation": "0001-01-01T00:00:00Z"},
        {"deprecation": [1799884800]},
        {"deprecation": 10**400},
    ],
)
def test_what_is_no_date_is_none(reported: Mapping[str, object]) -> None:
    """An impossible date counts as none, and hides no other model's date."""
    models = listing({"id": MADE, **reported}, 7, {"id": BASE, "shutdown_date": "2027-01-14"})
    assert date(models) == midnight("2027-01-14")
    assert date(listing({"id": MADE, **reported})) is None


def test_the_models_of_a_long_history_are_not_kept() -> None:
    """A list of many models without dates takes a few times its length while it is read."""
    made = ({"id": f"{MADE}{n}", "created": n, "shutdown_date": None} for n in range(5000))
    reply = answer(200, {"data": [*made, {"id": BASE, "shutdown_date": "2027-01-14"}]})
    http = script(reply).http()
    tracemalloc.start()
    try:
        assert read_shutdowns(http) == {BASE: midnight("2027-01-14")}
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * len(reply.content)


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
    """A model ends on its own date, or else with the model that its training started from."""
    models = listing({"id": listed, "shutdown_date": "2027-01-14"})
    assert date(models, made, base) == midnight("2027-01-14")
    other = listing({"id": "another", "shutdown_date": "2027-01-14"})
    assert date(other, made, base) is None


def test_a_models_own_date_comes_first() -> None:
    """A fine-tuned model's own date comes first, even if it is later than the base model's."""
    models = listing(
        {"id": BASE, "shutdown_date": "2026-10-23"}, {"id": MADE, "shutdown_date": "2027-01-14"}
    )
    assert date(models) == midnight("2027-01-14")


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500])
def test_a_server_without_such_a_list_costs_nothing(status: int) -> None:
    """A server without a list of models leaves the dates unknown."""
    assert dates(script(answer(status))) == {}


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
def test_no_list_whatever_breaks_anything(reply: object) -> None:
    """Any reply about models gives a date or none."""
    for reported in (
        reply,
        {"data": reply},
        {"data": [reply]},
        {"data": [{"id": MADE, "a": reply}]},
    ):
        found = date(script(Answer(content=json.dumps(reported).encode())))
        assert found is None or isinstance(found, int)
    for key in ("shutdown_date", "deprecation"):
        found = date(listing({"id": MADE, key: reply}))
        assert found is None or isinstance(found, int)


@pytest.mark.parametrize("kind", TYPES)
def test_who_tells_dates(kind: str) -> None:
    """OpenAI's API and Mistral's have dates, and other providers get no request for them."""
    models = listing({"id": MADE, "shutdown_date": "2027-01-14"})
    reported = shutdowns_of(TYPES[kind](models.http(), curves=True))
    tells = kind in {"openai", "azure", "nebius", "mistral", "bedrock-mantle"}
    assert reported == ({MADE: midnight("2027-01-14")} if tells else {})
    assert len(models.requests) == tells


# Tags


class Announcements:
    """A simulated provider's list of models."""

    def __init__(self) -> None:
        self.day: str | None = None
        """Shutdown of the models."""
        self.asked = 0
        """Number of requests for the list."""

    def __call__(self, request: Request) -> Reply | None:
        """Answer in the simulator's place."""
        if not request.path.endswith("/models"):
            return None
        self.asked += 1
        return json_reply({"data": [{"id": BASE, "shutdown_date": self.day}]})


def test_a_run_is_tagged_with_the_day(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A run is tagged with its model's last day in ISO 8601, if there is one."""
    jobs = [
        job("ftjob-ends"),
        job("ftjob-stays", base_model="gpt-5-2025-08-07"),
    ]
    announced = Announcements()
    announced.day = "2027-01-14"
    with Simulator(jobs=jobs, clock=clock, intercept=announced) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        assert sync.run().is_well
        assert announced.asked == 0  # no model can end while its job trains
        clock.now += 10_000
        assert sync.run().is_well
    assert announced.asked == 1
    found = recorded(uri)
    assert found["ftjob-ends"].tags["fine_tuned_model_shutdown"] == "2027-01-14"
    assert "fine_tuned_model_shutdown" not in found["ftjob-stays"].tags


@pytest.mark.parametrize("is_new_process", [True, False])
def test_a_date_that_is_announced_later_reaches_the_run(
    uri: str,
    tracking: Tracking,
    clock: Clock,
    executor: ThreadPoolExecutor,
    *,
    is_new_process: bool,
) -> None:
    """A date that is announced later reaches the run within a day, or at the next start."""
    announced = Announcements()
    with Simulator(jobs=[job("ftjob-a")], clock=clock, intercept=announced) as simulator:
        clock.now += 10_000
        sync = make_sync(simulator, tracking, executor, clock)
        assert sync.run().is_well
        assert "fine_tuned_model_shutdown" not in recorded(uri)["ftjob-a"].tags
        announced.day = "2027-01-14"
        announced.asked = 0
        if is_new_process:
            sync = make_sync(simulator, tracking, executor, clock)
        else:
            clock.now += 86_399 - 10_000
            assert sync.run().is_well
            assert announced.asked == 0
            clock.now += 10_001
        assert sync.run().is_well
        assert recorded(uri)["ftjob-a"].tags["fine_tuned_model_shutdown"] == "2027-01-14"
        before = recorded(uri)
        assert sync.run().is_well
        assert announced.asked == 1
        clock.now += 86_400
        assert sync.run().is_well
        assert announced.asked == 2
    assert recorded(uri) == before


def test_a_clock_that_is_set_back_is_no_reason_to_stop_asking(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A clock that is set back does not stop the daily request for dates."""
    announced = Announcements()
    with Simulator(jobs=[job("ftjob-a")], clock=clock, intercept=announced) as simulator:
        clock.now += 10_000
        sync = make_sync(simulator, tracking, executor, clock)
        assert sync.run().is_well
        clock.now -= 10 * 86_400
        assert sync.run().is_well
    assert announced.asked == 2


def test_a_dry_run_and_a_deleted_run(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A dry run tags nothing, and a deleted run is not tagged."""
    announced = Announcements()
    jobs = [job("ftjob-a"), job("ftjob-b")]
    with Simulator(jobs=jobs, clock=clock, intercept=announced) as simulator:
        clock.now += 10_000
        assert make_sync(simulator, tracking, executor, clock).run().is_well
        announced.day = "2027-01-14"
        before = recorded(uri)
        assert make_sync(simulator, tracking, executor, clock).run(dry_run=True).is_well
        assert recorded(uri) == before
        deleted = next(
            run.info.run_id
            for run in active_runs(uri)
            if run.data.tags["fine_tuning_job_id"] == "ftjob-a"
        )
        MlflowClient(uri).delete_run(deleted)
        assert make_sync(simulator, tracking, executor, clock).run().is_well
    assert recorded(uri)["ftjob-b"].tags["fine_tuned_model_shutdown"] == "2027-01-14"
    assert "fine_tuned_model_shutdown" not in MlflowClient(uri).get_run(deleted).data.tags


# Requests

OURS = {tags.BRIDGE: tags.OWNED}


class Dated(InMemoryProvider):
    """A provider that counts the requests for its dates."""

    def __init__(self, *snapshots: Snapshot) -> None:
        super().__init__(*snapshots)
        self.asked = 0
        self.found: Mapping[str, int] | None = {MADE: START}

    def shutdowns(self) -> Mapping[str, int] | None:
        """Return the dates that a test gave; ``None``: the list cannot be read."""
        self.asked += 1
        return self.found


@pytest.mark.parametrize("direction", [1, -1])
def test_dates_are_asked_for_once_a_day(tracking: Tracking, direction: int) -> None:
    """Dates are requested again after exactly a day, whichever way the clock moves."""
    provider, moment = Dated(), [START]
    dates = ShutdownDates(provider, tracking, lambda: moment[0])
    assert dates.refresh() == frozenset()
    assert provider.asked == 0
    assert dates.dates() == {MADE: START}
    moment[0] = START + direction * (86_400_000 - 1)
    assert dates.refresh() == frozenset()
    assert provider.asked == 1
    provider.found = {MADE: START, "b": START}
    moment[0] += direction
    assert dates.refresh() == {"b"}
    assert provider.asked == 2
    provider.found = None
    moment[0] += direction * 86_400_000
    assert dates.refresh() == frozenset()
    assert (dates.dates(), provider.asked) == ({MADE: START, "b": START}, 3)


def test_dates_wait_for_a_job_that_may_need_them(tracking: Tracking) -> None:
    """Dates are requested with the first job that has succeeded or is unknown."""
    running = ended_job("a", status=JobStatus.RUNNING)
    for listed in (None, ended_job("a")):
        dates = ShutdownDates(Dated(), tracking, lambda: START)
        assert dates.needed_for(running) is None
        assert dates.needed_for(ended_job("a", status=JobStatus.FAILED)) is None
        assert dates.needed_for(listed) == {MADE: START}
        assert dates.needed_for(running) == {MADE: START}


@pytest.mark.parametrize(
    ("changes", "is_tagged"),
    [
        ({}, True),
        ({"is_deleted": True}, False),
        ({"status": "RUNNING"}, False),
        ({"tags": OURS}, False),
        ({"tags": OURS | {tags.MODEL: "other"}}, False),
        ({"tags": OURS | {tags.MODEL: "other", tags.BASE_MODEL: MADE}}, True),
        ({"tags": OURS | {tags.MODEL: MADE, tags.SHUTDOWN: tags.day(START)}}, False),
    ],
)
def test_only_a_final_run_without_its_date_is_tagged(
    uri: str, changes: dict[str, object], *, is_tagged: bool
) -> None:
    """A run is tagged once if it is final and active, and its model has another date."""
    noted: list[tuple[str, str, str | None]] = []

    class Noting(Tracking):
        """A store that notes the tags."""

        def tag(self, run_id: str, name: str, value: str) -> None:
            """Note one."""
            noted.append((run_id, name, value))

    dates = ShutdownDates(Dated(), Noting(uri), lambda: START)
    run = replace(run_state("a", "FINISHED"), tags=OURS | {tags.MODEL: MADE})
    dates.learn(replace(run, **changes))  # type: ignore[arg-type] # as the table says
    dates.write()
    dates.write()
    assert noted == [("run-a", tags.SHUTDOWN, tags.day(START))] * is_tagged


def test_a_date_that_mlflow_refused_is_tagged_by_the_next_pass(uri: str) -> None:
    """A date that MLflow does not take now is not forgotten."""
    noted: list[str] = []

    class Fragile(Tracking):
        """A store that is down at the first tag."""

        def tag(self, run_id: str, name: str, value: str) -> None:
            """Note one."""
            noted.append(f"{run_id} {name} {value}")
            if len(noted) == 1:
                raise TrackingDown("MLflow is down")

    dates = ShutdownDates(Dated(), Fragile(uri), lambda: START)
    dates.learn(replace(run_state("a", "FINISHED"), tags=OURS | {tags.MODEL: MADE}))
    with pytest.raises(TrackingDown):
        dates.write()
    dates.write()
    assert noted == [f"run-a {tags.SHUTDOWN} {tags.day(START)}"] * 2


def test_a_pass_adds_late_dates_at_its_end(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A pass tags recorded runs with late dates and reports no job, and a dry run tags none."""
    provider = Dated(snapshot_of("a", 0.5))
    assert provider.sync(tracking, executor).run().is_well
    provider.found = {"ft:a": START}
    for is_dry in (True, False):
        report = provider.sync(tracking, executor).run(dry_run=is_dry)
        assert report.jobs == {Result.UNCHANGED: 1}
        (run,) = active_runs(uri)
        assert run.data.tags.get(tags.SHUTDOWN) == (None if is_dry else tags.day(START))


# Warnings


def run_with(end: str, model: str = MADE) -> RecordedRun:
    """Return a finished run whose model ends."""
    return RecordedRun(
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
    ],
)
def test_an_end_is_warned_of_in_time(end: str, *, is_warned_of: bool) -> None:
    """An end is in the warnings from sixty days before until the day itself."""
    tracked = tally([run_with(end)])["openai"]
    now = midnight("2026-11-22") + DAY // 2
    assert list(tracked.ending(now)) == ([(end, [MADE])] if is_warned_of else [])


def test_an_end_that_openai_has_announced_is_warned_of_without_a_date_in_its_list() -> None:
    """An end on OpenAI's page of deprecations is in the warnings without a date in the list."""
    tracked = tally([run_with("")])["openai"]
    assert list(tracked.ending(midnight("2026-11-22"))) == [("2027-01-14", [MADE])]


def test_models_that_end_together_are_reported_together() -> None:
    """Models that end on the same day are named together, each once."""
    runs = [
        run_with("2027-01-14", "b"),
        run_with("2026-12-01", "c"),
        run_with("2027-01-14", "a"),
        run_with("2027-01-14", "b"),
    ]
    ending = list(tally(runs)["openai"].ending(midnight("2026-11-22")))
    assert ending == [("2026-12-01", ["c"]), ("2027-01-14", ["a", "b"])]
