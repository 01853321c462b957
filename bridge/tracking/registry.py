"""A job's result as a version of a registered model, with an alias for the newest.

MLflow numbers versions consecutively: if two are created for one run, every process sees the
smaller number, and that version is kept.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from bridge.plan import tags
from bridge.plan.models import Registration

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS: Final = "newest"
_ENDED: Final = "fine_tuning_ended_at"
"""Tag with the end of the job in ISO 8601, because versions may be created in any order."""
_VERSIONS: Final = "mlflow.modelVersions"
"""Tag of a LoggedModel by which the UI links it and its run to its versions."""
_ROUNDS: Final = 4


def register(
    client: MlflowClient,
    registration: Registration,
    run_id: str,
    model_id: str,
    facts: dict[str, str],
) -> None:
    """Ensure that the model has one version, and that the alias is at the newest one.

    Args:
        client: MLflow's client.
        registration: name and time.
        run_id: the run that made the model.
        model_id: the LoggedModel.
        facts: tags of the version.
    """
    if not _of_run(client, registration.name, run_id):
        _create_registered_model(client, registration.name)
        client.create_model_version(
            registration.name,
            source=registration.source,
            run_id=run_id,
            model_id=model_id,
            description=registration.description or None,
            tags={**facts, _ENDED: _written(registration.at), tags.BRIDGE: tags.OWNED},
            await_creation_for=0,
        )
    first, *doubles = _of_run(client, registration.name, run_id)
    _link(client, model_id, first, doubles)
    for double in doubles:
        _delete(client, double.name, int(double.version))
    point_at_newest(client, registration.name)


def forget(client: MlflowClient, run_id: str) -> None:
    """Delete the versions of a run that loses its job to another run."""
    versions = _found(client, f"run_id = '{run_id}'")
    for version in versions:
        # The alias first, because afterwards its lost version could not be detected.
        lost = {int(each.version) for each in versions if each.name == version.name}
        point_at_newest(client, version.name, but=lost)
        _delete(client, version.name, int(version.version))


def remove(client: MlflowClient, name: str, number: int) -> None:
    """Delete one version."""
    point_at_newest(client, name, but={number})
    _delete(client, name, number)


def names_of(client: MlflowClient, run_id: str, model_id: str | None) -> frozenset[str]:
    """Return the registered models with a version of a run, including deleted ones.

    The tags of a LoggedModel about its versions outlive the versions.
    """
    linked = {name for name, _ in _links(client, model_id)} if model_id else set()
    return frozenset(linked | {each.name for each in _found(client, f"run_id = '{run_id}'")})


def alias(client: MlflowClient, name: str) -> tuple[int | None, int | None]:
    """Return the version with a registered model's alias, and the version that should have it."""
    newest = _newest(client, name)
    at = client.get_registered_model(name).aliases.get(ALIAS)
    return (None if at is None else int(at)), newest


def users_aliases(client: MlflowClient, name: str, number: int) -> list[str]:
    """Return the aliases that users gave a version."""
    known = client.get_registered_model(name).aliases
    return sorted(each for each, at in known.items() if int(at) == number and each != ALIAS)


def _link(
    client: MlflowClient, model_id: str, version: ModelVersion, doubles: list[ModelVersion]
) -> None:
    """Tag the LoggedModel with its version, as a server does and a database does not."""
    links = _links(client, model_id)
    gone = {(double.name, str(double.version)) for double in doubles}
    wanted = links - gone | {(version.name, str(version.version))}
    if wanted != links:
        shown = [{"name": name, "version": number} for name, number in sorted(wanted)]
        client.set_logged_model_tags(model_id, {_VERSIONS: json.dumps(shown)})


def _links(client: MlflowClient, model_id: str) -> set[tuple[str, str]]:
    written = client.get_logged_model(model_id).tags.get(_VERSIONS) or "[]"
    return {(each["name"], str(each["version"])) for each in json.loads(written)}


def _create_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _of_run(client: MlflowClient, name: str, run_id: str) -> list[ModelVersion]:
    """Return the versions of one run by ascending number; there is rarely more than one."""
    versions = _found(client, f"name = '{name}'")
    return sorted((v for v in versions if v.run_id == run_id), key=lambda v: int(v.version))


def _found(client: MlflowClient, filter_string: str) -> list[ModelVersion]:
    """Return the versions that the bridge created."""
    versions: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(filter_string, page_token=token)
        versions += [version for version in page if version.tags.get(tags.BRIDGE) == tags.OWNED]
        token = page.token
        if not token:
            return versions


def _delete(client: MlflowClient, name: str, number: int) -> None:
    with _perhaps_gone():
        client.delete_model_version(name, str(number))


@contextlib.contextmanager
def _perhaps_gone() -> Iterator[None]:
    """Ignore that another process has deleted the version."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def point_at_newest(client: MlflowClient, name: str, *, but: Collection[int] = ()) -> None:
    """Move the alias, and check it afterwards, because another process may have moved it.

    Args:
        client: MLflow's client.
        name: name of the registered model.
        but: versions that do not count.
    """
    for _ in range(_ROUNDS):
        newest = _newest(client, name, but=but)
        if newest is None:
            return
        aliases = client.get_registered_model(name).aliases
        if str(aliases.get(ALIAS)) == str(newest):
            return
        with _perhaps_gone():
            client.set_registered_model_alias(name, ALIAS, str(newest))


def _newest(client: MlflowClient, name: str, *, but: Collection[int] = ()) -> int | None:
    """Return the version of the job that ended last."""
    versions = (v for v in _found(client, f"name = '{name}'") if int(v.version) not in but)
    ended = ((_ended_at(v.tags.get(_ENDED, "")), int(v.version)) for v in versions)
    return max(ended, default=(0, None))[1]


def _written(at: int) -> str:
    return tags.moment(at, "milliseconds") or str(at)


def _ended_at(written: str) -> float:
    """Return the Unix seconds of an end; version 0.1 wrote Unix milliseconds."""
    if written.isdecimal():
        return int(written) / 1000
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(written).timestamp()
    return 0
