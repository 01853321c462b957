"""Vertex AI's tuning jobs and their TensorBoards, scripted: see ``tests.support.wire_server``."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import httpx

from tests.support.moments import time
from tests.support.wire_server import CREATED, Api, Row, sent

PLACE = "projects/123456789/locations/us-central1"
"""Project number, which resource names contain."""
EXPERIMENT = f"{PLACE}/metadataStores/default/contexts/tuning-experiment-1"
BOARD = f"{PLACE}/tensorboards/42"
RUN = f"{BOARD}/experiments/tuning-experiment-1/runs/tuning-run-1"
PROJECT = "my-project"


def name_of(job_id: object) -> object:
    """Return the resource name of a job."""
    return f"{PLACE}/tuningJobs/{job_id}" if isinstance(job_id, str) and job_id else job_id


@dataclass
class VertexApi(Api):
    """Tuning jobs. ``checkpoints`` are the steps in the one TensorBoard of all of them."""

    kind: ClassVar[str] = "vertex"
    running: ClassVar[str] = "JOB_STATE_RUNNING"
    succeeded: ClassVar[str] = "JOB_STATE_SUCCEEDED"
    words: ClassVar[frozenset[str]] = frozenset(
        f"JOB_STATE_{word}"
        for word in (
            *("UNSPECIFIED", "QUEUED", "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING"),
            *("CANCELLED", "PAUSED", "EXPIRED", "UPDATING", "PARTIALLY_SUCCEEDED"),
        )
    )
    root: ClassVar[tuple[str, ...]] = (
        *("v1beta1", "projects", PROJECT, "locations", "us-central1", "tuningJobs"),
    )
    page_size: ClassVar[int | None] = 100
    options: ClassVar[Mapping[str, str]] = {"project": PROJECT, "location": "us-central1"}
    id_key: ClassVar[str] = "name"
    longest_id: ClassVar[int] = 250 - len(f"{PLACE}/tuningJobs/")
    status_key: ClassVar[str] = "state"
    created_key: ClassVar[str] = "createTime"
    ended_key: ClassVar[str] = "endTime"
    ended_value: ClassVar[object] = "2025-10-09T09:06:40Z"
    model_key: ClassVar[str] = "tunedModel"
    failure: ClassVar[Mapping[str, object]] = {"error": {"code": 13, "message": "too large"}}
    step_key: ClassVar[str] = "step"
    params_key: ClassVar[str] = "supervisedTuningSpec.hyperParameters"
    curve_part: ClassVar[str | None] = ":read"
    curve_root: ClassVar[str | None] = "v1"
    public_root: ClassVar[str] = "/"
    of_some_jobs: ClassVar[frozenset[str]] = frozenset(
        {"preference_optimization_train_loss", "stepCount", "batchSize"}
    )
    measures_checkpoints: ClassVar[bool] = False
    measured_document: ClassVar[str] = "metrics.jsonl"
    lists: ClassVar[frozenset[str]] = frozenset()
    more_documents: ClassVar[frozenset[str]] = frozenset({"metrics.jsonl"})
    file_address: ClassVar[str | None] = None
    public_page: ClassVar[str | None] = (
        "https://console.cloud.google.com/vertex-ai/generative/language/locations/us-central1"
        f"/tuning/tuningJob/{{}}?project={PROJECT}"
    )
    omits_empty_lists: ClassVar[bool] = True
    null_list: ClassVar[Mapping[str, object]] = {"tuningJobs": None, "nextPageToken": ""}
    given_files: ClassVar[tuple[str, str | None]] = (
        "gs://bucket/train.jsonl",
        "gs://bucket/valid.jsonl",
    )
    wrong: ClassVar[Mapping[str, object]] = {
        "state": 7,
        "tunedModelDisplayName": 5,
        "createTime": "yesterday",
        "startTime": "noon",
        "endTime": {},
        "baseModel": ["m"],
        "preTunedModel": "m",
        "tunedModel": ["m"],
        "experiment": 5,
        "labels": "team=a",
        "error": "broken",
    }

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a supervised job with every key that is read, and some more."""
        return {
            "name": name_of(job_id),
            "tunedModelDisplayName": "a-suffix",
            "description": "made for tests",
            "labels": {"team": "a"},
            "state": self.running,
            "tuningJobState": "TUNING_JOB_STATE_TUNING",
            "createTime": time(CREATED),
            "startTime": time(CREATED + 30),
            "endTime": None,
            "updateTime": time(CREATED + 60),
            "baseModel": "gemini-2.5-flash",
            "supervisedTuningSpec": {
                "trainingDatasetUri": "gs://bucket/train.jsonl",
                "validationDatasetUri": "gs://bucket/valid.jsonl",
                "hyperParameters": {
                    "epochCount": "3",
                    "learningRateMultiplier": 1,
                    "adapterSize": "ADAPTER_SIZE_FOUR",
                },
            },
            "experiment": EXPERIMENT,
            "tunedModel": {"model": f"{PLACE}/models/77@1", "checkpoints": []},
            "tuningDataStats": {
                "supervisedTuningDataStats": {
                    "tuningDatasetExampleCount": "200",
                    "totalBillableTokenCount": "1000",
                    "tuningStepCount": "1000",
                }
            },
            **fields,
        }

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return the measurements of a step."""
        return {"step": step, "created_at": time(CREATED + 100), "metrics": metrics}

    def bare(self, job_id: object, **fields: object) -> Row:
        """Return a job with nothing but its id."""
        return super().bare(name_of(job_id), **fields)

    def list_of(self, rows: list[object], *, has_more: bool | None) -> Row:
        """Return a list of jobs that says whether more follow."""
        return {"tuningJobs": rows} | ({"nextPageToken": "again"} if has_more else {})

    def page(self, query: Mapping[str, str]) -> object:
        """Return a page of the jobs."""
        names = [row.get("name") if isinstance(row, dict) else None for row in self.jobs]
        after = base64.b64decode(query.get("pageToken", "")).decode("utf-8", "surrogateescape")
        start = int(after.partition(" ")[0]) + 1 if after else 0
        # A cursor points at a row, wherever newer rows have pushed it.
        if after and after.partition(" ")[2] in names:
            start = names.index(after.partition(" ")[2]) + 1
        end = start + int(query["pageSize"])
        rows = self.jobs[start:end]
        if not rows:
            return {}
        more = {"nextPageToken": _token(end - 1, names[end - 1])} if end < len(names) else {}
        return {"tuningJobs": rows, **more}

    def detail(self, job: Row) -> object:
        """Return a job's own reply."""
        return job

    def sent_checkpoints(self) -> object:
        """Return the time series with their values."""
        return [row | {"values": self.values(name)} for name, row in self.series().items()]

    def series(self) -> dict[str, Row]:
        """Return a time series for each metric."""
        rows = self.checkpoints if isinstance(self.checkpoints, list) else []
        return {
            name: {
                "name": f"{RUN}/timeSeries/{number}",
                "displayName": f"/{name}",
                "valueType": "SCALAR",
                "updateTime": time(CREATED + 200),
                "metadata": {"maxStep": str(len(rows)), "maxWallTime": time(CREATED + 200)},
            }
            for number, name in enumerate(sorted({name for row in rows for name in _metrics(row)}))
        }

    def values(self, name: str) -> list[object]:
        """Return the content of one time series."""
        rows = self.checkpoints if isinstance(self.checkpoints, list) else []
        return [value for row in rows for value in _values(row, name)]

    def answer(self, path: list[str], query: Mapping[str, str]) -> httpx.Response | None:
        """Return the answer at a path below the base URL, or ``None`` if there is nothing."""
        match path:
            case [*root] if tuple(root) == self.root:
                reply = sent(self.page(query))
                self.between()
                return reply
            case [*root, job_id] if tuple(root) == self.root:
                found = self.find(job_id)
                return None if found is None else sent(self.detail(found))
            case ["v1", *parts]:
                return self._board("/".join(parts), query)
        return None

    def _board(self, name: str, query: Mapping[str, str]) -> httpx.Response | None:
        if name == EXPERIMENT:
            return sent({"name": name, "metadata": {"backing_tensorboard_resource": BOARD}})
        if name == f"{BOARD}/experiments/tuning-experiment-1/runs":
            return sent({"tensorboardRuns": [{"name": RUN, "displayName": "tuning-run-1"}]})
        if name == f"{RUN}/timeSeries":
            return sent({"tensorboardTimeSeries": list(self.series().values())})
        for metric, row in self.series().items():
            if name == f"{row['name']}:read":
                # Without this a long series is sampled.
                assert query["maxDataPoints"] == "-1"
                data = {"valueType": "SCALAR", "values": self.values(metric)}
                return sent({"timeSeriesData": data})
        return None

    def find(self, job_id: str) -> Row | None:
        """Return the job with this id."""
        return next(
            (row for row in self.jobs if isinstance(row, dict) and row["name"] == name_of(job_id)),
            None,
        )


def _metrics(row: object) -> Mapping[str, object]:
    """Return the metrics of a scripted step, or nothing if a test has scripted nonsense."""
    found = row.get("metrics") if isinstance(row, dict) else None
    return found if isinstance(found, dict) else {}


def _values(row: object, name: str) -> Iterator[object]:
    """Return a series' value at a scripted step, or nothing if the step does not measure it."""
    if not isinstance(row, dict):
        yield row
    elif name in _metrics(row):
        times = {"wallTime": row["created_at"]} if "created_at" in row else {}
        steps = {"step": row["step"]} if "step" in row else {}
        more = {key: value for key, value in row.items() if key not in _OF_STEP}
        yield {**times, **steps, "scalar": {"value": _metrics(row)[name]}, **more}


_OF_STEP = frozenset({"step", "created_at", "metrics"})


def _token(index: int, name: object) -> str:
    text = f"{index} {name}".encode("utf-8", "surrogateescape")
    return base64.b64encode(text).decode()
