"""``metric_names: auto``, which puts hosted curves on the charts of local runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import Result

from bridge.simulator import Simulator, all_end_by
from tests.support.config_file import simulated, write_config
from tests.support.processes import invoke
from tests.support.world import Clock, job

JOBS = [job("ftjob-one"), job("ftjob-two")]
TAG = "fine_tuning_metric_names"


@dataclass(frozen=True, slots=True)
class Place:
    """A simulated OpenAI, an MLflow, and the configuration between them."""

    client: MlflowClient
    config: Path
    simulator: Simulator

    def run(self, command: str, *options: str) -> Result:
        """Run the command line with the configuration."""
        return invoke(command, "--config", self.config, *options)

    def local_run(self, experiment: str, *metrics: str) -> str:
        """Log a local run, and return its experiment's id."""
        found = self.client.get_experiment_by_name(experiment)
        where = found.experiment_id if found else self.client.create_experiment(experiment)
        run = self.client.create_run(where)
        for name in metrics:
            for step in range(3):
                self.client.log_metric(run.info.run_id, name, 1.0 / (step + 1), step=step)
        return str(where)

    def metrics(self, experiment: str = "hosted-fine-tunes") -> set[str]:
        """Return the names of all metrics of the hosted runs."""
        (where,) = self.client.search_experiments(filter_string=f"name = {experiment!r}")
        runs = self.client.search_runs([where.experiment_id], f"tags.{TAG} != ''")
        assert runs
        return {name for run in runs for name in run.data.metrics}

    def tags(self, experiment: str = "hosted-fine-tunes") -> dict[str, str]:
        """Return an experiment's tags."""
        (where,) = self.client.search_experiments(filter_string=f"name = {experiment!r}")
        return dict(where.tags)


@pytest.fixture
def place(uri: str, tmp_path: Path) -> Iterator[Place]:
    """Return two ended jobs and a configuration without metric names."""
    with Simulator(jobs=JOBS, clock=Clock(all_end_by(JOBS) + 1)) as simulator:
        config = write_config(tmp_path, uri, simulated(simulator, "openai"))
        yield Place(MlflowClient(uri), config, simulator)


@pytest.mark.parametrize(
    ("local", "shared", "label"),
    [
        (("loss", "eval_loss"), {"loss", "eval_loss"}, "huggingface"),
        (("train_loss", "val_loss"), {"train_loss", "val_loss"}, "lightning"),
        (("train_loss", "valid_loss"), {"train_loss", "valid_loss"}, "provider"),
        (("reward",), set(), "provider"),
        ((), set(), "provider"),
    ],
)
def test_local_runs_decide(
    place: Place, local: tuple[str, ...], shared: set[str], label: str
) -> None:
    """The names of local runs become those of hosted runs, and the views show them."""
    if local:
        place.local_run("hosted-fine-tunes", *local)
    done = place.run("backfill")
    assert done.exit_code == 0, done.output
    assert shared <= place.metrics()
    assert ("loss" in place.metrics()) is (label == "huggingface")
    tags = place.tags()
    if local:
        assert tags[TAG] == label
    losses = {"huggingface": "eval_loss", "lightning": "val_loss", "provider": "full_valid_loss"}
    assert f"metrics.`{losses[label]}`" in tags["mlflow.sharedViewState.ftbridge"]
    assert "--rename" not in done.output


def test_it_is_decided_once(place: Place) -> None:
    """Names are chosen once: later local runs change nothing, and the command says how to."""
    assert place.run("backfill").exit_code == 0
    before = place.metrics()
    place.local_run("hosted-fine-tunes", "loss", "eval_loss")
    again = place.run("backfill")
    assert place.metrics() == before
    assert "metric names of some runs are not those of huggingface" in again.output
    assert "backfill --rename" in again.output

    renamed = place.run("backfill", "--rename")
    assert renamed.exit_code == 0, renamed.output
    assert before | {"loss", "eval_loss"} <= place.metrics()
    assert place.tags()[TAG] == "huggingface"
    charts = place.tags()["mlflow.sharedViewState.ftbridge-charts"]
    assert "eval_loss" in charts
    assert "full_valid_loss" not in charts
    assert "--rename" not in place.run("backfill").output


def test_a_dry_run_decides_nothing(place: Place) -> None:
    """A dry run stores no names, but prints what a pass would write under the chosen ones."""
    place.local_run("hosted-fine-tunes", "loss")
    done = place.run("backfill", "--dry-run", "--json")
    (provider,) = json.loads(done.stdout)["providers"]
    assert "loss" in provider["plans"][0]["points"]
    assert TAG not in place.tags()


def test_the_command_line_says_where_and_how(place: Place) -> None:
    """An option of the command names the experiment of local runs."""
    place.local_run("my-sft", "loss", "eval_loss")
    done = place.run("backfill", "--experiment", "my-sft")
    assert done.exit_code == 0, done.output
    assert {"loss", "eval_loss"} <= place.metrics("my-sft")
    forced = place.run("backfill", "--experiment", "other", "--metric-names", "torchtune")
    assert forced.exit_code == 0, forced.output
    assert {"loss", "val_loss"} <= place.metrics("other")
    wrong = place.run("backfill", "--metric-names", "hugingface")
    assert wrong.exit_code == 2
    assert "did you mean huggingface?" in wrong.output


def test_the_environment_says_it_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces the option."""
    monkeypatch.setenv("FTBRIDGE_METRIC_NAMES", "lightning")
    assert place.run("backfill").exit_code == 0
    assert "val_loss" in place.metrics()


def test_check_finds_local_runs_in_other_experiments(place: Place) -> None:
    """``check`` names the setting that puts hosted jobs beside local runs of another experiment."""
    place.local_run("other", "accuracy")
    place.local_run("my-sft", "loss", "eval_loss")
    done = place.run("check")
    assert "local runs in 'my-sft' log loss, eval_loss" in done.output
    assert "Set mlflow.experiment: my-sft" in done.output
    place.local_run("hosted-fine-tunes", "loss")
    assert "my-sft" not in place.run("check").output


def test_a_run_with_names_keeps_them(place: Place) -> None:
    """A run that was open under other names is completed under these."""
    place.local_run("hosted-fine-tunes", "loss")
    assert place.run("backfill", "--metric-names", "provider", "--job", "ftjob-one").exit_code == 0
    assert place.run("backfill").exit_code == 0
    assert "loss" not in place.metrics()
    assert "train_loss" in place.metrics()
