"""The names of metrics and params, which make hosted and local runs comparable."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import Meaning
from bridge.plan.metric_names import (
    Losses,
    MetricNames,
    closest_preset,
    epoch_of,
    is_allowed_name,
    shared_charts,
)
from bridge.plan.presets import PRESETS
from bridge.providers.registry import TYPES
from bridge.simulator import Simulator
from bridge.text import clean
from bridge.tracking import Tracking
from tests.support.recorded import recorded
from tests.support.world import Clock, job, make_sync

OPENAI_NAMES = (
    "train_loss",
    "valid_loss",
    "full_valid_loss",
    "train_mean_token_accuracy",
    "valid_mean_token_accuracy",
    "full_valid_mean_token_accuracy",
)
MISTRAL_NAMES = ("train_loss", "valid_loss", "valid_mean_token_accuracy")
TOGETHER_NAMES = ("train/loss", "eval/loss", "train/grad_norm", "train/learning_rate")
NAMES: dict[str, tuple[str, ...]] = {
    "openai": OPENAI_NAMES,
    "mistral": MISTRAL_NAMES,
    "together": TOGETHER_NAMES,
    "fireworks": ("train/loss", "eval/loss"),
}

EXPECTED = {
    ("huggingface", "openai"): {
        "train_loss": "loss",
        "valid_loss": "eval_batch_loss",
        "full_valid_loss": "eval_loss",
        "train_mean_token_accuracy": "mean_token_accuracy",
        "valid_mean_token_accuracy": "eval_batch_mean_token_accuracy",
        "full_valid_mean_token_accuracy": "eval_mean_token_accuracy",
    },
    ("huggingface", "mistral"): {"train_loss": "loss", "valid_loss": "eval_loss"},
    ("lightning", "openai"): {
        "train_loss": "train_loss",
        "valid_loss": "val_batch_loss",
        "full_valid_loss": "val_loss",
    },
    ("lightning", "mistral"): {"train_loss": "train_loss", "valid_loss": "val_loss"},
    ("torchtune", "openai"): {
        "train_loss": "loss",
        "valid_loss": "val_batch_loss",
        "full_valid_loss": "val_loss",
    },
    ("torchtune", "mistral"): {"train_loss": "loss", "valid_loss": "val_loss"},
    ("provider", "openai"): {},
    ("provider", "mistral"): {},
    ("huggingface", "together"): {
        "train/loss": "loss",
        "eval/loss": "eval_loss",
        "train/grad_norm": "grad_norm",
        "train/learning_rate": "learning_rate",
    },
    ("lightning", "together"): {
        "train/loss": "train_loss",
        "eval/loss": "val_loss",
        "train/grad_norm": "grad_norm",
        "train/learning_rate": "lr",
    },
    ("torchtune", "together"): {
        "train/loss": "loss",
        "eval/loss": "val_loss",
        "train/grad_norm": "grad_norm",
        "train/learning_rate": "lr",
    },
    ("provider", "together"): {},
    ("huggingface", "fireworks"): {
        "train/loss": "loss",
        "eval/loss": "eval_loss",
        "train/grad_norm": "grad_norm",
        "train/lr": "learning_rate",
    },
    ("lightning", "fireworks"): {
        "train/loss": "train_loss",
        "eval/loss": "val_loss",
        "train/grad_norm": "grad_norm",
        "train/lr": "lr",
    },
    ("torchtune", "fireworks"): {
        "train/loss": "loss",
        "eval/loss": "val_loss",
        "train/grad_norm": "grad_norm",
        "train/lr": "lr",
    },
    ("provider", "fireworks"): {},
}

_ALIKE: dict[str, dict[str, str]] = {
    "openai": {},
    "mistral": {"warmup_fraction": "warmup_ratio", "seq_len": "max_length"},
    "together": {
        "training_method": "method",
        "random_seed": "seed",
        "max_seq_length": "max_length",
    },
    "fireworks": {
        "batchSizeSamples": "batch_size",
        "learningRate": "learning_rate",
        "loraRank": "lora_r",
        "maxContextLength": "max_length",
    },
}
"""Expected names that each preset shares between providers."""
_LENGTHS: dict[str, dict[str, dict[str, str]]] = {
    "huggingface": {
        "openai": {"n_epochs": "num_train_epochs"},
        "mistral": {"epochs": "num_train_epochs", "training_steps": "max_steps"},
        "together": {"n_epochs": "num_train_epochs"},
        "fireworks": {"epochs": "num_train_epochs"},
    },
    "lightning": {
        "openai": {"n_epochs": "max_epochs"},
        "mistral": {"epochs": "max_epochs", "training_steps": "max_steps"},
        "together": {"n_epochs": "max_epochs"},
        "fireworks": {"epochs": "max_epochs"},
    },
    "torchtune": {
        "openai": {"n_epochs": "epochs"},
        "mistral": {},
        "together": {"n_epochs": "epochs"},
        "fireworks": {},
    },
}
EXPECTED_PARAMS: dict[tuple[str, str], dict[str, str]] = {
    ("provider", kind): {} for kind in _ALIKE
} | {
    (preset, kind): {**_ALIKE[kind], **names}
    for preset, kinds in _LENGTHS.items()
    for kind, names in kinds.items()
}
PARAMS: dict[str, tuple[str, ...]] = {
    "openai": ("n_epochs", "batch_size", "learning_rate_multiplier", "seed", "method"),
    "mistral": ("epochs", "training_steps", "warmup_fraction", "learning_rate", "seed", "seq_len"),
    "together": (
        *("n_epochs", "batch_size", "warmup_ratio", "learning_rate", "training_method"),
        *("random_seed", "max_seq_length", "lora_r"),
    ),
    "fireworks": (*("epochs", "batchSizeSamples", "learningRate", "loraRank", "maxContextLength"),),
}

# Azure and Nebius speak OpenAI's API, Nebius with some more params that others have too.
for _kind in ("azure", "nebius", "bedrock-mantle"):
    NAMES[_kind] = NAMES["openai"]
    PARAMS[_kind] = PARAMS["openai"]
    for _preset in PRESETS:
        EXPECTED[_preset, _kind] = EXPECTED[_preset, "openai"]
        EXPECTED_PARAMS[_preset, _kind] = EXPECTED_PARAMS[_preset, "openai"]
PARAMS["nebius"] += ("warmup_ratio", "lora_r", "context_length")
for _preset in _LENGTHS:
    EXPECTED_PARAMS[_preset, "nebius"] = {
        **EXPECTED_PARAMS[_preset, "openai"],
        "context_length": "max_length",
    }
NAMES["bedrock-mantle"] += ("critic_rewards_mean",)
EXPECTED["huggingface", "bedrock-mantle"] = {
    **EXPECTED["huggingface", "openai"],
    "critic_rewards_mean": "reward",
}


def test_every_preset_and_provider_is_covered() -> None:
    """A new preset needs its expected names here for each of these providers."""
    assert EXPECTED.keys() == {(preset, kind) for preset in PRESETS for kind in NAMES}
    assert EXPECTED_PARAMS.keys() == EXPECTED.keys()


@pytest.mark.parametrize(("preset", "kind"), [*EXPECTED])
def test_each_metric_gets_the_name_of_the_preset(preset: str, kind: str) -> None:
    """A metric gets the trainer's name for its meaning, and all others keep theirs."""
    metric_names = MetricNames.of(preset, TYPES[kind].meanings)
    expected = EXPECTED[preset, kind]
    for name in (*NAMES[kind], "learning_rate", "gpu_temperature", ""):
        assert metric_names.metric(name) == expected.get(name, name)


@pytest.mark.parametrize(("preset", "kind"), [*EXPECTED])
def test_no_two_metrics_get_one_name(preset: str, kind: str) -> None:
    """A batch's loss never shares a name with the loss of the whole validation set."""
    metric_names = MetricNames.of(preset, TYPES[kind].meanings)
    given = [metric_names.metric(name) for name in NAMES[kind]]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("preset", ["huggingface", "lightning", "torchtune"])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bedrock", {"batchSize": "batch_size", "learningRate": "learning_rate"}),
        (
            "prime",
            {"batchSize": "batch_size", "learningRate": "learning_rate", "seqLen": "max_length"},
        ),
    ],
)
def test_params_in_camel_case_get_the_names_that_others_have(
    preset: str, kind: str, expected: dict[str, str]
) -> None:
    """Params that a provider writes in camel case get the name that all providers share."""
    metric_names = MetricNames.of(preset, TYPES[kind].meanings)
    assert {name: metric_names.param(name) for name in (*expected, "loraAlpha")} == {
        **expected,
        "loraAlpha": "loraAlpha",
    }


@pytest.mark.parametrize("preset", [*PRESETS])
def test_mistrals_accuracy_keeps_its_name(preset: str) -> None:
    """Mistral's valid_mean_token_accuracy keeps its name, because it is a perplexity."""
    metric_names = MetricNames.of(preset, TYPES["mistral"].meanings)
    assert metric_names.metric("valid_mean_token_accuracy") == "valid_mean_token_accuracy"


@pytest.mark.parametrize("kind", [*TYPES])
def test_a_mapping_renames_what_it_names(kind: str) -> None:
    """A user's mapping counts for every provider and leaves all other names as they are."""
    metric_names = MetricNames.of({"train_loss": "mine", "anything": "else"}, TYPES[kind].meanings)
    assert metric_names.metric("train_loss") == "mine"
    assert metric_names.metric("anything") == "else"
    assert metric_names.metric("valid_loss") == "valid_loss"
    assert metric_names.metric("mine") == "mine"


def test_a_mapping_is_copied() -> None:
    """A later change of the given mapping changes no names."""
    mapping = {"train_loss": "mine"}
    metric_names = MetricNames.of(mapping, {})
    mapping["train_loss"] = "changed"
    assert metric_names.metric("train_loss") == "mine"


@pytest.mark.parametrize(("preset", "kind"), [*EXPECTED_PARAMS])
def test_each_param_gets_the_names_of_the_preset(preset: str, kind: str) -> None:
    """A param gets the trainer's name, which is the same for all providers with that meaning."""
    metric_names = MetricNames.of(preset, TYPES[kind].meanings)
    for name in PARAMS[kind]:
        assert metric_names.param(name) == EXPECTED_PARAMS[preset, kind].get(name, name)


@pytest.mark.parametrize("preset", [*PRESETS])
def test_a_learning_rates_multiplier_is_never_a_learning_rate(preset: str) -> None:
    """OpenAI's multiplier of the learning rate is never named as a learning rate."""
    metric_names = MetricNames.of(preset, TYPES["openai"].meanings)
    assert metric_names.param("learning_rate_multiplier") == "learning_rate_multiplier"


@pytest.mark.parametrize(("preset", "kind"), [*EXPECTED])
def test_metrics_and_params_do_not_rename_each_other(preset: str, kind: str) -> None:
    """A preset's names for params do not apply to metrics, nor the reverse."""
    metric_names = MetricNames.of(preset, TYPES[kind].meanings)
    for name in PARAMS[kind]:
        assert metric_names.metric(name) == name
    for name in NAMES[kind]:
        assert metric_names.param(name) == name


def test_a_mapping_renames_params_too() -> None:
    """A user's mapping applies to metrics and params alike, and keeps no second name."""
    metric_names = MetricNames.of({"batch_size": "mine"}, TYPES["openai"].meanings)
    assert metric_names.param("batch_size") == "mine"
    assert metric_names.metric("batch_size") == "mine"
    assert metric_names.param("n_epochs") == "n_epochs"


def test_no_names_are_the_providers_own() -> None:
    """Names that map nothing rename nothing, and their label says so."""
    metric_names = MetricNames()
    assert metric_names.metric("train_loss") == "train_loss"
    assert metric_names.param("n_epochs") == "n_epochs"
    assert metric_names.label == "provider"
    assert metric_names.epoch is None
    assert metric_names.named(Meaning.TRAIN_LOSS) == ()


@pytest.mark.parametrize("wanted", [*PRESETS, {"train_loss": "loss"}])
def test_only_hugging_face_logs_the_epoch(wanted: str | dict[str, str]) -> None:
    """Only the names of ``transformers`` have a metric for the epoch."""
    metric_names = MetricNames.of(wanted, TYPES["openai"].meanings)
    assert metric_names.epoch == ("epoch" if wanted == "huggingface" else None)


@pytest.mark.parametrize("wanted", [*PRESETS, {"train_loss": "loss"}])
def test_the_providers_names_are_found_by_their_meaning(wanted: str | dict[str, str]) -> None:
    """The provider's names are found by their meaning, whatever MLflow calls them."""
    openai = MetricNames.of(wanted, TYPES["openai"].meanings)
    mistral = MetricNames.of(wanted, TYPES["mistral"].meanings)
    assert openai.named(Meaning.VALID_LOSS) == ("full_valid_loss",)
    assert openai.named(Meaning.BATCH_VALID_LOSS) == ("valid_loss",)
    assert mistral.named(Meaning.VALID_LOSS) == ("valid_loss",)
    assert mistral.named(Meaning.BATCH_VALID_LOSS) == ()


def test_all_names_of_a_meaning_are_found() -> None:
    """Both names of a meaning are found, as a provider that changed a name has two."""
    meanings = {"b": Meaning.EPOCHS, "x": Meaning.STEPS, "a": Meaning.EPOCHS}
    assert MetricNames.of("provider", meanings).named(Meaning.EPOCHS) == ("b", "a")


# Labels

ALLOWED = st.text("abcé .-/:_", min_size=1, max_size=8).filter(is_allowed_name)
MAPPINGS = st.dictionaries(st.text(max_size=8), ALLOWED, max_size=4)


@given(st.one_of(st.sampled_from([*PRESETS]), MAPPINGS))
def test_a_label_makes_the_vocabulary_again(wanted: str | dict[str, str]) -> None:
    """A label in a run's tag restores all names, even after it was cleaned."""
    meanings = TYPES["openai"].meanings
    metric_names = MetricNames.of(wanted, meanings)
    assert clean(metric_names.label, 5000) == metric_names.label
    assert MetricNames.from_label(metric_names.label, meanings) == metric_names


def test_a_mappings_label_is_the_same_in_any_order() -> None:
    """The label of a mapping does not depend on the order of its entries."""
    one = MetricNames.of({"b": "x", "a": "y"}, {})
    other = MetricNames.of({"a": "y", "b": "x"}, {})
    assert one.label == other.label == '{"a":"y","b":"x"}'


@pytest.mark.parametrize(
    "label",
    [
        *("", "Huggingface", "hugging face", "null", "7", "[]", '"provider"', '["a"]', "{", "{]"),
        *('{"a":1}', '{"a":null}', '{"a":{"b":"c"}}', '{"a":["b"]}', "{'a':'b'}"),
        *('{"a":""}', '{"a":"../b"}', '{"a":"x//y"}', json.dumps({"a": "x" * 251})),
        # Deeper than a parser follows; cut by MLflow.
        *("[" * 100_000, '{"a":' * 100_000, '{"a":"b","c":"'),
    ],
)
def test_a_label_of_nonsense_is_refused(label: str) -> None:
    """A nonsensical label, which anyone can write, is refused."""
    with pytest.raises(ValueError, match="is not a preset or a mapping of names") as caught:
        MetricNames.from_label(label, {})
    assert len(str(caught.value)) < 200


# Epochs


@pytest.mark.parametrize(
    ("step", "total_steps", "epochs", "expected"),
    [
        (0, 90, 3, 0.0),
        (30, 90, 3, 1.0),
        (90, 90, 3, 3.0),
        (1, 3, 1, 0.3333),
        (2, 3, 1, 0.6667),
        (5, 10, 0.5, 0.25),
        (1, None, 3, None),
        (1, 90, None, None),
        (91, 90, 3, None),
        (-1, 90, 3, None),
        (0, 0, 3, None),
        (1, -5, 3, None),
        (1, 90, 0, None),
        (1, 90, -1, None),
        (1, 90, math.nan, None),
        (1, 90, math.inf, None),
    ],
)
def test_the_epoch_of_a_step(
    step: int, total_steps: int | None, epochs: float | None, expected: float | None
) -> None:
    """The epoch grows evenly over all steps, and is absent if it cannot be known."""
    assert epoch_of(step, total_steps, epochs) == expected


# Names of local runs


def openai(wanted: str | dict[str, str] = "provider") -> MetricNames:
    """Return the names of OpenAI's metrics."""
    return MetricNames.of(wanted, TYPES["openai"].meanings)


def mistral(wanted: str | dict[str, str] = "provider") -> MetricNames:
    """Return the names of Mistral's metrics."""
    return MetricNames.of(wanted, TYPES["mistral"].meanings)


SUMMARY = {"train_loss", "train_runtime", "train_samples_per_second", "total_flos", "epoch"}
"""Averages that transformers logs once, at the end of training."""
TRAINERS: Mapping[str, frozenset[str]] = {
    "transformers": frozenset({"loss", "grad_norm", "learning_rate", "eval_loss", *SUMMARY}),
    "transformers, running": frozenset({"loss", "grad_norm", "learning_rate", "epoch"}),
    "trl": frozenset({"loss", "mean_token_accuracy", "eval_loss", "entropy", *SUMMARY}),
    "lightning": frozenset({"train_loss", "val_loss", "epoch"}),
    "torchtune": frozenset({"loss", "val_loss", "lr", "tokens_per_second_per_gpu"}),
    "like OpenAI": frozenset({"train_loss", "valid_loss"}),
}
CLOSEST = {
    "transformers": "huggingface",
    "transformers, running": "huggingface",
    "trl": "huggingface",
    "lightning": "lightning",
    "torchtune": "torchtune",
    "like OpenAI": None,
}


@pytest.mark.parametrize("trainer", [*TRAINERS])
def test_the_preset_of_the_local_trainer_is_the_closest(trainer: str) -> None:
    """The preset of the local trainer puts the most metrics on shared charts."""
    runs = [TRAINERS[trainer]]
    assert closest_preset([(openai(), runs)]) == CLOSEST[trainer]
    assert closest_preset([(mistral(), runs)]) == CLOSEST[trainer]


@pytest.mark.parametrize("trainer", [*TRAINERS])
@pytest.mark.parametrize("preset", [*PRESETS])
def test_advice_that_was_followed_ends(preset: str, trainer: str) -> None:
    """Advice that is followed leads to more shared charts and to no further advice."""
    runs = [TRAINERS[trainer]]
    advised = closest_preset([(openai(preset), runs)])
    if advised is not None:
        now, then = (shared_charts(openai(each), runs).total() for each in (preset, advised))
        assert then > now
        assert closest_preset([(openai(advised), runs)]) is None


def test_no_local_runs_are_no_reason_for_advice() -> None:
    """Without local runs, or with runs that share nothing, no advice is given."""
    assert closest_preset([]) is None
    assert closest_preset([(openai(), [])]) is None
    assert closest_preset([(openai(), [frozenset(), frozenset({"rmse", "val-auc"})])]) is None


@pytest.mark.parametrize("present", [*PRESETS])
def test_an_average_at_the_end_is_no_curve(present: str) -> None:
    """A run of transformers that logged no step is not taken for one of Lightning."""
    runs = [frozenset(SUMMARY), frozenset({"eval_loss", *SUMMARY})]
    assert closest_preset([(openai(present), runs)]) is None
    assert not shared_charts(openai("lightning"), runs)


@pytest.mark.parametrize("present", ["provider", "lightning"])
def test_many_averages_do_not_outweigh_a_curve(present: str) -> None:
    """The average train_loss of many runs of transformers does not outweigh a curve."""
    runs = [frozenset(SUMMARY)] * 40 + [TRAINERS["transformers"]]
    assert closest_preset([(openai(present), runs)]) == "huggingface"


@pytest.mark.parametrize("name", ["eval_loss", "val_loss", "mean_token_accuracy"])
def test_results_are_not_a_reason_for_advice(name: str) -> None:
    """A run without a training curve, which may be an evaluation, gives no advice."""
    assert closest_preset([(openai(), [frozenset({name, "rouge"})])]) is None


def test_the_names_of_most_local_curves_count() -> None:
    """Where local runs differ, the advice follows most of their curves."""
    runs = [TRAINERS["lightning"]] * 3 + [TRAINERS["transformers"]]
    assert closest_preset([(mistral(), runs)]) == "lightning"
    assert closest_preset([(mistral("lightning"), runs)]) is None


def test_all_providers_and_experiments_are_weighed_together() -> None:
    """Advice weighs all providers and experiments together, because one setting is for all."""
    neighbours = [
        (openai(), [TRAINERS["lightning"]]),
        (mistral(), [TRAINERS["transformers"]] * 3),
    ]
    assert closest_preset(neighbours) == "huggingface"
    assert closest_preset(neighbours[:1]) == "lightning"


def test_a_mapping_is_weighed_like_a_preset() -> None:
    """A mapping is compared as a preset: one that shares as much gets no advice."""
    runs = [TRAINERS["transformers"]]
    enough = {"train_loss": "loss", "full_valid_loss": "eval_loss"}
    assert closest_preset([(openai(enough), runs)]) is None
    assert closest_preset([(openai({"train_loss": "loss"}), runs)]) == "huggingface"


def test_the_charts_are_those_of_the_losses_that_say_most() -> None:
    """The charts are training, and validation over the whole set or else over a batch."""
    train, valid, batch = ("t",), ("v",), ("b",)
    assert Losses(train=train, valid=valid, batch_valid=batch).charts == ("t", "v")
    assert Losses(train=train, batch_valid=batch).charts == ("t", "b")
    assert Losses(train=train, valid=valid).charts == ("t", "v")


def test_shared_charts_are_counted_by_run() -> None:
    """A chart counts once for each local run that has its metric."""
    runs = [TRAINERS["transformers"], TRAINERS["transformers, running"], frozenset({"rmse"})]
    assert shared_charts(openai("huggingface"), runs) == {"loss": 2, "eval_loss": 1}


def test_a_metric_that_is_called_like_a_param_shares_no_chart() -> None:
    """A metric named like a param shares no chart, because params are not drawn."""
    run = frozenset({"loss", "batch_size", "max_steps", "num_train_epochs"})
    assert shared_charts(openai("huggingface"), [run]) == {"loss": 1}


# In MLflow


def test_mlflow_gets_the_names_of_the_preset(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """With Hugging Face's names a hosted training loss is ``loss`` and not ``train_loss``."""
    with Simulator(jobs=[job("ftjob-a")], clock=clock) as simulator:
        clock.now += 1000
        report = make_sync(simulator, tracking, executor, clock, metric_names="huggingface").run()
        assert report.is_well, report
    names = {name for name, *_ in recorded(uri)["ftjob-a"].rows}
    assert {"loss", "mean_token_accuracy"} <= names
    assert names.isdisjoint(OPENAI_NAMES)
