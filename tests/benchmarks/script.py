"""The script of an afternoon: the official SDKs, a run per job, a call per step.

Usage: ``python -m tests.benchmarks.script ROOT TRACKING_URI``: all OpenAI jobs of the provider.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import mlflow
from mistralai.client import Mistral
from mistralai.client.models import CompletionFineTuningJobDetails
from openai import OpenAI


class Script:
    """The script with clients that are made once."""

    def __init__(self, root: str, uri: str) -> None:
        mlflow.set_tracking_uri(uri)
        self._openai = OpenAI(base_url=f"{root}/openai/v1", api_key="any-key")
        self._mistral = Mistral(server_url=f"{root}/mistral", api_key="any-key")

    def __call__(self, experiment: str, job_ids: Sequence[str]) -> float:
        """Record jobs, and return the duration in seconds."""
        mlflow.set_experiment(experiment)
        begin = time.perf_counter()
        for job_id in job_ids:
            if job_id.startswith("ftjob-"):
                self._record_openai(job_id)
            else:
                self._record_mistral(job_id)
        return time.perf_counter() - begin

    def openai_jobs(self) -> list[str]:
        """Return the ids of all OpenAI jobs."""
        return [job.id for job in self._openai.fine_tuning.jobs.list(limit=100)]

    def _record_openai(self, job_id: str) -> None:
        jobs = self._openai.fine_tuning.jobs
        job = jobs.retrieve(job_id)
        with mlflow.start_run(run_name=job.id):
            mlflow.set_tags({"job": job.id, "model": job.fine_tuned_model, "base_model": job.model})
            mlflow.log_params(job.hyperparameters.to_dict() if job.hyperparameters else {})
            for checkpoint in jobs.checkpoints.list(job_id):
                found = checkpoint.metrics.to_dict()
                found.pop("step", None)
                mlflow.log_metrics(found, step=checkpoint.step_number)  # type: ignore[arg-type] # numbers
            for event in jobs.list_events(job_id, limit=100):
                data = event.data
                if event.type == "metrics" and isinstance(data, dict):
                    numbers = {k: v for k, v in data.items() if k not in {"step", "total_steps"}}
                    mlflow.log_metrics(numbers, step=data["step"])

    def _record_mistral(self, job_id: str) -> None:
        job = self._mistral.fine_tuning.jobs.get(job_id=job_id)
        assert isinstance(job, CompletionFineTuningJobDetails)
        with mlflow.start_run(run_name=job.id):
            mlflow.set_tags({"job": job.id, "model": job.fine_tuned_model, "base_model": job.model})
            for checkpoint in job.checkpoints or ():
                found = checkpoint.metrics.model_dump(exclude_none=True)
                mlflow.log_metrics(found, step=checkpoint.step_number)


if __name__ == "__main__":
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    script = Script(*sys.argv[1:3])
    script("script", script.openai_jobs())
