"""The alias of a registered model, and the versions that the bridge deletes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import pytest
from mlflow import MlflowClient

from bridge.plan import tags
from bridge.plan.models import Registration
from bridge.tracking import Tracking, registry

ENDED = "fine_tuning_ended_at"
OURS = {tags.BRIDGE: tags.OWNED}


@pytest.fixture
def client(tracking: Tracking) -> MlflowClient:
    """Return MLflow's client of a store with a registered model."""
    with tracking.asked() as found:
        found.create_registered_model("bot")
        return found


def version(client: MlflowClient, ended: str = "", run_id: str = "", **more: str) -> int:
    """Create a version, by default the bridge's."""
    made = client.create_model_version(
        "bot", "openai:/x", run_id=run_id or None, tags=(more or OURS) | {ENDED: ended}
    )
    return int(made.version)


@pytest.mark.parametrize(
    ("ends", "newest"),
    [
        (("2026-01-02T00:00:00+00:00", "2026-01-01T00:00:00+00:00"), 1),
        (("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"), 2),
        (("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"), 2),
        (("2026-01-01T00:00:00+00:00", "1767225600001"), 2),
        (("1767225600001", "2026-01-01T00:00:00+00:00"), 1),
        (("2026-01-01T00:00:00+00:00", "soon"), 1),
        (("", ""), 2),
    ],
)
def test_the_newest_version_is_that_of_the_job_that_ended_last(
    client: MlflowClient, ends: tuple[str, str], newest: int
) -> None:
    """The end counts in both historical formats, then the number."""
    for end in ends:
        version(client, end)
    version(client, "2030-01-01T00:00:00+00:00", user="yes")
    assert registry.alias(client, "bot") == (None, newest)
    registry.point_at_newest(client, "bot")
    assert registry.alias(client, "bot") == (newest, newest)


def test_without_versions_there_is_no_alias(client: MlflowClient) -> None:
    """A model that has only users' versions gets no alias."""
    version(client, "2030-01-01T00:00:00+00:00", user="yes")
    registry.point_at_newest(client, "bot")
    assert registry.alias(client, "bot") == (None, None)


def test_the_alias_leaves_a_version_before_it_goes(client: MlflowClient) -> None:
    """The versions of a run are deleted, and the alias is at the newest of the others."""
    version(client, "2026-01-01T00:00:00+00:00", "a" * 32)
    version(client, "2026-01-02T00:00:00+00:00", "b" * 32)
    version(client, "2026-01-03T00:00:00+00:00", "b" * 32)
    version(client, "2026-01-04T00:00:00+00:00", "b" * 32, user="yes")
    registry.point_at_newest(client, "bot")
    assert registry.names_of(client, "b" * 32, None) == {"bot"}
    assert registry.names_of(client, "c" * 32, None) == frozenset()
    registry.forget(client, "b" * 32)
    left = client.search_model_versions("name = 'bot'")
    assert sorted(int(each.version) for each in left) == [1, 4]
    assert registry.alias(client, "bot") == (1, 1)
    version(client, "2026-01-05T00:00:00+00:00")
    registry.point_at_newest(client, "bot")
    assert registry.alias(client, "bot") == (5, 5)
    registry.remove(client, "bot", 5)
    registry.remove(client, "bot", 5)
    assert registry.alias(client, "bot") == (1, 1)


def test_a_model_keeps_its_links_to_other_versions(client: MlflowClient) -> None:
    """A LoggedModel that a user has registered under another name is linked with both versions."""
    place = client.create_experiment("any")
    run_id = client.create_run(place).info.run_id
    theirs = [{"name": "their", "version": "7"}]
    model = client.create_logged_model(
        place, source_run_id=run_id, tags={"mlflow.modelVersions": json.dumps(theirs)}
    )
    wanted = Registration(name="bot", model="ft:a", source="openai:/ft:a", at=1)
    registry.register(client, wanted, run_id, model.model_id, {})
    links = client.get_logged_model(model.model_id).tags["mlflow.modelVersions"]
    assert json.loads(links) == [{"name": "bot", "version": "1"}, *theirs]
    assert registry.names_of(client, run_id, model.model_id) == {"bot", "their"}


def test_the_aliases_of_users_are_theirs(client: MlflowClient) -> None:
    """A user's aliases of a version are listed, without the bridge's and those of others."""
    version(client)
    version(client)
    for alias, number in (("newest", "2"), ("b", "2"), ("a", "2"), ("c", "1")):
        client.set_registered_model_alias("bot", alias, number)
    assert registry.users_aliases(client, "bot", 2) == ["a", "b"]
    assert registry.users_aliases(client, "bot", 3) == []


class Restless:
    """A registry whose alias another process moves after every write."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, str]] = []

    def search_model_versions(self, filter_string: str, page_token: str | None) -> object:
        """Return one version."""
        assert (filter_string, page_token) == ("name = 'bot'", None)

        class Page(list[object]):
            token = None

        return Page([SimpleNamespace(version="3", tags=OURS, name="bot")])

    def get_registered_model(self, name: str) -> object:
        """Return the model with its alias elsewhere."""
        del name
        return SimpleNamespace(aliases={"newest": "2"})

    def set_registered_model_alias(self, name: str, alias: str, number: str) -> None:
        """Note the write."""
        self.written.append((name, alias, number))


def test_an_alias_that_others_move_is_given_up() -> None:
    """Two processes do not move an alias back and forth for ever."""
    restless = Restless()
    registry.point_at_newest(cast("MlflowClient", restless), "bot")
    assert restless.written == [("bot", "newest", "3")] * 4
