"""Jobs that train another job's model further: their runs link to each other, in a real MLflow."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from bridge.errors import TrackingDown
from bridge.model import Snapshot
from bridge.sync.events import Event, JobsChosen
from bridge.sync.provider_sync import ProviderSync
from bridge.sync.report import Selection
from bridge.tracking import Tracking
from tests.support.databases import file_of, refill
from tests.support.in_memory import InMemoryProvider, snapshot_of
from tests.support.models import client_of, models, run_of, versions_by_model
from tests.support.processes import dump
from tests.support.recorded import deleted_runs

NOTE = "mlflow.note.content"
ROUNDS = 10 if os.environ.get("SOAK") else 1
"""Number of races. Chance decides which of two runs stays, for each of the jobs."""
PARENT = snapshot_of("ftjob-parent", 0.9, 0.4, 0.6)
CHILD = snapshot_of("ftjob-child", 0.5, base_model="ft:ftjob-parent")
OF_CHECKPOINT = snapshot_of("ftjob-other", 0.3, base_model="ft:ftjob-parent:1")
GRANDCHILD = snapshot_of("ftjob-third", 0.2, base_model="ft:ftjob-child")
FAMILY = (PARENT, CHILD, OF_CHECKPOINT, GRANDCHILD)
MADE_BY = {
    "ftjob-child": "ftjob-parent",
    "ftjob-other": "ftjob-parent",
    "ftjob-third": "ftjob-child",
}


def links(uri: str, family: Sequence[Snapshot] = FAMILY) -> set[tuple[str, str]]:
    """Return pairs of child and parent, as recorded by each side."""
    runs = {snapshot.job.id: run_of(uri, snapshot.job.id) for snapshot in family}
    job_ids = {run.info.run_id: job_id for job_id, run in runs.items()}

    def up() -> Iterator[tuple[str, str]]:
        for job_id, run in runs.items():
            if parent := run.data.tags.get("fine_tuned_from_run"):
                assert linked(run, "Fine-tuned from", parent)
                yield job_id, job_ids[parent]

    def down() -> Iterator[tuple[str, str]]:
        for job_id, run in runs.items():
            children = run.data.tags.get("fine_tuned_into_runs", "")
            for child in filter(None, children.split(",")):
                assert linked(run, "Fine-tuned further in", child)
                yield job_ids[child], job_id

    assert set(up()) == set(down())
    return set(up())


def linked(run: Run, words: str, other: str) -> bool:
    """Return whether a sentence of a run's note that begins so links to another run."""
    return re.search(rf"{words} [^.]*\(#/runs/{other}\)", run.data.tags[NOTE]) is not None


def test_all_in_one_pass(uri: str, tracking: Tracking, executor: ThreadPoolExecutor) -> None:
    """One pass links jobs that continue a result, a checkpoint, and a result of that."""
    provider = InMemoryProvider(*reversed(FAMILY))  # newest first, as lists are
    provider.sync(tracking, executor).run()
    assert links(uri) == set(MADE_BY.items())


@pytest.mark.parametrize("is_new_process", [True, False])
@pytest.mark.parametrize("order", [FAMILY, FAMILY[::-1]], ids=["parents first", "children first"])
def test_in_any_order(
    uri: str,
    tracking: Tracking,
    executor: ThreadPoolExecutor,
    order: tuple[object, ...],
    *,
    is_new_process: bool,
) -> None:
    """Jobs recorded one by one are linked in either order, by one process or by several."""
    provider = InMemoryProvider()
    sync = provider.sync(tracking, executor)
    for snapshot in order:
        provider.tell(snapshot)  # type: ignore[arg-type] # pytest's ids want a plain tuple
        if is_new_process:
            sync = provider.sync(Tracking(uri), executor)
        assert sync.run().is_well
    assert links(uri) == set(MADE_BY.items())
    before = dump(Path(uri.removeprefix("sqlite:///")))
    assert provider.sync(tracking, executor).run().is_well
    assert sync.run().is_well
    assert dump(Path(uri.removeprefix("sqlite:///"))) == before


def test_without_logged_models(uri: str, executor: ThreadPoolExecutor) -> None:
    """With ``models: false`` tags identify the run that made a result or the best checkpoint."""
    family = (
        PARENT,
        CHILD,
        snapshot_of("ftjob-other", 0.3, base_model="ft:ftjob-parent:2"),
        GRANDCHILD,
    )
    provider = InMemoryProvider()
    for snapshot in family:
        provider.tell(snapshot)
        assert provider.sync(Tracking(uri), executor, models=False).run().is_well
    assert links(uri, family) == set(MADE_BY.items())


def test_a_note_that_its_user_changed_is_left_alone(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A note that its user edited or removed stays as it is, and the tags have the lineage."""
    provider = InMemoryProvider(PARENT, OF_CHECKPOINT)
    sync = provider.sync(tracking, executor)
    sync.run()
    client = client_of(uri)
    parent, other = (run_of(uri, each).info.run_id for each in ("ftjob-parent", "ftjob-other"))
    client.set_tag(parent, NOTE, "My own words.")
    client.delete_tag(other, NOTE)
    provider.tell(CHILD)
    for each in (sync, provider.sync(Tracking(uri), executor)):
        assert each.run().is_well
    child = run_of(uri, "ftjob-child")
    assert linked(child, "Fine-tuned from", parent)
    tags = client.get_run(parent).data.tags
    assert tags[NOTE] == "My own words."
    assert sorted([child.info.run_id, other]) == tags["fine_tuned_into_runs"].split(",")
    tags = client.get_run(other).data.tags
    assert NOTE not in tags
    assert tags["fine_tuned_from_run"] == parent


class Dying(Tracking):
    """A bridge whose store is gone after this many calls."""

    def __init__(self, uri: str, calls: int) -> None:
        super().__init__(uri)
        self._calls = calls

    @contextlib.contextmanager
    def asked(self, *, one_job: bool = False) -> Iterator[MlflowClient]:
        """Fail once the calls are used up."""
        self._calls -= 1
        if self._calls < 0:
            raise TrackingDown("gone")
        with super().asked(one_job=one_job) as client:
            yield client


def test_interrupted_at_any_call(
    uri: str, tmp_path: Path, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A bridge that dies while it records a lineage leaves a state that the next one completes."""
    provider = InMemoryProvider(CHILD, GRANDCHILD)
    provider.sync(tracking, executor).run()
    provider.tell(PARENT)
    provider.sync(tracking, executor).run(Selection(job_ids=("ftjob-parent",)))
    assert "fine_tuned_from_run" not in run_of(uri, "ftjob-child").data.tags
    recorded_only = Path(shutil.copy(file_of(uri), tmp_path / "recorded.db"))
    for calls in count():
        refill(file_of(uri), recorded_only)
        report = provider.sync(Dying(uri, calls), executor).run()
        provider.sync(Tracking(uri), executor).run()
        assert links(uri, (PARENT, CHILD, GRANDCHILD)) == {
            ("ftjob-child", "ftjob-parent"),
            ("ftjob-third", "ftjob-child"),
        }
        if report.is_well:
            break
    assert calls > 6


class Overtaken:
    """Lets another bridge make its whole pass between a bridge's search and its first write."""

    def __init__(self, other: ProviderSync) -> None:
        self._others = [other]

    def __call__(self, event: Event) -> None:
        """Act once the jobs are known, and none of them has a run."""
        if not isinstance(event, JobsChosen):
            return
        for other in self._others:
            assert other.run().is_well
        self._others = []


@pytest.mark.long
def test_bridges_that_meet_leave_one_family(
    uri: str, empty_database: Path, executor: ThreadPoolExecutor
) -> None:
    """Bridges that race leave models, versions and links of whichever run stays."""
    provider = InMemoryProvider(*FAMILY)
    database = file_of(uri)
    for _ in range(ROUNDS):
        refill(database, empty_database)
        # A bridge that makes the experiment reads the runs that others have put there meanwhile.
        Tracking(uri).experiment("hosted-fine-tunes", create=True)
        one, other = (provider.sync(Tracking(uri), executor, register="any") for _ in range(2))
        assert one.run(handler=Overtaken(other)).is_well
        assert len(deleted_runs(uri)) == len(FAMILY)
        assert links(uri) == set(MADE_BY.items())
        assert len(models(uri)) == 6
        assert len(versions_by_model(uri)) == len(FAMILY)
        before = dump(database)
        assert one.run().is_well
        assert provider.sync(Tracking(uri), executor, register="any").run().is_well
        assert dump(database) == before


def test_a_strange_base_model(uri: str, tracking: Tracking, executor: ThreadPoolExecutor) -> None:
    """A pass ends well with any name of a base model, and finds most of them."""
    names = ["a'b", "a\"b'c", "a\nb", "a`b", "a%b\\", "x" * 9000, "and 1=1 --", "\x1b[31m"]
    provider = InMemoryProvider(
        *(snapshot_of(f"ftjob-b{n}", 0.5, base_model=name) for n, name in enumerate(names))
    )
    sync = provider.sync(tracking, executor)
    assert sync.run().is_well
    for n, name in enumerate(names):
        provider.tell(snapshot_of(f"ftjob-a{n}", 0.5, fine_tuned_model=name))
    assert sync.run().is_well
    assert provider.sync(Tracking(uri), executor).run().is_well
    assert len(models(uri)) == 2 * len(names)
