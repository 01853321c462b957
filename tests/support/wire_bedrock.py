"""Amazon Bedrock's control plane and its bucket, scripted: see ``tests.support.wire_server``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import ClassVar
from urllib.parse import unquote

import httpx

from tests.support.moments import iso
from tests.support.wire_server import CREATED, S3_HOST, Api, Row, sent

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-2-lite-v1:0/"
OUTPUT = "s3://a-bucket/some/where"
TRAINING = "training_artifacts/step_wise_training_metrics.csv"
ROWS = "modelCustomizationJobSummaries"


def arn_of(job_id: object) -> object:
    """Return the ARN of a job."""
    return f"{ARN}{job_id}" if isinstance(job_id, str) and job_id else job_id


@dataclass
class BedrockApi(Api):
    """Model customization jobs; ``checkpoints`` are the rows of every job's training file."""

    kind: ClassVar[str] = "bedrock"
    running: ClassVar[str] = "InProgress"
    succeeded: ClassVar[str] = "Completed"
    words: ClassVar[frozenset[str]] = frozenset(
        {"InProgress", "Completed", "Failed", "Stopping", "Stopped"}
    )
    root: ClassVar[tuple[str, ...]] = ("model-customization-jobs",)
    id_key: ClassVar[str] = "jobArn"
    longest_id: ClassVar[int] = 250 - len(ARN)
    ids_have_slashes: ClassVar[bool] = False
    params_key: ClassVar[str] = "hyperParameters"
    created_key: ClassVar[str] = "creationTime"
    ended_key: ClassVar[str] = "endTime"
    ended_value: ClassVar[object] = "2025-10-09T09:06:40Z"
    model_key: ClassVar[str] = "outputModelArn customModelArn"
    failure: ClassVar[Mapping[str, object]] = {"failureMessage": "It was too large."}
    step_key: ClassVar[str] = "step_number"
    curve_part: ClassVar[str | None] = None
    measures_checkpoints: ClassVar[bool] = False
    measured_document: ClassVar[str] = "step_wise_training_metrics.csv"
    lists: ClassVar[frozenset[str]] = frozenset()
    more_documents: ClassVar[frozenset[str]] = frozenset({measured_document})
    given_files: ClassVar[tuple[str, str]] = ("s3://a-bucket/file-1", "s3://a-bucket/file-2")
    file_address: ClassVar[str] = "/a-bucket/{}"
    omits_empty_lists: ClassVar[bool] = True
    null_list: ClassVar[Mapping[str, object]] = {ROWS: None, "nextToken": None}
    wrong: ClassVar[Mapping[str, object]] = {
        "status": 7,
        "statusDetails": "NotStarted",
        "jobName": 5,
        "baseModelArn": ["m"],
        "customModelArn": {"name": "m"},
        "creationTime": "yesterday",
        "endTime": ["noon"],
        "lastModifiedTime": {},
        "failureMessage": ["broken"],
        "customizationType": 3,
        "hyperParameters": "auto",
        "customizationConfig": [],
        "trainingDataConfig": "s3://a-bucket/file-1",
        "validationDataConfig": 5,
        "trainingMetrics": 0.5,
        "validationMetrics": "low",
    }

    objects: dict[str, bytes] = field(default_factory=dict)
    """Files in the bucket besides those of the jobs, by key."""
    fetched: list[httpx.Request] = field(default_factory=list)
    """Requests that the bucket received."""

    def row(self, job_id: object, **fields: object) -> Row:
        """Return a job with every key that is read, except the one that only its own reply has."""
        return {
            "jobArn": arn_of(job_id),
            "jobName": "a-suffix",
            "baseModelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-lite-v1:0",
            "status": self.running,
            "statusDetails": {
                "trainingDetails": {
                    "status": "InProgress",
                    "creationTime": iso(CREATED + 10),
                    "lastModifiedTime": iso(CREATED + 900),
                }
            },
            "creationTime": iso(CREATED),
            "lastModifiedTime": iso(CREATED + 900),
            "endTime": None,
            "customModelArn": "arn:aws:bedrock:us-east-1:123456789012:custom-model/a-model",
            "customModelName": "a-model",
            "customizationType": "FINE_TUNING",
            "failureMessage": None,
            "hyperParameters": {"epochCount": "3", "batchSize": "8", "learningRate": "0.00001"},
            "customizationConfig": None,
            "trainingDataConfig": {"s3Uri": self.given_files[0]},
            "validationDataConfig": {"validators": [{"s3Uri": self.given_files[1]}]},
            "trainingMetrics": None,
            "validationMetrics": [],
            **fields,
        }

    def bare(self, job_id: object, **fields: object) -> Row:
        """Return a job with nothing but its id."""
        return super().bare(arn_of(job_id), **fields)

    def checkpoint(self, step: object, **metrics: object) -> Row:
        """Return a row of the training file."""
        return {"step_number": step, "epoch": metrics.pop("epoch", ""), **metrics}

    def list_of(self, rows: list[object], *, has_more: bool | None) -> Row:
        """Return a list of jobs."""
        return {ROWS: rows, "nextToken": "again" if has_more else None}

    def page(self, query: Mapping[str, str]) -> object:
        """Return a page of the list: newest first only if the request asks for it."""
        asked = (query.get("sortBy"), query.get("sortOrder"))
        rows = self.jobs if asked == ("CreationTime", "Descending") else self.jobs[::-1]
        size = int(query["maxResults"])
        arns = [row.get("jobArn") if isinstance(row, dict) else None for row in rows]
        number, _, arn = query.get("nextToken", "-1 ").partition(" ")
        # A cursor points at a row, wherever newer rows have pushed it.
        start = arns.index(arn) + 1 if arn and arn in arns else int(number) + 1
        end = start + size
        more = {"nextToken": f"{end - 1} {arns[end - 1]}"} if end < len(rows) else {}
        return {ROWS: rows[start:end], **more}

    def detail(self, job: Row) -> object:
        """Return a job's own reply."""
        return {"outputDataConfig": {"s3Uri": OUTPUT}, **job}

    def keeps(self, document: bytes) -> bool:
        """Return whether a document is the training file."""
        assert isinstance(self.checkpoints, list)
        return document == table(self.checkpoints)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request to the control plane or to the bucket."""
        if request.url.host != S3_HOST:
            return super().__call__(request)
        self.fetched.append(request)
        return self._bucket(request)

    def answer(self, path: list[str], query: Mapping[str, str]) -> httpx.Response | None:
        """Return the answer of the control plane."""
        match path:
            case ["model-customization-jobs"]:
                reply = sent(self.page(query))
                self.between()
                return reply
            case ["model-customization-jobs", arn]:
                found = self.find(arn)
                return None if found is None else sent(self.detail(found))
        return None

    def _bucket(self, request: httpx.Request) -> httpx.Response:
        bucket, _, key = unquote(request.url.raw_path.split(b"?")[0].decode())[1:].partition("/")
        assert bucket == "a-bucket"
        if "list-type" in request.url.params:
            prefix = request.url.params["prefix"]
            assert prefix.startswith("some/where/model-customization-job-")
            keys = [key for key in self.objects if key.startswith(prefix)]
            keys += [f"{prefix}{TRAINING}"] if self.checkpoints else []
            rows = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys)
            return xml(200, f"<ListBucketResult>{rows}</ListBucketResult>")
        if key in self.objects:
            return httpx.Response(200, content=self.objects[key])
        if key in self.files:
            return httpx.Response(200, content=self.files[key])
        if key.endswith(TRAINING) and isinstance(self.checkpoints, list):
            return httpx.Response(200, content=table(self.checkpoints))
        return xml(404, "<Error><Code>NoSuchKey</Code><Message>Not there</Message></Error>")


def xml(status: int, document: str) -> httpx.Response:
    """Return a reply of S3."""
    return httpx.Response(status, headers={"Content-Type": "application/xml"}, content=document)


def table(rows: list[object]) -> bytes:
    """Return rows as CSV."""
    lines = [row for row in rows if isinstance(row, dict)]
    named = dict.fromkeys(name for row in lines for name in row)
    names = [name for name in named if name not in {"created_at", "timestamp"}]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    for row in lines:
        writer.writerow({name: _cell(name, value) for name, value in row.items()})
    return text.getvalue().encode("utf-8", "surrogateescape")


def _cell(name: str, value: object) -> object:
    """Return a number for a value in a table, which can hold nothing else."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, str | bool) and name != "step_number" else value
