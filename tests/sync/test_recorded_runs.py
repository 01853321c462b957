"""The requests by which a pass reads MLflow's runs: one by one, or all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bridge.plan import tags
from bridge.plan.recorded import RecordedRun
from bridge.sync.history import History
from bridge.sync.lineage import Lineage
from bridge.sync.memory import Memory
from bridge.sync.recorded_runs import RecordedRuns
from bridge.sync.report import Selection
from bridge.sync.shutdown_dates import ShutdownDates
from bridge.tracking import Tracking
from tests.support.in_memory import START, InMemoryProvider, snapshot_of
from tests.support.run_states import run_state

DAY = 86_400_000


class Counting(Tracking):
    """A store that notes the searches for runs."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.searches: list[Mapping[str, str]] = []

    def note(self, job_id: str | None, base_model: str | None, model: str | None) -> None:
        """Note one search."""
        wanted = {"job": job_id, "base": base_model, "model": model}
        self.searches.append({name: value for name, value in wanted.items() if value})

    def runs(
        self,
        experiment_ids: Sequence[str],
        provider: str | None = None,
        *,
        job_id: str | None = None,
        base_model: str | None = None,
        model: str | None = None,
        only_open: bool = False,
    ) -> Iterator[RecordedRun]:
        """Note what is searched for."""
        self.note(job_id, base_model, model)
        return super().runs(
            experiment_ids,
            provider,
            job_id=job_id,
            base_model=base_model,
            model=model,
            only_open=only_open,
        )


class Ending(InMemoryProvider):
    """A provider that announces the shutdown of models."""

    dates: dict[str, int]

    def shutdowns(self) -> Mapping[str, int]:
        """Return the dates that a test gave."""
        return self.dates


class World:
    """Three recorded jobs, and what reads their runs."""

    def __init__(self, uri: str, executor: ThreadPoolExecutor) -> None:
        self.tracking = Counting(uri)
        self.provider = Ending(*(snapshot_of(name, 0.5) for name in "abc"))
        self.provider.dates = {}
        sync = self.provider.sync(self.tracking, executor)
        assert sync.run().is_well
        self.runs = RecordedRuns(
            job_sync=sync.job_sync,
            memory=Memory(has_read_runs=True),
            lineage=Lineage("openai", self.tracking),
            dates=ShutdownDates(self.provider, self.tracking, lambda: START),
        )
        self.runs.open_experiments(is_dry=False)
        self.tracking.searches.clear()


@pytest.fixture
def world(uri: str, executor: ThreadPoolExecutor) -> World:
    """Return recorded jobs."""
    return World(uri, executor)


class Listed(Counting):
    """A store with one final run for each of three jobs, which notes the tags."""

    def __init__(self) -> None:
        super().__init__("sqlite:///never-opened.db")
        self.tagged: dict[str, str] = {}

    def runs(
        self,
        experiment_ids: Sequence[str],
        provider: str | None = None,
        *,
        job_id: str | None = None,
        base_model: str | None = None,
        model: str | None = None,
        only_open: bool = False,
    ) -> Iterator[RecordedRun]:
        """Return the runs of a job, of a model, or all."""
        assert (experiment_ids, provider, only_open) == (["1"], "openai", False)
        self.note(job_id, base_model, model)
        for name in "abc" if base_model is None else "":
            if (job_id or name) == name and (model or f"ft:{name}") == f"ft:{name}":
                known = {tags.BRIDGE: tags.OWNED, tags.MODEL: f"ft:{name}"}
                yield replace(run_state(name, "FINISHED"), tags=known)

    def tag(self, run_id: str, name: str, value: str) -> None:
        """Note a date."""
        assert name == tags.SHUTDOWN
        self.tagged[run_id] = value


def listed(
    executor: ThreadPoolExecutor, provider: Ending, now: Callable[[], int]
) -> tuple[Listed, RecordedRuns]:
    """Return what reads the runs of three jobs, without a store."""
    tracking = Listed()
    return tracking, RecordedRuns(
        job_sync=provider.sync(tracking, executor).job_sync,
        memory=Memory(has_read_runs=True, places={"hosted-fine-tunes": "1"}),
        lineage=Lineage("openai", tracking),
        dates=ShutdownDates(provider, tracking, now),
    )


@pytest.mark.parametrize("others", [18, 19])
def test_a_few_jobs_are_looked_up_and_many_are_read_at_once(
    executor: ThreadPoolExecutor, others: int
) -> None:
    """Up to twenty jobs are looked up one by one, and more are read in one search."""
    tracking, runs = listed(executor, Ending(), lambda: START)
    wanted = ["c", "a", *(f"x{number}" for number in range(others))]
    assert [run.job_id for run in runs.of_jobs(wanted)] == ["a", "c"]
    each = [{"job": name} for name in sorted(wanted)]
    assert tracking.searches == (each if len(wanted) <= 20 else [{}])


@pytest.mark.parametrize("others", [19, 20])
def test_a_few_dates_are_looked_up_and_many_are_read_at_once(
    executor: ThreadPoolExecutor, others: int
) -> None:
    """Runs of models with a new date are found by model and base model, or among all runs."""
    provider, now = Ending(), [START]
    provider.dates = {}
    tracking, runs = listed(executor, provider, lambda: now[0])
    assert runs.dates.dates() == {}
    now[0] += DAY
    names = ["ft:a", *(f"x{number}" for number in range(others))]
    provider.dates = dict.fromkeys(names, START + 90 * DAY)
    runs.begin(Selection(), lambda _owned: None)
    each = [{kind: name} for name in sorted(names) for kind in ("model", "base")]
    assert tracking.searches == (each if len(names) <= 20 else [{}])
    runs.dates.write()
    assert tracking.tagged == {"run-a": tags.day(START + 90 * DAY)}


@pytest.mark.parametrize(
    ("has_read", "is_open", "jobs", "searches"),
    [
        (False, True, ("a",), 0),
        (True, True, ("a",), 0),
        (True, False, (), 0),
        (True, True, (), 1),
    ],
)
def test_a_later_pass_reads_open_runs_only(
    world: World, jobs: tuple[str, ...], searches: int, *, has_read: bool, is_open: bool
) -> None:
    """A later pass searches for open runs if there are any, and for none if jobs are named."""
    memory = Memory(
        has_read_runs=has_read,
        open={"b"} if is_open else set(),
        places=dict(world.runs.memory.places),
    )
    reports_of: list[object] = []
    runs = replace(world.runs, memory=memory)
    history = runs.begin(Selection(job_ids=jobs), reports_of.append)
    assert len(world.tracking.searches) == searches
    assert history.is_read
    assert reports_of == [history.owned]


def test_a_first_pass_reads_a_page_at_once(world: World) -> None:
    """A first pass reads all runs, and knows for every job whether it has one."""
    reports_of: list[object] = []
    runs = replace(world.runs, memory=Memory(places=dict(world.runs.memory.places)))
    history = runs.begin(Selection(), reports_of.append)
    assert history.is_read
    assert history.owned.is_complete
    assert history.owned.settled == set("abc")
    assert reports_of == [history.owned]
    assert world.tracking.searches == []


def test_without_experiments_there_are_no_runs(world: World) -> None:
    """Without any experiment, a dry run has read all runs."""
    runs = replace(world.runs, memory=Memory())
    history = runs.begin(Selection(), lambda _owned: None)
    assert history.is_read
    assert history.owned.is_complete
    assert history.owned.run_ids == {}


@pytest.mark.parametrize("state", ["unread", "complete", "open"])
def test_runs_of_an_experiment_that_is_found_later_join_the_others(
    world: World, state: str
) -> None:
    """The runs of a new experiment are read like the others: all, or only the open ones."""
    with world.tracking.asked() as client:
        place = client.create_experiment("later")
        for name, owned in (("open", {}), ("done", {tags.BRIDGE: tags.OWNED})):
            of = {tags.PROVIDER: "openai", tags.JOB: name} | owned
            run_id = client.create_run(place, tags=of).info.run_id
            if owned:
                client.set_terminated(run_id)
    memory = Memory(has_read_runs=state == "open", open={"x"} if state == "open" else set())
    runs = replace(world.runs, memory=memory)
    if state == "unread":
        memory.places.update(world.runs.memory.places)
        pages = world.tracking.pages([*memory.places.values()], "openai")
        history = History(memory=memory, pages=pages)
    else:
        history = runs.begin(Selection(), lambda _owned: None)
    assert runs.place("later", history, is_dry=False) == place
    assert runs.place("later", history, is_dry=False) == place
    assert memory.places["later"] == place
    while not history.is_read:
        history.read_page()
    assert [*history.owned.open] == ["open"]
    assert (
        history.owned.settled
        == {
            "unread": {"a", "b", "c", "done"},
            "complete": {"done"},
            "open": set(),
        }[state]
    )
    assert runs.place("never", history, is_dry=True) is None
