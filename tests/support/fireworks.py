"""Helpers that the Fireworks tests share."""

from __future__ import annotations

from bridge.model import Job, Snapshot
from bridge.providers.base import Provider
from tests.support.wire_fireworks import (
    ACCOUNT,
    SUPERVISED,
    FireworksApi,
)
from tests.support.wire_server import Row

JOB = f"{SUPERVISED}/a-job"


LATER = 6 * 60
"""Seconds after a job's end when the provider stops waiting for more."""


def read(api: FireworksApi, job_id: str = JOB, *, keep: bool = False) -> Snapshot:
    """Read one job completely."""
    provider = api.provider()
    return provider.read(provider.job(job_id), logged={}, keep=keep)


def jobs_of(provider: Provider) -> list[list[str]]:
    """Return the ids on each page."""
    return [[each.id for each in page.jobs] for page in provider.pages()]


def supervised(**fields: object) -> FireworksApi:
    """Return an account with one supervised job."""
    api = FireworksApi()
    api.jobs = [api.row("a-job", **fields)]
    return api


def only(api: FireworksApi) -> Job:
    """Return the only job of an account, as its list returns it."""
    (found,) = (each for page in api.provider().pages() for each in page.jobs)
    return found


def other(api: FireworksApi, collection: str, name: str = "a-job", **fields: object) -> Row:
    """Return a preference or reinforcement job, whose training settings are one level deeper."""
    row = api.row(name)
    kept = ("displayName", "createTime", "completedTime", "dataset", "state", "status")
    chosen = ("outputModel", "baseModel", "epochs", "learningRate", "loraRank")
    return {
        "name": f"{ACCOUNT}/{collection}/{name}",
        **{key: row[key] for key in kept},
        "trainingConfig": {key: row[key] for key in chosen},
        **fields,
    }
