"""The lineage that a process remembers from pass to pass, and its searches. No store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bridge.plan import tags
from bridge.plan.models import HostedModel
from bridge.plan.recorded import RecordedRun
from bridge.sync.lineage import Lineage
from bridge.sync.outcome import Synced
from bridge.tracking import Tracking
from tests.support.plans import plan
from tests.support.run_states import run_state

BASE = {tags.BASE_MODEL: "ft:parent"}


class Noting(Tracking):
    """Notes searches and links, and knows the runs that a test gives."""

    def __init__(self) -> None:
        super().__init__("sqlite:///never-opened.db")
        self.makers: dict[str, str] = {}
        self.started: list[RecordedRun] = []
        self.searches: list[str] = []
        self.links: list[tuple[str, str]] = []

    def source_run(self, experiment_ids: Sequence[str], model: str) -> str | None:
        """Return the run that made a model."""
        assert experiment_ids == ["1"]
        self.searches.append(model)
        return self.makers.get(model)

    def runs(self, *args: object, **wanted: Any) -> Iterator[RecordedRun]:  # noqa: ANN401 - as it came
        """Return the runs that start from a model."""
        assert args == (["1"], "openai")
        assert wanted == {"base_model": "ft:parent"}
        return iter(self.started)

    def relate(self, child_id: str, parent_id: str) -> None:
        """Note a link."""
        self.links.append((child_id, parent_id))


def synced(run_id: str | None, base: str = "", *made: str, before: Any = None) -> Synced:  # noqa: ANN401 - a run
    """Return a job that a pass recorded."""
    models = tuple(HostedModel(model=m, name=m, step=1, metrics=(), about={}) for m in made)
    about = {tags.BASE_MODEL: base} if base else {}
    found = plan("a", tags=about, models=models)
    return Synced(provider="openai", job_id="a", plan=found, run_id=run_id, before=before)


@pytest.fixture
def tracking() -> Noting:
    """Return a store that notes."""
    return Noting()


def test_an_unknown_model_is_searched_for_once(tracking: Noting) -> None:
    """A base model that no run made is searched for once, until a pass makes it."""
    lineage = Lineage("openai", tracking)
    for child in ("one", "two"):
        lineage.learn_outcome(synced(child, "ft:parent"))
        lineage.write(["1"])
    assert (tracking.searches, tracking.links) == (["ft:parent"], [])
    tracking.started = [replace(run_state(name), tags=BASE) for name in ("one", "two")]
    lineage.learn_outcome(synced("parent", "", "ft:parent"))
    lineage.write(["1"])
    assert tracking.links == [("run-one", "parent"), ("run-two", "parent")]
    # A later child of the same model is linked too, with the run that MLflow has by then.
    tracking.makers = {"ft:parent": "another"}
    lineage.learn_outcome(synced("three", "ft:parent"))
    lineage.write(["1"])
    lineage.write(["1"])
    assert tracking.links[2:] == [("three", "another")]
    assert tracking.searches == ["ft:parent"] * 2


@pytest.mark.parametrize(
    ("run", "links"),
    [
        (replace(run_state("a"), tags=BASE), [("run-a", "parent")]),
        (replace(run_state("a"), tags=BASE, is_deleted=True), []),
        (replace(run_state("a"), tags=BASE | {tags.FROM_RUN: "parent"}), []),
        (run_state("a"), []),
    ],
)
def test_a_run_is_linked_once(
    tracking: Noting, run: RecordedRun, links: list[tuple[str, str]]
) -> None:
    """A run in MLflow is linked unless it is deleted, is linked already, or has no base model."""
    tracking.makers = {"ft:parent": "parent"}
    tracking.started = [run]
    for outcome in (None, synced("run-a", before=run), synced(None, before=run)):
        tracking.links.clear()
        lineage = Lineage("openai", tracking)
        if outcome:
            lineage.learn_outcome(outcome)
        else:
            lineage.learn(run)
        lineage.write(["1"])
        lineage.write(["1"])
        assert tracking.links == links


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_completed_run_has_made_its_models(tracking: Noting, *, is_deleted: bool) -> None:
    """A run that a pass completes is the parent by its tags, unless its user has deleted it."""
    before = replace(run_state("p"), tags={tags.MODEL: "ft:parent"}, is_deleted=is_deleted)
    lineage = Lineage("openai", tracking)
    lineage.learn_outcome(synced("run-p", before=before))
    lineage.learn_outcome(synced("child", "ft:parent"))
    lineage.learn_outcome(synced("run-p", "ft:parent"))
    lineage.write(["1"])
    assert tracking.links == ([] if is_deleted else [("child", "run-p")])
    assert tracking.searches == (["ft:parent"] if is_deleted else [])


def test_the_owner_takes_the_place_of_a_run_created_in_vain(tracking: Noting) -> None:
    """After a lost race, links lead from and to the runs that own the jobs."""
    lineage = Lineage("openai", tracking)
    lineage.learn_outcome(synced("vain-parent", "", "ft:parent"))
    lineage.learn_outcome(synced("vain-child", "ft:parent"))
    lineage.learn_outcome(synced("other-child", "ft:parent"))
    lineage.owned_by({"vain-parent": "parent", "vain-child": "child"})
    lineage.write(["1"])
    assert tracking.links == [("child", "parent"), ("other-child", "parent")]
