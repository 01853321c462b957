"""Hosted models as MLflow's LoggedModels, with their datasets, in a real MLflow."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import LoggedModelStatus

from bridge.errors import RunChanged
from bridge.model import Checkpoint, JobStatus, MetricPoint, Snapshot
from bridge.plan.models import HostedModel
from bridge.plan.plan import Plan
from bridge.simulator import Simulator
from bridge.simulator.openai_objects import checkpoint_objects, model_name
from bridge.sync.outcome import Result
from bridge.tracking import Tracking
from tests.support.in_memory import START, InMemoryProvider, ended_job, snapshot_of
from tests.support.models import (
    client_of,
    datasets,
    experiment_id,
    logged_models,
    models,
    run_of,
)
from tests.support.processes import dump
from tests.support.recorded import active_runs, recorded
from tests.support.world import Clock, job, make_sync
from tests.support.wrapped_store import WrappedTracking

MISTRAL = "11111111-2222-3333-4444-555555555555"


def test_each_checkpoint_is_a_model(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Each checkpoint is a READY external model, an output of its run, and can be searched."""
    hosted = job("ftjob-a", suffix="Support: v1.2")
    with Simulator(jobs=[hosted], clock=clock) as simulator:
        clock.now += 1000
        assert make_sync(simulator, tracking, executor, clock).run().is_well
    found = models(uri)
    assert list(found) == [model_name(hosted, step) for step in (12, 8, 4)]  # newest first
    ids = {each["step_number"]: str(each["id"]) for each in checkpoint_objects(hosted, clock.now)}
    for step in (4, 8, 12):
        model = found[model_name(hosted, step)]
        about = {
            "fine_tuned_model": model_name(hosted, step),
            "fine_tuning_provider": "openai",
            "fine_tuning_job_id": "ftjob-a",
            "fine_tuning_checkpoint_id": ids[step],
            "fine_tuning_step": str(step),
            "base_model": "gpt-4.1-mini-2025-04-14",
        }
        own = {"mlflow.model.isExternal": "true", "fine_tuning_bridge": "ftbridge"}
        assert model.name == f"Support-v1-2-step-0000{step:02}"
        assert (model.status, model.output_steps) == ("READY", (step,))
        assert (model.params, model.tags) == (about, about | own)


def assert_linked(uri: str) -> None:
    """Check that each model has its run's rows at its step, and that the run has each row once."""
    runs = recorded(uri)
    for model in models(uri).values():
        (step,) = model.output_steps
        rows = runs[model.job_id].rows
        assert model.rows == tuple(row for row in rows if row[1] == step)
        assert model.rows
        points = [(name, step) for name, step, *_ in rows]
        assert len(points) == len(set(points))


def test_a_model_has_the_rows_of_its_run(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A backfilled model's measurements are the run's rows, without a second row in any history."""
    with Simulator(jobs=[job("ftjob-a")], clock=clock) as simulator:
        clock.now += 1000
        make_sync(simulator, tracking, executor, clock).run()
    assert_linked(uri)


def test_a_followed_job_has_the_models_of_a_backfilled_one(
    uri: str, other_uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A followed job gets the models of a backfilled one, despite its late checkpoints."""
    followed = job("ftjob-a", late_seconds=20.0)
    with Simulator(jobs=[followed], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock)
        while clock.now < followed.settled_at + 30:
            assert sync.run().is_well
            if clock.now < followed.settled_at + 20:
                assert not models(uri)
            clock.now += 5
        make_sync(simulator, Tracking(other_uri), executor, clock).run()
    assert run_of(uri, "ftjob-a").info.status == "FINISHED"
    assert_linked(uri)

    def without_times(at: str) -> dict[str, object]:
        return {
            name: replace(model, rows=tuple((*row[:3], 0) for row in model.rows))
            for name, model in models(at).items()
        }

    assert len(models(uri)) == 3
    assert without_times(uri) == without_times(other_uri)


def test_a_result_without_checkpoints_is_a_model(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A result without named checkpoints, as Mistral's, is a model at the last step."""
    with Simulator(jobs=[job(MISTRAL, "mistral")], clock=clock) as simulator:
        clock.now += 40  # it trains
        sync = make_sync(simulator, tracking, executor, clock, kind="mistral")
        sync.run()
        assert not models(uri)
        clock.now += 1000
        sync.run()
    ((full_name, model),) = models(uri).items()
    assert run_of(uri, MISTRAL).data.tags["fine_tuned_model"] == full_name
    assert (model.name, model.status) == ("about-555555-step-000012", "READY")
    assert {name for name, *_ in model.rows} == {
        "train_loss",
        "valid_loss",
        "valid_mean_token_accuracy",
    }
    assert_linked(uri)


def test_a_search_finds_the_best(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """One search over all jobs finds the best model, and its run names it too."""
    hosted = [job(f"ftjob-{seed}", seed=seed, total_steps=60) for seed in range(3)]
    with Simulator(jobs=hosted, clock=clock) as simulator:
        clock.now += 1000
        make_sync(simulator, tracking, executor, clock).run()
    client = client_of(uri)
    found = client.search_logged_models(
        [experiment_id(uri)],
        filter_string="metrics.valid_loss < 0.5",
        order_by=[{"field_name": "metrics.valid_loss", "ascending": True}],
    )
    losses = {
        full_name: value
        for full_name, model in models(uri).items()
        for name, _, value, _ in model.rows
        if name == "valid_loss"
    }
    assert len(losses) == 9
    wanted = sorted((name for name in losses if losses[name] < 0.5), key=losses.__getitem__)
    assert 0 < len(wanted) < 9
    assert [model.tags["fine_tuned_model"] for model in found] == wanted
    for each in hosted:
        mine = {model_name(each, step) for step in each.epoch_ends}
        tag = run_of(uri, each.id).data.tags["fine_tuned_model_best_checkpoint"]
        assert tag == min(mine, key=losses.__getitem__)


def test_a_second_pass_writes_nothing(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A second pass writes nothing, by the same process or a new one."""
    parent = job("ftjob-a")
    jobs = [parent, job("ftjob-b", base_model=model_name(parent, 8), created_at=clock.now + 200)]
    jobs.append(job("ftjob-open", total_steps=2000))
    database = Path(uri.removeprefix("sqlite:///"))
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 1000
        sync = make_sync(simulator, tracking, executor, clock, register="{suffix}")
        assert sync.run().jobs[Result.NEW] == 3
        before = dump(database)
        assert sync.run().is_well
        other = make_sync(simulator, Tracking(uri), executor, clock, register="{suffix}")
        assert other.run().is_well
    assert dump(database) == before


def plan_of(models: int) -> Plan:
    """Return a job with a model at each step."""
    return Plan(
        provider="openai",
        job_id="ftjob-a",
        run_id=None,
        run_name="openai/a",
        start_time=1000,
        tags={"fine_tuning_provider": "openai", "fine_tuning_job_id": "ftjob-a"},
        params={},
        points=tuple(MetricPoint("loss", step, 1.0 / step, 1000) for step in range(1, models + 1)),
        models=tuple(
            HostedModel(
                model=f"ft:m:{step}",
                name=f"a-step-{step:06}",
                step=step,
                metrics=(("loss", step),),
                about={"fine_tuned_model": f"ft:m:{step}", "fine_tuning_job_id": "ftjob-a"},
            )
            for step in range(1, models + 1)
        ),
        status=None,
        end_time=None,
        is_final=False,
        is_settling=False,
        reason="",
        skipped=(),
    )


def test_models_that_are_there_are_found_again_however_many(uri: str) -> None:
    """Any number of models is found again after a crash, without duplicates."""
    lengths = []
    calls: Counter[str] = Counter()

    def note(name: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - as in MLflow
        calls[name] += 1
        result = call()
        if name == "search_logged_models":
            lengths.append(len(result))
        return result

    tracking = WrappedTracking(uri, note, page_size=5)
    plan = plan_of(13)
    place = tracking.experiment("hosted-fine-tunes", create=True) or ""
    written = tracking.record(place, plan, None)
    assert calls["get_metric_history"] == 0  # the models measure what the plan writes
    for model in written.model_ids.values():
        client_of(uri).finalize_logged_model(model, LoggedModelStatus.PENDING)
    run = tracking.run(written.run_id)
    assert run is not None
    assert tracking.ready_models(run) == {}
    again = tracking.record(place, replace(plan, run_id=run.run_id, points=()), run)
    assert again.run_id == written.run_id
    assert again.model_ids == written.model_ids
    assert tracking.ready_models(run) == written.model_ids
    assert lengths[-3:] == [5, 5, 3]
    assert len(models(uri)) == 13
    made = dump(Path(uri.removeprefix("sqlite:///"))).count('INSERT INTO "logged_models" ')
    assert made == 13  # deleted ones too
    assert_linked(uri)


def test_bridges_that_record_the_same_run_make_one_model_of_each(uri: str) -> None:
    """Bridges that record the same run create each model once, possibly after another pass."""
    plan = plan_of(5)
    store = Tracking(uri)
    place = store.experiment("hosted-fine-tunes", create=True) or ""
    written = store.record(place, replace(plan, models=(), points=()), None)
    plan = replace(plan, run_id=written.run_id)
    start = threading.Barrier(4, timeout=60)

    def record(bridge: Tracking) -> None:
        run = bridge.run(written.run_id)
        start.wait()
        for _ in range(3):
            try:
                bridge.record(place, plan, run)
            except RunChanged:
                run = bridge.run(written.run_id)
            else:
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(record, [Tracking(uri) for _ in range(4)]))
    assert len(models(uri)) == 5
    assert {model.status for model in models(uri).values()} == {"READY"}
    assert_linked(uri)


@pytest.mark.parametrize("is_first", [False, True])
def test_a_model_that_a_dead_bridge_has_made_too(
    uri: str, tracking: Tracking, *, is_first: bool
) -> None:
    """A duplicate model of a dead bridge is deleted before its run is final."""
    plan = replace(plan_of(2), status="FINISHED", end_time=2000, is_final=True)
    place = tracking.experiment("hosted-fine-tunes", create=True) or ""
    written = tracking.record(place, plan, None)
    client_of(uri).create_logged_model(
        place,
        name="a-step-000001",
        source_run_id=written.run_id,
        tags={**plan.models[0].about, "fine_tuning_bridge": "ftbridge"},
    )
    if is_first:
        database = sqlite3.connect(uri.removeprefix("sqlite:///"))
        with contextlib.closing(database), database:
            database.execute(
                "UPDATE logged_models SET creation_timestamp_ms = 0 WHERE model_id != ?",
                [written.model_ids["ft:m:1"]],
            )
        with pytest.raises(RunChanged):
            tracking.finish(written, plan)
        run = tracking.run(written.run_id)
        assert run is not None
        assert not run.is_final
        written = tracking.record(place, replace(plan, run_id=run.run_id), run)
    tracking.finish(written, plan)
    run = tracking.run(written.run_id)
    assert run is not None
    assert run.status == "FINISHED"
    assert {model.status for model in models(uri).values()} == {"READY"}
    assert {model.model_id for model in logged_models(uri)} == {*written.model_ids.values()}
    assert_linked(uri)


def test_a_model_of_an_earlier_pass(uri: str, tracking: Tracking) -> None:
    """A duplicate of a model is deleted before the run is final; a user's deletion stays."""
    place = tracking.experiment("hosted-fine-tunes", create=True) or ""
    plan = plan_of(3)
    earlier = tracking.record(place, replace(plan, models=plan.models[:2]), None)
    client = client_of(uri)
    client.create_logged_model(
        place,
        name="a-step-000002",
        source_run_id=earlier.run_id,
        tags={**plan.models[1].about, "fine_tuning_bridge": "ftbridge"},
    )
    client.delete_logged_model(earlier.model_ids["ft:m:1"])
    run = tracking.run(earlier.run_id)
    assert run is not None
    last = replace(plan, run_id=run.run_id, models=plan.models[2:], is_final=True)
    last = replace(last, status="FINISHED", end_time=2000)
    written = tracking.record(place, last, run)
    all_ids = {**earlier.model_ids, **written.model_ids}
    tracking.finish(replace(written, model_ids=all_ids), last)
    assert [each.info.status for each in active_runs(uri)] == ["FINISHED"]
    names = sorted(each.tags["fine_tuned_model"] for each in logged_models(uri))
    assert names == ["ft:m:2", "ft:m:3"]


def test_the_jobs_that_were_trained_on_a_file(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """A search by a file's id finds all jobs that used it, each with one dataset per role."""
    train, valid, strange = "file-training", "file-validation", "it's" + "x" * 600
    provider = InMemoryProvider(
        snapshot_of("ftjob-a", 0.5, training_files=(train,), validation_files=(valid,)),
        snapshot_of("ftjob-b", 0.5, training_files=(train, strange), validation_files=(train,)),
        snapshot_of("ftjob-c", 0.5, training_files=("", valid)),
        snapshot_of("ftjob-d", training_files=(valid,), status=JobStatus.RUNNING),
    )
    sync = provider.sync(tracking, executor)
    assert sync.run().is_well
    provider.tell(snapshot_of("ftjob-d", 0.5, training_files=(valid,)))
    assert sync.run().is_well
    assert {each: datasets(run_of(uri, f"ftjob-{each}")) for each in "abcd"} == {
        "a": [(train, "training"), (valid, "validation")],
        "b": [(train, "training"), (f"{strange[:499]}…", "training")],
        "c": [(valid, "training")],
        "d": [(valid, "training")],
    }
    for name, wanted in ((train, "ab"), (valid, "acd")):
        found = client_of(uri).search_runs(
            [experiment_id(uri)], filter_string=f"dataset.name = '{name}'"
        )
        assert {run.data.tags["fine_tuning_job_id"][-1] for run in found} == set(wanted)


def test_a_hostile_provider_spoils_no_model(
    uri: str, tracking: Tracking, executor: ThreadPoolExecutor
) -> None:
    """Hostile names are shortened or left out in models, and the job is recorded once."""
    metrics = {"train_loss": 0.5, "": 0.1, "a@b": 0.2, "../up": 0.3, "x" * 300: 0.4}
    names = ["ft:" + "x" * 9000, "ft:\x1b[31m\u202e", "\x00", 'ft:it\'s "quoted"\n', "ft:50%"]
    checkpoints = tuple(
        Checkpoint(step=step, created_at=START, metrics=metrics, model=name, id="c" * 9000)
        for step, name in enumerate(names)
    )
    job = ended_job("ftjob-a", fine_tuned_model="ft:\x1b" + "y" * 9000, suffix="./:%'\"")
    provider = InMemoryProvider(Snapshot(job=job, checkpoints=checkpoints))
    assert provider.sync(tracking, executor, register="{suffix}").run().is_well
    found = models(uri)
    assert [len(name) for name in found] == [500, 6, 17, 7, 500]
    assert {model.status for model in found.values()} == {"READY"}
    assert all(model.name.startswith("model-step-00000") for model in found.values())
    assert {name for model in found.values() for name, *_ in model.rows} == {"train_loss"}
