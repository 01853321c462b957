"""Everything that the bridge recorded about a provider's jobs, in a real MLflow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.plan import tags
from bridge.plan.models import Registration
from bridge.plan.repair import Inventory
from bridge.tracking import Tracking, Written
from bridge.tracking.audit import MadeVersion
from tests.support.in_memory import InMemoryProvider, snapshot_of
from tests.support.plans import plan

NAMES = ("a", "b")


class Store:
    """Two recorded jobs with two models each, and one version each."""

    def __init__(self, tracking: Tracking, executor: ThreadPoolExecutor) -> None:
        self.tracking = tracking
        provider = InMemoryProvider(*(snapshot_of(name, 0.9, 0.4, suffix="bot") for name in NAMES))
        assert provider.sync(tracking, executor, register="{suffix}").run().is_well
        found = tracking.experiment("hosted-fine-tunes", create=False)
        assert found
        self.places = [found]
        self.runs = {run.job_id: run for run in tracking.runs(self.places, "openai")}


@pytest.fixture
def store(tracking: Tracking, executor: ThreadPoolExecutor) -> Store:
    """Return a store with two jobs."""
    return Store(tracking, executor)


def test_only_the_bridges_models_are_made_models(store: Store) -> None:
    """The models of a provider, or of one of its jobs, are listed without those of users."""
    tracking, (place,) = store.tracking, store.places
    with tracking.asked() as client:
        client.create_logged_model(
            place, source_run_id=store.runs["a"].run_id, tags={tags.PROVIDER: "openai"}
        )
    found = [*tracking.made_models(store.places, "openai")]
    assert {(each.job_id, each.model) for each in found} == {
        *(("a", "ft:a:1"), ("a", "ft:a"), ("b", "ft:b:1"), ("b", "ft:b"))
    }
    assert [each.run_id for each in found] == sorted(each.run_id for each in found)
    assert {each.experiment_id for each in found} == {place}
    assert all(each.run_id == store.runs[each.job_id].run_id for each in found)
    with tracking.asked() as client:
        for each in found:
            made = client.get_logged_model(each.model_id)
            assert each.age == (made.creation_timestamp, made.model_id)
    assert {each.job_id for each in tracking.made_models(store.places, "openai", "b")} == {"b"}
    assert [*tracking.made_models(store.places, "mistral")] == []
    assert [*tracking.made_models([], "openai")] == []


def test_only_the_bridges_versions_are_made_versions(store: Store) -> None:
    """The versions of a provider, or of one of its jobs, are listed without those of users."""
    tracking = store.tracking
    with tracking.asked() as client:
        client.create_model_version("bot", "openai:/mine", tags={tags.PROVIDER: "openai"})
        client.set_registered_model_alias("bot", "champion", "2")
    found = [*tracking.made_versions("openai")]
    assert [each.number for each in found] == [1, 2]
    assert {each.job_id: (each.name, each.run_id) for each in found} == {
        name: ("bot", store.runs[name].run_id) for name in NAMES
    }
    (one,) = tracking.made_versions("openai", "a")
    assert one.job_id == "a"
    assert [*tracking.made_versions("mistral")] == []
    assert [tracking.users_aliases(each) for each in found] == [[], ["champion"]]


def test_versions_and_models_are_deleted_one_by_one(store: Store) -> None:
    """The alias of a deleted version moves to the next one, and a model moves to the trash."""
    tracking = store.tracking
    assert tracking.alias("bot") == (2, 2)
    with tracking.asked() as client:
        client.set_registered_model_alias("bot", "newest", "1")
    assert tracking.alias("bot") == (1, 2)
    tracking.move_alias("bot")
    assert tracking.alias("bot") == (2, 2)
    tracking.delete_version(MadeVersion(name="bot", number=2, run_id="", job_id=""))
    assert tracking.alias("bot") == (1, 1)
    (first, *others) = tracking.made_models(store.places, "openai")
    tracking.delete_model(first.model_id)
    assert [*tracking.made_models(store.places, "openai")] == others


def test_an_inventory_has_what_a_plan_would_add(store: Store, tmp_path: Path) -> None:
    """Only what a plan would write is requested: archive, version and models."""
    tracking, run = store.tracking, store.runs["a"]
    models = tracking.ready_models(run)
    assert [*sorted(models)] == ["ft:a", "ft:a:1"]
    registration = Registration(name="bot", model="ft:a", source="openai:/ft:a", at=1)
    empty = Inventory(archived=frozenset(), registered=frozenset(), emptied=frozenset())
    assert tracking.inventory(run, plan("a"), models, "provider") == empty
    wanted = plan("a", registration=registration, documents={"job.json": b""})
    found = tracking.inventory(run, wanted, models, "provider")
    assert found.registered == {"bot"}
    assert found.archived == frozenset()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "job.json").write_text("{}")
    tracking.archive(Written(run), tmp_path / "folder", "provider")
    for wish in (plan("a", documents={"job.json": b""}), plan("a", files=("f",))):
        assert tracking.inventory(run, wish, models, "provider").archived == {"job.json"}
    assert tracking.inventory(run, plan("a", models=("any",)), models, "provider") == empty
    tracking.delete_model(models["ft:a:1"])
    found = tracking.inventory(run, plan("a", models=("any",)), models, "provider")
    assert found.emptied == {1}
    # A deleted version is still known by its model.
    (version,) = tracking.made_versions("openai", "a")
    tracking.delete_version(version)
    assert tracking.inventory(run, wanted, models, "provider").registered == {"bot"}
    assert tracking.inventory(run, wanted, {}, "provider").registered == frozenset()
