"""The names under which an experiment's runs are logged, decided from what it has."""

from __future__ import annotations

import pytest

from bridge.plan import tags
from bridge.tracking import Tracking
from bridge.tracking.experiments import METRIC_NAMES

HOSTED = {tags.PROVIDER: "openai", tags.JOB: "a"}


def logged(tracking: Tracking, place: str, metric: str, at: int, **more: str) -> None:
    """Create a run with one metric."""
    with tracking.asked() as client:
        run = client.create_run(place, start_time=at, tags=more)
        client.log_metric(run.info.run_id, metric, 0.5)


@pytest.mark.parametrize(
    ("known", "hosted", "local", "label"),
    [
        (None, None, None, "provider"),
        (None, None, "loss", "huggingface"),
        (None, "lightning", "loss", "lightning"),
        ("trl", "lightning", "loss", "trl"),
    ],
)
@pytest.mark.parametrize("remember", [True, False])
def test_names_are_decided_once(
    tracking: Tracking,
    known: str | None,
    hosted: str | None,
    local: str | None,
    label: str,
    *,
    remember: bool,
) -> None:
    """The experiment's own decision counts, then that of a hosted run, then the local runs."""
    place = tracking.experiment("here", create=True)
    assert place
    with tracking.asked() as client:
        if known:
            client.set_experiment_tag(place, METRIC_NAMES, known)
    if hosted:
        logged(tracking, place, "loss", 1, **HOSTED, **{tags.METRIC_NAMES: hosted})
    if local:
        logged(tracking, place, local, 2)
    assert tracking.metric_names(place, remember=remember) == label
    with tracking.asked() as client:
        written = client.get_experiment(place).tags.get(METRIC_NAMES)
    is_decided = remember and not known and not hosted
    assert written == (label if is_decided else known)


def test_the_newest_fifty_local_runs_decide(tracking: Tracking) -> None:
    """Hosted runs and older local runs do not count."""
    place = tracking.experiment("here", create=True)
    assert place
    assert tracking.local_metric_names(place) == []
    logged(tracking, place, "hosted", 999, **HOSTED)
    for number in range(51):
        logged(tracking, place, f"m{number}", 100 + number)
    found = tracking.local_metric_names(place)
    assert found == [frozenset({f"m{number}"}) for number in range(50, 0, -1)]


@pytest.mark.parametrize(
    ("label", "expected"), [("trl", False), ("provider", True), ("'\"", False)]
)
def test_runs_under_other_names_are_found(
    tracking: Tracking, label: str, *, expected: bool
) -> None:
    """One run under another label is enough, and a label that cannot be searched for finds none."""
    place = tracking.experiment("here", create=True)
    assert place
    logged(tracking, place, "loss", 1, **HOSTED, **{tags.METRIC_NAMES: "trl"})
    logged(tracking, place, "loss", 2)
    assert tracking.is_named_otherwise([place], label) is expected
    assert not tracking.is_named_otherwise([], label)


def test_other_experiments_are_the_fifty_that_changed_last(tracking: Tracking) -> None:
    """A server with many experiments is searched for those in use."""
    with tracking.asked() as client:
        ids = [client.create_experiment(f"e{number:02}") for number in range(52)]
        client.rename_experiment(ids[0], "changed")
    found = tracking.other_experiments(["e51"])
    assert len(found) == 49
    assert found["changed"] == ids[0]
    assert "e51" not in found
    assert "e01" not in found
