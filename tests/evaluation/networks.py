"""Networks made of numbers: what a comparison is told, without any training."""

import numpy as np

from tl_keras.evaluation.outcome import Network, Outcome
from tl_keras.evaluation.predictions import Predictions
from tl_keras.training.loop import Training


def right_on(first, last=None, count=100):
    """Whether each of `count` images was recognised: those from `first` up to `last`, or the first `first`."""
    start, stop = (0, first) if last is None else (first, last)
    return (np.arange(count) >= start) & (np.arange(count) < stop)


def network(title, correct, curve=(0.5,), seconds=1.0, parameters=100, trained=100):
    """A two-class network with the masks `correct` (one for each seed) and one learning curve."""
    epochs = list(range(1, len(curve) + 1))
    history = {"epoch": epochs, "val_accuracy": list(curve)}
    training = Training(title, history, seconds, parameters, trained)
    outcomes = tuple(Outcome(title, seed, training, 0.9, predictions(mask)) for seed, mask in enumerate(correct))
    return Network(title, title, outcomes)


def predictions(correct):
    """Labels 0, 1, 0, ... and probabilities of .8 for what was chosen."""
    labels = np.arange(len(correct)) % 2
    chosen = np.where(correct, labels, 1 - labels)
    return Predictions(np.where(chosen[:, None] == [0, 1], 0.8, 0.2).astype("float32"), labels)
