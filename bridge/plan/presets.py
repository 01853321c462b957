"""The presets of ``metric_names``: names that local trainers use for metrics and params."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.model import Meaning

_ALIKE: Final[Mapping[Meaning, str]] = {
    Meaning.BATCH_SIZE: "batch_size",
    Meaning.WARMUP: "warmup_ratio",
    Meaning.LEARNING_RATE: "learning_rate",
    Meaning.RANK: "lora_r",
    Meaning.CONTEXT: "max_length",
    Meaning.SEED: "seed",
    Meaning.METHOD: "method",
}
"""Params that these trainers leave to their users, with one name for all providers' variants."""
AUTO: Final = "auto"
"""The choice by the metrics of the experiment's local runs."""
PRESETS: Final[Mapping[str, Mapping[Meaning, str]]] = {
    "provider": {},
    # transformers.Trainer, and TRL, Axolotl, Unsloth and LLaMA-Factory on top of it. The loss of a
    # step is `loss`; their `train_loss` is an average that is logged at the end of training.
    "huggingface": {
        Meaning.TRAIN_LOSS: "loss",
        Meaning.VALID_LOSS: "eval_loss",
        Meaning.BATCH_VALID_LOSS: "eval_batch_loss",
        Meaning.TRAIN_ACCURACY: "mean_token_accuracy",
        Meaning.VALID_ACCURACY: "eval_mean_token_accuracy",
        Meaning.BATCH_VALID_ACCURACY: "eval_batch_mean_token_accuracy",
        Meaning.GRADIENT: "grad_norm",
        Meaning.STEP_RATE: "learning_rate",
        Meaning.REWARD: "reward",
        Meaning.VALID_REWARD: "eval_reward",
        Meaning.EPOCHS: "num_train_epochs",
        Meaning.STEPS: "max_steps",
        # Not per_device_train_batch_size, because a hosted batch is the whole batch, not one
        # device's share.
        Meaning.BATCH_SIZE: "batch_size",
        Meaning.WARMUP: "warmup_ratio",
        Meaning.LEARNING_RATE: "learning_rate",
        Meaning.RANK: "lora_r",
        Meaning.CONTEXT: "max_length",
        Meaning.SEED: "seed",
        Meaning.METHOD: "method",
    },
    "lightning": {
        Meaning.TRAIN_LOSS: "train_loss",
        Meaning.VALID_LOSS: "val_loss",
        Meaning.BATCH_VALID_LOSS: "val_batch_loss",
        Meaning.GRADIENT: "grad_norm",
        Meaning.STEP_RATE: "lr",
        Meaning.EPOCHS: "max_epochs",
        Meaning.STEPS: "max_steps",
        **_ALIKE,
    },
    # Its max_steps_per_epoch limits an epoch and is not the total number of steps.
    "torchtune": {
        Meaning.TRAIN_LOSS: "loss",
        Meaning.VALID_LOSS: "val_loss",
        Meaning.BATCH_VALID_LOSS: "val_batch_loss",
        Meaning.GRADIENT: "grad_norm",
        Meaning.STEP_RATE: "lr",
        Meaning.EPOCHS: "epochs",
        **_ALIKE,
    },
}

EPOCH: Final[Mapping[str, str]] = {"huggingface": "epoch"}
"""Metric for the epoch of a step, for presets whose trainer logs it at every step."""
OF_PARAMS: Final = frozenset({Meaning.EPOCHS, Meaning.STEPS, *_ALIKE})
