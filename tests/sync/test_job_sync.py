"""The sync of one job: its reads, the reads that it avoids, and the plan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bridge import errors
from bridge.model import Job, JobStatus, LoggedSteps, MetricPoint, MissingPart, Page, Snapshot
from bridge.plan import tags
from bridge.plan.options import RecordingOptions
from bridge.sync.events import Event, JobDone, JobsChosen, RunsRead
from bridge.sync.find_run import Existing, Missing, Settled
from bridge.sync.job_sync import JobSync, Task
from bridge.sync.outcome import Failed, Result, Synced, Untouched
from bridge.sync.report import Selection
from bridge.tracking import Tracking, Written
from tests.support.in_memory import START, InMemoryProvider, ended_job, snapshot_of
from tests.support.models import models
from tests.support.plans import plan
from tests.support.recorded import active_runs

POINT = MetricPoint("loss", 1, 0.5, START)


class Asked(InMemoryProvider):
    """A provider that records how jobs are read, and lists them page by page."""

    def __init__(self, *snapshots: Snapshot) -> None:
        super().__init__(*snapshots)
        self.keeps: list[bool] = []
        self.logged: list[LoggedSteps] = []
        self.listed: list[Page] | None = None
        self.taken = 0

    def read(self, job: Job, *, logged: LoggedSteps, keep: bool = False) -> Snapshot:
        """Record the call, and return the job."""
        self.keeps.append(keep)
        self.logged.append(logged)
        return super().read(job, logged=logged, keep=keep)

    def pages(self) -> Iterator[Page]:
        """Return the pages that a test gave."""
        for page in self.listed if self.listed is not None else super().pages():
            self.taken += 1
            yield page


def job_sync(
    provider: InMemoryProvider,
    tracking: Tracking,
    executor: ThreadPoolExecutor,
    *,
    archive: bool = False,
) -> JobSync:
    """Return the sync of its jobs."""
    found = provider.sync(tracking, executor).job_sync
    return replace(found, options=replace(found.options, archive=archive))


def task(job_id: str = "a", **facts: object) -> Task:
    """Return a task for a job without any knowledge of it."""
    fields: dict[str, object] = {
        "provider": "openai",
        "job_id": job_id,
        "listed": None,
        "found": None,
    }
    return Task(**(fields | facts))  # type: ignore[arg-type] # as the test says


# Reads


@pytest.mark.parametrize(
    ("archive", "is_dry", "keep", "status", "expected"),
    [
        (True, False, None, JobStatus.SUCCEEDED, [True]),
        (True, False, None, JobStatus.FAILED, [True]),
        (True, False, None, JobStatus.RUNNING, [False]),
        (True, True, None, JobStatus.SUCCEEDED, [False]),
        (False, False, None, JobStatus.SUCCEEDED, [False]),
        (False, False, True, JobStatus.SUCCEEDED, [True]),
        (True, False, False, JobStatus.SUCCEEDED, [False]),
        (False, True, True, JobStatus.SUCCEEDED, [True]),
    ],
)
def test_replies_are_kept_for_the_archive(
    tracking: Tracking,
    executor: ThreadPoolExecutor,
    status: JobStatus,
    expected: list[bool],
    *,
    archive: bool,
    is_dry: bool,
    keep: bool | None,
) -> None:
    """Replies are kept only for an ended job, with an archive, and outside a dry run."""
    provider = Asked(snapshot_of("a", 0.5, status=status))
    sync = job_sync(provider, tracking, executor, archive=archive)
    sync.read(provider.job("a"), None, task(is_dry=is_dry), keep=keep)
    assert provider.keeps == expected


@pytest.mark.parametrize(("archive", "expected"), [(True, [False, True]), (False, [False])])
def test_a_job_that_ends_meanwhile_is_read_again(
    tracking: Tracking, executor: ThreadPoolExecutor, expected: list[bool], *, archive: bool
) -> None:
    """A job that ends between two reads is read again for its replies."""
    provider = Asked(snapshot_of("a", 0.5))
    listed = ended_job("a", status=JobStatus.RUNNING)
    job_sync(provider, tracking, executor, archive=archive).read(listed, None, task())
    assert provider.keeps == expected


@pytest.mark.parametrize(
    ("facts", "shutdowns", "expected"),
    [
        ({}, {"ft:a": START + 5}, START + 5),
        ({}, {"ft:b": START + 5}, None),
        ({}, {}, None),
        ({}, None, None),
        ({"fine_tuned_model": None}, {"gpt-4.1-mini": START}, None),
        ({"status": JobStatus.RUNNING}, {"ft:a": START}, None),
    ],
)
def test_a_model_has_the_end_that_its_provider_announces(
    tracking: Tracking,
    executor: ThreadPoolExecutor,
    facts: dict[str, object],
    shutdowns: dict[str, int] | None,
    expected: int | None,
) -> None:
    """A model's end date comes from the pass, or else from the provider, or is unknown."""
    provider = Asked(snapshot_of("a", **facts))
    sync = job_sync(provider, tracking, executor)
    snapshot = sync.read(provider.job("a"), None, task(shutdowns=shutdowns))
    assert snapshot.job.model_shutdown == expected


def test_what_a_run_has_is_not_read_again(tracking: Tracking, executor: ThreadPoolExecutor) -> None:
    """Recorded metrics are not read again by the provider's names, unless a run has gaps."""
    running = {"status": JobStatus.RUNNING, "fine_tuned_model": None}
    provider = Asked(snapshot_of("a", 0.9, 0.4, **running))
    assert provider.sync(tracking, executor).run().is_well
    assert provider.sync(tracking, executor).run().jobs == {Result.UNCHANGED: 1}
    assert [dict(each) for each in provider.logged] == [
        {},
        {"train_loss": {1, 2}, "valid_loss": {1, 2}},
    ]


def test_a_run_with_gaps_is_read_from_its_beginning(
    tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A job with an unreadable part is read completely, in this process and in the next."""
    part = MissingPart("events", "no answer", is_lasting=False)
    running = {"status": JobStatus.RUNNING, "fine_tuned_model": None}
    provider = Asked(replace(snapshot_of("a", 0.9, **running), missing=(part,)))
    sync = provider.sync(tracking, executor)
    for each in (sync, sync, provider.sync(tracking, executor)):
        assert not each.run().is_well
    provider.tell(snapshot_of("a", 0.9, **running))
    assert sync.run().is_well
    assert [dict(each) for each in provider.logged] == [{}, {}, {}, {}]
    assert sync.run().is_well
    assert dict(provider.logged[-1]) == {"train_loss": {1}, "valid_loss": {1}}


def test_models_of_a_job_that_runs_are_written_once(
    tracking: Tracking, uri: str, executor: ThreadPoolExecutor
) -> None:
    """Models of an open job are written once, even by another process."""
    running = {"status": JobStatus.RUNNING, "fine_tuned_model": None}
    provider = InMemoryProvider(snapshot_of("a", 0.9, 0.4, **running))
    for expected in (Result.NEW, Result.UNCHANGED):
        assert +provider.sync(tracking, executor).run().jobs == {expected: 1}
        assert len(models(uri)) == 1


# Tasks


def test_what_is_known_of_a_run_is_not_asked_for(
    tracking: Tracking, uri: str, executor: ThreadPoolExecutor
) -> None:
    """A run that the pass has read already is not read again."""
    sync = job_sync(InMemoryProvider(snapshot_of("a", 0.5)), tracking, executor)
    outcome = sync(task(found=Settled(run_id="r", has_duplicates=True)))
    assert outcome == Untouched(provider="openai", job_id="a", has_duplicates=True)
    assert isinstance(sync.finder.find(ended_job("a")), Missing)
    assert tracking.experiment("hosted-fine-tunes", create=False) is None
    route = sync.finder.router.route(ended_job("a"))
    outcome = sync(task(found=Missing(route=route, experiment_id=None), is_dry=True))
    assert isinstance(outcome, Synced)
    assert (outcome.run_id, outcome.experiment_id, outcome.result) == (None, None, Result.NEW)
    outcome = sync(task(found=Missing(route=route, experiment_id=None)))
    assert isinstance(outcome, Synced)
    (run,) = active_runs(uri)
    assert (outcome.run_id, outcome.result) == (run.info.run_id, Result.NEW)
    assert [*(outcome.logged.models or {})] == ["ft:a"]
    assert outcome.logged.steps == {"train_loss": {1}, "valid_loss": {1}}
    found = sync.finder.find(ended_job("a"))
    assert isinstance(found, Settled)
    assert found.run_id == run.info.run_id


def test_duplicates_are_passed_on(tracking: Tracking, executor: ThreadPoolExecutor) -> None:
    """Duplicates are passed on to the end of the pass."""
    provider = InMemoryProvider(snapshot_of("a", 0.5, status=JobStatus.RUNNING))
    assert provider.sync(tracking, executor).run().is_well
    sync = job_sync(provider, tracking, executor)
    found = sync.finder.find(provider.job("a"))
    assert isinstance(found, Existing)
    assert not found.has_duplicates
    for has_duplicates in (True, False):
        outcome = sync(task(found=replace(found, has_duplicates=has_duplicates)))
        assert isinstance(outcome, Synced)
        assert outcome.has_duplicates is has_duplicates


@pytest.mark.parametrize(
    ("job_id", "kind"), [("gone", errors.JobVanished), ("other", errors.BadReply)]
)
def test_a_job_that_cannot_be_had_is_lost(
    tracking: Tracking, executor: ThreadPoolExecutor, job_id: str, kind: type[errors.BridgeError]
) -> None:
    """A job that its provider lacks, or answers with another one, is lost."""
    provider = InMemoryProvider(snapshot_of("a", 0.5))
    provider.snapshots["other"] = provider.snapshots["a"]
    outcome = job_sync(provider, tracking, executor)(task(job_id))
    assert isinstance(outcome, Failed)
    assert (outcome.job_id, type(outcome.error)) == (job_id, kind)


def test_only_what_the_store_takes_is_possible(
    tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A plan contains only writes that the store supports, which for sqlite are all."""
    sync = job_sync(InMemoryProvider(), tracking, executor)
    assert isinstance(sync.possible, RecordingOptions)
    assert sync.possible == sync.options


class Archiving(Tracking):
    """A store that notes the files of each archive."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.stored: list[list[str]] = []

    def archive(self, written: Written, folder: Path, artifact_path: str) -> None:
        """Note the files that are stored."""
        del written
        assert artifact_path == "provider"
        found = (each for each in folder.rglob("*") if each.is_file())
        self.stored.append(sorted(str(each.relative_to(folder)) for each in found))


class Filed(InMemoryProvider):
    """A provider that has every file but one."""

    @contextlib.contextmanager
    def file(self, file_id: str) -> Iterator[Iterator[bytes]]:
        """Return a short file."""
        if file_id == "gone":
            raise errors.NotFound("no such file")
        yield iter([b"{}"])


@pytest.mark.parametrize(
    ("documents", "files", "stored"),
    [
        ({}, (), []),
        ({"job.json": b"{}"}, (), [["job.json"]]),
        ({}, ("f",), [["datasets.json", "datasets/1-f.jsonl"]]),
        ({"job.json": b"{}"}, ("f",), [["job.json"], ["datasets.json", "datasets/1-f.jsonl"]]),
        ({}, ("gone", "f"), [["datasets.partial.json", "datasets/2-f.jsonl"]]),
    ],
)
def test_documents_are_stored_before_files(
    uri: str,
    executor: ThreadPoolExecutor,
    documents: dict[str, bytes],
    files: tuple[str, ...],
    stored: list[list[str]],
) -> None:
    """Documents are stored first, then files, and nothing where there is nothing to store."""
    tracking = Archiving(uri)
    sync = job_sync(Filed(snapshot_of("a", 0.5)), tracking, executor)
    place = tracking.experiment("hosted-fine-tunes", create=True)
    assert place
    wanted = plan(
        "a", run_id=None, points=(POINT,), documents=documents, files=files, skipped=("before",)
    )
    outcome = sync.apply(wanted, None, place, is_dry=False)
    assert tracking.stored == stored
    assert outcome.plan.documents == dict.fromkeys(documents, b"")
    gone = ("file gone is not archived: no such file",) if "gone" in files else ()
    assert outcome.plan.skipped == ("before", *gone)


@pytest.mark.parametrize(
    ("facts", "is_dry"),
    [({"points": (POINT,)}, True), ({}, False)],
    ids=["dry", "empty"],
)
def test_nothing_is_written_without_need(
    tracking: Tracking,
    uri: str,
    executor: ThreadPoolExecutor,
    facts: dict[str, object],
    *,
    is_dry: bool,
) -> None:
    """A dry run and an empty plan write nothing, and the outcome names the run as it was."""
    provider = InMemoryProvider(snapshot_of("a", 0.5, status=JobStatus.RUNNING))
    assert provider.sync(tracking, executor).run().is_well
    (run,) = tracking.runs(tracking_places(tracking), "openai")
    before = active_runs(uri)[0].to_dictionary()
    sync = job_sync(provider, tracking, executor)
    outcome = sync.apply(plan("a", **facts), run, run.experiment_id, is_dry=is_dry)
    assert (outcome.run_id, outcome.before, outcome.error) == ("run", run, None)
    assert active_runs(uri)[0].to_dictionary() == before


def tracking_places(tracking: Tracking) -> list[str]:
    """Return the id of the provider's experiment."""
    found = tracking.experiment("hosted-fine-tunes", create=False)
    assert found
    return [found]


# Pages


def paged(*pages: str, cut: bool = False, unreadable: tuple[str, ...] = ()) -> Asked:
    """Return a provider with a job for each letter, listed in these pages."""
    provider = Asked(*(snapshot_of(letter) for letter in sorted({*"".join(pages)})))
    provider.listed = [
        Page(tuple(provider.job(letter) for letter in page), unreadable=unreadable)
        for page in pages
    ]
    if cut:
        last = MissingPart("job list", "it has no end", is_lasting=True)
        provider.listed[-1] = replace(provider.listed[-1], cut=last)
    return provider


def test_a_later_pass_stops_at_a_settled_page(
    tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A later pass stops at a settled page, unless the list was cut short before."""
    for cut, taken in ((False, 1), (True, 3)):
        provider = paged("ab", "bc", "de", cut=cut)
        sync = provider.sync(tracking, executor)
        assert sync.run().jobs.total() == 5
        assert provider.taken == 3
        sync.run()
        assert provider.taken == 3 + taken


def test_a_limit_counts_jobs_that_are_settled(
    tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A limit counts the settled jobs of earlier pages too."""
    provider = paged("ab", "cd", "e")
    report = provider.sync(tracking, executor).run(Selection(limit=2))
    assert +report.jobs == {Result.NEW: 2}
    report = provider.sync(tracking, executor).run(Selection(limit=3))
    assert +report.jobs == {Result.UNCHANGED: 2, Result.NEW: 1}


@pytest.mark.parametrize(("limit", "jobs", "taken"), [(1, 1, 1), (3, 3, 2), (4, 4, 2), (9, 5, 3)])
def test_a_limit_counts_over_pages(
    tracking: Tracking, executor: ThreadPoolExecutor, limit: int, jobs: int, taken: int
) -> None:
    """A limit counts over all pages, and none beyond it is read."""
    provider = paged("ab", "cd", "e")
    report = provider.sync(tracking, executor).run(Selection(limit=limit))
    assert (report.jobs.total(), provider.taken) == (jobs, taken)


def test_rows_that_cannot_be_read_are_said(
    tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """Unreadable rows are reported, and the jobs beside them are recorded."""
    report = paged("a", unreadable=("a row is odd",)).sync(tracking, executor).run()
    assert [(job_id, error.sentence) for job_id, error in report.failures] == [("", "a row is odd")]
    assert +report.jobs == {Result.NEW: 1}


def test_chosen_jobs_are_read_without_a_list(
    tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """Chosen jobs are read by id, without a list."""
    provider = paged("ab", "c")
    report = provider.sync(tracking, executor).run(Selection(job_ids=("c", "a")))
    assert (report.jobs, provider.taken) == ({Result.NEW: 2}, 0)


# Events


def test_a_pass_says_what_it_chooses(tracking: Tracking, executor: ThreadPoolExecutor) -> None:
    """Each page of jobs, each further list of them, and each job is one event."""
    provider = paged("ab", "bc")
    running = {"status": JobStatus.RUNNING, "fine_tuned_model": None}
    provider.tell(snapshot_of("c", 0.5, **running))
    provider.listed = [
        replace(page, jobs=tuple(provider.job(j.id) for j in page.jobs))
        for page in provider.listed or ()
    ]
    sync = provider.sync(tracking, executor)

    def events(selection: Selection | None = None) -> list[object]:
        reports_of: list[object] = []

        def handler(event: Event) -> None:
            match event:
                case JobsChosen(jobs=jobs, settled=settled, unselected=unselected):
                    reports_of.append((jobs, "".join(settled), "".join(unselected)))
                case JobDone(outcome=outcome):
                    reports_of.append(outcome.job_id)
                case _:
                    reports_of.append(type(event))

        assert sync.run(selection, handler=handler).is_well
        return sorted(reports_of, key=str)

    def ordered(*found: object) -> list[object]:
        return sorted(found, key=str)

    nothing = (0, "", "")
    assert events(Selection(limit=1)) == ordered(RunsRead, (1, "", "b"), "a")
    assert events() == ordered(RunsRead, (1, "a", ""), (1, "", ""), nothing, "b", "c")
    # The first page holds only settled jobs: the open one behind it is read by itself.
    assert events() == ordered(RunsRead, (0, "ab", ""), (1, "", ""), "c")
    assert events(Selection(statuses=frozenset({"failed"}))) == ordered(RunsRead, (0, "", "ab"))
    assert events(Selection(job_ids=("c",))) == ordered(RunsRead, (1, "", ""), "c")


def test_an_open_job_that_is_not_selected_is_left_alone(
    tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A pass over newer jobs does not read an older one, although it is still open."""
    running = {"status": JobStatus.RUNNING, "provider_status": "running", "finished_at": None}
    provider = Asked(snapshot_of("a", 0.5, fine_tuned_model=None, **running))
    assert provider.sync(tracking, executor).run().is_well
    assert provider.sync(tracking, executor).run(Selection(since=START + 1)).is_well
    assert len(provider.logged) == 1


def test_an_owner_that_shows_late_is_completed(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A job that looked settled is read once its owner shows, and leaves the settled ones."""
    day = 86_400_000
    provider = InMemoryProvider(
        snapshot_of("b", 0.5, created_at=START + 9 * day, finished_at=START + 9 * day + 1),
        snapshot_of("a", 0.5),
    )
    assert provider.sync(tracking, executor).run().is_well
    (found,) = (run for run in active_runs(uri) if run.data.tags[tags.JOB] == "b")
    with tracking.asked() as client:
        while True:  # MLflow generates the ids, and the smaller one owns the job
            owner = client.create_run(found.info.experiment_id, start_time=1).info.run_id
            if owner < found.info.run_id:
                break
            client.delete_run(owner)
        for name, value in found.data.tags.items():
            client.set_tag(owner, name, value)
    chosen: list[tuple[int, int]] = []

    def handler(event: Event) -> None:
        if isinstance(event, JobsChosen):
            chosen.append((event.jobs, len(event.settled)))

    sync = provider.sync(Tracking(uri, page_size=1), executor)
    report = sync.run(Selection(limit=9), handler=handler)
    assert report.jobs == {Result.UPDATED: 1, Result.UNCHANGED: 1}
    assert chosen == [(0, 1), (0, 1), (1, 0)]
    ends = {run.info.run_id: run.info.status for run in active_runs(uri)}
    assert ends[owner] == "FINISHED"
    assert found.info.run_id not in ends
