"""Ways to get the same jobs into a tracking store: each returns its duration in seconds."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from openai import OpenAI

from bridge.bootstrap.bridge import assemble
from bridge.plan.metric_names import MetricNames
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import Plan, make_plan
from bridge.providers.registry import TYPES
from bridge.settings.model import Settings
from bridge.tracking.connections import one_each
from tests.benchmarks.provider import Provider
from tests.support.world import NOW, over_http

BARE: Final = {"models": False, "datasets": False, "archive": False}
"""Settings of the bridge for only metrics, params and tags."""
NOW_MS: Final = int((NOW + 1_000_000) * 1000)


def bridge(
    provider: Provider, uri: str, experiment: str, *, full: bool, workers: int = 16
) -> float:
    """Run ``ftbridge backfill``, without its start."""
    settings = Settings.model_validate(
        {
            "mlflow": {"tracking_uri": uri, "experiment": experiment, **({} if full else BARE)},
            "poll": {"workers": workers},
            "providers": [
                {"name": kind, "type": kind, "api_key": "any-key", "base_url": url}
                for kind, url in (
                    ("openai", provider.openai_url),
                    ("mistral", provider.mistral_url),
                )
            ],
        }
    )
    begin = time.perf_counter()
    with (
        assemble(settings, {}, threading.Event()) as assembled,
        ThreadPoolExecutor(len(assembled.syncs)) as pool,
    ):
        reports = list(pool.map(lambda sync: sync.run(), assembled.syncs))
    seconds = time.perf_counter() - begin
    assert all(report.is_well for report in reports), reports
    return seconds


class WandbLogger:
    """Run Weights & Biases' logger of OpenAI jobs, without its cloud: to files, job by job."""

    def __init__(self, provider: Provider) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-wandb-")
        os.environ |= {
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "WANDB_DIR": self._folder.name,
            "WANDB_API_KEY": "0" * 40,
            "WANDB_BASE_URL": provider.url,  # answers that the run does not exist
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_DISABLE_CODE": "true",
        }
        from wandb.integration.openai import fine_tuning  # noqa: PLC0415 - reads these

        self._logger = fine_tuning.WandbLogger
        self._logger._logged_in = True  # noqa: SLF001 - offline nobody is, and it insists
        self._client = OpenAI(base_url=provider.openai_url, api_key="any-key")

    def __call__(self, job_ids: Sequence[str]) -> float:
        """Log jobs, and return the duration in seconds."""
        begin = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):
            for job_id in job_ids:
                self._logger.sync(
                    fine_tune_job_id=job_id, openai_client=self._client, log_datasets=False
                )
        return time.perf_counter() - begin


# The limit


def plans_of(provider: Provider) -> list[Plan]:
    """Return all writes of the bridge, in memory."""
    return [
        plan
        for kind, url in (("openai", provider.openai_url), ("mistral", provider.mistral_url))
        for plan in _plans(kind, url)
    ]


def _plans(kind: str, url: str) -> Iterator[Plan]:
    source = TYPES[kind](over_http(url), curves=True)
    metric_names = MetricNames.of("provider", TYPES[kind].meanings)
    options = RecordingOptions(provider_type=kind, metric_names=metric_names)
    for page in source.pages():
        for job in page.jobs:
            snapshot = source.read(job, logged={}, keep=True)
            yield make_plan(kind, snapshot, None, options, now=NOW_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The fewest calls of MLflow's client that write these rows."""

    client: MlflowClient
    experiment_id: str
    full: bool

    def __call__(self, plan: Plan) -> None:
        """Write one job, over the same connections as the bridge."""
        with one_each(self.client.tracking_uri):
            self._write(plan)

    def _write(self, plan: Plan) -> None:
        client, full = self.client, self.full
        run = client.create_run(
            self.experiment_id, plan.start_time, tags=dict(plan.tags), run_name=plan.run_name
        )
        run_id = run.info.run_id
        model_ids = self._models(plan, run_id) if full else {}
        linked = {point: model_ids[m.model] for m in plan.models for point in m.metrics if full}
        client.log_batch(
            run_id,
            metrics=[
                Metric(p.name, p.value, p.timestamp, p.step, model_id=linked.get((p.name, p.step)))
                for p in plan.points
            ],
            params=[Param(name, value) for name, value in plan.params.items()],
            tags=[RunTag(name, value) for name, value in plan.last_tags.items()],
        )
        if full:
            for model_id in model_ids.values():
                client.finalize_logged_model(model_id, "READY")
            self._files(plan, run.info.artifact_uri)
        client.set_terminated(run_id, plan.status, plan.end_time)

    def _models(self, plan: Plan, run_id: str) -> dict[str, str]:
        inputs = [
            DatasetInput(
                Dataset(each.file_id, each.digest, "file", each.source(plan.provider)),
                [InputTag("mlflow.data.context", each.context)],
            )
            for each in plan.datasets
        ]
        self.client.log_inputs(run_id, datasets=inputs)
        ids: dict[str, str] = {}
        for model in plan.models:
            created = self.client.create_logged_model(
                self.experiment_id,
                name=model.name,
                source_run_id=run_id,
                tags=dict(model.about),
                params=dict(model.about),
            )
            ids[model.model] = created.model_id
        if ids:
            outputs = [LoggedModelOutput(ids[model.model], model.step) for model in plan.models]
            self.client.log_outputs(run_id, outputs)
        return ids

    def _files(self, plan: Plan, artifact_uri: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in plan.documents.items():
                (Path(folder) / name).write_bytes(content)
            repository = get_artifact_repository(
                artifact_uri, tracking_uri=self.client.tracking_uri
            )
            repository.log_artifacts(folder, "provider")  # type: ignore[no-untyped-call] # MLflow's


def limit(plans: Sequence[Plan], uri: str, experiment: str, *, full: bool) -> float:
    """Write the rows as fast as MLflow accepts them."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    place = None
    if uri.startswith("sqlite:///"):
        place = (
            Path(uri.removeprefix("sqlite:///")).with_name(experiment.replace(" ", "-")).as_uri()
        )
    experiment_id = client.create_experiment(experiment, artifact_location=place)
    write = Limit(client=client, experiment_id=experiment_id, full=full)
    # A file has one writer; of a server's eight threads none waits for another's delayed packet.
    with ThreadPoolExecutor(1 if place else 8) as pool:
        begin = time.perf_counter()
        list(pool.map(write, plans))
        return time.perf_counter() - begin
