"""What a trained network says about each image, and its file."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from sklearn.metrics import log_loss

from tl_keras.data.splits import Split
from tl_keras.run_folder import RunFolder
from tl_keras.training import inference


@dataclass(frozen=True)
class Predictions:
    """Class probabilities (N, classes) of a split, with the labels they are measured against."""

    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The most probable class (N,) of each image."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each image (N,) was recognised."""
        return self.classes == self.labels

    @property
    def accuracy(self) -> float:
        """The share of images that were recognised."""
        return float(self.correct.mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        # In float64: Keras cuts probabilities at 1e-7, which flatters a network that is sure and wrong.
        probabilities = self.probabilities.astype("float64")
        probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 summed to one within 1e-7 only
        return float(log_loss(self.labels, probabilities, labels=range(probabilities.shape[1])))


def predict(model: keras.Model, split: Split) -> Predictions:
    """Run `model`, in inference mode and without augmentation, on every image of `split`."""
    return Predictions(inference.probabilities(model, split), split.labels)


def write(predictions: Predictions, split: Split, out: RunFolder, name: str) -> None:
    """Write `predictions/NAME.csv`: id, label and prediction as class names, probability of the prediction."""
    names = np.array(split.class_names)
    rows = zip(
        split.ids,
        names[predictions.labels],
        names[predictions.classes],
        predictions.probabilities.max(axis=1).round(6),
        strict=True,
    )
    out.write_rows(out.predictions(name), ("id", "label", "prediction", "probability"), rows)
