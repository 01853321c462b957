"""The names of metrics: hosted and local curves share a chart where the names are the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.providers import TYPES
from bridge.simulator import Simulator
from bridge.tracking import Tracking
from bridge.vocabulary import PRESETS, Vocabulary
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
NAMES = {"openai": OPENAI_NAMES, "mistral": MISTRAL_NAMES}

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
}


def test_every_preset_and_provider_is_covered() -> None:
    """A new preset or provider needs its expected names written down here."""
    assert EXPECTED.keys() == {(preset, kind) for preset in PRESETS for kind in TYPES}


@pytest.mark.parametrize(("preset", "kind"), [*EXPECTED])
def test_each_metric_gets_the_name_of_the_preset(preset: str, kind: str) -> None:
    """A metric is called as the trainer calls what it measures; all others keep their names."""
    vocabulary = Vocabulary.of(preset, TYPES[kind].meanings)
    expected = EXPECTED[preset, kind]
    for name in (*NAMES[kind], "learning_rate", "train_mean_reward", ""):
        assert vocabulary.metric(name) == expected.get(name, name)


@pytest.mark.parametrize(("preset", "kind"), [*EXPECTED])
def test_no_two_metrics_get_one_name(preset: str, kind: str) -> None:
    """A batch's loss never lies on the curve of the whole validation set's."""
    vocabulary = Vocabulary.of(preset, TYPES[kind].meanings)
    given = [vocabulary.metric(name) for name in NAMES[kind]]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("preset", [*PRESETS])
def test_mistrals_accuracy_keeps_its_name(preset: str) -> None:
    """Mistral's valid_mean_token_accuracy is a perplexity: no chart of accuracies gets it."""
    vocabulary = Vocabulary.of(preset, TYPES["mistral"].meanings)
    assert vocabulary.metric("valid_mean_token_accuracy") == "valid_mean_token_accuracy"


@pytest.mark.parametrize("kind", [*TYPES])
def test_a_mapping_renames_what_it_names(kind: str) -> None:
    """A user's mapping counts for every provider and leaves all other names alone."""
    vocabulary = Vocabulary.of({"train_loss": "mine", "anything": "else"}, TYPES[kind].meanings)
    assert vocabulary.metric("train_loss") == "mine"
    assert vocabulary.metric("anything") == "else"
    assert vocabulary.metric("valid_loss") == "valid_loss"
    assert vocabulary.metric("mine") == "mine"


def test_a_mapping_is_copied() -> None:
    """Whoever changes the mapping afterwards changes no names."""
    mapping = {"train_loss": "mine"}
    vocabulary = Vocabulary.of(mapping, {})
    mapping["train_loss"] = "changed"
    assert vocabulary.metric("train_loss") == "mine"


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
