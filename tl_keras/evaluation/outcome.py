"""Everything a study knows of one network after training it, with one or several seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tl_keras.data.splits import Split
from tl_keras.evaluation import predictions
from tl_keras.evaluation.compare import Interval, accuracy_interval
from tl_keras.evaluation.predictions import Predictions
from tl_keras.run_folder import RunFolder
from tl_keras.training.loop import Training


@dataclass(frozen=True)
class Outcome:
    """One network, trained once: its numbers and its test predictions."""

    name: str
    seed: int
    training: Training
    train_accuracy: float
    test: Predictions


def measure(model: keras.Model, training: Training, seed: int, train: Split, test: Split, out: RunFolder) -> Outcome:
    """Predict both splits in inference mode, without augmentation; write the test predictions."""
    tested = predictions.predict(model, test)
    predictions.write(tested, test, out, training.name)
    return Outcome(training.name, seed, training, predictions.predict(model, train).accuracy, tested)


@dataclass(frozen=True)
class Network:
    """One way to train, over all its seeds; the first seed is the one whose model and curves are shown.

    Args:
        name: as in file names and results.json.
        title: as in figures and tables.
    """

    name: str
    title: str
    outcomes: tuple[Outcome, ...]

    @property
    def first(self) -> Outcome:
        """The outcome of the first seed."""
        return self.outcomes[0]

    @property
    def accuracy(self) -> float:
        """Mean test accuracy over the seeds."""
        # From counts, so that equal networks are exactly equal, whatever the order of their seeds.
        return float(self.correct.mean())

    @property
    def correct(self) -> np.ndarray:
        """Whether each test image was recognised: bool (seeds, N)."""
        return np.stack([outcome.test.correct for outcome in self.outcomes])

    @property
    def seconds(self) -> float:
        """Training time of the first seed, running the frozen layers included."""
        return self.first.training.seconds

    def interval(self) -> Interval:
        """95% interval of the test accuracy: over seeds, or of the finite test set when there is one seed."""
        return accuracy_interval(self.correct)

    def mean_curve(self, column: str) -> np.ndarray:
        """A history column by epoch, averaged over the seeds."""
        return np.mean([outcome.training.history[column] for outcome in self.outcomes], axis=0)

    def entry(self, out: RunFolder) -> dict[str, Any]:
        """The network's part of results.json."""
        first, interval = self.first, self.interval()
        return {
            "title": self.title,
            "test_accuracy": first.test.accuracy,
            "train_accuracy": first.train_accuracy,
            "test_loss": first.test.loss,
            "test_images": len(first.test.labels),
            "epochs": len(first.training.history["epoch"]),
            "seconds": round(first.training.seconds, 2),
            "parameters": first.training.parameters,
            "trainable_parameters": first.training.trainable_parameters,
            "history": out.relative(out.history(first.name)),
            "predictions": out.relative(out.predictions(first.name)),
            "model": out.relative(out.model(first.name)),
            "mean_test_accuracy": self.accuracy,
            "interval_95": [interval.low, interval.high],
            "seeds": [
                {
                    "seed": outcome.seed,
                    "test_accuracy": outcome.test.accuracy,
                    "seconds": round(outcome.training.seconds, 2),
                    "predictions": out.relative(out.predictions(outcome.name)),
                }
                for outcome in self.outcomes
            ],
        }
