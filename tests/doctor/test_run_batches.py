"""The runs that the doctor requests one by one, and that are read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from bridge.doctor import run_batches
from bridge.doctor.run_batches import RunBatches
from bridge.plan.recorded import RecordedRun
from bridge.tracking import Tracking
from tests.support.models import client_of


class Asked(Tracking):
    """Counts what is asked."""

    searches = 0
    single = 0

    def runs_by_id(
        self, experiment_ids: Sequence[str], run_ids: Sequence[str]
    ) -> Iterator[RecordedRun]:
        """Count a search."""
        self.searches += 1
        return super().runs_by_id(experiment_ids, run_ids)

    def run(self, run_id: str) -> RecordedRun | None:
        """Count a run that is read by itself."""
        self.single += 1
        return super().run(run_id)


@pytest.fixture
def run_ids(uri: str) -> list[str]:
    """Return some runs, the last one of them deleted."""
    client = client_of(uri)
    found = [
        str(client.create_run("0", tags={"number": str(number)}).info.run_id) for number in range(5)
    ]
    client.delete_run(found[-1])
    return found


def test_runs_are_read_together(uri: str, run_ids: list[str]) -> None:
    """One search returns all runs as single requests do, deleted ones too."""
    tracking = Asked(uri)
    runs = RunBatches(tracking, ["0"], run_ids)
    found = [runs.take(each) for each in reversed(run_ids)]
    assert (tracking.searches, tracking.single) == (1, 0)
    assert found == [tracking.run(each) for each in reversed(run_ids)]
    assert [each.is_deleted for each in found if each] == [True, False, False, False, False]


def test_a_run_that_is_asked_for_again_is_read_again(uri: str, run_ids: list[str]) -> None:
    """A second reading of a run shows its changes."""
    tracking = Asked(uri)
    runs = RunBatches(tracking, ["0"], run_ids)
    assert runs.take(run_ids[0])
    client_of(uri).set_tag(run_ids[0], "number", "new")
    again = runs.take(run_ids[0])
    assert again
    assert again.tags["number"] == "new"
    assert (tracking.searches, tracking.single) == (1, 1)


def test_a_run_elsewhere_is_read_by_itself(uri: str, run_ids: list[str]) -> None:
    """A run that no search finds is read individually, and a missing run is ``None``."""
    tracking = Asked(uri)
    elsewhere = client_of(uri).create_experiment("elsewhere")
    runs = RunBatches(tracking, [elsewhere], run_ids[:1])
    found = runs.take(run_ids[0])
    assert found
    assert found.run_id == run_ids[0]
    assert runs.take("f" * 32) is None
    assert (tracking.searches, tracking.single) == (1, 2)


def test_many_runs_take_several_searches(uri: str, run_ids: list[str]) -> None:
    """Each batch is read when the first of its runs is requested."""
    tracking = Asked(uri)
    filler = [f"{number:032}" for number in range(run_batches.BATCH)]
    runs = RunBatches(tracking, ["0"], [run_ids[0], *filler, run_ids[1]])
    assert runs.take(run_ids[0])
    assert tracking.searches == 1
    assert runs.take(run_ids[1])
    assert (tracking.searches, tracking.single) == (2, 0)
