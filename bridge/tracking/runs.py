"""Reading of jobs' runs from MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from bridge import errors
from bridge.model import MetricPoint
from bridge.plan import tags
from bridge.plan.datasets import DatasetInput
from bridge.plan.options import RecordingOptions
from bridge.plan.recorded import FINAL_RUN_STATUS, RecordedRun
from bridge.plan.run_state import CLOCK_SKEW
from bridge.tracking import logged_models
from bridge.tracking.capabilities import Feature
from bridge.tracking.client import quoted
from bridge.tracking.experiment_reader import ExperimentReader

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from bridge.tracking.logged_models import ModelState

_CONTEXT: Final = "mlflow.data.context"
_LONGEST_LIST: Final = 1000
"""Number of ids in one search; MLflow's parser fails on some thousands."""


class RunReader(ExperimentReader):
    """Reads the runs and models of a tracking store."""

    def runs(
        self,
        experiment_ids: Sequence[str],
        provider: str | None = None,
        *,
        job_id: str | None = None,
        base_model: str | None = None,
        model: str | None = None,
        only_open: bool = False,
    ) -> Iterator[RecordedRun]:
        """Yield runs that carry jobs, deleted ones too.

        Args:
            experiment_ids: experiments to search.
            provider: only jobs of this provider.
            job_id: only this job.
            base_model: only jobs that start from this model.
            model: only jobs that made this model.
            only_open: only runs without final status.
        """
        wanted = {tags.JOB: job_id, tags.BASE_MODEL: base_model, tags.MODEL: model}
        # sqlite begins with the first term, and looks up the others for what that one finds.
        terms = [
            f"tags.{name} = {literal}"
            for name, value in wanted.items()
            if (literal := quoted(value))
        ]
        whose = f"= {quoted(provider)}" if provider else "!= ''"
        terms.append(f"tags.{tags.PROVIDER} {whose}")
        # MLflow reads a backslash before a quote as an escape, but for the last quote.
        terms.sort(key=lambda term: "\\" in term)
        if only_open:
            terms += [f"attributes.status != '{status}'" for status in sorted(FINAL_RUN_STATUS)]
        for run in self._search(experiment_ids, " and ".join(terms)):
            state = recorded_run(run)
            # Not every name can be quoted in a search, so each is compared again.
            if state.job_id and all(
                value in {None, state.tags.get(name)} for name, value in wanted.items()
            ):
                yield state

    def pages(
        self, experiment_ids: Sequence[str], provider: str
    ) -> Iterator[tuple[Iterator[RecordedRun], bool]]:
        """Yield pages of the runs that carry a provider's jobs, each with whether it is the last.

        Includes deleted runs, newest first; each page has to be used before the next one is read.
        """
        term = f"tags.{tags.PROVIDER} = {quoted(provider)}"
        for page, is_last in self._pages(experiment_ids, term):
            yield (run for run in map(recorded_run, page) if run.job_id), is_last

    def others(
        self, experiment_ids: Sequence[str], provider: str, own: Mapping[str, int]
    ) -> Iterator[RecordedRun]:
        """Yield runs other than ``own`` that may carry the same jobs, without the whole history.

        Args:
            experiment_ids: experiments to search.
            provider: the provider's name in the configuration.
            own: start in Unix milliseconds by run id. All processes give a job's run the same
                start, except for differences of their clocks if the job has none.
        """
        by_start = sorted(own.items(), key=itemgetter(1))
        for place in range(0, len(by_start), _LONGEST_LIST):
            some = by_start[place : place + _LONGEST_LIST]
            terms = [
                f"tags.{tags.PROVIDER} = {quoted(provider)}",
                f"attributes.start_time >= {some[0][1] - CLOCK_SKEW}",
                f"attributes.start_time <= {some[-1][1] + CLOCK_SKEW}",
                f"attributes.run_id NOT IN ({','.join(repr(run_id) for run_id, _ in some)})",
            ]
            for run in self._search(experiment_ids, " and ".join(terms)):
                if run.info.run_id not in own:
                    yield recorded_run(run)

    def runs_by_id(
        self, experiment_ids: Sequence[str], run_ids: Sequence[str]
    ) -> Iterator[RecordedRun]:
        """Yield the runs with these ids in these experiments, deleted ones too."""
        for place in range(0, len(run_ids), _LONGEST_LIST):
            some = ",".join(map(repr, run_ids[place : place + _LONGEST_LIST]))
            yield from map(
                recorded_run, self._search(experiment_ids, f"attributes.run_id IN ({some})")
            )

    def run(self, run_id: str) -> RecordedRun | None:
        """Return a run, deleted or not; ``None`` if it does not exist."""
        try:
            with self.asked(one_job=True) as client:
                return recorded_run(client.get_run(run_id))
        except errors.RunChanged:
            return None

    def _search(self, experiment_ids: Sequence[str], filter_string: str) -> Iterator[Run]:
        """Yield runs, newest first."""
        for page, _ in self._pages(experiment_ids, filter_string):
            yield from page

    def _pages(
        self, experiment_ids: Sequence[str], filter_string: str
    ) -> Iterator[tuple[Iterator[Run], bool]]:
        """Yield pages of runs, newest first, each with whether it is the last.

        Each page begins at the time at which the previous one ends. For MLflow's own next page a
        database would sort all runs again, so only runs of one moment are read that way.
        """
        from mlflow.entities import ViewType

        token: str | None = None
        until: int | None = None
        seen: set[str] = set()
        while experiment_ids:
            bound = f" and attributes.start_time <= {until}" if until is not None else ""
            with self.asked() as client:
                page = client.search_runs(
                    list(experiment_ids),
                    filter_string=filter_string + bound,
                    run_view_type=ViewType.ALL,
                    max_results=self.page_size,
                    page_token=token,
                )
            token = page.token
            fresh = (run for run in page if run.info.run_id not in seen)
            yield fresh, not token
            if not token:
                return
            last = page[-1].info.start_time
            if last != until:
                token, until, seen = None, last, set()
            seen |= {run.info.run_id for run in page if run.info.start_time == last}
            del page, fresh  # freed before the next page is read

    def steps(self, run: RecordedRun) -> dict[str, frozenset[int]]:
        """Return the logged steps of a run by metric, with one request per metric."""
        with self.asked(one_job=True) as client:
            return {
                name: frozenset(
                    metric.step for metric in client.get_metric_history(run.run_id, name)
                )
                for name in run.newest
            }

    def ready_models(self, run: RecordedRun) -> dict[str, str]:
        """Return the ids of a run's complete models by their full names at the provider."""
        found: Mapping[str, ModelState] = {}
        with self.asked(one_job=True) as client:
            if self.capabilities.has(Feature.MODELS):
                found = logged_models.models_of_run(client, run.experiment_id, run.run_id)
        return {name: model.model_id for name, model in found.items() if model.is_ready}

    def history(self, run: RecordedRun) -> dict[str, list[MetricPoint]]:
        """Return all points of a run by metric, with one request per metric."""
        with self.asked(one_job=True) as client:
            return {
                name: [
                    MetricPoint(name, metric.step, metric.value, metric.timestamp)
                    for metric in client.get_metric_history(run.run_id, name)
                ]
                for name in run.newest
            }

    def possible(self, options: RecordingOptions) -> RecordingOptions:
        """Return the options, without those that the store is known not to record."""
        return self.capabilities.possible(options)

    def left_out(self, options: RecordingOptions) -> tuple[str, ...]:
        """Return a sentence for each option that the store cannot record."""
        return self.capabilities.sentences(options)

    def source_run(self, experiment_ids: Sequence[str], model: str) -> str | None:
        """Return the run that made a model; ``None`` if the model is unknown."""
        with self.asked() as client:
            if self.capabilities.has(Feature.MODELS):
                found = logged_models.source_run(client, experiment_ids, model)
                if found:
                    return found
            # A run without LoggedModels names its model in its tags.
            for name in tags.MADE_MODELS if quoted(model) else ():
                term = f"tags.{tags.PROVIDER} != '' and tags.{name} = {quoted(model)}"
                for run in client.search_runs(list(experiment_ids), term, max_results=1):
                    return str(run.info.run_id)
        return None


def recorded_run(run: Run) -> RecordedRun:
    """Return an MLflow run as a search or a single request shows it."""
    found = run.data.tags
    outputs = getattr(run, "outputs", None)  # since MLflow 3.0
    return RecordedRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        job_id=found.get(tags.JOB, ""),
        provider=found.get(tags.PROVIDER, ""),
        name=run.info.run_name or "",
        status=run.info.status,
        is_deleted=run.info.lifecycle_stage == "deleted",
        start_time=run.info.start_time,
        artifact_uri=run.info.artifact_uri or "",
        tags=found,
        params=run.data.params,
        # The protocol buffer is the only public form that keeps a metric's step and time.
        newest={m.key: (m.step, m.timestamp) for m in run.data.to_proto().metrics},
        datasets=frozenset(
            DatasetInput(each.dataset.name, tag.value)
            for each in (run.inputs.dataset_inputs if run.inputs else ())
            for tag in each.tags
            if tag.key == _CONTEXT
        ),
        outputs={
            model.model_id: model.step for model in (outputs.model_outputs if outputs else ())
        },
    )


def outputs_of(client: MlflowClient, run: RecordedRun) -> Mapping[str, int]:
    """Return the models that a run made, with their steps, even if a search does not show them.

    Servers of MLflow 3.1 and 3.5 return them only for a single run.
    """
    return run.outputs or recorded_run(client.get_run(run.run_id)).outputs
