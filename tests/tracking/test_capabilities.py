"""Tracking servers that lack a feature: everything else is recorded, and the gap reported once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.doctor.examine import Doctor, Examination
from bridge.errors import TrackingDown
from bridge.model import Snapshot
from bridge.plan.options import RecordingOptions
from bridge.sync.provider_sync import ProviderSync
from bridge.tracking import Tracking
from tests.support.in_memory import InMemoryProvider, snapshot_of
from tests.support.models import datasets, models, run_of, versions_by_model
from tests.support.recorded import active_runs, recorded
from tests.support.write_proxy import WriteProxy

MODELS = "/mlflow/logged-models"
PARENT = snapshot_of("ftjob-parent", 0.9, 0.4, 0.6, training_files=("file-1",))
CHILD = snapshot_of("ftjob-child", 0.5, base_model="ft:ftjob-parent")
FAMILY = (PARENT, CHILD)
EVERYTHING = RecordingOptions(register="all")


@pytest.fixture
def proxy(server: str) -> Iterator[WriteProxy]:
    """Run a proxy before the server, with an emptied experiment, that can refuse features."""
    with WriteProxy(server) as standing:
        client = Tracking(server)
        with client.asked() as mlflow:
            for run in active_runs(server):
                mlflow.delete_run(run.info.run_id)
            found = mlflow.get_experiment_by_name("hosted-fine-tunes")
            if found:
                mlflow.rename_experiment(found.experiment_id, f"before {found.experiment_id}")
        yield standing


def sync_of(
    proxy: WriteProxy,
    executor: ThreadPoolExecutor,
    *,
    family: tuple[Snapshot, ...] = FAMILY,
    register: bool = False,
) -> ProviderSync:
    """Make passes of a new process."""
    tracking = Tracking(proxy.url)
    return InMemoryProvider(*family).sync(
        tracking, executor, register="{suffix}" if register else None
    )


def examined(sync: ProviderSync, executor: ThreadPoolExecutor) -> Examination:
    """Return the output of ``doctor --fix``."""
    return Doctor(
        job_sync=sync.job_sync, executor=executor, handler=lambda _: None, fix=True
    ).examine()


def test_a_server_without_logged_models(
    server: str, proxy: WriteProxy, executor: ThreadPoolExecutor
) -> None:
    """Without LoggedModels runs are complete, lineage is known, and models are requested once."""
    proxy.lacks = (MODELS,)
    sync = sync_of(proxy, executor)
    report = sync.run()
    assert report.is_well, report.failures
    assert [what for _, what in report.skipped if "LoggedModels" in what] == list(
        sync.job_sync.tracking.left_out(EVERYTHING)
    )
    found = recorded(server)
    assert {run.status for run in found.values()} == {"FINISHED"}
    assert [len(found[each.job.id].rows) for each in FAMILY] == [6, 2]
    parent = run_of(server, "ftjob-parent").info.run_id
    assert found["ftjob-child"].tags["fine_tuned_from_run"] == parent
    assert datasets(run_of(server, "ftjob-parent"))
    writes, asked = len(proxy.writes), len(proxy.lacked)
    assert asked == 1
    for again in (sync, sync_of(proxy, executor)):
        assert again.run().is_well
    assert len(proxy.writes) == writes
    assert len(proxy.lacked) == 2 * asked  # the other process asks once too
    assert examined(sync, executor).is_well


def test_a_server_that_is_upgraded_gets_its_models(
    server: str, proxy: WriteProxy, executor: ThreadPoolExecutor
) -> None:
    """``doctor --fix`` adds the models after an upgrade of the server, and no row changes."""
    proxy.lacks = (MODELS,)
    one = (snapshot_of("ftjob-upgraded", 0.9, 0.4),)
    assert sync_of(proxy, executor, family=one).run().is_well
    before = {job_id: run.rows for job_id, run in recorded(server).items()}
    assert models(server) == {}
    proxy.lacks = ()
    assert examined(sync_of(proxy, executor, family=one), executor).is_well
    assert [model.job_id for model in models(server).values()] == [*before] * 2
    assert {job_id: run.rows for job_id, run in recorded(server).items()} == before
    assert examined(sync_of(proxy, executor, family=one), executor).treated == []


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ("/mlflow/runs/log-inputs", "dataset inputs"),
        ("/mlflow/registered-models", "aliases of registered models"),
    ],
)
def test_what_is_refused_while_it_is_written(
    server: str, proxy: WriteProxy, executor: ThreadPoolExecutor, lacks: str, said: str
) -> None:
    """A refusal at a write counts as a missing feature, and every job is final."""
    proxy.lacks = (lacks,)
    before = len(versions_by_model(server, ""))
    sync = sync_of(proxy, executor, register=True)
    report = sync.run()
    assert report.is_well, report.failures
    assert any(said in what for _, what in report.skipped)
    found = recorded(server)
    assert {run.status for run in found.values()} == {"FINISHED"}
    assert len(models(server)) == 4
    assert bool(datasets(run_of(server, "ftjob-parent"))) == ("log-inputs" not in lacks)
    made = len(versions_by_model(server, "")) - before
    assert made == (0 if "registered" in lacks else 2)


def test_a_server_that_cannot_search_for_absent_tags(
    server: str, proxy: WriteProxy, executor: ThreadPoolExecutor
) -> None:
    """A server that cannot search for absent tags still has its local runs choose the names."""
    proxy.cannot_search = b"IS NULL"
    place = Tracking(server).experiment("hosted-fine-tunes", create=True)
    assert place is not None
    with Tracking(server).asked() as mlflow:
        run = mlflow.create_run(place)
        mlflow.log_metric(run.info.run_id, "eval_loss", 0.5)
    assert sync_of(proxy, executor).run().is_well
    found = Tracking(proxy.url).local_metric_names(place)
    assert found == [frozenset({"eval_loss"})]
    assert proxy.lacked


def test_a_gateway_that_loses_its_route_is_no_old_server(
    server: str, proxy: WriteProxy, executor: ThreadPoolExecutor
) -> None:
    """A gateway that refuses everything is not taken for an old server, and models follow."""
    sync = sync_of(proxy, executor)
    tracking = sync.job_sync.tracking
    tracking.ping()
    proxy.lacks = ("/mlflow/",)
    with pytest.raises(TrackingDown), tracking.asked() as client:
        client.search_experiments()
    assert not sync.run().is_well
    proxy.lacks = ()
    assert sync.run().is_well
    assert tracking.left_out(EVERYTHING) == ()
    assert len(models(server)) == 4


def test_what_nobody_wants_is_not_said(proxy: WriteProxy) -> None:
    """With ``models: false`` a server without models lacks nothing."""
    proxy.lacks = (MODELS,)
    tracking = Tracking(proxy.url)
    tracking.ping()
    assert tracking.left_out(RecordingOptions(models=False)) == ()
    (sentence,) = tracking.left_out(RecordingOptions())
    assert "the tracking server (MLflow 3." in sentence
    assert "ftbridge doctor --fix" in sentence
