"""The runs that a search finds: of a job, a model or a provider, and rivals."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import pytest

from bridge.plan import tags
from bridge.plan.recorded import RecordedRun
from bridge.plan.run_state import CLOCK_SKEW
from bridge.tracking import Tracking
from tests.support.in_memory import START

OURS = {tags.PROVIDER: "openai", tags.JOB: "a"}
BOTH_QUOTES = 'a\'s "b"'


class Store:
    """An experiment with runs that a test makes."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        found = tracking.experiment("hosted-fine-tunes", create=True)
        assert found
        self.places = [found]

    def run(
        self,
        of: dict[str, str] | None = None,
        at: int = START,
        *,
        status: str = "RUNNING",
        deleted: bool = False,
    ) -> str:
        """Create a run with tags."""
        with self.tracking.asked() as client:
            run_id = client.create_run(
                self.places[0], start_time=at, tags=OURS | (of or {})
            ).info.run_id
            if status != "RUNNING":
                client.set_terminated(run_id, status)
            if deleted:
                client.delete_run(run_id)
        return str(run_id)


@pytest.fixture
def store(tracking: Tracking) -> Store:
    """Return a store without runs."""
    return Store(tracking)


def ids(runs: Iterable[RecordedRun]) -> set[str]:
    """Return the ids of runs."""
    return {each.run_id for each in runs}


def test_runs_are_those_of_a_provider(store: Store) -> None:
    """A provider's runs are found, deleted ones included, except those without a job."""
    one, gone = store.run(), store.run(deleted=True)
    other = store.run({tags.PROVIDER: "mistral"})
    store.run({tags.JOB: ""})
    assert ids(store.tracking.runs(store.places, "openai")) == {one, gone}
    assert ids(store.tracking.runs(store.places)) == {one, gone, other}
    assert ids(store.tracking.runs([], "openai")) == set()


def test_each_run_is_on_one_page(uri: str, store: Store) -> None:
    """Runs come newest first and once, whatever begins meanwhile or fills pages with a moment."""
    moments = [START + later for later in (0, 1, 2, 2, 2, 2, 2, 3, 4)]
    made = {store.run(at=moment): moment for moment in moments}
    pages: list[tuple[list[str], bool]] = []
    reading = Tracking(uri, page_size=2).pages(store.places, "openai")
    for runs, is_last in islice(reading, len(moments) + 1):
        pages.append(([run.run_id for run in runs], is_last))
        for _ in range(2):  # as others do meanwhile
            store.run(at=START + 5)
    found = [run_id for run_ids, _ in pages for run_id in run_ids]
    assert sorted(found) == sorted(made)
    assert [made[run_id] for run_id in found] == moments[::-1]
    assert [is_last for _, is_last in pages] == [False] * (len(pages) - 1) + [True]


@pytest.mark.parametrize("value", ["plain", "it's", 'the "one"', BOTH_QUOTES])
def test_runs_are_found_by_what_they_are_of(store: Store, value: str) -> None:
    """Runs are found by job, base model or model, whatever characters these have."""
    searches = {tags.JOB: "job_id", tags.BASE_MODEL: "base_model", tags.MODEL: "model"}
    for tag, argument in searches.items():
        wanted = store.run({tag: value})
        store.run({tag: f"{value} not"})
        assert ids(store.tracking.runs(store.places, "openai", **{argument: value})) == {wanted}  # type: ignore[arg-type] # one of its texts
        with store.tracking.asked() as client:
            client.set_tag(wanted, tag, "done")


def test_open_runs_are_those_without_an_end(store: Store) -> None:
    """Open runs are those without an end, including those that wait."""
    running, waiting = store.run(), store.run(status="SCHEDULED")
    for status in ("FINISHED", "FAILED", "KILLED"):
        store.run(status=status)
    found = store.tracking.runs(store.places, "openai", only_open=True)
    assert ids(found) == {running, waiting}


def test_rivals_began_when_ours_did(store: Store) -> None:
    """Rivals of our run began within a day of it, under the same provider."""
    ours = store.run(), store.run(at=START + 5)
    near = {
        store.run(at=START - CLOCK_SKEW),
        store.run(at=START + 5 + CLOCK_SKEW),
        store.run(at=START + 2),
    }
    store.run(at=START - CLOCK_SKEW - 1)
    store.run(at=START + 6 + CLOCK_SKEW)
    store.run({tags.PROVIDER: "mistral"})
    own = dict(zip(ours, (START, START + 5), strict=True))
    assert ids(store.tracking.others(store.places, "openai", own)) == near
    assert ids(store.tracking.others(store.places, "openai", {})) == set()
    # In any order of the ids.
    for first, second in (("0", "f"), ("f", "0")):
        own = {first * 32: START, second * 32: START + 5}
        assert ids(store.tracking.others(store.places, "openai", own)) == near | {*ours}


@pytest.mark.parametrize("order", [1, -1])
def test_rivals_of_many_runs_are_found_in_parts(store: Store, order: int) -> None:
    """A long pass finds the rivals of all its runs, and none of these, in any order of them."""
    ours, rival = store.run(at=START + 1), store.run(at=START + 1 + CLOCK_SKEW)
    others = [(f"{number:032x}", START) for number in range(1000)]
    own = dict([*others, (ours, START + 1)][::order])
    assert ids(store.tracking.others(store.places, "openai", own)) == {rival}


def test_a_run_is_there_or_not(store: Store) -> None:
    """A run exists or not, and a deleted one exists as deleted."""
    one, gone = store.run(), store.run(deleted=True)
    for run_id, is_deleted in ((one, False), (gone, True)):
        found = store.tracking.run(run_id)
        assert found is not None
        assert (found.job_id, found.provider, found.is_deleted) == ("a", "openai", is_deleted)
        assert (found.start_time, found.experiment_id) == (START, store.places[0])
    assert store.tracking.run("f" * 32) is None


def test_the_run_that_made_a_model_is_found_by_any_tag(store: Store) -> None:
    """The run that made a model is found by its result, newest or best checkpoint."""
    for name in tags.MADE_MODELS:
        run_id = store.run({name: f"ft:{name}"})
        assert store.tracking.source_run(store.places, f"ft:{name}") == run_id
    assert store.tracking.source_run(store.places, "ft:other") is None
    assert store.tracking.source_run(store.places, BOTH_QUOTES) is None


def test_steps_are_those_of_every_metric(store: Store) -> None:
    """Steps are those of every metric, each once."""
    run_id = store.run()
    with store.tracking.asked() as client:
        for step in (1, 2, 2):
            client.log_metric(run_id, "loss", 0.5, step=step, timestamp=START)
        client.log_metric(run_id, "other", 0.5, step=7, timestamp=START + 1)
    found = store.tracking.run(run_id)
    assert found is not None
    assert found.newest == {"loss": (2, START), "other": (7, START + 1)}
    assert store.tracking.steps(found) == {"loss": {1, 2}, "other": {7}}
