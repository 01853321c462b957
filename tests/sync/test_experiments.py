"""The experiments of jobs: their creation, and the metric names of their runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.plan import tags
from bridge.plan.metric_names import Losses, MetricNames
from bridge.plan.options import RecordingOptions
from bridge.plan.routing import Router
from bridge.providers.registry import TYPES
from bridge.sync.experiments import Experiments
from bridge.sync.find_run import RunFinder
from bridge.sync.job_sync import JobSync
from bridge.tracking import Tracking
from bridge.tracking.experiments import METRIC_NAMES
from tests.support.in_memory import InMemoryProvider
from tests.support.run_states import run_state
from tests.support.world import Clock

OPTIONS = RecordingOptions(metric_names=MetricNames.of("provider", TYPES["openai"].meanings))
HOME = "hosted-fine-tunes"


def experiments(tracking: Tracking, *, is_auto: bool = True) -> Experiments:
    """Return the experiments of a provider, as a new process has them."""
    router = Router(provider="openai", experiment=HOME)
    return Experiments(tracking=tracking, router=router, options=replace(OPTIONS, is_auto=is_auto))


def local_runs(tracking: Tracking, *names: str) -> str:
    """Create an experiment with a local run that has logged these metrics."""
    with tracking.asked() as client:
        found = str(client.create_experiment(HOME))
        run = client.create_run(found)
        for name in names:
            client.log_metric(run.info.run_id, name, 0.5)
    return found


def tag_of(tracking: Tracking, experiment_id: str) -> str | None:
    """Return the names that an experiment remembers."""
    with tracking.asked() as client:
        return client.get_experiment(experiment_id).tags.get(METRIC_NAMES)


class Counting(Tracking):
    """A store that counts the lookups of experiments."""

    lookups = 0

    def experiment(
        self,
        name: str,
        *,
        create: bool,
        losses: Losses | None = None,
        one_job: bool = False,
    ) -> str | None:
        """Count one."""
        self.lookups += 1
        return super().experiment(name, create=create, losses=losses, one_job=one_job)


@pytest.mark.parametrize(("is_auto", "lookups"), [(True, [2, 1, 1]), (False, [1, 1, 1])])
def test_an_experiment_is_looked_up_once_a_pass(
    uri: str, lookups: list[int], *, is_auto: bool
) -> None:
    """Each pass looks an experiment up once, and the first one also for the choice of names."""
    tracking = Counting(uri)
    local_runs(tracking, "other")
    found = experiments(tracking, is_auto=is_auto)
    for number in lookups:
        tracking.lookups = 0
        found.open(HOME, create=False, is_dry=True)
        assert tracking.lookups == number


@pytest.mark.parametrize("is_auto", [True, False])
def test_an_experiment_is_created_once_and_not_in_a_dry_run(
    tracking: Tracking, *, is_auto: bool
) -> None:
    """An experiment is created once, and neither by a dry run nor by a lookup."""
    found = experiments(tracking, is_auto=is_auto)
    assert found.open(HOME, create=True, is_dry=True) is None
    assert found.open(HOME, create=False, is_dry=False) is None
    created = found.open(HOME, create=True, is_dry=False)
    assert created is not None
    for create in (True, False):
        for is_dry in (True, False):
            assert found.open(HOME, create=create, is_dry=is_dry) == created


@pytest.mark.parametrize("is_dry", [True, False])
def test_an_experiment_that_exists_gets_views_but_not_in_a_dry_run(
    tracking: Tracking, *, is_dry: bool
) -> None:
    """A dry run changes nothing of an experiment that a user has created."""
    found = local_runs(tracking, "loss")
    assert experiments(tracking).open(HOME, create=True, is_dry=is_dry) == found
    with tracking.asked() as client:
        tags_of = client.get_experiment(found).tags
    assert (tags_of == {}) is is_dry


def test_an_experiment_is_named_as_its_local_runs_are(tracking: Tracking) -> None:
    """An experiment gets the names of its local runs and remembers them, except in a dry run."""
    place = local_runs(tracking, "loss", "eval_loss", "train_runtime", "grad_norm")
    dry = experiments(tracking)
    assert dry.open(HOME, create=True, is_dry=True) == place
    assert dry.options_in(place, remember=False).metric_names.label == "huggingface"
    assert tag_of(tracking, place) is None
    found = experiments(tracking)
    assert found.open(HOME, create=True, is_dry=False) == place
    assert tag_of(tracking, place) == "huggingface"
    assert found.labels == {place: "huggingface", HOME: "huggingface"}


def test_a_daemon_learns_another_name_within_the_hour(tracking: Tracking) -> None:
    """A process that continues reads the names of each experiment again every hour."""
    place = local_runs(tracking, "other")
    clock = Clock(489_000 * 3600 - 1)
    sync = JobSync(
        name="openai",
        provider=InMemoryProvider(),
        tracking=tracking,
        finder=RunFinder(tracking=tracking, router=Router(provider="openai", experiment=HOME)),
        options=replace(OPTIONS, is_auto=True),
        now=clock.ms,
    )

    def label() -> str:
        return sync.experiments.options_in(place, remember=True).metric_names.label

    assert label() == "provider"
    with tracking.asked() as client:
        client.set_experiment_tag(place, METRIC_NAMES, "huggingface")
    assert label() == "provider"
    clock.now += 1
    assert label() == "huggingface"


def test_a_known_name_is_not_asked_for_again(tracking: Tracking) -> None:
    """A process reads a name once."""
    place = local_runs(tracking, "other")
    found = experiments(tracking)
    assert found.options_in(place, remember=True).metric_names.label == "provider"
    with tracking.asked() as client:
        client.set_experiment_tag(place, METRIC_NAMES, "huggingface")
    assert found.options_in(place, remember=True).metric_names.label == "provider"
    assert experiments(tracking).options_in(place, remember=True).metric_names.label == (
        "huggingface"
    )


def test_without_auto_all_are_named_as_configured(tracking: Tracking) -> None:
    """Without ``auto`` every experiment gets the configured names."""
    place = local_runs(tracking, "loss", "eval_loss", "train_runtime")
    found = experiments(tracking, is_auto=False)
    assert found.options_in(place, remember=True) == found.options
    assert tag_of(tracking, place) is None
    auto = experiments(tracking)
    assert auto.options_in(None, remember=True) == auto.options


@pytest.mark.parametrize(
    ("is_auto", "label", "expected"),
    [
        (True, "huggingface", "huggingface"),
        (True, None, "lightning"),
        (False, "huggingface", "provider"),
        (False, None, "provider"),
    ],
)
def test_a_run_keeps_its_names(
    tracking: Tracking, label: str | None, expected: str, *, is_auto: bool
) -> None:
    """A run keeps its names, and one without names gets those of its experiment."""
    run = run_state("a")
    found = experiments(tracking, is_auto=is_auto)
    found.labels[run.experiment_id] = "lightning"
    if label:
        run = replace(run, tags={tags.METRIC_NAMES: label})
    assert found.options_of(run, remember=False).metric_names.label == expected
