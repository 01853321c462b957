"""The last writes of a plan, and the cases without them, in a real MLflow."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ArchiveFailed, RunChanged
from bridge.model import MetricPoint
from bridge.plan import tags
from bridge.plan.models import HostedModel, Registration
from bridge.plan.plan import Plan
from bridge.plan.rename import Renaming
from bridge.tracking import Tracking, Written
from tests.support.in_memory import START
from tests.support.models import client_of
from tests.support.plans import plan
from tests.support.ports import free_port
from tests.support.wrapped_store import WrappedTracking

OURS = {tags.PROVIDER: "openai", tags.JOB: "a", tags.BRIDGE: tags.OWNED}


def written(tracking: Tracking, **facts: object) -> Written:
    """Record a plan for a new run."""
    place = tracking.experiment("hosted-fine-tunes", create=True)
    assert place
    settings: dict[str, object] = {"run_id": None, "tags": OURS, "start_time": START}
    return tracking.record(place, plan("a", **(settings | facts)), None)


@pytest.mark.parametrize(
    ("facts", "status", "end_time"),
    [
        ({}, "RUNNING", None),
        ({"status": "SCHEDULED"}, "SCHEDULED", None),
        ({"status": "FINISHED", "end_time": START + 5}, "FINISHED", START + 5),
        ({"end_time": START + 5}, "RUNNING", None),
    ],
)
def test_the_status_is_written_with_the_end(
    tracking: Tracking, facts: dict[str, object], status: str, end_time: int | None
) -> None:
    """A status is written with the end of the job, if there is one, and the tags that come last."""
    place = written(tracking, tags=OURS | {"gone": "x", "kept": "y"})
    last: Plan = plan("a", removed_tags=("gone",), last_tags={"last": "z"}, **facts)
    tracking.finish(place, last)
    with tracking.asked() as client:
        run = client.get_run(place.run_id)
    assert (run.info.status, run.info.end_time) == (status, end_time)
    assert run.info.start_time == START
    known = {name for name in ("gone", "kept", "last") if name in run.data.tags}
    assert known == {"kept", "last"}


def test_a_run_has_what_its_plan_says(tracking: Tracking) -> None:
    """A new run has name, params and points of its plan; a known one gets new tags too."""
    point = MetricPoint("loss", 3, 0.5, START + 7)
    place = written(tracking, run_name="openai/x", params={"seed": "1"}, points=(point,))
    run = tracking.run(place.run_id)
    assert run is not None
    assert (run.name, run.params, run.newest) == (
        "openai/x",
        {"seed": "1"},
        {"loss": (3, START + 7)},
    )
    assert run.tags.items() >= OURS.items()
    again = tracking.record(
        run.experiment_id, plan("a", tags={"new": "1", tags.STARTED: "then"}), run
    )
    assert again.run_id == place.run_id
    found = tracking.run(place.run_id)
    assert found is not None
    assert (found.tags["new"], found.tags[tags.STARTED]) == ("1", "then")
    assert tracking.history(found) == {"loss": [point]}
    assert tracking.steps(found) == {"loss": frozenset({3})}


def test_a_new_run_has_its_tags_from_the_beginning(uri: str) -> None:
    """A new run is created with its tags, so that none of them costs another request."""
    calls: list[partial[Any]] = []

    def note(_name: str, call: partial[Any]) -> object:
        calls.append(call)
        return call()

    place = written(WrappedTracking(uri, note), tags=OURS | {tags.STARTED: "then"})
    assert place.run.tags[tags.STARTED] == "then"
    (batch,) = [call for call in calls if call.func.__name__ == "log_batch"]
    assert batch.keywords["tags"] == []
    assert "set_tag" not in {call.func.__name__ for call in calls}


@pytest.mark.parametrize("label", ["huggingface", None])
def test_a_renamed_curve_measures_the_same_models(tracking: Tracking, label: str | None) -> None:
    """A curve's copy measures the models that it measures, and a whole renaming has a tag."""
    point = MetricPoint("train_loss", 3, 0.5, START)
    about = {tags.MODEL: "ft:a", **OURS}
    model = HostedModel(
        model="ft:a", name="a-step-3", step=3, metrics=(("train_loss", 3),), about=about
    )
    place = written(tracking, points=(point,), models=(model,))
    copies = replace(point, name="loss"), replace(point, name="loss", step=4)
    renaming = Renaming(
        points=copies, params={"epochs": "2"}, renamed={"train_loss": "loss"}, conflicts=()
    )
    tracking.rename(place.run, renaming, label)
    run = tracking.run(place.run_id)
    assert run
    assert (run.params, run.tags.get(tags.METRIC_NAMES)) == ({"epochs": "2"}, label)
    assert tracking.history(run)["loss"] == [*copies]
    with tracking.asked() as client:
        measured = client.get_logged_model(place.model_ids["ft:a"]).metrics
    assert measured
    assert sorted((each.key, each.step) for each in measured) == [("loss", 3), ("train_loss", 3)]


def test_the_status_is_the_last_word_but_for_a_mark(uri: str) -> None:
    """A run is not final before what is no longer true is removed."""
    calls: list[str] = []

    def note(name: str, call: partial[Any]) -> object:
        calls.append(name)
        return call()

    tracking = WrappedTracking(uri, note)
    place = written(tracking, tags=OURS | {"gone": "x"})
    calls.clear()
    ended = plan("a", removed_tags=("gone",), status="FINISHED", end_time=START + 5)
    tracking.finish(place, replace(ended, last_tags={"last": "z"}))
    assert calls == ["delete_tag", "set_terminated", "set_tag"]


def test_a_run_that_loses_takes_its_models_along(uri: str) -> None:
    """A run that lost a race goes after its models, and so does one that is made meanwhile."""
    calls: list[str] = []
    about = {tags.MODEL: "ft:a", **OURS}
    model = HostedModel(model="ft:a", name="a-step-3", step=3, metrics=(), about=about)

    def note(name: str, call: partial[Any]) -> object:
        calls.append(name)
        if name == "delete_run":
            run = client_of(uri).get_run(place.run_id)
            client_of(uri).create_logged_model(
                run.info.experiment_id, name="late", source_run_id=place.run_id, tags=about
            )
        return call()

    tracking = WrappedTracking(uri, note)
    place = written(tracking, models=(model,))
    tracking.delete([place.run_id])
    changes = [name for name in calls if name.startswith("delete_")]
    assert changes == ["delete_logged_model", "delete_run", "delete_logged_model"]
    assert client_of(uri).search_logged_models([place.run.experiment_id]) == []


def test_a_result_without_a_model_is_not_registered(tracking: Tracking) -> None:
    """A version belongs to a model: where the store took none, none is registered."""
    place = written(tracking)
    registration = Registration(name="bot", model="ft:a", source="openai:/ft:a", at=START)
    tracking.register(place, plan("a", registration=registration))
    with tracking.asked() as client:
        assert client.search_registered_models() == []


def test_a_deleted_run_takes_nothing(tracking: Tracking) -> None:
    """A plan for a run that was deleted meanwhile is refused, a single tag is dropped."""
    place = written(tracking)
    tracking.delete([place.run_id])
    tracking.delete([place.run_id, "f" * 32])
    run = tracking.run(place.run_id)
    assert run is not None
    assert run.is_deleted
    tracking.tag(place.run_id, "late", "1")
    tracking.tag("f" * 32, "late", "1")
    with pytest.raises(RunChanged):
        tracking.record(run.experiment_id, plan("a", params={"seed": "1"}), run)
    with pytest.raises(RunChanged):
        tracking.finish(place, plan("a", status="FINISHED", end_time=START))
    assert tracking.run(place.run_id) == run


def test_an_archive_lists_its_files(tracking: Tracking, tmp_path: Path) -> None:
    """The files of an archive have their names and sizes, those in folders too."""
    place = written(tracking)
    assert tracking.archived(place.run, "provider") == []
    assert tracking.archived_names(place.run, "provider") == frozenset()
    (tmp_path / "folder" / "datasets").mkdir(parents=True)
    (tmp_path / "folder" / "job.json").write_text("{}")
    (tmp_path / "folder" / "empty").write_text("")
    (tmp_path / "folder" / "datasets" / "1.jsonl").write_text("12345")
    tracking.archive(place, tmp_path / "folder", "provider")
    assert sorted(tracking.archived(place.run, "provider")) == [0, 2, 5]
    assert tracking.archived_names(place.run, "provider") == {"job.json", "empty", "datasets"}


def test_a_store_that_takes_no_archive_is_named_without_the_run(
    tracking: Tracking, tmp_path: Path
) -> None:
    """The sentence about a store is the same for each run, and its own words are in the remedy."""
    place = written(tracking)
    blocked = Path(place.run.artifact_uri.removeprefix("file://"))
    blocked.parent.parent.mkdir(parents=True, exist_ok=True)
    blocked.parent.write_text("a file in the place of the run's folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "job.json").write_text("{}")
    with pytest.raises(ArchiveFailed) as refused:
        tracking.archive(place, tmp_path / "folder", "provider")
    assert place.run_id not in str(refused.value)
    assert blocked.parent.parent.name in refused.value.sentence
    assert "RUN" in refused.value.remedy
    assert "mlflow.archive: false" in refused.value.remedy


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_gone_is_no_story_of_retries(tracking: Tracking, tmp_path: Path) -> None:
    """If the artifact server is gone, the remedy contains the reason in two words."""
    place = written(tracking)
    gone = Tracking(f"http://127.0.0.1:{free_port()}")
    run = replace(place.run, artifact_uri=f"mlflow-artifacts:/1/{place.run_id}/artifacts")
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(ArchiveFailed) as refused:
        gone.archive(replace(place, run=run), tmp_path, "provider")
    assert refused.value.remedy.endswith("It said: Connection refused")
