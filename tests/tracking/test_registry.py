"""Results of jobs as versions of registered models, in a real MLflow."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModelAlias
from sqlalchemy import event
from sqlalchemy.orm import Session

from bridge.errors import RunChanged
from bridge.model import JobStatus
from bridge.plan.models import Registration
from bridge.simulator import Outcome, Simulator
from bridge.simulator.openai_objects import model_name
from bridge.tracking import Tracking
from bridge.tracking.registry import register
from tests.support.in_memory import START, InMemoryProvider, snapshot_of
from tests.support.models import client_of, logged_models, newest, run_of, versions
from tests.support.processes import dump
from tests.support.world import Clock, job, make_sync
from tests.support.wrapped_store import WrappedTracking


def test_a_result_becomes_a_version(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job's result becomes a version with tags, linked to its run and its LoggedModel."""
    hosted = job("ftjob-a", suffix="Support: EU/US")
    failed = job("ftjob-b", outcome=Outcome.FAILED, suffix="Never")
    with Simulator(jobs=[hosted, failed], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, register="{provider}-{suffix}")
        clock.now += 35
        sync.run()
        assert not client_of(uri).search_registered_models()
        clock.now += 1000
        assert sync.run().is_well
    (registered,) = client_of(uri).search_registered_models()
    assert registered.name == "openai-Support-EU-US"
    (version,) = versions(uri, registered.name)
    full_name, run = model_name(hosted, 12), run_of(uri, "ftjob-a")
    assert version.source == f"openai:/{full_name}"
    assert version.run_id == run.info.run_id
    assert version.status == "READY"
    assert (version.description or "").startswith("The result of the job `ftjob-a` at `openai`")
    ended = datetime.fromtimestamp(int(hosted.settled_at), UTC)
    assert version.tags == {
        "fine_tuned_model": full_name,
        "fine_tuning_provider": "openai",
        "fine_tuning_job_id": "ftjob-a",
        "fine_tuning_ended_at": ended.isoformat(timespec="milliseconds"),
        "fine_tuning_bridge": "ftbridge",
    }
    assert newest(uri, registered.name) == full_name
    linked = {
        model.tags["fine_tuned_model"]: json.loads(model.tags["mlflow.modelVersions"])
        for model in logged_models(uri)
        if "mlflow.modelVersions" in model.tags
    }
    assert linked == {full_name: [{"name": registered.name, "version": str(version.version)}]}


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_the_alias_is_at_the_newest_job(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor, order: Iterable[str]
) -> None:
    """The alias is at the job that ended last, in whatever order jobs are recorded."""
    ends = {"a": START + 1000, "b": START + 2000, "c": START + 3000}
    provider = InMemoryProvider()
    recorded: list[str] = []
    for each in order:
        provider.tell(snapshot_of(f"ftjob-{each}", 0.5, suffix="bot", finished_at=ends[each]))
        assert provider.sync(tracking, executor, register="{suffix}").run().is_well
        recorded.append(each)
        assert newest(uri, "bot") == f"ft:ftjob-{max(recorded)}"
    assert len(versions(uri, "bot")) == 3


def test_what_users_register_is_left_alone(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A user's versions and aliases stay, even under the same name and of the same run."""
    client = client_of(uri)
    client.create_registered_model("bot")
    provider = InMemoryProvider(snapshot_of("ftjob-a", 0.5, suffix="bot", status=JobStatus.RUNNING))
    provider.sync(tracking, executor, register="{suffix}").run()
    run_id = run_of(uri, "ftjob-a").info.run_id
    for source in ("openai:/by-hand", "openai:/again"):
        client.create_model_version("bot", source, run_id=run_id)
    client.set_registered_model_alias("bot", "champion", "2")
    provider.tell(snapshot_of("ftjob-a", 0.5, suffix="bot"))
    assert provider.sync(tracking, executor, register="{suffix}").run().is_well
    assert [version.source for version in versions(uri, "bot")] == [
        "openai:/by-hand",
        "openai:/again",
        "openai:/ft:ftjob-a",
    ]
    assert newest(uri, "bot") == "ft:ftjob-a"
    assert str(client.get_model_version_by_alias("bot", "champion").version) == "2"


class Results:
    """Finished jobs whose results are registered under one name."""

    def __init__(self, uri: str, number: int) -> None:
        self.uri = uri
        tracking = Tracking(uri)
        with ThreadPoolExecutor(2) as executor:
            snapshots = [snapshot_of(f"ftjob-{each}", 0.5) for each in range(number)]
            assert InMemoryProvider(*snapshots).sync(tracking, executor).run().is_well
        self.models = {model.tags["fine_tuned_model"]: model for model in logged_models(uri)}

    def register(self, number: int) -> None:
        """Make the result of one job a version."""
        name = f"ft:ftjob-{number}"
        model = self.models[name]
        assert model.source_run_id is not None
        # Their ends are not in the order of their numbers.
        at = START + number * 7 % 11
        registration = Registration(name="bot", model=name, source=f"openai:/{name}", at=at)
        facts = {"fine_tuned_model": name}
        tracking = Tracking(self.uri)
        for _ in range(3):  # as a pass does where another process is in the way
            with suppress(RunChanged), tracking.asked(one_job=True) as client:
                register(client, registration, model.source_run_id, model.model_id, facts)
                return


def test_an_alias_that_is_deleted_while_it_is_moved(uri: str) -> None:
    """An alias that is deleted during its move leaves its job to the next pass."""
    results = Results(uri, 2)
    results.register(0)
    client = MlflowClient(uri)
    client.create_model_version("bot", "openai:/ft:other")

    def delete(session: Session, *_others: object) -> None:
        if any(isinstance(each, SqlRegisteredModelAlias) for each in session.dirty):
            with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as other:
                other.execute("DELETE FROM registered_model_aliases")
                other.commit()

    event.listen(Session, "before_flush", delete)
    try:
        with pytest.raises(RunChanged), Tracking(uri).asked(one_job=True):
            client.set_registered_model_alias("bot", "newest", "2")
    finally:
        event.remove(Session, "before_flush", delete)
    results.register(1)
    assert newest(uri, "bot") == "ft:ftjob-1"


@pytest.mark.parametrize("repeats", [1, 3])
def test_several_that_register_at_once(uri: str, repeats: int) -> None:
    """Processes that register at once give each result one version, and the newest the alias."""
    results = Results(uri, 4)
    start = threading.Barrier(4 * repeats, timeout=60)

    def at_once(number: int) -> None:
        start.wait()
        results.register(number)

    with ThreadPoolExecutor(4 * repeats) as pool:
        list(pool.map(at_once, [*range(4)] * repeats))
    found = versions(uri, "bot")
    assert sorted(version.tags["fine_tuned_model"] for version in found) == [
        f"ft:ftjob-{each}" for each in range(4)
    ]
    assert newest(uri, "bot") == "ft:ftjob-3"  # 3 * 7 % 11 is the most
    links = [json.loads(m.tags["mlflow.modelVersions"]) for m in logged_models(uri)]
    assert sorted(int(link["version"]) for (link,) in links) == sorted(
        int(version.version) for version in found
    )


def test_registering_again_changes_nothing(uri: str) -> None:
    """Another registration changes nothing, not even the time of an alias."""
    results = Results(uri, 2)
    results.register(0)
    results.register(1)
    before = dump(Path(uri.removeprefix("sqlite:///")))
    results.register(0)
    assert dump(Path(uri.removeprefix("sqlite:///"))) == before


def test_a_version_that_was_made_twice_is_cleared_up(uri: str) -> None:
    """A version that was created twice, after a lost reply, is deleted by the next pass."""
    results = Results(uri, 1)
    results.register(0)
    (first,) = versions(uri, "bot")
    assert first.description is None
    client_of(uri).create_model_version(
        "bot", str(first.source), run_id=first.run_id, tags=dict(first.tags)
    )
    client_of(uri).set_registered_model_alias("bot", "newest", "2")
    both = [{"name": "bot", "version": str(number)} for number in (1, 2)]
    (model,) = logged_models(uri)
    linked = {"mlflow.modelVersions": json.dumps(both)}  # as a server does
    client_of(uri).set_logged_model_tags(model.model_id, linked)
    results.register(0)
    assert [str(version.version) for version in versions(uri, "bot")] == ["1"]
    assert newest(uri, "bot") == "ft:ftjob-0"
    (model,) = logged_models(uri)
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "bot", "version": "1"}]


def test_the_first_of_two_versions_stays_by_number(uri: str) -> None:
    """A run with the versions 9 and 10 keeps 9, whatever their order as text is."""
    results, client = Results(uri, 1), client_of(uri)
    client.create_registered_model("bot")
    run_id, ours = run_of(uri, "ftjob-0").info.run_id, {"fine_tuning_bridge": "ftbridge"}
    for number in range(1, 11):
        facts = {"run_id": run_id, "tags": ours} if number > 8 else {}
        client.create_model_version("bot", "openai:/x", **facts)
    results.register(0)
    assert [str(each.version) for each in versions(uri, "bot")] == [*map(str, range(1, 10))]


def test_ends_of_either_form_are_compared(uri: str) -> None:
    """An end in milliseconds, as version 0.1 wrote it, is not later than a newer job's."""
    results, client = Results(uri, 1), client_of(uri)
    client.create_registered_model("bot")
    older = {"fine_tuning_bridge": "ftbridge", "fine_tuning_ended_at": str(START - 1)}
    client.create_model_version("bot", "openai:/x", tags=older)
    results.register(0)
    assert newest(uri, "bot") == "ft:ftjob-0"


def test_an_alias_moves_before_its_version_goes(uri: str) -> None:
    """An interruption between the two leaves the alias at a version that exists."""
    results = Results(uri, 2)
    results.register(0)
    results.register(1)
    calls: list[str] = []

    def note(name: str, call: partial[Any]) -> object:
        calls.append(name)
        return call()

    WrappedTracking(uri, note).delete([run_of(uri, "ftjob-1").info.run_id])
    assert newest(uri, "bot") == "ft:ftjob-0"
    assert calls.index("set_registered_model_alias") < calls.index("delete_model_version")
