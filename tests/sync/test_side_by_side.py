"""All providers in one configuration and one experiment, backfilled and then followed.

The commands are real ones in separate processes. The simulator runs in this process, so that the
test turns the providers' clock. The expected content of MLflow comes from the simulator's replies.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import quote

import httpx
import pytest

from bridge.model import numbers
from bridge.providers.registry import TYPES
from bridge.simulator import Outcome, SimulatedJob, Simulator, all_end_by
from bridge.simulator.bedrock import arn_of
from bridge.simulator.bedrock_files import BUCKET
from bridge.simulator.jobs import Provider
from tests.support.config_file import simulated, write_config
from tests.support.databases import file_of
from tests.support.processes import dump, run, started, wait_until
from tests.support.recorded import RunRows, recorded
from tests.support.world import KEY, NOW, Clock, job

Point = tuple[str, int, float]
"""Metric, step, value."""
Shown = tuple[str, list[Point]]
"""A run's status and all of its points."""

PROVIDERS: Final[tuple[Provider, ...]] = get_args(Provider)
AXES: Final = {"step", "total_steps", "timestamp", "train/epoch", "train/step"}
"""Numbers of a row that give its position."""
STATUS: Final = {
    Outcome.SUCCEEDED: "FINISHED",
    Outcome.FAILED: "FAILED",
    Outcome.CANCELLED: "KILLED",
}
YESTERDAY: Final = NOW - 86_400
WIRE: Final = httpx.Client(verify=False)  # noqa: S501 - plain HTTP, and certificates take time


def history(provider: Provider) -> list[SimulatedJob]:
    """Return jobs that have ended; the cancelled one was trained on preferences where it can be."""
    return [
        job(f"{provider}-old", provider, suffix="old", created_at=YESTERDAY, seed=1),
        job(
            f"{provider}-broken",
            provider,
            suffix="broken",
            created_at=YESTERDAY + 60,
            outcome=Outcome.FAILED,
            ends_at_step=7,
        ),
        job(
            f"{provider}-stopped",
            provider,
            suffix="stopped",
            created_at=YESTERDAY + 120,
            outcome=Outcome.CANCELLED,
            ends_at_step=5,
            method="supervised" if provider == "mistral" else "dpo",
            validation=False,
            seed=2,
        ),
    ]


def live(provider: Provider) -> SimulatedJob:
    """Return a job of today; every other provider's ends before its last step."""
    is_cut = PROVIDERS.index(provider) % 2 == 1
    return job(
        f"{provider}-live",
        provider,
        suffix="live",
        created_at=NOW,
        outcome=Outcome.CANCELLED if is_cut else Outcome.SUCCEEDED,
        ends_at_step=10 if is_cut else 0,
        seed=3,
    )


HISTORY: Final = [each for provider in PROVIDERS for each in history(provider)]
LIVE: Final = [live(provider) for provider in PROVIDERS]


def held(simulator: Simulator, job: SimulatedJob) -> list[Point]:
    """Return every point of a job in the simulator's replies so far, sorted."""
    return sorted(
        (name, int(row["step"]), float(value))
        for row in rows_of(simulator, job)
        for name, value in row.items()
        if name not in AXES
    )


def bedrock_rows(simulator: Simulator, job: SimulatedJob) -> Iterable[Mapping[str, Any]]:
    """Return the rows of the files in the bucket, and the losses in the job itself."""
    signed = {"Authorization": "AWS4-HMAC-SHA256 anybody"}
    bucket = f"{simulator.s3_url}/{BUCKET}"
    query = {"list-type": "2", "prefix": f"output/model-customization-job-{job.id}/"}
    rows: dict[int, dict[str, Any]] = {}
    for key in re.findall("<Key>([^<]+)", WIRE.get(bucket, params=query, headers=signed).text):
        text = WIRE.get(f"{bucket}/{key}", headers=signed).text
        for row in csv.DictReader(io.StringIO(text)):
            step = int(row.pop("step_number"))
            rows.setdefault(step, {"step": step}).update(row)
    url = f"{simulator.base_urls['bedrock']}/model-customization-jobs/{quote(arn_of(job), safe='')}"
    reported = WIRE.get(url, headers={"Authorization": f"Bearer {KEY}"}).raise_for_status().json()
    for losses in (reported.get("trainingMetrics", {}), *reported.get("validationMetrics", [])):
        rows[max(rows)].update(losses)
    return rows.values()


def rows_of(simulator: Simulator, job: SimulatedJob) -> Iterable[Mapping[str, Any]]:
    """Return the rows of metrics, each with its step, as the job's provider serves them."""
    headers = {"Authorization": f"Bearer {KEY}"}
    base_url = simulator.base_urls[job.provider]

    def ask(path: str) -> Any:  # noqa: ANN401 - JSON
        return WIRE.get(base_url + path, headers=headers).raise_for_status().json()

    match job.provider:
        case "openai" | "azure" | "nebius" | "bedrock-mantle":
            events = ask(f"/fine_tuning/jobs/{job.id}/events?limit=100")
            assert not events["has_more"]
            return [row["data"] for row in events["data"] if row["type"] == "metrics"]
        case "bedrock":
            return list(bedrock_rows(simulator, job))
        case "mistral":
            return [
                # A pair of zeros stands for an unmeasured value.
                {"step": row["step_number"]} | {k: v for k, v in row["metrics"].items() if v}
                for row in ask(f"/fine_tuning/jobs/{job.id}")["checkpoints"]
            ]
        case "together":
            rows = ask(f"/fine-tunes/{job.id}/metrics")["metrics"]
            return [{"step": row.pop("train/global_step"), **row} for row in rows]
        case "prime":
            rows = ask(f"/rft/runs/{job.id}/metrics")["metrics"]
            return [{"step": row["step"], **numbers(row)[0]} for row in rows]
        case "vertex":
            return _in_tensorboard(ask, job)
        case "fireworks":
            if job.method == "dpo":
                url = ask(f"/dpoJobs/{job.id}:getMetricsFileEndpoint")["signedUrl"]
            else:
                url = ask(f"/supervisedFineTuningJobs/{job.id}")["metricsFileSignedUrl"]
            lines = WIRE.get(url).raise_for_status().text.splitlines()
            return [json.loads(line) for line in lines]


def _in_tensorboard(ask: Callable[[str], Any], job: SimulatedJob) -> Iterator[Mapping[str, Any]]:
    experiment = ask(f"/v1beta1/projects/p/locations/l/tuningJobs/{job.id}").get("experiment")
    if experiment is None:
        return
    board = ask(f"/v1/{experiment}")["metadata"]["backing_tensorboard_resource"]
    runs = ask(f"/v1/{board}/experiments/{experiment.rpartition('/')[2]}/runs")
    for row in ask(f"/v1/{runs['tensorboardRuns'][0]['name']}/timeSeries").get(
        "tensorboardTimeSeries", ()
    ):
        name = row["displayName"].removeprefix("/")
        for value in ask(f"/v1/{row['name']}:read?maxDataPoints=-1")["timeSeriesData"]["values"]:
            yield {"step": value["step"], name: value["scalar"]["value"]}


def name_of(job: SimulatedJob) -> str:
    """Return the name of a job's run, without the end of the job's id."""
    if job.provider == "bedrock-mantle":
        return f"{job.provider}/{job.id}"  # it has no suffix
    return f"{job.provider}/{job.suffix}"


def runs_in(uri: str) -> dict[str, RunRows]:
    """Return the runs of the experiment by name, without the end of the job's id."""
    runs = recorded(uri)
    assert len({run.name for run in runs.values()}) == len(runs)
    return {_without_end(run.name, job_id): run for job_id, run in runs.items()}


def _without_end(name: str, job_id: str) -> str:
    return (
        name if name.endswith(f"/{job_id}") else name.removesuffix(f"-{job_id[-6:].lstrip('-_')}")
    )


def points(run: RunRows) -> list[Point]:
    """Return a run's rows without times, sorted to show duplicates."""
    return sorted((name, step, value) for name, step, value, _ in run.rows)


def reported(
    simulator: Simulator, jobs: Iterable[SimulatedJob], status: str | None = None
) -> dict[str, Shown]:
    """Return the expected runs of jobs that have this status, or end with it."""
    return {name_of(each): (status or STATUS[each.outcome], held(simulator, each)) for each in jobs}


def shown(uri: str, names: Iterable[str]) -> dict[str, Shown]:
    """Return the content of MLflow for those of these runs that exist."""
    runs = runs_in(uri)
    return {name: (runs[name].status, points(runs[name])) for name in names if name in runs}


def rows_in(uri: str) -> int:
    """Return how many points MLflow has, without its client, which takes seconds for all runs."""
    with contextlib.closing(sqlite3.connect(file_of(uri))) as connection:
        return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])


def shows(uri: str, wanted: Mapping[str, Shown]) -> bool:
    """Return whether MLflow has exactly these runs."""
    is_complete = rows_in(uri) >= sum(len(points) for _, points in wanted.values())
    return is_complete and shown(uri, wanted) == wanted


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the providers' clock; S3 accepts only signatures."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-access-key")
    return Clock()


def configured(folder: Path, uri: str, simulator: Simulator) -> Path:
    """Write one configuration of every provider."""
    poll = {"interval": "1s", "workers": 2}
    return write_config(folder, uri, simulated(simulator), poll=poll)


def backfill(config: Path) -> None:
    """Copy all jobs."""
    done = run("backfill", "--config", config, cwd=config.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_providers_are_copied_into_one_experiment(
    uri: str, tmp_path: Path, clock: Clock
) -> None:
    """One experiment has exactly the simulator's rows, and a second backfill changes nothing."""
    assert {*PROVIDERS} == {*TYPES}
    with Simulator(jobs=HISTORY, clock=clock, api_key=KEY) as simulator:
        config = configured(tmp_path, uri, simulator)
        backfill(config)
        wanted = reported(simulator, HISTORY)
        assert shown(uri, runs_in(uri)) == wanted
        assert {name: max(step for _, step, _ in rows) for name, (_, rows) in wanted.items()} == {
            name_of(each): each.last_step for each in HISTORY
        }
        content = dump(file_of(uri))
        backfill(config)
        assert dump(file_of(uri)) == content


def test_all_providers_are_followed_in_one_experiment(
    uri: str, tmp_path: Path, clock: Clock
) -> None:
    """One experiment has exactly the simulator's rows, in mid-training and at the end.

    Jobs that ended earlier are recorded beside them, and a backfill afterwards changes nothing.
    """
    ended = HISTORY[::4]
    with Simulator(jobs=[*ended, *LIVE], clock=clock, api_key=KEY) as simulator:
        config = configured(tmp_path, uri, simulator)
        with started("run", "--config", config, cwd=tmp_path) as process:
            past = reported(simulator, ended)
            wait_until(partial(shows, uri, past), "all jobs that have ended", process)
            clock.now = LIVE[0].step_at(9)
            wanted = reported(simulator, LIVE, "RUNNING")
            assert {max(at for _, at, _ in rows) for _, rows in wanted.values()} == {9}
            wait_until(partial(shows, uri, past | wanted), "step 9 of all live jobs", process)
            clock.now = all_end_by(LIVE)
            wanted = past | reported(simulator, LIVE)
            wait_until(partial(shows, uri, wanted), "end of all jobs", process)
            process.send(signal.SIGTERM)
            assert process.end() == 0, process.said
            assert "Traceback" not in process.said
        assert runs_in(uri).keys() == wanted.keys()
        content = dump(file_of(uri))
        backfill(config)
        assert dump(file_of(uri)) == content
