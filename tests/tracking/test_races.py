"""Changes to runs, models and versions by others, while the bridge writes them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import event
from sqlalchemy.engine import Engine

from bridge.errors import TrackingError
from bridge.tracking import Tracking, experiments
from tests.support.in_memory import InMemoryProvider, snapshot_of
from tests.support.meddled import Meddled
from tests.support.models import client_of, experiment_id, models, run_of
from tests.support.recorded import active_runs, recorded

ONE = snapshot_of("ftjob-one", 0.9, 0.4)
OURS = {"fine_tuning_bridge": "ftbridge"}


def version(client: MlflowClient, run_id: str, ended_at: int) -> int:
    """Create a version of the registered model ``m``, as another bridge does."""
    tags = {**OURS, "fine_tuning_ended_at": str(ended_at)}
    return int(client.create_model_version("m", "openai:/any", run_id, tags=tags).version)


@pytest.fixture
def store(uri: str) -> Meddled:
    """Return the bridge's store, with hooks."""
    return Meddled(uri)


def test_a_users_model_does_not_go_with_a_run(
    uri: str, store: Meddled, executor: ThreadPoolExecutor
) -> None:
    """A user's model does not go with a run, whatever its tags are."""
    InMemoryProvider(ONE).sync(store, executor).run()
    run_id, place = run_of(uri, "ftjob-one").info.run_id, experiment_id(uri)
    mine = client_of(uri).create_logged_model(
        place,
        name="mine",
        source_run_id=run_id,
        tags={"fine_tuned_model": "ft:ftjob-one"},
    )
    store.delete([run_id])
    left = client_of(uri).search_logged_models([place])
    assert [model.model_id for model in left] == [mine.model_id]


def test_an_alias_that_moves_meanwhile(uri: str, store: Meddled) -> None:
    """The alias ends at the newest job, in whatever order it is moved."""
    client = client_of(uri)
    client.create_registered_model("m")
    version(client, "a" * 32, ended_at=1)

    def another() -> None:
        client.set_registered_model_alias("m", "newest", str(version(client, "b" * 32, ended_at=2)))

    store.before["set_registered_model_alias"] = another
    store.move_alias("m")
    assert store.alias("m") == (2, 2)


def test_a_link_to_a_doubled_version_goes(
    uri: str, store: Meddled, executor: ThreadPoolExecutor
) -> None:
    """A duplicate version is deleted, and the model links the other process's version."""
    client = client_of(uri)
    client.create_registered_model("m")
    links: list[str] = []

    def another() -> None:
        run_id = run_of(uri, "ftjob-one").info.run_id
        assert version(client, run_id, ended_at=1) == 1
        (model,) = client.search_logged_models(
            [experiment_id(uri)], filter_string="tags.fine_tuned_model = 'ft:ftjob-one'"
        )
        # As a server does at once for the one that is about to be made here.
        shown = json.dumps([{"name": "m", "version": "2"}])
        client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": shown})
        links.append(model.model_id)

    store.before["create_model_version"] = another
    assert InMemoryProvider(ONE).sync(store, executor, register="m").run().is_well
    written = client.get_logged_model(links[0]).tags["mlflow.modelVersions"]
    assert json.loads(written) == [{"name": "m", "version": "1"}]
    assert [int(each.version) for each in client.search_model_versions("name = 'm'")] == [1]


def refuse() -> None:
    """Refuse a call for an unknown reason."""
    raise MlflowException("not today")


@pytest.mark.parametrize("before", [None, "me"])
def test_a_claim_that_is_refused(uri: str, store: Meddled, before: str | None) -> None:
    """A refused claim is an error, unless another process holds the run."""
    run_id = client_of(uri).create_run("0").info.run_id
    if before:
        assert store.claim(run_id, before) == before
    store.before["log_param"] = refuse
    with pytest.raises(TrackingError, match="not today"):
        store.claim(run_id, "me")
    assert store.claim(run_id, "me") == "me"
    assert store.claim(run_id, "another") == "me"


def test_a_tag_of_a_run_that_was_deleted(uri: str, store: Meddled) -> None:
    """A tag of a deleted run is not set, and raises no error."""
    client = client_of(uri)
    run_id = client.create_run("0").info.run_id
    store.before["set_tag"] = lambda: client.delete_run(run_id)
    store.tag(run_id, "any", "value")
    assert client.get_run(run_id).data.tags.get("any") is None


def test_an_experiment_that_another_process_creates(uri: str, store: Meddled) -> None:
    """Two processes share an experiment that both create, and any other refusal is an error."""
    client = client_of(uri)
    made: list[str] = []
    store.before["create_experiment"] = lambda: made.append(client.create_experiment("any"))
    assert store.experiment("any", create=True) == made[0]
    store.before["create_experiment"] = refuse
    with pytest.raises(TrackingError, match="not today"):
        store.experiment("other", create=True)


def test_a_model_that_is_deleted_while_it_is_written(
    uri: str, store: Meddled, executor: ThreadPoolExecutor
) -> None:
    """A model that is deleted while it is written is created again in the same pass."""
    client = client_of(uri)

    def another() -> None:
        for model in client.search_logged_models([experiment_id(uri)]):
            client.delete_logged_model(model.model_id)

    store.before["finalize_logged_model"] = another
    assert InMemoryProvider(ONE).sync(store, executor).run().is_well
    assert {model.status for model in models(uri).values()} == {"READY"}
    assert recorded(uri)["ftjob-one"].status == "FINISHED"


def test_a_model_that_is_not_ready_is_completed(uri: str, executor: ThreadPoolExecutor) -> None:
    """A pending model of a dead process is completed."""
    dying = Meddled(uri)
    dying.before["finalize_logged_model"] = refuse
    assert not InMemoryProvider(ONE).sync(dying, executor).run().is_well
    (run,) = Tracking(uri).runs([experiment_id(uri)])
    assert dying.ready_models(run) == {}
    assert InMemoryProvider(ONE).sync(Tracking(uri), executor).run().is_well
    assert {model.status for model in models(uri).values()} == {"READY"}


def test_models_go_with_a_run_that_is_deleted_meanwhile(
    uri: str, store: Meddled, executor: ThreadPoolExecutor
) -> None:
    """Models are deleted with a run that its user deletes meanwhile."""
    client = client_of(uri)
    store.before["log_batch"] = lambda: client.delete_run(run_of(uri, "ftjob-one").info.run_id)
    InMemoryProvider(ONE).sync(store, executor).run()
    assert models(uri) == {}
    assert active_runs(uri) == []


def test_two_writers_set_the_first_tag_of_an_experiment_at_once(
    uri: str, tracking: Tracking
) -> None:
    """A tag is set although another process sets it between MLflow's read and its write."""
    place = tracking.experiment("races", create=True)
    assert place is not None
    written: list[str] = []

    def another(*call: object) -> None:
        statement = str(call[2])  # behind the connection and the cursor
        if statement.startswith("INSERT INTO experiment_tags") and not written:
            written.append(statement)
            with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as other:
                other.execute("INSERT INTO experiment_tags VALUES ('note', 'theirs', ?)", [place])
                other.commit()

    event.listen(Engine, "before_cursor_execute", another)
    try:
        with tracking.asked() as client:
            experiments.set_tag(client, place, "note", "ours")
    finally:
        event.remove(Engine, "before_cursor_execute", another)
    assert written
    assert client_of(uri).get_experiment(place).tags["note"] == "ours"
