"""New names for a run that was logged under older ones, which stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import Meaning, MetricPoint
from bridge.plan.metric_names import MetricNames
from bridge.plan.presets import PRESETS
from bridge.plan.rename import Renaming, make_renaming
from bridge.providers.registry import TYPES

OPENAI = TYPES["openai"].meanings
MISTRAL = TYPES["mistral"].meanings
START = 1_760_000_000_000

History = Mapping[str, Sequence[MetricPoint]]


def openai(wanted: str | dict[str, str]) -> MetricNames:
    """Return names for OpenAI's jobs."""
    return MetricNames.of(wanted, OPENAI)


def curve(name: str, steps: Iterable[int], *, base: float = 1.0) -> list[MetricPoint]:
    """Return one point per step; curves of another base share no values."""
    return [MetricPoint(name, step, base + step / 1000, START + step) for step in steps]


def history(*curves: Sequence[MetricPoint]) -> dict[str, list[MetricPoint]]:
    """Return a run's metrics."""
    return {points[0].name: [*points] for points in curves}


TRAINED = history(
    curve("train_loss", range(1, 13)),
    curve("valid_loss", (4, 8, 12), base=2),
    curve("full_valid_loss", (4, 8, 12), base=3),
    curve("grad_norm", (1, 2), base=4),
)
PARAMS = {"n_epochs": "3", "batch_size": "8", "learning_rate_multiplier": "1.8", "seed": "7"}


def applied(run: History, renaming: Renaming) -> dict[str, list[MetricPoint]]:
    """Return the run's metrics after the renaming."""
    written = {name: [*points] for name, points in run.items()}
    for point in renaming.points:
        written.setdefault(point.name, []).append(point)
    return written


def content(points: Iterable[MetricPoint]) -> list[tuple[int, float, int]]:
    """Return a curve without its name."""
    return sorted((point.step, point.value, point.timestamp) for point in points)


# Writes


def test_curves_and_params_get_the_new_names() -> None:
    """Curves and params are copied from a provider's names to a preset's, unchanged."""
    found = make_renaming(TRAINED, PARAMS, openai("provider"), openai("lightning"))
    assert found.renamed == {"valid_loss": "val_batch_loss", "full_valid_loss": "val_loss"}
    assert found.params == {"max_epochs": "3"}
    assert found.conflicts == ()
    written = applied({}, found)
    assert written.keys() == {"val_batch_loss", "val_loss"}
    for old, new in found.renamed.items():
        assert content(written[new]) == content(TRAINED[old])


def test_a_batch_size_keeps_its_name() -> None:
    """A batch size keeps its name: a trainer's is the share of one device, not the whole."""
    found = make_renaming({}, PARAMS, openai("provider"), openai("huggingface"))
    assert found.params == {"num_train_epochs": "3"}


def test_the_old_names_are_those_of_the_old_vocabulary() -> None:
    """Between two presets the old one's names identify the metrics."""
    run = history(curve("loss", (1, 2)), curve("eval_loss", (2,), base=2))
    found = make_renaming(
        run,
        {"num_train_epochs": "3", "batch_size": "8"},
        openai("huggingface"),
        openai("lightning"),
    )
    assert found.renamed == {"loss": "train_loss", "eval_loss": "val_loss"}
    assert found.params == {"max_epochs": "3"}
    assert found.conflicts == ()


def test_back_to_the_providers_names() -> None:
    """A preset can be reverted to the provider's names."""
    run = history(curve("loss", (1, 2)))
    params = {"num_train_epochs": "3", "batch_size": "8"}
    found = make_renaming(run, params, openai("huggingface"), openai("provider"))
    assert found.renamed == {"loss": "train_loss"}
    assert found.params == {"n_epochs": "3"}


def test_what_the_provider_does_not_log_is_left_alone() -> None:
    """A user's metric on the run is not renamed, whatever its name is."""
    run = history(curve("loss", (1, 2)), curve("train_loss", (1, 2), base=2))
    found = make_renaming(run, {}, openai("huggingface"), openai("lightning"))
    assert found.renamed == {}
    assert found.points == ()
    assert len(found.conflicts) == 1, "train_loss holds other values than loss"


def test_a_mapping_for_several_providers() -> None:
    """Names of another provider in a mapping do not make this one's metrics ambiguous."""
    shared = {"train_loss": "loss", "train/loss": "loss", "eval/loss": "valid_loss"}
    run = history(curve("loss", (1, 2)), curve("valid_loss", (2,), base=2))
    found = make_renaming(
        run, {}, MetricNames.of(shared, MISTRAL), MetricNames.of("lightning", MISTRAL)
    )
    assert found.renamed == {"loss": "train_loss", "valid_loss": "val_loss"}
    assert found.conflicts == ()


def test_names_that_only_the_mapping_knows() -> None:
    """A metric without a known meaning follows the mapping that named it."""
    run = history(curve("mine", (1, 2)))
    found = make_renaming(run, {}, openai({"train_reward": "mine"}), openai("huggingface"))
    assert found.renamed == {"mine": "train_reward"}


def test_points_come_by_step() -> None:
    """Points are written by step, so that an interruption leaves no holes."""
    found = make_renaming(
        TRAINED, {}, openai("provider"), openai("huggingface"), total_steps=12, epochs=3
    )
    keys = [(point.step, point.name) for point in found.points]
    assert keys == sorted(keys)


def test_an_interrupted_write_is_completed() -> None:
    """After an interruption only the missing points are written."""
    whole = make_renaming(TRAINED, {}, openai("provider"), openai("huggingface"))
    assert not whole.is_empty
    half = dataclasses.replace(whole, points=whole.points[: len(whole.points) // 2])
    rest = make_renaming(applied(TRAINED, half), {}, openai("provider"), openai("huggingface"))
    assert half.points + rest.points == whole.points
    assert rest.conflicts == ()


def test_a_later_look_may_have_been_first() -> None:
    """New names that a pass has begun are completed, even with a rounded value."""
    begun = [dataclasses.replace(point, name="loss") for point in TRAINED["train_loss"][6:]]
    rounded = [dataclasses.replace(point, value=point.value + 4e-6) for point in begun]
    later = curve("loss", (13, 14))
    run = {**TRAINED, "loss": [*rounded, *later]}
    found = make_renaming(run, {}, openai("provider"), openai("huggingface"))
    assert [point.step for point in found.points if point.name == "loss"] == [1, 2, 3, 4, 5, 6]
    assert found.conflicts == ()


def test_a_step_that_is_there_twice_is_copied_once() -> None:
    """The first row of a repeated step counts."""
    doubled = [*curve("train_loss", (1, 2)), *curve("train_loss", (2, 3), base=2)]
    found = make_renaming({"train_loss": doubled}, {}, openai("provider"), openai("huggingface"))
    assert content(found.points) == content([*doubled[:2], doubled[3]])


# Conflicts


def test_a_name_that_was_another_metrics() -> None:
    """The loss of the validation set does not get a name that the batches' loss had before."""
    run = history(
        curve("train_loss", (1, 2)),
        curve("eval_loss", (2,), base=2),
        curve("full_valid_loss", (2,), base=3),
    )
    found = make_renaming(run, {}, openai({"valid_loss": "eval_loss"}), openai("huggingface"))
    assert found.renamed == {"train_loss": "loss", "eval_loss": "eval_batch_loss"}
    assert found.conflicts == (
        "metric full_valid_loss is not copied to eval_loss: that name already means valid_loss",
    )


def test_a_name_that_was_another_metrics_in_a_run_without_that() -> None:
    """The name stays refused in a run without the other metric: a copy would look like it."""
    run = history(curve("full_valid_loss", (2,)))
    found = make_renaming(run, {}, openai({"valid_loss": "eval_loss"}), openai("huggingface"))
    assert found.points == ()
    assert len(found.conflicts) == 1


def test_a_name_that_holds_other_values() -> None:
    """A name that holds other values in the run is refused."""
    run = {**TRAINED, "loss": curve("loss", (1, 40), base=9)}
    found = make_renaming(run, {}, openai("provider"), openai("huggingface"))
    assert "loss" not in {point.name for point in found.points}
    assert found.conflicts == (
        "metric train_loss is not copied to loss: the run has another metric of that name",
    )


def test_a_name_that_holds_other_values_at_some_steps() -> None:
    """A name that holds other values at some steps is refused, because one match can be chance."""
    by_chance = [*curve("loss", (1,)), *curve("loss", (2,), base=9)]
    found = make_renaming(
        {**TRAINED, "loss": by_chance}, {}, openai("provider"), openai("huggingface")
    )
    assert "loss" not in {point.name for point in found.points}
    assert len(found.conflicts) == 1


def test_a_name_that_holds_other_steps() -> None:
    """A name that holds other steps is refused, because the curves may differ."""
    run = {**TRAINED, "loss": curve("loss", (40, 41))}
    found = make_renaming(run, {}, openai("provider"), openai("huggingface"))
    assert "loss" not in {point.name for point in found.points}
    assert len(found.conflicts) == 1


def test_two_metrics_onto_one_name() -> None:
    """The first of two metrics with one meaning gets the name."""
    names = {"a": Meaning.TRAIN_LOSS, "b": Meaning.TRAIN_LOSS}
    run = history(curve("a", (1, 2)), curve("b", (1, 2), base=2))
    found = make_renaming(
        run, {}, MetricNames.of("provider", names), MetricNames.of("huggingface", names)
    )
    assert found.renamed == {"a": "loss"}
    assert found.conflicts == (
        "metric b is not copied to loss: the run has another metric of that name",
    )


@pytest.mark.parametrize(
    ("kept", "params", "expected"),
    [
        ((), {}, "train_total_loss"),
        ((), {"method": "supervised"}, "train_total_loss"),
        ((), {"method": "preference"}, "preference_optimization_train_loss"),
        (("preference_optimization_train_loss",), {}, None),
        (("train_total_loss",), {"method": "preference"}, None),
    ],
)
def test_one_of_two_names_of_a_meaning_comes_back(
    kept: Sequence[str], params: Mapping[str, str], expected: str | None
) -> None:
    """A run that already has one of two names of a meaning needs no other."""
    vertex = TYPES["vertex"].meanings
    run = history(curve("loss", (1, 2)), *(curve(name, (1, 2)) for name in kept))
    found = make_renaming(
        run, params, MetricNames.of("huggingface", vertex), MetricNames.of("provider", vertex)
    )
    assert found.renamed == ({"loss": expected} if expected else {})
    assert found.conflicts == ()


@pytest.mark.parametrize("same_values", [True, False])
def test_swapped_names(*, same_values: bool) -> None:
    """Two metrics that would swap names keep theirs."""
    run = history(curve("a", (1, 2)), curve("b", (1, 2), base=1 if same_values else 2))
    params = {"a": "1", "b": "1" if same_values else "2"}
    found = make_renaming(run, params, openai("provider"), openai({"a": "b", "b": "a"}))
    assert found.is_empty
    assert found.conflicts == (
        "metric a is not copied to b: that name already means b",
        "metric b is not copied to a: that name already means a",
        "param a is not copied to b: that name already means b",
        "param b is not copied to a: that name already means a",
    )


def test_a_chain_of_names_goes_one_link_at_a_time() -> None:
    """In a chain of names the last metric moves, and no other ever takes its old name."""
    run = history(curve("a", (1, 2)), curve("b", (1, 2), base=2))
    chain = openai({"a": "b", "b": "c"})
    found = make_renaming(run, {"a": "1"}, openai("provider"), chain)
    assert found.renamed == {"b": "c"}
    assert found.params == {}
    again = make_renaming(applied(run, found), {"a": "1"}, openai("provider"), chain)
    assert again.is_empty


def test_a_param_with_another_value() -> None:
    """A param with another value keeps the job's one under its old name."""
    params = {"n_epochs": "3", "num_train_epochs": "5"}
    found = make_renaming({}, params, openai("provider"), openai("huggingface"))
    assert found.params == {}
    assert found.conflicts == (
        "param n_epochs is not copied to num_train_epochs: it has a different value there",
    )


def test_a_name_that_mlflow_refuses() -> None:
    """A name that MLflow refuses is a conflict, as after a mapping that replaced it."""
    own = "loss, \x1b[2Jmean"
    run = history(curve("loss", (1, 2)))
    found = make_renaming(run, {"loss": "x"}, openai({own: "loss"}), openai("provider"))
    assert found.is_empty
    assert len(found.conflicts) == 2
    for sentence in found.conflicts:
        assert "MLflow refuses that name" in sentence
        assert "\x1b" not in sentence


# Epochs


def epochs(found: Renaming) -> dict[int, tuple[float, int]]:
    """Return the epoch and its time by step."""
    return {p.step: (p.value, p.timestamp) for p in found.points if p.name == "epoch"}


def test_hugging_faces_epoch_is_added() -> None:
    """The epoch is added at each step with a metric, at its earliest time."""
    run = {**TRAINED, "late": [MetricPoint("late", 4, 1.0, START + 99), *curve("late", (6,))]}
    found = make_renaming(
        run, {}, openai("provider"), openai("huggingface"), total_steps=12, epochs=3
    )
    assert epochs(found) == {step: (step / 4, START + step) for step in range(1, 13)}


@pytest.mark.parametrize(("total_steps", "wanted"), [(None, "huggingface"), (12, "lightning")])
def test_no_epoch(total_steps: int | None, wanted: str) -> None:
    """No epoch is added if it is unknown, or if the new names have none."""
    found = make_renaming(
        TRAINED, {}, openai("provider"), openai(wanted), total_steps=total_steps, epochs=3
    )
    assert epochs(found) == {}
    assert found.conflicts == ()


def test_an_epoch_that_keeps_its_name_is_not_added() -> None:
    """Names with the epoch that the run already has add no epoch, even where one is missing."""
    run = history(curve("loss", (1, 2)), [MetricPoint("epoch", 1, 0.25, START + 1)])
    old = openai("huggingface")
    new = dataclasses.replace(old, metrics={**old.metrics, "train_loss": "train/loss"})
    found = make_renaming(run, {}, old, new, total_steps=12, epochs=3)
    assert found.renamed == {"loss": "train/loss"}
    assert epochs(found) == {}


def test_a_step_after_the_last_has_no_epoch() -> None:
    """A step after the last has no epoch, and the others keep theirs."""
    found = make_renaming(
        TRAINED, {}, openai("provider"), openai("huggingface"), total_steps=10, epochs=1
    )
    assert [*epochs(found)] == [*range(1, 11)]


def test_another_epoch_is_not_mixed_with_it() -> None:
    """A metric of that name with other values stays without an added epoch."""
    run = {**TRAINED, "epoch": curve("epoch", (1, 2), base=9)}
    found = make_renaming(
        run, {}, openai("provider"), openai("huggingface"), total_steps=12, epochs=3
    )
    assert epochs(found) == {}
    assert found.conflicts == (
        "metric epoch is not added: the run has another metric of that name",
    )


def test_a_name_that_was_another_metrics_is_not_for_the_epoch() -> None:
    """The epoch does not get a name that was another metric's."""
    old = openai({"valid_loss": "epoch"})
    run = history(curve("train_loss", (1, 2)))
    found = make_renaming(run, {}, old, openai("huggingface"), total_steps=12, epochs=3)
    assert found.renamed == {"train_loss": "loss"}
    assert epochs(found) == {}
    assert found.conflicts == ("metric epoch is not added: that name already means valid_loss",)


def test_another_epoch_is_in_nobodys_way_where_none_is_known() -> None:
    """An unknown epoch causes no conflict."""
    run = {**TRAINED, "epoch": curve("epoch", (1, 2), base=9)}
    found = make_renaming(run, {}, openai("provider"), openai("huggingface"))
    assert found.conflicts == ()


# Arbitrary runs and names

NAMES = ("train_loss", "valid_loss", "full_valid_loss", "epoch", "a", "b")
"""Names that a provider may report."""
ONE_TO_ONE = st.permutations([*NAMES, "loss", "eval_loss"]).map(
    lambda targets: dict(zip(NAMES, targets, strict=False))
)
"""Mappings as the configuration allows them: chains and swaps, and no shared new name."""
VOCABULARIES = st.one_of(st.sampled_from([*PRESETS]), ONE_TO_ONE).map(openai)
STEPS = st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True)
LOGGED = st.dictionaries(st.sampled_from(NAMES), STEPS, max_size=5)
"""Steps of each metric, by the provider's name."""
LENGTH = st.sampled_from([None, 6])


def logged(job: Mapping[str, Sequence[int]], names: MetricNames) -> dict[str, list[MetricPoint]]:
    """Return MLflow's rows of a job: one per metric and step, the first reported one."""
    run: dict[str, dict[int, MetricPoint]] = {}
    for base, (own, steps) in enumerate(job.items()):
        name = names.metric(own)
        for point in curve(name, steps, base=base + 10):
            run.setdefault(name, {}).setdefault(point.step, point)
    return {name: [*points.values()] for name, points in run.items()}


def logged_params(values: Mapping[str, int], names: MetricNames) -> dict[str, str]:
    """Return MLflow's params of a job."""
    params: dict[str, str] = {}
    for own, value in values.items():
        params.setdefault(names.param(own), str(value))
    return params


@given(LOGGED, VOCABULARIES, VOCABULARIES)
def test_a_run_becomes_what_the_new_names_would_have_made_it(
    job: Mapping[str, Sequence[int]], old: MetricNames, new: MetricNames
) -> None:
    """Each curve is the only one under its new name, or a sentence gives the reason."""
    run = logged(job, old)
    found = make_renaming(run, {}, old, new)
    written = applied(run, found)
    for own in job:
        before, after = old.metric(own), new.metric(own)
        if before == after:
            assert written[after] == run[before]
        elif before in found.renamed:
            assert found.renamed[before] == after
            assert content(written[after]) == content(run[before])
        else:
            assert any(before in sentence.split() for sentence in found.conflicts)


@given(LOGGED, VOCABULARIES, LENGTH)
def test_the_same_names_change_nothing(
    job: Mapping[str, Sequence[int]], names: MetricNames, length: int | None
) -> None:
    """The same names change nothing, and add no epoch."""
    run, params = logged(job, names), logged_params(dict.fromkeys(job, 1), names)
    found = make_renaming(run, params, names, names, total_steps=length, epochs=2)
    assert found == Renaming(points=(), params={}, renamed={}, conflicts=())


@given(LOGGED, VOCABULARIES, VOCABULARIES, LENGTH)
def test_twice_is_once(
    job: Mapping[str, Sequence[int]], old: MetricNames, new: MetricNames, length: int | None
) -> None:
    """A second renaming writes nothing and has the same conflicts."""
    run, params = logged(job, old), logged_params(dict.fromkeys(job, 1), old)
    first = make_renaming(run, params, old, new, total_steps=length, epochs=2)
    second = make_renaming(
        applied(run, first), {**params, **first.params}, old, new, total_steps=length, epochs=2
    )
    assert second == Renaming(points=(), params={}, renamed={}, conflicts=first.conflicts)


@given(LOGGED, VOCABULARIES, VOCABULARIES, LENGTH, st.data())
def test_an_interruption_at_any_point_does_no_harm(
    job: Mapping[str, Sequence[int]],
    old: MetricNames,
    new: MetricNames,
    length: int | None,
    data: st.DataObject,
) -> None:
    """An interruption at any point is completed by the next renaming."""
    run = logged(job, old)
    whole = make_renaming(run, {}, old, new, total_steps=length, epochs=2)
    cut = data.draw(st.integers(0, len(whole.points)))
    half = dataclasses.replace(whole, points=whole.points[:cut])
    rest = make_renaming(applied(run, half), {}, old, new, total_steps=length, epochs=2)
    assert half.points + rest.points == whole.points
    assert rest.conflicts == whole.conflicts


@given(LOGGED, VOCABULARIES, VOCABULARIES, LENGTH)
def test_a_metric_has_one_row_a_step(
    job: Mapping[str, Sequence[int]], old: MetricNames, new: MetricNames, length: int | None
) -> None:
    """A metric has one row per step."""
    run = logged(job, old)
    found = make_renaming(run, {}, old, new, total_steps=length, epochs=2)
    for points in applied(run, found).values():
        steps = [point.step for point in points]
        assert len(set(steps)) == len(steps)


@given(LOGGED, VOCABULARIES, VOCABULARIES)
def test_only_names_change(
    job: Mapping[str, Sequence[int]], old: MetricNames, new: MetricNames
) -> None:
    """A copied point keeps its step, value and time."""
    run = logged(job, old)
    found = make_renaming(run, {}, old, new)
    source = {after: before for before, after in found.renamed.items()}
    for point in found.points:
        assert dataclasses.replace(point, name=source[point.name]) in run[source[point.name]]


@given(
    st.dictionaries(st.sampled_from([*NAMES, *PARAMS]), st.integers(0, 2), max_size=5),
    VOCABULARIES,
    VOCABULARIES,
)
def test_params_become_what_the_new_names_would_have_made_them(
    values: Mapping[str, int], old: MetricNames, new: MetricNames
) -> None:
    """Each param is under its new name, or a sentence gives the reason."""
    params = logged_params(values, old)
    found = make_renaming({}, params, old, new)
    assert found.params.keys().isdisjoint(params)
    written = {**params, **found.params}
    for own, value in values.items():
        before = old.param(own)
        if written.get(new.param(own)) != str(value):
            assert params[before] != str(value) or any(
                before in sentence.split() for sentence in found.conflicts
            )
