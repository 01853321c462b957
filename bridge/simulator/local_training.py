"""A local training run for the demo, as a user's own script would do it. It trains for real.

A small neural network learns to predict the next character of this Python's own documentation and
logs to MLflow under the metric names of Hugging Face's Trainer. Nothing of the bridge is used.

Usage: ``python -m bridge.simulator.local_training [SECONDS_PER_STEP]``, with MLflow's usual
environment variables.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import logging
import sys
import time
import unittest

import mlflow
import numpy as np
from numpy.typing import NDArray

STEPS = 120
EVAL_EVERY = 10
CONTEXT = 4
"""Characters that the network sees before the one it predicts."""
EMBEDDING = 12
HIDDEN = 96
BATCH = 512
LEARNING_RATE = 0.8

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def corpus() -> str:
    """English text that every Python has."""
    modules = (argparse, asyncio, collections, logging, unittest)
    documented = [getattr(module, name) for module in modules for name in sorted(dir(module))]
    return "\n".join(sorted({str(thing.__doc__) for thing in documented if thing.__doc__}))


class NextCharacter:
    """Embeddings, one hidden layer, a softmax: trained by plain gradient descent."""

    def __init__(self, characters: int, random: np.random.Generator) -> None:
        self.embedding: Floats = random.normal(0, 1, (characters, EMBEDDING))
        self.hidden: Floats = random.normal(
            0, (CONTEXT * EMBEDDING) ** -0.5, (CONTEXT * EMBEDDING, HIDDEN)
        )
        self.output: Floats = random.normal(0, HIDDEN**-0.5, (HIDDEN, characters))

    def forward(self, contexts: Ints) -> tuple[Floats, Floats, Floats]:
        """Inputs, hidden activations and log-probabilities of a batch."""
        inputs = self.embedding[contexts].reshape(len(contexts), -1)
        activations = np.tanh(inputs @ self.hidden)
        logits = activations @ self.output
        logits -= logits.max(axis=1, keepdims=True)
        return inputs, activations, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def evaluate(self, contexts: Ints, targets: Ints) -> tuple[float, float]:
        """Mean loss in nats and accuracy."""
        log_probabilities = self.forward(contexts)[2]
        loss = -log_probabilities[np.arange(len(targets)), targets].mean()
        return float(loss), float((log_probabilities.argmax(axis=1) == targets).mean())

    def learn(self, contexts: Ints, targets: Ints) -> tuple[float, float]:
        """One step down the gradient; loss in nats and accuracy before it."""
        inputs, activations, log_probabilities = self.forward(contexts)
        rows = np.arange(len(targets))
        loss = -log_probabilities[rows, targets].mean()
        accuracy = (log_probabilities.argmax(axis=1) == targets).mean()
        error = np.exp(log_probabilities)
        error[rows, targets] -= 1
        error /= len(targets)
        back = (error @ self.output.T) * (1 - activations**2)
        into_embedding = (back @ self.hidden.T).reshape(len(targets), CONTEXT, EMBEDDING)
        self.output -= LEARNING_RATE * (activations.T @ error)
        self.hidden -= LEARNING_RATE * (inputs.T @ back)
        np.subtract.at(self.embedding, contexts, LEARNING_RATE * into_embedding)
        return float(loss), float(accuracy)


def main(seconds_per_step: float) -> None:
    """Train, and log each step."""
    text = corpus()
    alphabet = {character: index for index, character in enumerate(sorted(set(text)))}
    encoded = np.array([alphabet[character] for character in text])
    windows = np.lib.stride_tricks.sliding_window_view(encoded, CONTEXT + 1)
    split = len(windows) * 9 // 10
    train, held_out = windows[:split], windows[split:][:4096]
    random = np.random.default_rng(0)
    network = NextCharacter(len(alphabet), random)
    with mlflow.start_run(run_name="local/next-character"):
        mlflow.log_params(
            {
                "learning_rate": LEARNING_RATE,
                "per_device_train_batch_size": BATCH,
                "max_steps": STEPS,
                "seed": 0,
            }
        )
        for step in range(1, STEPS + 1):
            batch = train[random.integers(0, len(train), BATCH)]
            loss, accuracy = network.learn(batch[:, :-1], batch[:, -1])
            metrics = {"loss": loss, "mean_token_accuracy": accuracy}
            if step % EVAL_EVERY == 0:
                loss, accuracy = network.evaluate(held_out[:, :-1], held_out[:, -1])
                metrics |= {"eval_loss": loss, "eval_mean_token_accuracy": accuracy}
            mlflow.log_metrics(metrics, step=step)
            # The pace of the hosted jobs, so that a person can watch them side by side.
            time.sleep(seconds_per_step)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
