"""The models of a job: their names, their metrics, and the best one."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.model import Checkpoint, JobStatus, Meaning, Snapshot
from bridge.plan.metric_names import MetricNames
from bridge.plan.models import (
    Best,
    best_checkpoint,
    best_model,
    hosted_models,
    label_of,
    registration_of,
)
from bridge.providers.registry import TYPES
from tests.support.in_memory import START, ended_job, snapshot_of

OPENAI = MetricNames.of("provider", TYPES["openai"].meanings)
HUGGINGFACE = MetricNames.of("huggingface", TYPES["openai"].meanings)
names = st.text(min_size=1, max_size=300)


def with_metrics(*metrics: dict[str, float]) -> Snapshot:
    """Return a job with a named checkpoint at steps 1, 2, ... for each of ``metrics``."""
    checkpoints = tuple(
        Checkpoint(step=step, created_at=START, metrics=each, model=f"ft:{step}")
        for step, each in enumerate(metrics, start=1)
    )
    return Snapshot(job=ended_job("a", fine_tuned_model=None), checkpoints=checkpoints)


def test_checkpoints_that_can_be_called_are_models() -> None:
    """A checkpoint that can be called is a model, with its metrics under MLflow's names."""
    snapshot = snapshot_of("ftjob-a", 0.9, 0.5, suffix="bot")
    steps = {"loss": {1, 2, 3}, "eval_batch_loss": {2}, "eval_loss": {3}}
    first, last = hosted_models("work", snapshot, steps)
    assert (first.model, first.name, first.step) == ("ft:ftjob-a:1", "bot-step-000001", 1)
    assert (last.model, last.name, last.step) == ("ft:ftjob-a", "bot-step-000002", 2)
    assert set(last.metrics) == {("loss", 2), ("eval_batch_loss", 2)}
    assert last.about == {
        "fine_tuned_model": "ft:ftjob-a",
        "fine_tuning_provider": "work",
        "fine_tuning_job_id": "ftjob-a",
        "fine_tuning_checkpoint_id": "ckpt-2",
        "fine_tuning_step": "2",
        "base_model": "gpt-4.1-mini",
    }


def test_what_a_steps_event_tells_of_a_checkpoint_is_linked_too() -> None:
    """A model is linked to the run's metrics of its step, which OpenAI's checkpoints lack."""
    (model,) = hosted_models(
        "openai", with_metrics({"loss": 0.3}), {"loss": {1}, "full_valid_loss": {1, 2}}
    )
    assert model.metrics == (("full_valid_loss", 1), ("loss", 1))


def test_a_checkpoint_without_a_name_is_no_model() -> None:
    """A checkpoint without a name is not a model, and the job's named result is one."""
    checkpoint = Checkpoint(step=7, created_at=START, metrics={"train_loss": 0.5})
    snapshot = Snapshot(job=ended_job("a", fine_tuned_model="ft:x"), checkpoints=(checkpoint,))
    (model,) = hosted_models("mistral", snapshot, {"train_loss": {6, 7}, "valid_loss": {5}})
    assert (model.model, model.step) == ("ft:x", 7)
    assert set(model.metrics) == {("train_loss", 7), ("valid_loss", 5)}
    assert "fine_tuning_checkpoint_id" not in model.about


@pytest.mark.parametrize("status", [status for status in JobStatus if not status.is_final])
def test_a_running_job_has_no_result(status: JobStatus) -> None:
    """A running job has no result, and its checkpoints are models."""
    running = ended_job("a", status=status, fine_tuned_model="ft:x")
    checkpoint = Checkpoint(step=7, created_at=START, metrics={}, model="ft:x:7")
    assert hosted_models("openai", Snapshot(job=running), {"train_loss": {7}}) == ()
    snapshot = Snapshot(job=running, checkpoints=(checkpoint,))
    assert [m.model for m in hosted_models("openai", snapshot, {})] == ["ft:x:7"]


@given(names, st.lists(st.integers(0, 999_999), min_size=1, max_size=5, unique=True), names)
@example('100% it\'s "a/b:c.d"', [999_999, 1, 20], "ft:\x00")
def test_names_are_allowed_and_sort_by_step(suffix: str, steps: list[int], model: str) -> None:
    """Names of models are short, allowed, and sorted by step, whatever the job is called."""
    checkpoints = tuple(
        Checkpoint(step=step, created_at=START, metrics={}, model=f"{model}{step}", id=model)
        for step in sorted(steps)
    )
    snapshot = Snapshot(job=ended_job("a", suffix=suffix), checkpoints=checkpoints)
    found = hosted_models("openai", snapshot, {})
    ours = [each for each in found if each.model != "ft:a"]
    assert [each.step for each in ours] == sorted(steps)
    assert sorted(each.name for each in ours) == [each.name for each in ours]
    for each in found:
        assert re.fullmatch(r"[^/:.%\"'\s]{1,120}", each.name)
        assert all(0 < len(value) <= 500 for value in each.about.values())
        assert each.about["fine_tuned_model"] == each.model


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ([], None),
        ([{}, {"epoch": 1.0}], None),
        ([{"train_loss": 0.3}, {"train_loss": 0.2}, {"train_loss": 0.4}], "ft:2"),
        # Validation says more than training, all of it more than one batch.
        ([{"train_loss": 0.1, "valid_loss": 0.9}, {"train_loss": 0.2, "valid_loss": 0.8}], "ft:2"),
        ([{"valid_loss": 0.1, "full_valid_loss": 0.9}, {"full_valid_loss": 0.8}], "ft:2"),
        ([{"train_loss": 0.1}, {"train_loss": 0.9, "valid_loss": 0.5}], "ft:2"),
        # From two equals the one that was trained longer.
        ([{"valid_loss": 0.5}, {"valid_loss": 0.5}, {"valid_loss": 0.6}], "ft:2"),
        ([{"valid_loss": 0.0}, {"valid_loss": 0.5}], "ft:1"),
    ],
)
def test_the_best_checkpoint(metrics: list[dict[str, float]], best: str | None) -> None:
    """The best checkpoint has the lowest validation loss, or else the lowest training loss."""
    assert best_model(with_metrics(*metrics), OPENAI) == best


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        (
            [{"reward": 1.0, "loss": 0.1}, {"reward": 2.0, "loss": 0.2}],
            Best("ft:2", "reward", is_highest=True),
        ),
        (
            [{"reward": 2.0, "valid": 1.0}, {"reward": 1.0, "valid": 2.0}],
            Best("ft:2", "valid", is_highest=True),
        ),
        ([{"loss": 0.1}, {"loss": 0.2}], Best("ft:1", "loss", is_highest=False)),
    ],
)
def test_rewards_are_maximised(metrics: list[dict[str, float]], best: Best) -> None:
    """The best checkpoint has the highest reward, if any is measured, whatever the loss is."""
    meanings = {
        "reward": Meaning.REWARD,
        "valid": Meaning.VALID_REWARD,
        "loss": Meaning.TRAIN_LOSS,
    }
    assert best_checkpoint(with_metrics(*metrics), MetricNames.of("provider", meanings)) == best


def test_a_checkpoint_that_cannot_be_called_is_not_the_best() -> None:
    """A checkpoint that cannot be called is not the best, because the tag names a usable model."""
    better = Checkpoint(step=3, created_at=START, metrics={"valid_loss": 0.1})
    known = with_metrics({"valid_loss": 0.5})
    snapshot = Snapshot(job=known.job, checkpoints=(*known.checkpoints, better))
    assert best_model(snapshot, OPENAI) == "ft:1"


def test_a_registration() -> None:
    """A registration has a name from the template, MLflow's form of address, and a time."""
    snapshot = snapshot_of("ftjob-a", 0.5, suffix="Shop: EU", base_model="ft:gpt-4.1:org::x")
    found = registration_of("{provider}-{suffix}-{base_model}", "work", "openai", snapshot)
    assert found is not None
    assert found.name == "work-Shop-EU-ft-gpt-4.1-org-x"
    assert (found.model, found.source) == ("ft:ftjob-a", "openai:/ft:ftjob-a")
    assert found.at == START + 60_000


def test_nothing_to_register() -> None:
    """Without the wish or without a result nothing is registered."""
    assert registration_of(None, "work", "openai", snapshot_of("a", 0.5)) is None
    unnamed = Snapshot(job=ended_job("a", fine_tuned_model=None))
    assert registration_of("{suffix}", "work", "openai", unnamed) is None


@given(names, names | st.none())
def test_any_job_can_be_registered(suffix: str, base_model: str | None) -> None:
    """A registered name has neither slash nor colon, and a limited length."""
    snapshot = snapshot_of("a", 0.5, suffix=suffix, base_model=base_model)
    found = registration_of("{suffix}/{base_model}", "work", "openai", snapshot)
    assert found is not None
    assert re.fullmatch(r"[^/:'\"\s]{1,250}", found.name)


@given(names)
@example("\x00 \x01")
def test_a_label_is_short(suffix: str) -> None:
    """A suffix of blanks is replaced by the job's id in a label."""
    label = label_of(Snapshot(job=ended_job("ftjob-a", suffix=suffix)))
    assert 0 < len(label) <= 100
    assert label.strip() == label
    assert label_of(Snapshot(job=ended_job("ftjob-a", suffix=" \n "))) == "ftjob-a"


def test_the_result_is_one_of_its_checkpoints_where_they_have_names() -> None:
    """A result that is a checkpoint appears once, and another one at the last measured step."""
    found = hosted_models("work", snapshot_of("a", 0.9, 0.5), {})
    assert [(each.model, each.step) for each in found] == [("ft:a:1", 1), ("ft:a", 2)]
    other = snapshot_of("a", 0.9, fine_tuned_model="ft:other")
    renamed = Snapshot(
        job=other.job,
        checkpoints=(Checkpoint(step=1, created_at=START, metrics={}, model="ft:1"),),
    )
    found = hosted_models("work", renamed, {"loss": {1, 3}, "valid_loss": {2}, "empty": set()})
    assert [(each.model, each.step) for each in found] == [("ft:1", 1), ("ft:other", 3)]
    assert found[1].metrics == (("loss", 3), ("valid_loss", 2))


def test_a_result_without_a_measurement_is_at_the_first_step() -> None:
    """A result without a measurement is a model at the first step."""
    (model,) = hosted_models("work", Snapshot(job=ended_job("a", suffix="bot")), {})
    assert (model.name, model.step, model.metrics) == ("bot-step-000000", 0, ())


@pytest.mark.parametrize(
    ("facts", "at"),
    [({}, START + 60_000), ({"finished_at": None}, START), ({"created_at": None}, START + 60_000)],
)
def test_a_version_is_as_old_as_its_jobs_end(facts: dict[str, None], at: int) -> None:
    """A version has the time of its job's end, or else of its beginning."""
    found = registration_of("{suffix}", "work", "openai", Snapshot(job=ended_job("a", **facts)))
    assert found is not None
    assert found.at == at


def test_a_version_without_any_moment_is_the_oldest() -> None:
    """A version without any time is the oldest, so that others get the alias."""
    job = ended_job("a", finished_at=None, created_at=None)
    found = registration_of("{suffix}", "work", "openai", Snapshot(job=job))
    assert found is not None
    assert found.at == 0


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"suffix": "s"}, "s"),
        ({}, "gpt-4.1-mini"),
        ({"base_model": None}, "work"),
        ({"suffix": "-.s.-"}, "s"),
        ({"suffix": "..."}, "model"),
        ({"suffix": "x" * 100}, "x" * 100),
        ({"suffix": "x" * 101}, "x" * 99 + "…"),
    ],
)
def test_a_registered_model_is_called_by_what_is_known(
    facts: dict[str, str | None], name: str
) -> None:
    """A registered model is named after the suffix, the base model, or the provider."""
    found = registration_of("{suffix}", "work", "openai", Snapshot(job=ended_job("a", **facts)))
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("suffix", "job_id", "label"),
    [
        ("x" * 100, "a", "x" * 100),
        ("x" * 101, "a", "x" * 99 + "…"),
        ("", "j" * 101, "j" * 100),
        (None, "a", "a"),
    ],
)
def test_a_label_is_cut_at_a_hundred_characters(
    suffix: str | None, job_id: str, label: str
) -> None:
    """A label is cut after a hundred characters, with an ellipsis in a suffix."""
    assert label_of(Snapshot(job=ended_job(job_id, suffix=suffix))) == label


@pytest.mark.parametrize(("length", "is_cut"), [(500, False), (501, True)])
def test_a_models_name_is_as_long_as_mlflows_params(length: int, *, is_cut: bool) -> None:
    """A model's name is as long as MLflow's params allow, because a tag has to find it again."""
    job = ended_job("a", fine_tuned_model="m" * length)
    (model,) = hosted_models("work", Snapshot(job=job), {})
    assert model.model == ("m" * 499 + "…" if is_cut else "m" * 500)
    assert model.about["fine_tuned_model"] == model.model
    assert model.about.keys() == {
        "fine_tuned_model",
        "fine_tuning_provider",
        "fine_tuning_job_id",
        "fine_tuning_step",
        "base_model",
    }


def test_the_newest_of_equally_good_checkpoints_is_the_best() -> None:
    """The newest of equally good checkpoints is the best, and never one without a name."""
    same = with_metrics({"valid_loss": 0.5}, {"valid_loss": 0.5}, {"valid_loss": 0.6})
    assert best_model(same, OPENAI) == "ft:2"
    unnamed = Checkpoint(step=4, created_at=START, metrics={"valid_loss": 0.1})
    more = Snapshot(job=same.job, checkpoints=(*same.checkpoints, unnamed))
    assert best_model(more, OPENAI) == "ft:2"
    assert best_model(with_metrics({"other": 1.0}), OPENAI) is None
