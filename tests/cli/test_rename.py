"""``backfill --rename``, which logs recorded curves again under the configured names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bridge.cli.rename import is_due
from bridge.settings.load import load
from bridge.tracking import Tracking
from tests.support.config_file import write_config
from tests.support.databases import file_of, refill
from tests.support.processes import dump, invoke
from tests.support.recorded import Row, RunRows, active_runs, recorded
from tests.support.static_server import StaticServer, mistral_case, openai_case

HOSTED = openai_case(1, "succeeded", steps=130, result="base64", validation=False)
VALIDATED = openai_case(2, "succeeded", steps=40)
FAILED = openai_case(3, "failed", steps=30, done=12)
QUEUED = openai_case(4, "queued")
RUNNING = openai_case(5, "running", steps=90, done=30)
MISTRAL = mistral_case(6, "SUCCESS", steps=30)
CASES = [HOSTED, VALIDATED, FAILED, QUEUED, RUNNING, MISTRAL]
WITH_CURVES = {HOSTED.id, VALIDATED.id, FAILED.id, RUNNING.id, MISTRAL.id}

METRICS = {
    "openai": {
        "train_loss": "loss",
        "valid_loss": "eval_batch_loss",
        "full_valid_loss": "eval_loss",
        "train_mean_token_accuracy": "mean_token_accuracy",
        "valid_mean_token_accuracy": "eval_batch_mean_token_accuracy",
        "full_valid_mean_token_accuracy": "eval_mean_token_accuracy",
    },
    "mistral": {"train_loss": "loss", "valid_loss": "eval_loss"},
}
PARAMS = {
    "n_epochs": "num_train_epochs",
    "training_steps": "max_steps",
    "warmup_fraction": "warmup_ratio",
}
LABEL = "fine_tuning_metric_names"


@dataclass(frozen=True, slots=True)
class Logged:
    """Histories of the same jobs under the provider's names and under Hugging Face's."""

    provider: Path
    huggingface: Path


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Logged:
    """Make two backfills once."""
    folder = tmp_path_factory.mktemp("logged")
    found = {}
    with StaticServer(CASES) as server:
        for names in ("provider", "huggingface"):
            found[names] = Path(shutil.copy(empty_database, folder / f"{names}.db"))
            mlflow = {"metric_names": names, "archive": False}
            config = server.write_config(folder, f"sqlite:///{found[names]}", mlflow=mlflow)
            done = invoke("backfill", "--config", config)
            assert done.exit_code == 0, done.output
    return Logged(**found)


@dataclass(frozen=True, slots=True)
class Place:
    """A history under the provider's names, whose providers are out of reach."""

    database: Path
    config: Path

    @property
    def uri(self) -> str:
        """Return the tracking URI."""
        return f"sqlite:///{self.database}"

    def rename(self, *arguments: str) -> tuple[int, str]:
        """Return exit code and output of the command."""
        done = invoke("backfill", "--config", self.config, "--rename", *arguments)
        assert "Traceback" not in done.output
        return done.exit_code, done.stdout

    def run_id(self, job_id: str) -> str:
        """Return the id of a job's run."""
        (found,) = (
            run.info.run_id
            for run in active_runs(self.uri)
            if run.data.tags["fine_tuning_job_id"] == job_id
        )
        return str(found)


@pytest.fixture
def place(uri: str, tmp_path: Path, logged: Logged) -> Place:
    """Return a copy that this test may change, with a configuration for other names."""
    database = file_of(uri)
    refill(database, logged.provider)
    with StaticServer() as server:
        mlflow = {"metric_names": "huggingface", "archive": False}
        config = server.write_config(tmp_path, uri, mlflow=mlflow)
    return Place(database, config)


def models(uri: str) -> dict[str, dict[tuple[str, int], float]]:
    """Return the measurements of each LoggedModel by its full name."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return {
        model.tags["fine_tuned_model"]: {
            (metric.key, metric.step): metric.value for metric in model.metrics or ()
        }
        for model in client.search_logged_models(ids)
    }


def names_of(run: RunRows) -> dict[str, str]:
    """Return the new name of each old name of a run's metrics."""
    return METRICS[run.tags["fine_tuning_provider"]]


def without_epochs(rows: Iterable[Row]) -> list[Row]:
    """Return the measurements among a run's rows."""
    return [row for row in rows if row[0] != "epoch"]


def epochs(rows: Iterable[Row]) -> dict[int, float]:
    """Return the epoch of each step. Its time is that of some row of the step."""
    return {step: value for name, step, value, _ in rows if name == "epoch"}


def facts(run: RunRows) -> dict[str, str]:
    """Return a run's tags without the digest of its note, which changes with the names."""
    return {name: value for name, value in run.tags.items() if name != "mlflow.ftbridge.noteDigest"}


# Writes


def test_all_curves_are_there_under_both_names(place: Place) -> None:
    """Each row appears again under its new name, with value, step and time, beside the old."""
    before = recorded(place.uri)
    assert place.rename()[0] == 0
    after = recorded(place.uri)
    assert after.keys() == before.keys()
    for job_id, was in before.items():
        names = names_of(was)
        renamed = {(names[name], *rest) for name, *rest in was.rows if name in names}
        added = set(after[job_id].rows) - set(was.rows)
        assert set(was.rows) <= set(after[job_id].rows)
        assert {row for row in added if row[0] != "epoch"} == renamed
        assert len(after[job_id].rows) == len(set(after[job_id].rows))
        assert bool(renamed) == (job_id in WITH_CURVES)
        assert after[job_id].tags == was.tags | {LABEL: "huggingface"}
        new = {PARAMS[name]: value for name, value in was.params.items() if name in PARAMS}
        assert after[job_id].params == was.params | new
        assert (after[job_id].name, after[job_id].status, after[job_id].end_time) == (
            was.name,
            was.status,
            was.end_time,
        )


def test_it_is_as_if_it_had_been_logged_so(place: Place, logged: Logged) -> None:
    """Rows, params and the models' measurements equal those of a backfill under the new names."""
    assert place.rename()[0] == 0
    direct = f"sqlite:///{logged.huggingface}"
    found = recorded(place.uri)
    for job_id, wanted in recorded(direct).items():
        rows = [row for row in found[job_id].rows if row[0] not in names_of(wanted)]
        assert without_epochs(rows) == without_epochs(wanted.rows), job_id
        assert epochs(rows) == epochs(wanted.rows), job_id
        assert wanted.params.items() <= found[job_id].params.items()
        assert facts(found[job_id]) == facts(wanted), job_id
    assert epochs(found[HOSTED.id].rows).keys() == set(range(1, 131))
    measured = models(place.uri)
    assert measured.keys() == models(direct).keys()
    for model, direct_metrics in models(direct).items():
        wanted_metrics = {at: value for at, value in direct_metrics.items() if at[0] != "epoch"}
        assert wanted_metrics
        assert wanted_metrics.items() <= measured[model].items(), model


def test_the_models_keep_their_old_measurements(place: Place) -> None:
    """A search for models by the old or the new name finds the same ones."""
    before = models(place.uri)
    place.rename()
    after = models(place.uri)
    assert all(was.items() <= after[model].items() for model, was in before.items())
    found = MlflowClient(tracking_uri=place.uri).search_logged_models(
        [run.info.experiment_id for run in active_runs(place.uri)[:1]],
        filter_string="metrics.eval_loss < 100",
    )
    assert {model.tags["fine_tuning_job_id"] for model in found} == {VALIDATED.id, MISTRAL.id}


def test_a_second_time_writes_nothing(place: Place) -> None:
    """A second rename writes nothing and says so."""
    place.rename()
    before = dump(place.database)
    code, said = place.rename("--json")
    assert code == 0
    assert [
        (each["renamed"], each["unchanged"], each["points"])
        for each in json.loads(said)["providers"]
    ] == [(0, 5, 0), (0, 1, 0)]
    assert dump(place.database) == before


def test_a_backfill_afterwards_writes_nothing(place: Place) -> None:
    """A later backfill writes nothing, for finished and for open jobs."""
    place.rename()
    before = dump(place.database)
    with StaticServer(CASES) as server:
        mlflow = {"metric_names": "huggingface", "archive": False}
        config = server.write_config(place.config.parent, place.uri, mlflow=mlflow)
        done = invoke("backfill", "--config", config, "--json")
    assert done.exit_code == 0, done.output
    jobs = [each["jobs"] for each in json.loads(done.stdout)["providers"]]
    assert [(each["new"], each["updated"]) for each in jobs] == [(0, 0), (0, 0)]
    assert dump(place.database) == before


def test_back_again_writes_no_row(place: Place) -> None:
    """A rename back to the old names writes no row, only the tag with the names in use."""
    place.rename()
    before = {job_id: run.rows for job_id, run in recorded(place.uri).items()}
    with StaticServer() as server:
        config = server.write_config(place.config.parent, place.uri)
    assert place.rename()[0] == 0
    assert config == place.config
    assert {job_id: run.rows for job_id, run in recorded(place.uri).items()} == before
    assert {run.tags[LABEL] for run in recorded(place.uri).values()} == {"provider"}


# Options


def test_a_dry_run_writes_nothing_and_counts_the_same(place: Place) -> None:
    """``--dry-run`` counts the future writes, in the document too, without writing."""
    before = dump(place.database)
    code, said = place.rename("--dry-run", "--json")
    assert code == 0
    dry = json.loads(said)
    assert "Nothing was written" in place.rename("--dry-run")[1]
    assert dump(place.database) == before
    real = json.loads(place.rename("--json")[1])
    assert (dry.pop("dry_run"), real.pop("dry_run")) == (True, False)
    assert dry == real
    assert real["ok"] is True
    openai, mistral = real["providers"]
    assert (openai["renamed"], openai["unchanged"]) == (4, 1), "all but the queued job"
    assert mistral["points"] > 30


def test_the_output_says_what_was_done(place: Place) -> None:
    """The output has a line per provider, and says that the old names stay."""
    code, said = place.rename()
    assert code == 0
    assert "openai" in said
    assert "mistral" in said
    assert "MLflow deletes no metric" in said
    assert "MLflow deletes no metric" not in place.rename()[1]


def test_a_provider_can_be_chosen(place: Place) -> None:
    """``--provider`` leaves the runs of the other providers as they are."""
    before = recorded(place.uri)
    code, said = place.rename("--provider", "mistral", "--json")
    assert code == 0
    assert [each["provider"] for each in json.loads(said)["providers"]] == ["mistral"]
    after = recorded(place.uri)
    assert {job_id for job_id in after if after[job_id] != before[job_id]} == {MISTRAL.id}


def test_jobs_can_be_chosen(place: Place) -> None:
    """``--job`` leaves all other runs as they are, whichever provider has the job."""
    before = recorded(place.uri)
    assert place.rename("--job", VALIDATED.id, "--job", MISTRAL.id)[0] == 0
    after = recorded(place.uri)
    assert {job_id for job_id in after if after[job_id] != before[job_id]} == {
        VALIDATED.id,
        MISTRAL.id,
    }


def test_a_job_that_no_run_carries_is_reported(place: Place) -> None:
    """A mistyped id is a failure, and the right one beside it is renamed."""
    code, said = place.rename("--job", MISTRAL.id, "--job", "ftjob-mistyped", "--json")
    assert code == 1
    assert json.loads(said)["unknown_jobs"] == ["ftjob-mistyped"]
    assert json.loads(said)["ok"] is False
    assert recorded(place.uri)[MISTRAL.id].tags[LABEL] == "huggingface"
    code, said = place.rename("--job", "ftjob-mistyped")
    assert code == 1
    assert "ftjob-mistyped: no run carries it" in said


@pytest.mark.parametrize("option", [["--since", "30d"], ["--limit", "3"], ["--status", "failed"]])
def test_what_only_a_provider_could_tell_cannot_be_chosen(place: Place, option: list[str]) -> None:
    """Options that need a provider are wrong usage, and nothing is renamed."""
    before = dump(place.database)
    done = invoke("backfill", "--config", place.config, "--rename", *option)
    assert done.exit_code == 2
    assert "--rename" in done.stderr
    assert dump(place.database) == before


@pytest.mark.usefixtures("impatient")
def test_without_mlflow_it_says_so(tmp_path: Path) -> None:
    """Without MLflow there is one sentence, exit code 1, and no traceback."""
    with StaticServer() as server:
        mlflow = {"metric_names": "torchtune"}
        config = server.write_config(tmp_path, "http://127.0.0.1:9", mlflow=mlflow)
    done = invoke("backfill", "--config", config, "--rename")
    assert done.exit_code == 1
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.output


# Conflicts


def test_a_name_that_is_taken_is_a_conflict(place: Place) -> None:
    """A curve of the user's is not mixed with another, and all other curves are renamed.

    The run is tried again each time until the user has removed the obstacle.
    """
    client = MlflowClient(tracking_uri=place.uri)
    run_id = place.run_id(VALIDATED.id)
    client.log_metric(run_id, "loss", 123.0, step=7)
    for _ in range(2):
        code, said = place.rename("--json")
        assert code == 1
        reported = json.loads(said)
        assert reported["ok"] is False
        ((conflict,), ()) = (each["conflicts"] for each in reported["providers"])
        assert conflict["job"] == VALIDATED.id
        assert "train_loss" in conflict["what"]
        assert "loss" in conflict["what"]
    found = recorded(place.uri)[VALIDATED.id]
    assert [row[1:3] for row in found.rows if row[0] == "loss"] == [(7, 123.0)]
    assert found.tags[LABEL] == "provider"
    assert {name for name, *_ in found.rows} > {"eval_loss", "mean_token_accuracy"}
    assert recorded(place.uri)[HOSTED.id].tags[LABEL] == "huggingface"
    assert VALIDATED.id in place.rename()[1]


def test_a_tag_that_says_nothing_is_a_conflict(place: Place) -> None:
    """A run whose tag does not say what its metrics are is left as it is, and reported."""
    client = MlflowClient(tracking_uri=place.uri)
    client.set_tag(place.run_id(FAILED.id), LABEL, "{broken")
    before = recorded(place.uri)[FAILED.id]
    code, said = place.rename("--json")
    assert code == 1
    assert [conflict["job"] for conflict in json.loads(said)["providers"][0]["conflicts"]] == [
        FAILED.id
    ]
    assert recorded(place.uri)[FAILED.id] == before


def test_deleted_runs_stay_as_they_are(place: Place) -> None:
    """A deleted run is neither renamed nor a failure."""
    client = MlflowClient(tracking_uri=place.uri)
    run_id = place.run_id(HOSTED.id)
    client.delete_run(run_id)
    before = client.get_run(run_id).to_dictionary()
    code, said = place.rename("--json")
    assert code == 0
    assert json.loads(said)["providers"][0]["renamed"] == 3
    assert client.get_run(run_id).to_dictionary() == before


def test_runs_without_the_tag_have_the_providers_names(place: Place) -> None:
    """Runs from before the tag have the provider's names."""
    client = MlflowClient(tracking_uri=place.uri)
    client.delete_tag(place.run_id(MISTRAL.id), LABEL)
    assert place.rename()[0] == 0
    found = recorded(place.uri)[MISTRAL.id]
    assert found.tags[LABEL] == "huggingface"
    assert "loss" in {name for name, *_ in found.rows}


class Reader(Tracking):
    """A tracking store that notes the experiments whose local runs are read."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.read: list[str] = []

    def local_metric_names(self, experiment_id: str) -> list[frozenset[str]]:
        """Note the experiment."""
        self.read.append(experiment_id)
        return super().local_metric_names(experiment_id)


def test_an_experiment_that_providers_share_is_read_once(uri: str, tmp_path: Path) -> None:
    """The hint at the end of a backfill costs one reading for each experiment."""
    tracking = Reader(uri)
    place = tracking.experiment("hosted-fine-tunes", create=True)
    urls = {name: f"http://127.0.0.1:9/{name}" for name in ("openai", "mistral", "nebius")}
    assert is_due(load(write_config(tmp_path, uri, urls), {}), tracking) is None
    assert tracking.read == [place]
