"""Train a local run for the demo, as a user's own script would.

The training is real. A small neural network learns the handwritten digits that scikit-learn ships,
and logs to MLflow under the metric names of Hugging Face's Trainer. It does not use the bridge.

Usage: ``python -m bridge.simulator.local_training [SECONDS_PER_STEP]``, with MLflow's usual
environment variables.
"""

from __future__ import annotations

import sys
import time

import mlflow
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

STEPS = 120
EVAL_EVERY = 10
BATCH = 128
LEARNING_RATE = 0.05


def main(seconds_per_step: float) -> None:
    """Train, and log each step."""
    images, digits = load_digits(return_X_y=True)
    train, held_out, train_digits, held_out_digits = train_test_split(
        images / 16, digits, random_state=0
    )
    network = MLPClassifier(solver="sgd", learning_rate_init=LEARNING_RATE, random_state=0)
    random = np.random.default_rng(0)
    with mlflow.start_run(run_name="local/digits"):
        mlflow.log_params(
            {
                "learning_rate": LEARNING_RATE,
                "per_device_train_batch_size": BATCH,
                "max_steps": STEPS,
                "seed": 0,
            }
        )
        for step in range(1, STEPS + 1):
            batch = random.choice(len(train), BATCH, replace=False)
            network.partial_fit(train[batch], train_digits[batch], classes=range(10))
            metrics = {"loss": float(network.loss_)}
            if step % EVAL_EVERY == 0:
                metrics["eval_loss"] = log_loss(held_out_digits, network.predict_proba(held_out))
                metrics["eval_accuracy"] = network.score(held_out, held_out_digits)
            mlflow.log_metrics(metrics, step=step)
            # At the pace of the hosted jobs, so that a person can watch them side by side.
            time.sleep(seconds_per_step)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
