"""A history of many pages, whose first jobs are recorded while later pages are read."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.model import Job, JobStatus
from bridge.plan import tags
from bridge.plan.ownership import Ownership
from bridge.plan.plan import Plan
from bridge.plan.recorded import RecordedRun
from bridge.plan.run_state import CLOCK_SKEW
from bridge.simulator import SimulatedJob, Simulator
from bridge.sync.events import Event, JobDone, RunsRead
from bridge.sync.history import History
from bridge.sync.memory import Memory
from bridge.sync.outcome import Result
from bridge.tracking import Tracking, Written
from tests.support.databases import file_of, refill
from tests.support.models import client_of
from tests.support.recorded import active_runs, recorded
from tests.support.run_states import run_state
from tests.support.world import NOW, Clock, job, make_sync

APART = 3 * 86_400.0
"""Seconds between two jobs, more than clocks can differ by."""
JOBS = [job(f"ftjob-{n}", total_steps=2, created_at=NOW + n * APART) for n in range(4)]
SIZES = [1000, 2]


def later(jobs: list[SimulatedJob]) -> Clock:
    """Return a clock at a moment when all jobs have long ended."""
    return Clock(now=max(each.settled_at for each in jobs) + 1000)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """Return a database in which all jobs are recorded and ended."""
    database = Path(shutil.copy(empty_database, tmp_path_factory.mktemp("complete") / "mlflow.db"))
    clock = later(JOBS)
    with Simulator(jobs=JOBS, clock=clock) as simulator, ThreadPoolExecutor(4) as executor:
        tracking = Tracking(f"sqlite:///{database}")
        assert make_sync(simulator, tracking, executor, clock).run().is_well
    return database


@pytest.fixture
def uri(uri: str, complete: Path) -> str:
    """Return a store in which all jobs are recorded and ended."""
    return refill(file_of(uri), complete)


def start_long_ago(uri: str, *run_ids: str) -> None:
    """Move the start of runs to the end of the history."""
    with contextlib.closing(sqlite3.connect(Path(uri.removeprefix("sqlite:///")))) as connection:
        connection.executemany(
            "UPDATE runs SET start_time = 1 WHERE run_uuid = ?", [(each,) for each in run_ids]
        )
        connection.commit()


class Held(Tracking):
    """Notes whether a job is recorded when the second page is read."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, page_size=2)
        self.recorded = threading.Event()

    def pages(
        self, experiment_ids: Sequence[str], provider: str
    ) -> Iterator[tuple[Iterator[RecordedRun], bool]]:
        """Read the second page only once a job is recorded."""
        for number, page in enumerate(super().pages(experiment_ids, provider)):
            assert number != 1 or self.recorded.is_set(), "the job waits for a page"
            yield page

    def finish(self, written: Written, plan: Plan) -> None:
        """Note that a job is recorded."""
        super().finish(written, plan)
        self.recorded.set()


def test_a_new_job_does_not_wait_for_the_history(uri: str, executor: ThreadPoolExecutor) -> None:
    """A new job is recorded and reported before more than the newest runs are read."""
    new = job("ftjob-new", total_steps=2, created_at=NOW + len(JOBS) * APART)
    clock = later([*JOBS, new])
    events: list[Event] = []
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        before = recorded(uri)
        simulator.add(new)
        report = make_sync(simulator, Held(uri), executor, clock).run(handler=events.append)
    assert report.is_well, report
    assert +report.jobs == {Result.NEW: 1, Result.UNCHANGED: len(JOBS)}
    kinds = [type(each) for each in events if isinstance(each, JobDone | RunsRead)]
    assert kinds == [JobDone, RunsRead]
    after = recorded(uri)
    assert after.pop(new.id).status == "FINISHED"
    assert after == before


@pytest.mark.parametrize("page_size", SIZES)
@pytest.mark.parametrize("has_ended", [True, False])
def test_a_run_on_an_unread_page_stays_the_only_one(
    uri: str, executor: ThreadPoolExecutor, page_size: int, *, has_ended: bool
) -> None:
    """A job's only run is found on the last page, and no second one is created."""
    newest = job("ftjob-newest", total_steps=90, created_at=NOW + len(JOBS) * APART)
    clock = later(JOBS)
    clock.now = newest.settled_at + 1000 if has_ended else newest.step_at(30)
    with Simulator(jobs=[*JOBS, newest], clock=clock) as simulator:
        assert make_sync(simulator, Tracking(uri), executor, clock).run().is_well
        (run,) = (r for r in active_runs(uri) if r.data.tags["fine_tuning_job_id"] == newest.id)
        start_long_ago(uri, run.info.run_id)
        clock.now = newest.settled_at + 2000
        tracking = Tracking(uri, page_size=page_size)
        report = make_sync(simulator, tracking, executor, clock).run()
    assert report.is_well, report
    assert report.jobs[Result.NEW] == 0
    assert report.jobs.total() == len(JOBS) + 1
    found = recorded(uri)  # a history with one run per job
    assert found.keys() == {each.id for each in [*JOBS, newest]}
    assert {each.status for each in found.values()} == {"FINISHED"}
    assert max(step for _, step, *_ in found[newest.id].rows) == 90


@pytest.mark.parametrize("page_size", SIZES)
def test_an_owner_on_an_unread_page_is_completed(
    uri: str, executor: ThreadPoolExecutor, page_size: int
) -> None:
    """Another process's run on the last page is completed if its smaller id makes it the owner."""
    clock = later(JOBS)
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        whole = recorded(uri)
        client, owners = client_of(uri), set()
        for run in active_runs(uri):
            twin = client.create_run(run.info.experiment_id, start_time=1, tags=run.data.tags)
            owners.add(min(run.info.run_id, twin.info.run_id))
        report = make_sync(simulator, Tracking(uri, page_size=page_size), executor, clock).run()
    assert report.is_well, report
    assert report.jobs.total() == len(JOBS)
    assert {run.info.run_id for run in active_runs(uri)} == owners
    found = recorded(uri)
    assert {each.status for each in found.values()} == {"FINISHED"}
    assert {job_id: each.rows for job_id, each in found.items()} == {
        job_id: each.rows for job_id, each in whole.items()
    }


class Restarted(Tracking):
    """Notes which runs are searched for, and whether a job is recorded before the second page."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, page_size=2)
        self.open_searches = 0
        self.written = threading.Event()

    def pages(
        self, experiment_ids: Sequence[str], provider: str
    ) -> Iterator[tuple[Iterator[RecordedRun], bool]]:
        """Read the second page only once a job is recorded."""
        for number, page in enumerate(super().pages(experiment_ids, provider)):
            assert number != 1 or self.written.is_set(), "the open job waits for the list"
            yield page

    def runs(self, *args: object, **kwargs: object) -> Iterator[RecordedRun]:
        """Count searches for open runs."""
        self.open_searches += bool(kwargs.get("only_open"))
        return super().runs(*args, **kwargs)  # type: ignore[arg-type] # as it came

    def record(self, experiment_id: str, plan: Plan, run: RecordedRun | None) -> Written:
        """Note that a job is recorded."""
        written = super().record(experiment_id, plan, run)
        self.written.set()
        return written


@pytest.mark.parametrize("is_dry", [False, True])
def test_an_open_job_deep_in_the_history_is_followed_at_once(
    uri: str, executor: ThreadPoolExecutor, *, is_dry: bool
) -> None:
    """A restart reads an open job before further pages, and reads it once."""
    oldest = job(
        "ftjob-oldest", total_steps=2000, seconds_per_step=86_400.0, created_at=NOW - APART
    )
    clock = later(JOBS)
    with Simulator(jobs=[*JOBS, oldest], clock=clock) as simulator:
        assert make_sync(simulator, Tracking(uri), executor, clock).run().is_well
        before = recorded(uri)
        clock.now += 20 * 86_400.0
        events: list[Event] = []
        tracking = Restarted(uri)
        if is_dry:
            tracking.written.set()
        report = make_sync(simulator, tracking, executor, clock).run(
            dry_run=is_dry, handler=events.append
        )
    assert report.is_well, report
    assert +report.jobs == {Result.UPDATED: 1, Result.UNCHANGED: len(JOBS)}
    assert (report.open, tracking.open_searches) == (1, 1)
    done = [each.outcome.job_id for each in events if isinstance(each, JobDone)]
    assert done == [oldest.id]
    after = recorded(uri)
    grown = max(step for _, step, *_ in after[oldest.id].rows)
    assert (grown > max(step for _, step, *_ in before[oldest.id].rows)) is not is_dry


def test_a_short_history_is_searched_once(uri: str, executor: ThreadPoolExecutor) -> None:
    """A history of one page shows its open runs, which no search requests."""
    running = job("ftjob-running", total_steps=2000)
    clock = Clock(now=running.step_at(2))
    with Simulator(jobs=[running], clock=clock) as simulator:
        assert make_sync(simulator, Tracking(uri), executor, clock).run().is_well
        tracking = Restarted(uri)
        tracking.page_size = 1000
        assert make_sync(simulator, tracking, executor, clock).run().is_well
    assert tracking.open_searches == 0


def history_of(*starts: int) -> tuple[History, list[Ownership]]:
    """Return a history of one final run per page, and the ownership that it reports."""
    runs = [
        replace(
            run_state(f"job-{start}", "FINISHED"),
            run_id=f"run-{start}",
            start_time=start,
            tags={tags.BRIDGE: tags.OWNED},
        )
        for start in starts
    ]
    reported: list[Ownership] = []
    pages = ((iter([run]), run is runs[-1]) for run in runs)
    return History(memory=Memory(), pages=pages, tell=reported.append), reported


DAY = 86_400_000
DAYS = [day * DAY for day in (9, 7, 5, 3)]


def listed(start: int) -> Job:
    """Return the job that began at this moment, as the list shows it."""
    return Job(
        id=f"job-{start}",
        status=JobStatus.SUCCEEDED,
        provider_status="succeeded",
        created_at=start,
    )


def test_jobs_are_decided_as_their_runs_are_read() -> None:
    """Jobs are decided as pages are read, and the owners are reported once, at the end."""
    history, reported = history_of(*DAYS)
    history.read_page()
    parts = history.parts([listed(start) for start in (DAYS[0] + 2 * DAY, *DAYS)])
    known = next(parts)
    assert [each.created_at for each in known] == [DAYS[0] + 2 * DAY]
    assert len(history.memory.settled) == 1
    assert [each.created_at for each in next(parts)] == [DAYS[0]]
    assert len(history.memory.settled) == 2
    assert (history.is_read, reported) == (False, [])
    assert [each.created_at for part in parts for each in part] == DAYS[1:]
    assert history.is_read
    assert reported == [history.owned]
    assert history.owned.is_complete
    history.read_page()  # there is none
    assert len(reported) == 1


@pytest.mark.parametrize(("later", "number"), [(0, 2), (1, 1)])
def test_clocks_may_differ_by_a_day(later: int, number: int) -> None:
    """The runs of a job's time are read once a page ends more than a day before it."""
    history, _ = history_of(*DAYS)
    read: list[str] = []
    history.learn = lambda run: read.append(run.job_id)
    job = listed(DAYS[0] + CLOCK_SKEW + later)
    assert next(history.parts([job])) == [job]
    assert read == [f"job-{start}" for start in DAYS[:number]]


def test_a_page_without_new_jobs_is_a_part() -> None:
    """A page of the list without new jobs is passed on without reading a page of runs."""
    history, _ = history_of(*DAYS)
    assert [*history.parts([])] == [[]]
    assert not history.is_read


def test_a_later_page_opens_a_job_again() -> None:
    """A job whose owner shows only on a later page is no longer settled, unless a worker has it."""
    final = replace(run_state("a", "FINISHED"), run_id="b", tags={tags.BRIDGE: tags.OWNED})
    owner = replace(run_state("a"), run_id="a", tags={tags.BRIDGE: tags.OWNED})
    for taken in (set[str](), {"a"}):
        pages = iter([(iter([final]), False), (iter([owner]), False), (iter(()), True)])
        history = History(memory=Memory(), pages=pages)
        history.read_page()
        assert history.memory.settled == {"a"}
        history.taken = taken
        history.read_page()
        assert history.memory.settled == taken
        history.read_page()
        assert history.memory.open == {"a"} - taken


def test_open_runs_beyond_the_first_page_come_first() -> None:
    """The jobs of open runs that no page has shown come first, each once."""
    history, _ = history_of(*DAYS)
    history.take_up([run_state("early")])
    assert [*history.first] == []  # no page has been read
    history.read_page()
    oldest = DAYS[0]
    ours = {tags.BRIDGE: tags.OWNED}
    history.take_up(
        [
            replace(run_state("shown"), start_time=oldest + 1),
            replace(run_state("same moment"), start_time=oldest),
            replace(run_state("older"), start_time=oldest - 1),
            replace(run_state("older"), start_time=oldest - 2, run_id="another"),
            replace(run_state("deleted"), is_deleted=True),
            replace(run_state("final", "FINISHED"), tags=ours),
        ]
    )
    assert history.first == ("same moment", "older")
    assert history.memory.open == {"same moment", "older"}


def test_a_job_without_a_time_waits_for_all_runs() -> None:
    """A job without a time waits for all runs, because any page can hold its run."""
    history, _ = history_of(*DAYS)
    jobs = [replace(listed(DAYS[0]), created_at=None)]
    assert next(history.parts(jobs)) == jobs
    assert history.is_read


def test_what_workers_have_found_out_is_newer_than_what_is_read() -> None:
    """The outcome of a worker counts before an older run of the same job."""
    history, _ = history_of(*DAYS)
    history.taken.add(f"job-{DAYS[3]}")
    while not history.is_read:
        history.read_page()
    assert history.memory.settled == {f"job-{start}" for start in DAYS[:3]}


def test_runs_of_an_experiment_that_is_found_late_are_read_last() -> None:
    """An experiment that is found while a history is read joins it, and is not needed after it."""
    reported: list[Ownership] = []
    final = replace(run_state("a", "FINISHED"), tags={tags.BRIDGE: tags.OWNED})
    pages = iter([(iter([final]), True)])
    history = History(memory=Memory(), pages=pages, tell=reported.append)
    history.add(iter([(iter([run_state("b")]), True)]))
    history.read_page()
    assert (history.is_read, history.memory.settled) == (False, {"a"})
    history.read_page()
    assert history.is_read
    assert history.owned.is_complete
    assert (history.owned.settled, [*history.owned.open]) == ({"a"}, ["b"])
    assert history.memory.open == {"b"}
    history.add(iter([(iter([run_state("c")]), True)]))
    history.read_page()
    assert history.is_read
    assert reported == [history.owned]
