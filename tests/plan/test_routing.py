"""The experiment of a job, chosen once from its metadata and the configuration."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from bridge import errors
from bridge.model import Job, JobStatus
from bridge.plan.routing import Router, Rule
from bridge.simulator import Simulator
from bridge.sync.outcome import Result
from bridge.sync.report import Selection
from bridge.tracking import Tracking
from tests.support.processes import dump, invoke
from tests.support.recorded import active_runs, recorded
from tests.support.static_server import StaticServer, mistral_case, openai_case
from tests.support.world import Clock, job, make_sync

HOME = "hosted-fine-tunes"


def hosted(
    *,
    base_model: str | None = "gpt-4.1-mini",
    suffix: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Job:
    """Return a job as a provider returns it."""
    return Job(
        id="ftjob-a",
        status=JobStatus.RUNNING,
        provider_status="running",
        base_model=base_model,
        suffix=suffix,
        metadata=metadata or {},
    )


def router(*rules: Rule, open_to_jobs: tuple[str, ...] = ("*",)) -> Router:
    """Return the routes of a provider named openai."""
    return Router(provider="openai", experiment=HOME, rules=rules, open_to_jobs=open_to_jobs)


# Decisions


@pytest.mark.parametrize(
    ("rule", "one"),
    [
        (Rule(experiment="x", provider="open*"), hosted()),
        (Rule(experiment="x", base_model="gpt-4.1-*"), hosted()),
        (Rule(experiment="x", suffix="support-?[0-9]"), hosted(suffix="support-v2")),
        (Rule(experiment="x"), hosted(base_model=None)),
        (
            Rule(experiment="x", provider="openai", base_model="*mini", suffix="a"),
            hosted(suffix="a"),
        ),
    ],
)
def test_a_rule_takes_the_jobs_that_fit_all_its_patterns(rule: Rule, one: Job) -> None:
    """A rule takes the jobs that match all of its shell patterns, or every job without patterns."""
    assert router(rule).route(one).experiment == "x"


@pytest.mark.parametrize(
    ("rule", "one"),
    [
        (Rule(experiment="x", provider="mistral"), hosted()),
        (Rule(experiment="x", base_model="gpt-4.1"), hosted()),
        (Rule(experiment="x", base_model="GPT-*"), hosted()),
        (Rule(experiment="x", base_model="?*"), hosted(base_model=None)),
        (Rule(experiment="x", suffix="support-*"), hosted()),
        (Rule(experiment="x", base_model="gpt-*", suffix="other"), hosted(suffix="support")),
    ],
)
def test_a_rule_leaves_the_others(rule: Rule, one: Job) -> None:
    """A rule leaves a job that fails one pattern, and a missing value matches only ``*``."""
    assert router(rule).route(one).experiment == HOME


def test_the_first_rule_that_fits_counts() -> None:
    """The first matching rule counts, so special cases stand above general ones."""
    rules = (
        Rule(experiment="nobody's", suffix="other"),
        Rule(experiment="first", base_model="gpt-*"),
        Rule(experiment="second"),
    )
    assert router(*rules).route(hosted()).experiment == "first"
    assert router(*reversed(rules)).route(hosted()).experiment == "second"


def test_a_jobs_own_metadata_come_before_all_rules() -> None:
    """A job's metadata comes before all rules, because its author knows where it belongs."""
    route = router(Rule(experiment="ruled")).route(hosted(metadata={"mlflow_experiment": "mine"}))
    assert (route.experiment, route.refused) == ("mine", ())


def test_metadata_may_name_only_what_is_open_to_jobs() -> None:
    """A name in the metadata that is not allowed is reported, and the rules decide."""
    routes = router(Rule(experiment="ruled", suffix="s"), open_to_jobs=("team-*",))
    assert routes.route(hosted(metadata={"mlflow_experiment": "team-a"})).experiment == "team-a"
    for suffix, place in (("s", "ruled"), ("t", HOME)):
        closed = hosted(suffix=suffix, metadata={"mlflow_experiment": "production"})
        route = routes.route(closed)
        assert route.experiment == place
        (sentence,) = route.refused
        assert "'production'" in sentence
        assert "mlflow.open_to_jobs" in sentence


def test_nothing_is_open_to_jobs_unless_it_is_opened() -> None:
    """By default jobs reach only the experiments that the configuration names."""
    routes = Router(provider="openai", experiment=HOME)
    route = routes.route(hosted(metadata={"mlflow_experiment": "production"}))
    assert route.experiment == HOME
    assert not routes.is_open("production")


def test_metadata_may_always_name_what_the_configuration_names() -> None:
    """Metadata can always name an experiment of the configuration."""
    routes = router(Rule(experiment="ruled", suffix="s"), open_to_jobs=())
    for name in (HOME, "ruled"):
        route = routes.route(hosted(metadata={"mlflow_experiment": name}))
        assert (route.experiment, route.refused) == (name, ())


@pytest.mark.parametrize("name", ["x" * 251, " ", "a\x00b", "a\x1b[31mb", "\ud800"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """An impossible name is refused with a short and harmless sentence."""
    route = router().route(hosted(metadata={"mlflow_experiment": name}))
    assert route.experiment == HOME
    (sentence,) = route.refused
    assert len(sentence) < 300
    assert sentence.isprintable()


@pytest.mark.parametrize("value", ["7", "x" * 32, "A" * 32, "a" * 31, "a" * 33, "../" + "a" * 32])
@pytest.mark.parametrize("key", ["mlflow_run_id", "mlflow_parent_run_id"])
def test_what_is_no_run_id_is_refused(key: str, value: str) -> None:
    """An impossible run id is refused before MLflow or a tag gets it."""
    route = router().route(hosted(metadata={key: value}))
    assert (route.run_id, route.parent_run_id) == (None, None)
    (sentence,) = route.refused
    assert key in sentence


def test_a_run_that_metadata_name_is_continued() -> None:
    """Metadata names a run to continue or a parent, by separate keys, and an option comes first."""
    one = hosted(metadata={"mlflow_run_id": "a" * 32, "mlflow_parent_run_id": "0" * 32})
    route = router().route(one)
    assert (route.run_id, route.parent_run_id, route.refused) == ("a" * 32, "0" * 32, ())
    called = Router(provider="openai", experiment=HOME, runs={"ftjob-a": "c" * 32, "b": "d" * 32})
    assert called.route(one).run_id == "c" * 32
    assert called.route(hosted()).run_id == "c" * 32


@pytest.mark.parametrize(
    ("length", "is_allowed"), [(1, True), (250, True), (251, False), (0, True)]
)
def test_an_experiments_name_has_250_characters_at_most(length: int, *, is_allowed: bool) -> None:
    """An experiment's name has 250 characters at most, and an empty one counts as none."""
    name = "x" * length
    route = router().route(hosted(metadata={"mlflow_experiment": name}))
    assert route.experiment == (name if is_allowed and name else HOME)
    assert bool(route.refused) is not is_allowed


def test_experiments_are_those_that_this_providers_jobs_can_get() -> None:
    """A provider's experiments are those of its rules, each once, its own first."""
    routes = router(
        Rule(experiment="b", suffix="x"),
        Rule(experiment="other", provider="mistral"),
        Rule(experiment="b", suffix="y"),
        Rule(experiment=HOME, suffix="z"),
        Rule(experiment="a", provider="open*"),
    )
    assert routes.experiments == (HOME, "b", "a")


KEYS = st.sampled_from(["mlflow_experiment", "mlflow_run_id", "mlflow_parent_run_id", "other"])


@given(st.dictionaries(KEYS, st.text() | st.from_regex(r"team-.", fullmatch=True)))
def test_whatever_a_job_notes_it_gets_no_further_than_allowed(metadata: dict[str, str]) -> None:
    """Any metadata leads to an experiment that the configuration names or allows."""
    routes = router(Rule(experiment="ruled", base_model="none"), open_to_jobs=("team-*",))
    route = routes.route(hosted(metadata=metadata))
    assert route.experiment in {HOME, "ruled"} or route.experiment.startswith("team-")
    assert all(len(sentence) < 300 for sentence in route.refused)


# Passes


def experiments(uri: str) -> set[str]:
    """Return the names of all active experiments but MLflow's own."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return {each.name for each in client.search_experiments()} - {"Default"}


def path_of(uri: str) -> Path:
    """Return the database file."""
    return Path(uri.removeprefix("sqlite:///"))


ROUTES = router(
    Rule(experiment="support", suffix="support-*"),
    Rule(experiment="large", base_model="gpt-4.1-2*"),
)
JOBS = [
    job("ftjob-home"),
    job("ftjob-rule", suffix="support-v2", base_model="gpt-4.1-2025-04-14"),
    job("ftjob-base", base_model="gpt-4.1-2025-04-14"),
    job("ftjob-note", metadata={"mlflow_experiment": "special"}),
    job("ftjob-live", metadata={"mlflow_experiment": "special"}, total_steps=300),
]
PLACES = {
    HOME: {"ftjob-home"},
    "support": {"ftjob-rule"},
    "large": {"ftjob-base"},
    "special": {"ftjob-note", "ftjob-live"},
}


def test_every_job_is_found_again_where_it_went(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Every job is found again in its experiment, even one that only its metadata names.

    A second pass, by an old process or a new one, writes nothing; a running job is continued.
    """
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, router=ROUTES)
        clock.now += 200
        assert sync.run().jobs[Result.NEW] == 5
        assert {name: recorded(uri, name).keys() for name in PLACES} == PLACES
        assert experiments(uri) == PLACES.keys()
        before = dump(path_of(uri))
        again = make_sync(simulator, Tracking(uri), executor, clock, router=ROUTES)
        for each in (again, sync):
            report = each.run()
            assert +report.jobs == Counter({Result.UNCHANGED: 5})
            assert dump(path_of(uri)) == before
        (run_id,) = live_run_ids(uri)
        clock.now += 2000
        last = make_sync(simulator, Tracking(uri), executor, clock, router=ROUTES)
        assert +last.run().jobs == Counter({Result.UNCHANGED: 4, Result.UPDATED: 1})
        assert live_run_ids(uri) == [run_id]
        assert recorded(uri, "special")["ftjob-live"].status == "FINISHED"
        requests = len(simulator.requests)
        assert last.run().is_well
        assert len(simulator.requests) == requests + 1


def live_run_ids(uri: str) -> list[str]:
    """Return the ids of the runs of ``ftjob-live``."""
    return [
        run.info.run_id
        for name in PLACES
        for run in active_runs(uri, name)
        if run.data.tags["fine_tuning_job_id"] == "ftjob-live"
    ]


def test_a_daemon_meets_a_new_place_in_a_later_pass(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A later job can name an experiment that is new to the daemon."""
    with Simulator(jobs=[job("ftjob-old")], clock=clock) as simulator:
        clock.now += 200
        sync = make_sync(simulator, tracking, executor, clock)
        assert sync.run().jobs[Result.NEW] == 1
        for n in range(3):
            later = {"mlflow_experiment": "later"}
            simulator.add(job(f"ftjob-{n}", metadata=later, created_at=clock.now))
        clock.now += 35
        assert sync.run().jobs[Result.NEW] == 3
        clock.now += 2000
        assert sync.run().jobs[Result.UPDATED] == 3
        assert sync.run().jobs[Result.UPDATED] == 0
    assert recorded(uri, "later").keys() == {f"ftjob-{n}" for n in range(3)}
    assert {run.status for run in recorded(uri, "later").values()} == {"FINISHED"}


@pytest.mark.parametrize("by_id", [False, True])
def test_a_change_of_routes_records_no_job_twice(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor, *, by_id: bool
) -> None:
    """After a change of routes recorded jobs stay in place, and new ones follow the new routes."""
    jobs = [job("ftjob-a", suffix="support-a"), job("ftjob-b", suffix="support-b", total_steps=300)]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 200
        assert make_sync(simulator, tracking, executor, clock).run().jobs[Result.NEW] == 2
        rows = len(recorded(uri)["ftjob-b"].rows)
        simulator.add(job("ftjob-c", suffix="support-c", created_at=clock.now))
        clock.now += 90
        routed = make_sync(simulator, tracking, executor, clock, router=ROUTES)
        chosen = Selection(job_ids=("ftjob-a", "ftjob-b", "ftjob-c")) if by_id else None
        report = routed.run(chosen)
        assert +report.jobs == Counter({Result.UNCHANGED: 1, Result.UPDATED: 1, Result.NEW: 1})
    assert recorded(uri).keys() == {"ftjob-a", "ftjob-b"}
    assert len(recorded(uri)["ftjob-b"].rows) > rows
    assert recorded(uri, "support").keys() == {"ftjob-c"}


def test_a_wish_that_is_refused_is_reported_and_costs_nothing(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job with a refused wish is recorded once in its normal place, and the refusal reported."""
    closed = router(open_to_jobs=("team-*",))
    jobs = [
        job("ftjob-a", metadata={"mlflow_experiment": "production"}),
        job("ftjob-b", metadata={"mlflow_experiment": "team-b"}),
    ]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 200
        report = make_sync(simulator, tracking, executor, clock, router=closed).run()
        assert report.is_well
        ((job_id, sentence),) = report.skipped
        assert job_id == "ftjob-a"
        assert "mlflow.open_to_jobs" in sentence
        again = make_sync(simulator, tracking, executor, clock, router=closed).run()
        assert +again.jobs == Counter({Result.UNCHANGED: 2})
    assert recorded(uri).keys() == {"ftjob-a"}
    assert experiments(uri) == {HOME, "team-b"}


@pytest.mark.parametrize("by_id", [False, True])
def test_a_deleted_experiment_that_one_job_names_costs_that_job_only(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor, *, by_id: bool
) -> None:
    """A deleted experiment that one job names costs only that job, until it is restored."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    trashed = client.create_experiment("trashed")
    client.delete_experiment(trashed)
    jobs = [
        job("ftjob-a"),
        job("ftjob-lost", metadata={"mlflow_experiment": "trashed"}),
        job("ftjob-b"),
    ]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 200
        sync = make_sync(simulator, tracking, executor, clock)
        report = sync.run(Selection(job_ids=tuple(each.id for each in jobs)) if by_id else None)
        assert +report.jobs == Counter({Result.NEW: 2, Result.FAILED: 1})
        ((job_id, error),) = report.failures
        assert job_id == "ftjob-lost"
        assert "'trashed' is deleted" in error.sentence
        assert "restore" in error.remedy
        assert report.stopped is None
        client.restore_experiment(trashed)
        assert sync.run().jobs[Result.NEW] == 1
    assert recorded(uri).keys() == {"ftjob-a", "ftjob-b"}
    assert recorded(uri, "trashed").keys() == {"ftjob-lost"}


def test_a_deleted_experiment_that_the_configuration_names_ends_the_pass(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A deleted experiment that the configuration names ends the pass, with the remedy."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.delete_experiment(client.create_experiment("support"))
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        clock.now += 200
        report = make_sync(simulator, tracking, executor, clock, router=ROUTES).run()
        assert isinstance(report.stopped, errors.TrackingDown)
        assert "'support' is deleted" in report.stopped.sentence
        assert simulator.requests == ()
    assert active_runs(uri) == []


def test_a_dry_run_makes_no_place(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A dry run plans for missing experiments without creating them."""
    before = dump(path_of(uri))
    with Simulator(jobs=JOBS, clock=clock) as simulator:
        clock.now += 200
        sync = make_sync(simulator, tracking, executor, clock, router=ROUTES)
        for selection in (None, Selection(job_ids=("ftjob-rule", "ftjob-note"))):
            dry = sync.run(selection, dry_run=True)
            assert dry.is_well
            assert dry.jobs[Result.NEW] == (2 if selection else 5)
            assert dump(path_of(uri)) == before
        assert sync.run().jobs[Result.NEW] == 5
    assert {name: recorded(uri, name).keys() for name in PLACES} == PLACES


def test_routes_from_the_configuration_to_mlflow(uri: str, tmp_path: Path) -> None:
    """``backfill`` and ``backfill --job`` follow the routes of the file for each provider."""
    cases = [
        openai_case(1, "succeeded", steps=3, user_provided_suffix="support-a"),
        openai_case(2, "succeeded", steps=3, metadata={"mlflow_experiment": "team-b"}),
        openai_case(3, "succeeded", steps=3, metadata={"mlflow_experiment": "production"}),
        mistral_case(4, "SUCCESS", steps=3, suffix="support-m"),
        mistral_case(5, "SUCCESS", steps=3),
    ]
    routes = [
        {"experiment": "support", "provider": "openai", "suffix": "support-*"},
        {"experiment": "open-weights", "base_model": "open-*"},
    ]
    with StaticServer(cases) as server:
        mlflow = {"routes": routes, "open_to_jobs": ["team-*"]}
        config = server.write_config(tmp_path, uri, mlflow=mlflow)
        ids = [case.id for case in cases[:4]]
        chosen = [part for job_id in ids for part in ("--job", job_id)]
        for arguments in (chosen, []):
            done = invoke("backfill", "--config", config, "--json", *arguments)
            assert done.exit_code == 0, done.output
            reported = json.loads(done.stdout)
    # The job that was not chosen is new.
    assert [(each["jobs"]["new"], each["jobs"]["updated"]) for each in reported["providers"]] == [
        (0, 0),
        (1, 0),
    ]
    found = {name: recorded(uri, name).keys() for name in experiments(uri)}
    assert found == {
        "support": {cases[0].id},
        "team-b": {cases[1].id},
        HOME: {cases[2].id},
        "open-weights": {cases[3].id, cases[4].id},
    }
