"""``ftbridge doctor``: each kind of damage is found, reported, repaired, and not found again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from mlflow.entities import Run

from bridge.simulator import Outcome, Simulator
from bridge.simulator.jobs import Provider
from bridge.simulator.messages import Reply, Request, json_reply
from bridge.simulator.openai_objects import model_name
from tests.support.artifacts import archive_of, archived
from tests.support.config_file import simulated, write_config
from tests.support.databases import copy_store
from tests.support.models import (
    EXPERIMENT,
    ModelRows,
    client_of,
    datasets,
    experiment_id,
    logged_models,
    models,
    newest,
    run_of,
    versions,
)
from tests.support.processes import dump, invoke
from tests.support.recorded import RunRows, active_runs, deleted_runs, recorded
from tests.support.world import KEY, Clock, job

Whole = list[tuple[str, str]]
"""Content of a store, by kind."""
JOB = "ftjob-a"
OTHER = "ftjob-b"
ENDED = 1000
"""Seconds after which every job here has ended."""
UNDER_WAY = 35
"""Seconds after which both jobs train."""
WAITS = [7.0] * 12 if os.environ.get("SOAK") else [21.0]
"""Seconds before each of the passes while jobs train."""


@dataclass(slots=True)
class Provided:
    """A simulated provider that can lose jobs, or fail."""

    clock: Clock
    simulator: Simulator = field(init=False)
    lost: set[str] = field(default_factory=set)
    reply: Reply | None = None
    """Reply to every request, if it is set."""

    def intercept(self, request: Request) -> Reply | None:
        """Return a reply that differs from the simulator's."""
        if any(request.path.endswith(f"/jobs/{job_id}") for job_id in self.lost):
            return json_reply({"error": {"message": "No such job"}}, 404)
        if self.lost and request.path.endswith("/fine_tuning/jobs"):
            return json_reply({"object": "list", "data": [], "has_more": False})
        return self.reply


@dataclass(slots=True)
class Place:
    """A tracking store, and the command line that is configured for it."""

    uri: str
    provided: Provided
    mlflow: dict[str, object] = field(
        default_factory=lambda: {"register": "{provider}-{suffix}", "open_to_jobs": ["*"]}
    )
    kinds: tuple[Provider, ...] = ("openai",)

    @property
    def database(self) -> Path:
        """Return the database file."""
        return Path(self.uri.removeprefix("sqlite:///"))

    def call(self, *arguments: str, **changes: object) -> tuple[int, str]:
        """Return exit code and stdout of a command."""
        path = write_config(
            self.database.with_suffix(".yaml"),
            self.uri,
            simulated(self.provided.simulator, *self.kinds),
            mlflow=self.mlflow | changes,
        )
        command, *rest = arguments
        done = invoke(command, "--config", path, *rest)
        assert "Traceback" not in done.output
        assert KEY not in done.output
        return done.exit_code, done.stdout

    def backfill(self, **changes: object) -> None:
        """Record everything."""
        code, said = self.call("backfill", **changes)
        assert code == 0, said

    def doctor(self, *arguments: str, **changes: object) -> Doctor:
        """Return the output of the command."""
        code, said = self.call("doctor", "--json", *arguments, **changes)
        return Doctor(code, json.loads(said))

    def run(self, job_id: str = JOB) -> Run:
        """Return the active run of a job."""
        return run_of(self.uri, job_id)

    def run_id(self, job_id: str = JOB) -> str:
        """Return the id of a job's active run."""
        return str(self.run(job_id).info.run_id)

    @property
    def whole(self) -> Whole:
        """Return everything that can be compared with another store."""
        runs = {run.data.tags["fine_tuning_job_id"]: run for run in active_runs(self.uri)}
        found = recorded(self.uri)
        return sorted(
            [
                *((f"run of {job_id}", written(run)) for job_id, run in found.items()),
                *((f"data of {job_id}", repr(datasets(run))) for job_id, run in runs.items()),
                *(
                    (f"{path} of {job_id}", repr(content))
                    for job_id in runs
                    for path, content in archive_of(self.uri, runs[job_id]).items()
                ),
                *((f"model {name}", written(model)) for name, model in models(self.uri).items()),
                *(
                    (f"version of {version.name}", repr(sorted(version.tags.items())))
                    for version in client_of(self.uri).search_model_versions()
                ),
            ]
        )


def written(rows: RunRows | ModelRows) -> str:
    """Return the same text for the same rows."""
    return json.dumps(asdict(rows), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Doctor:
    """Exit code and document of the command."""

    code: int
    document: Mapping[str, Any]

    @property
    def chart(self) -> Mapping[str, Any]:
        """Return the document's entry for the only provider."""
        (chart,) = self.document["providers"]
        return dict(chart)

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Return the findings of the only provider."""
        return list(self.chart["findings"])

    @property
    def said(self) -> list[str]:
        """Return the sentences of the findings."""
        return [str(finding["what"]) for finding in self.findings]


@pytest.fixture
def provided(clock: Clock) -> Iterator[Provided]:
    """Run a provider of a job that succeeds and one that fails."""
    jobs = [job(JOB, suffix="bot"), job(OTHER, outcome=Outcome.FAILED, ends_at_step=5)]
    found = Provided(clock)
    with Simulator(jobs=jobs, clock=clock, intercept=found.intercept) as simulator:
        found.simulator = simulator
        yield found


@pytest.fixture
def place(uri: str, provided: Provided) -> Place:
    """Return an empty store, beside that provider."""
    return Place(uri, provided)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return the databases of copies of stores, each made by the first to need it."""
    folder = tmp_path_factory.mktemp("kept")
    return lambda seconds: folder / str(seconds) / "mlflow.db"


def after(seconds: int, place: Place, kept: Path) -> Place:
    """Return the store after a backfill at this time, or a copy from an earlier test."""
    place.provided.clock.now += seconds
    if kept.exists():
        copy_store(kept, place.database)
    else:
        place.backfill()
        kept.parent.mkdir()
        copy_store(place.database, kept)
    return place


@pytest.fixture
def healthy(place: Place, kept: Callable[[int], Path]) -> Place:
    """Return a store in which all jobs are recorded and ended."""
    return after(ENDED, place, kept(ENDED))


@pytest.fixture
def under_way(place: Place, kept: Callable[[int], Path]) -> Place:
    """Return a store in which all jobs are recorded and train."""
    return after(UNDER_WAY, place, kept(UNDER_WAY))


@pytest.fixture(scope="module")
def wholes() -> dict[str, Whole]:
    """Return the contents of undamaged stores so far, by their settings and jobs."""
    return {}


@pytest.fixture
def undisturbed(
    other_uri: str, provided: Provided, wholes: dict[str, Whole]
) -> Callable[..., Whole]:
    """Return what makes the content of an undamaged store, once for the same jobs and settings."""

    def hold(**changes: object) -> Whole:
        key = repr(sorted(changes.items()))
        if key not in wholes:
            other = Place(other_uri, provided)
            other.backfill(**changes)
            wholes[key] = other.whole
        return wholes[key]

    return hold


def repaired(place: Place, *arguments: str, code: int = 1, **changes: object) -> Doctor:
    """Return the findings, which are reported, then repaired, then gone."""
    before = dump(place.database)
    reported = place.doctor(*arguments, **changes)
    assert reported.code == code
    assert dump(place.database) == before, "a look has written something"
    assert not any(finding["fixed"] for finding in reported.findings)
    done = place.doctor("--fix", *arguments, **changes)
    assert done.code == 0, done
    assert sorted(done.said) == sorted(reported.said)
    assert all(finding["fixed"] for finding in done.findings)
    again = place.doctor(*arguments, **changes)
    assert (again.code, again.findings) == (0, []), again
    return reported


# Healthy stores


@pytest.mark.long
@pytest.mark.parametrize("kind", get_args(Provider))
def test_in_a_healthy_world_nothing_is_found(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: Provider
) -> None:
    """A healthy store has no findings for ended and open jobs, and ``--fix`` writes nothing."""
    # Bedrock's curves are in a bucket.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    ids = [f"{n}1111111-2222-3333-4444-555555555555" for n in range(3)]
    jobs = [
        job(ids[0], kind),
        job(ids[1], kind, outcome=Outcome.FAILED, ends_at_step=5),
        job(ids[2], kind, total_steps=5000),
    ]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        provided = Provided(clock)
        provided.simulator = simulator
        place = Place(uri, provided, kinds=(kind,))
        for seconds in WAITS:
            clock.now += seconds
            place.call("backfill")
        clock.now += 100
        place.backfill()
        # Rows of an open job that no pass has seen yet do not count as damage.
        clock.now += 10
        before = dump(place.database)
        found = place.doctor("--fix")
        assert (found.code, found.findings) == (0, []), found
        assert found.chart["compared"] == 3
        assert dump(place.database) == before


def test_the_output_says_that_all_is_well(healthy: Place) -> None:
    """A healthy store is reported in one line per provider."""
    code, said = healthy.call("doctor")
    assert code == 0
    assert said.splitlines() == ["openai: 2 jobs compared, no findings"]


def test_nothing_recorded_is_nothing_wrong(place: Place, provided: Provided) -> None:
    """Jobs without runs are left to a backfill, and not even an experiment is created."""
    provided.clock.now += ENDED
    for arguments in ((), ("--fix",)):
        found = place.doctor(*arguments)
        assert (found.code, found.findings) == (0, [])
        assert found.chart["without_run"] == 2
    assert client_of(place.uri).get_experiment_by_name("hosted-fine-tunes") is None
    assert "ftbridge backfill" in place.call("doctor")[1]


def test_each_job_is_read_once(healthy: Place, provided: Provided) -> None:
    """Checkpoints and events of a job are requested once, with or without a repair."""
    client_of(healthy.uri).delete_tag(healthy.run_id(), "base_model")
    for arguments in ((), ("--fix",)):
        before = len(provided.simulator.requests)
        healthy.doctor(*arguments)
        paths = [request.path for request in provided.simulator.requests[before:]]
        for part in ("checkpoints", "events"):
            assert sum(path.endswith(f"{JOB}/{part}") for path in paths) == 1
        # Its dates hold for all jobs.
        assert sum(path.endswith("/models") for path in paths) == 1


# Duplicates


def twin(
    place: Place,
    experiment: str = EXPERIMENT,
    changes: Mapping[str, str] | None = None,
    *,
    is_first: bool = False,
) -> str:
    """Create a second run of the job like the first, with or without its data."""
    client, run = client_of(place.uri), place.run()
    found = client.get_experiment_by_name(experiment)
    where = found.experiment_id if found else client.create_experiment(experiment)
    names = ("fine_tuning_provider", "fine_tuning_job_id", "fine_tuning_bridge")
    tags = {name: run.data.tags[name] for name in names} | dict(changes or {})
    while True:
        run_id = str(client.create_run(where, tags=tags).info.run_id)
        # The smallest id carries the job, and MLflow generates the ids.
        if (run_id < run.info.run_id) == is_first:
            return run_id
        client.delete_run(run_id)


def test_of_two_runs_of_a_job_one_stays(healthy: Place, undisturbed: Callable[..., Whole]) -> None:
    """The run of a job with the smallest id stays, and the other is deleted."""
    first, second = healthy.run_id(), twin(healthy)
    (finding,) = repaired(healthy).findings
    assert (finding["job"], finding["run"]) == (JOB, second)
    assert first in str(finding["what"])
    assert second in str(finding["link"])
    assert healthy.run_id() == first
    assert second in {run.info.run_id for run in deleted_runs(healthy.uri)}
    assert healthy.whole == undisturbed()


@pytest.mark.parametrize("is_gone", [False, True])
def test_of_two_runs_of_a_job_the_finished_one_stays(
    healthy: Place, provided: Provided, *, is_gone: bool
) -> None:
    """The finished run of a job stays, even if it has the larger id and its job is gone."""
    finished, other = healthy.run_id(), twin(healthy, is_first=True)
    if is_gone:
        provided.lost.add(JOB)
    (finding,) = repaired(healthy).findings
    assert (finding["job"], finding["run"]) == (JOB, other)
    assert finished in str(finding["what"])
    assert healthy.run_id() == finished


@pytest.mark.parametrize(
    ("experiment", "changes", "words"),
    [
        ("elsewhere", {}, "a run in elsewhere"),
        (EXPERIMENT, {"fine_tuning_bridge": "adopted, complete"}, "did not create"),
    ],
)
def test_other_runs_of_a_job_are_reported(
    healthy: Place, experiment: str, changes: dict[str, str], words: str
) -> None:
    """A run in another experiment and a user's run are reported, and never deleted."""
    rival = twin(healthy, experiment, changes)
    before = dump(healthy.database)
    for arguments in ((), ("--fix",)):
        found = healthy.doctor(
            *arguments, routes=[{"experiment": "elsewhere", "suffix": "nothing"}]
        )
        (finding,) = found.findings
        assert words in str(finding["what"])
        assert (finding["job"], finding["run"], finding["fixed"]) == (JOB, rival, False)
        assert found.code == 1
    assert dump(healthy.database) == before


def test_doubled_models_go(healthy: Place) -> None:
    """Duplicate models are deleted except the first, and a user's model of that name stays."""
    # Another run's models lie in time between the first and the others.
    healthy.provided.simulator.add(job("ftjob-c"))
    healthy.backfill()
    before = healthy.whole
    client, full_name = client_of(healthy.uri), model_name(job(JOB, suffix="bot"), 8)
    (first,) = (
        model for model in logged_models(healthy.uri) if full_name == model.tags["fine_tuned_model"]
    )
    for _ in range(2):
        client.create_logged_model(
            experiment_id(healthy.uri), "again", healthy.run_id(), tags=dict(first.tags)
        )
    users = client.create_logged_model(experiment_id(healthy.uri), first.name, healthy.run_id())
    found = repaired(healthy)
    assert found.said == [f"model {full_name} is there twice"] * 2
    client.delete_logged_model(users.model_id)
    assert healthy.whole == before


def test_doubled_versions_go(healthy: Place, undisturbed: Callable[..., Whole]) -> None:
    """Duplicate versions are deleted except the first, which keeps the alias."""
    client, (first,) = client_of(healthy.uri), versions(healthy.uri, "openai-bot")
    double = client.create_model_version(
        first.name, str(first.source), first.run_id, tags=dict(first.tags), model_id=first.model_id
    )
    client.set_registered_model_alias(first.name, "newest", str(double.version))
    assert repaired(healthy).said == ["version 2 of openai-bot is there twice"]
    assert [int(version.version) for version in versions(healthy.uri, "openai-bot")] == [1]
    assert newest(healthy.uri, "openai-bot") == first.tags["fine_tuned_model"]
    assert healthy.whole == undisturbed()


# Leftovers


def test_what_a_deleted_run_has_left_goes(healthy: Place) -> None:
    """Models and a version of a deleted run are deleted, and the run stays deleted."""
    client_of(healthy.uri).delete_run(healthy.run_id())
    found = repaired(healthy)
    assert sorted(what.split()[0] for what in found.said) == ["model", "model", "model", "version"]
    assert not logged_models(healthy.uri)
    assert not versions(healthy.uri, "openai-bot")
    assert recorded(healthy.uri).keys() == {OTHER}


def test_a_version_that_its_user_has_named_is_reported(healthy: Place) -> None:
    """A version with a user's alias is reported, and deleted once the alias is gone."""
    client = client_of(healthy.uri)
    client.delete_run(healthy.run_id())
    client.set_registered_model_alias("openai-bot", "champion", "1")
    done = healthy.doctor("--fix")
    (left,) = (finding for finding in done.findings if not finding["fixed"])
    assert done.code == 1
    assert "champion" in str(left["remedy"])
    assert versions(healthy.uri, "openai-bot")
    client.delete_registered_model_alias("openai-bot", "champion")
    assert repaired(healthy).said == ["version 1 of openai-bot has lost its run"]
    assert not versions(healthy.uri, "openai-bot")


def test_an_alias_that_has_gone_astray_comes_back(healthy: Place) -> None:
    """A misplaced alias returns to the version of the job that ended last."""
    client = client_of(healthy.uri)
    client.delete_registered_model_alias("openai-bot", "newest")
    assert repaired(healthy).said == ["the alias newest of openai-bot is at none"]
    assert newest(healthy.uri, "openai-bot") == model_name(job(JOB, suffix="bot"), 12)


# Runs that are stuck, or were ended too early


def test_a_run_without_its_final_status_gets_it(
    healthy: Place, undisturbed: Callable[..., Whole]
) -> None:
    """A run that is only behind its ended job is a note, and ``--fix`` completes it too."""
    client_of(healthy.uri).update_run(healthy.run_id(), status="RUNNING")
    said = healthy.call("doctor")[1].splitlines()
    found = repaired(healthy, code=0)
    (what,) = found.said
    assert re.fullmatch(r"not synced since 2025-10-\d\d \d\d:\d\d UTC", what)
    assert [finding["note"] for finding in found.findings] == [True]
    assert said[:2] == [f"· openai/bot-tjob-a: {what}", f"  ftbridge backfill --job {JOB}"]
    assert said[-1] == "openai: 2 jobs compared, no findings, 1 not up to date"
    assert healthy.whole == undisturbed()


@pytest.mark.parametrize(
    ("word", "status"), [("running", "KILLED"), ("succeeded", "FINISHED"), ("failed", "FAILED")]
)
def test_the_run_of_a_job_that_is_gone_ends(
    under_way: Place, provided: Provided, word: str, status: str
) -> None:
    """The run of a lost job gets the last known status and end of the job."""
    client, run_id = client_of(under_way.uri), under_way.run_id()
    client.set_tag(run_id, "fine_tuning_status", word)
    before = recorded(under_way.uri)[JOB]
    provided.simulator.remove(JOB)
    under_way.call("backfill")
    assert under_way.run().info.status == "RUNNING", "a pass leaves it"
    (what,) = repaired(under_way, "--job", JOB).said
    assert what == "it is RUNNING although its provider no longer has the job"
    found = recorded(under_way.uri)[JOB]
    assert (found.status, found.rows, found.tags) == (status, before.rows, before.tags)
    assert found.end_time == max(row[3] for row in before.rows)


@pytest.mark.parametrize("others", [(), ("ftjob-theirs",)])
def test_the_key_of_another_account_ends_no_run(
    under_way: Place, provided: Provided, others: tuple[str, ...]
) -> None:
    """A key of another account, with or without jobs, ends no run.

    Its list has none of the jobs that MLflow knows, so ``doctor`` suspects the key and not the
    jobs.
    """
    before = dump(under_way.database)
    for job_id in (JOB, OTHER):
        provided.simulator.remove(job_id)
    for job_id in others:
        provided.simulator.add(job(job_id))
    done = under_way.doctor("--fix")
    assert (done.code, done.findings) == (1, [])
    reported = done.chart["not_compared"]
    assert {each["job"] for each in reported} == {JOB, OTHER}
    assert all("another account" in each["remedy"] for each in reported)
    assert under_way.run().info.status == "RUNNING"
    assert dump(under_way.database) == before


def test_a_complete_run_outlives_its_job(healthy: Place, provided: Provided) -> None:
    """A complete run of a lost job needs no repair."""
    provided.lost |= {JOB, OTHER}
    before = dump(healthy.database)
    assert healthy.doctor("--fix").code == 0
    assert healthy.doctor("--fix", "--job", JOB).code == 0
    assert dump(healthy.database) == before


@pytest.mark.parametrize("status", ["FINISHED", "KILLED"])
def test_a_run_that_was_ended_too_early_gets_the_rest(
    under_way: Place, provided: Provided, undisturbed: Callable[..., Whole], status: str
) -> None:
    """A run that was ended too early gets its curve, models, datasets, version, archive and end."""
    client_of(under_way.uri).set_terminated(under_way.run_id(), status)
    provided.clock.now += ENDED
    under_way.backfill()
    assert not models(under_way.uri), "a pass takes it for complete"
    (what,) = repaired(under_way).said
    assert what.startswith(f"it became {status} before everything was recorded, lacks ")
    for lacking in ("points", "3 models", "archived files", "a registered version"):
        assert lacking in what
    held = undisturbed()
    assert without_times(under_way.whole) == without_times(held)


def test_a_run_that_was_ended_while_its_job_goes_on_is_opened(
    under_way: Place, provided: Provided
) -> None:
    """A run that was ended while its job continues is opened, so that passes follow it again."""
    client_of(under_way.uri).set_terminated(under_way.run_id(), "FINISHED")
    (what,) = repaired(under_way).said
    assert what.startswith("it is FINISHED although its job is still open")
    assert under_way.run().info.status == "RUNNING"
    provided.clock.now += ENDED
    under_way.backfill()
    assert under_way.run().info.status == "FINISHED"
    assert len(models(under_way.uri)) == 3


def without_times(whole: Whole) -> Whole:
    """Return the facts that a followed job shares with one that is recorded at its end."""
    return [(what, re.sub(r"\b17600\d{8}\b", "TIME", str(content))) for what, content in whole]


# Missing parts


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ({"curves": False}, ["points of"]),
        ({"models": False, "register": False}, ["3 models", "a registered version"]),
        ({"register": False}, ["a registered version"]),
        ({"datasets": False, "archive_datasets": False}, ["2 datasets", "archived files"]),
        (
            {"archive": False, "models": False, "register": False, "curves": False},
            ["points of", "archived files", "3 models", "a registered version"],
        ),
    ],
)
def test_what_a_complete_run_lacks_is_added(
    place: Place,
    provided: Provided,
    undisturbed: Callable[..., Whole],
    without: dict[str, object],
    words: list[str],
) -> None:
    """A complete run gets the parts that were switched off when it was written."""
    place.mlflow = {"register": "{provider}-{suffix}", "archive_datasets": True}
    provided.clock.now += ENDED
    place.backfill(**without)
    found = repaired(place)
    assert all(what.startswith("lacks ") for what in found.said)
    assert any(all(word in what for word in words) for what in found.said)
    expected = undisturbed(**place.mlflow)
    if "curves" in without:
        # Existing points stay, with the times of their checkpoints.
        assert without_times(place.whole) == without_times(expected)
    else:
        assert place.whole == expected


def test_holes_in_a_curve_are_filled(place: Place, provided: Provided) -> None:
    """A hole in a curve is filled, although a pass reads only back to logged points."""
    long = job("ftjob-long", total_steps=120)
    provided.simulator.add(long)
    provided.clock.now += ENDED
    place.mlflow = {"archive": False}
    place.backfill(curves=False)
    rows = {row[:2] for row in recorded(place.uri)[long.id].rows}
    client_of(place.uri).log_metric(place.run_id(long.id), "train_loss", 0.5, step=119)
    repaired(place, "--job", long.id)
    filled = {row[:2] for row in recorded(place.uri)[long.id].rows}
    assert rows < filled
    assert {step for name, step in filled if name == "train_loss"} == set(range(1, 121))


def test_a_removed_tag_is_written_again_and_an_edited_one_stays(healthy: Place) -> None:
    """A removed tag is written again, and a user's edits stay, even during other repairs."""
    client, run_id = client_of(healthy.uri), healthy.run_id()
    client.delete_tag(run_id, "trained_tokens")
    edits = {"base_model": "mine", "mlflow.note.content": "my words", "mlflow.runName": "my run"}
    for name, value in edits.items():
        client.set_tag(run_id, name, value)
    assert repaired(healthy).said == ["lacks 1 tag"]
    tags = healthy.run().data.tags
    assert "trained_tokens" in tags
    assert edits.items() <= tags.items()


def test_what_is_only_edited_is_not_found(healthy: Place) -> None:
    """An edit does not count as damage, not even of a final status."""
    client, run_id = client_of(healthy.uri), healthy.run_id()
    client.set_tag(run_id, "base_model", "mine")
    client.set_tag(run_id, "mlflow.note.content", "my words")
    client.update_run(run_id, status="FAILED", name="mine")
    assert healthy.doctor("--fix").findings == []
    assert healthy.run().info.status == "FAILED"


# Users' decisions


def test_what_its_user_deleted_stays_deleted(healthy: Place) -> None:
    """A deleted run, model or version is neither created again nor reported."""
    client = client_of(healthy.uri)
    client.delete_run(healthy.run_id(OTHER))
    client.delete_model_version("openai-bot", "1")
    deleted = model_name(job(JOB, suffix="bot"), 8)
    for model in logged_models(healthy.uri):
        if model.tags["fine_tuned_model"] == deleted:
            client.delete_logged_model(model.model_id)
    before = dump(healthy.database)
    for arguments in ((), ("--fix",)):
        found = healthy.doctor(*arguments)
        assert (found.code, found.findings) == (0, [])
    assert dump(healthy.database) == before
    # The same holds when something else is repaired.
    client.delete_tag(healthy.run_id(), "trained_tokens")
    assert repaired(healthy).said == ["lacks 1 tag"]
    assert deleted not in models(healthy.uri)
    assert not versions(healthy.uri, "openai-bot")


@pytest.mark.parametrize(
    ("experiment", "arguments"),
    [
        ("launches", ()),
        (EXPERIMENT, ("--job", "ftjob-c")),
        pytest.param(EXPERIMENT, (), marks=pytest.mark.soak),
        pytest.param("launches", ("--job", "ftjob-c"), marks=pytest.mark.soak),
    ],
)
def test_a_users_run_gets_only_what_every_adopted_run_gets(
    place: Place, provided: Provided, experiment: str, arguments: tuple[str, ...]
) -> None:
    """A user's run keeps its name, status and data, and gets the data of an adopted run."""
    client = client_of(place.uri)
    where = client.create_experiment(
        experiment, artifact_location=(place.database.parent / "theirs").as_uri()
    )
    theirs = client.create_run(where, run_name="other", tags={"base_model": "local"}).info.run_id
    launched = client.create_run(where, run_name="launch", tags={"team": "red"}).info.run_id
    client.log_metric(launched, "train_loss", 9.0, step=1)
    client.create_logged_model(where, "local", launched)
    provided.simulator.add(job("ftjob-c", metadata={"mlflow_run_id": launched}))
    provided.clock.now += ENDED
    place.backfill(models=False, register=False)
    client.set_terminated(launched, "FAILED")
    other = client.get_run(theirs).to_dictionary()
    found = repaired(place, *arguments)
    (what,) = (each["what"] for each in found.findings if each["run"] == launched)
    assert what == "lacks 3 models, a registered version"
    run = client.get_run(launched)
    assert (run.info.run_name, run.info.status) == ("launch", "FAILED")
    assert run.data.tags["team"] == "red"
    losses = client.get_metric_history(launched, "train_loss")
    assert [loss.value for loss in losses if loss.step == 1] == [9.0]
    assert client.get_run(theirs).to_dictionary() == other


def test_other_metric_names_are_no_damage(healthy: Place) -> None:
    """A run is compared under the names that it has, because renaming is another command."""
    found = healthy.doctor(metric_names="huggingface")
    assert (found.code, found.findings) == (0, [])
    client_of(healthy.uri).set_tag(healthy.run_id(), "fine_tuning_metric_names", "{broken")
    found = healthy.doctor(metric_names="huggingface")
    assert (found.code, found.findings) == (1, [])
    (trouble,) = found.chart["not_compared"]
    assert trouble["job"] == JOB


# Partial examinations


def test_without_its_provider_only_mlflow_is_checked(healthy: Place, provided: Provided) -> None:
    """Without its provider a run is repaired from MLflow, and the exit code is 1."""
    client_of(healthy.uri).update_run(healthy.run_id(), status="RUNNING")
    rival = twin(healthy)
    provided.reply = json_reply({"error": {"message": "no such key"}}, 401)
    found = healthy.doctor("--fix")
    assert found.code == 1
    assert [(each["run"], each["fixed"]) for each in found.findings] == [(rival, True)]
    assert found.chart["stopped"]["kind"] == "Unauthorized"
    code, said = healthy.call("doctor")
    assert code == 1
    assert "could not be read further" in said
    assert healthy.run().info.status == "RUNNING"


@pytest.mark.parametrize(("status", "is_ended"), [(410, True), (404, False)])
def test_open_runs_end_with_their_providers_service(
    under_way: Place, provided: Provided, status: int, *, is_ended: bool
) -> None:
    """Open runs end with their provider's service, but not because of a 404 at its address."""
    provided.reply = json_reply({"error": {"message": "not now"}}, status)
    found = under_way.doctor("--fix")
    assert found.code == 1
    assert found.chart["stopped"]
    reported = ["it is RUNNING although its provider has ended the service"]
    assert found.said == (reported * 2 if is_ended else [])
    assert under_way.run().info.status == ("KILLED" if is_ended else "RUNNING")
    assert under_way.doctor("--fix").findings == []


def test_runs_elsewhere_are_compared_too(place: Place, provided: Provided) -> None:
    """Runs in an experiment that only a job's metadata names are compared too."""
    provided.simulator.add(job("ftjob-c", metadata={"mlflow_experiment": "support"}))
    provided.clock.now += ENDED
    place.backfill()
    run_id = run_of(place.uri, "ftjob-c", "support").info.run_id
    for examine in (partial(repaired, place), partial(place.doctor, "--fix", "--job", "ftjob-c")):
        client_of(place.uri).delete_tag(run_id, "base_model")
        (finding,) = examine().findings
        assert (finding["run"], finding["what"]) == (run_id, "lacks 1 tag")


def test_a_store_that_takes_nothing_leaves_the_finding(place: Place, provided: Provided) -> None:
    """A store that refuses writes leaves a finding, and the rest of the run is repaired."""
    provided.clock.now += ENDED
    place.backfill(archive=False, datasets=False)
    place.database.with_name("mlruns").write_text("a file where the artifacts should go")
    done = place.doctor("--fix")
    assert done.code == 1
    assert {finding["trouble"]["kind"] for finding in done.findings} == {"ArchiveFailed"}
    assert len(datasets(place.run())) == 2
    place.database.with_name("mlruns").unlink()
    assert all("datasets" not in what for what in repaired(place).said)
    assert archived(place.uri, JOB)


def test_one_job_or_one_provider_only(healthy: Place) -> None:
    """With one job or one provider chosen, other findings are neither reported nor repaired."""
    client = client_of(healthy.uri)
    for job_id in (JOB, OTHER):
        client.delete_tag(healthy.run_id(job_id), "base_model")
    for model in logged_models(healthy.uri):
        client.create_logged_model(
            experiment_id(healthy.uri), "again", healthy.run_id(), tags=dict(model.tags)
        )
    assert repaired(healthy, "--job", OTHER).said == ["lacks 1 tag"]
    healthy.kinds = ("openai", "mistral")
    found = healthy.doctor("--fix", "--provider", "mistral")
    assert (found.code, found.findings) == (0, [])
    found = healthy.doctor("--job", JOB)
    assert (found.code, len(found.document["providers"])) == (1, 2)
    healthy.kinds = ("openai",)
    assert len(repaired(healthy).said) == 4


def test_wrong_usage(healthy: Place) -> None:
    """A provider that is not configured is wrong usage, and an unknown job counts as lost."""
    assert healthy.call("doctor", "--provider", "acme")[0] == 2
    assert healthy.call("doctor", "--job", "ftjob-nowhere")[0] == 1


def test_a_person_reads_what_is_wrong_and_what_to_do(healthy: Place) -> None:
    """Each finding has a line with the run and the fault, one with the command, and a link."""
    run_id = healthy.run_id()
    client_of(healthy.uri).delete_tag(run_id, "base_model")
    code, said = healthy.call("doctor")
    reported, remedy, link, total = said.splitlines()
    assert code == 1
    assert reported == "! openai/bot-tjob-a: lacks 1 tag"
    assert remedy == f"  ftbridge doctor --fix --job {JOB}: add what is missing"
    assert f"/runs/{run_id}?" in link
    assert total == "openai: 2 jobs compared, 1 finding"
    code, said = healthy.call("doctor", "--fix")
    reported, remedy, _, total = said.splitlines()
    assert code == 0
    assert (reported, remedy) == ("✓ openai/bot-tjob-a: lacks 1 tag", "  done: add what is missing")
    assert total == "openai: 2 jobs compared, 1 finding, 1 fixed"
