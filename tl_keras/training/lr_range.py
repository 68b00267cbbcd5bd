"""The learning-rate range test: which rate to begin with, found in a few steps that leave no trace.

Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tl_keras.data import pipeline
from tl_keras.data.augment import Augmentation
from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.quiet import keras
from tl_keras.training import runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies
from tl_keras.transfer.strategies import Phase

LOWEST, HIGHEST = 1e-6, 1.0
# The loss of one batch is noisy: each value shown is mostly its predecessors.
SMOOTHING = 0.9
# From here on the training only diverges.
DIVERGED = 4.0


@dataclass(frozen=True)
class LearningRateRange:
    """Smoothed training loss at each rate, and the rate to take."""

    rates: np.ndarray
    losses: np.ndarray

    @property
    def suggestion(self) -> float:
        """A tenth of the rate with the lowest loss: steep descent, and a safe distance from divergence."""
        return float(self.rates[np.argmin(self.losses)] / 10)


def find(
    model: keras.Model,
    train: Split,
    recipe: Recipe,
    phase: Phase,
    *,
    augment: Augmentation | None = None,
    steps: int = 100,
) -> LearningRateRange:
    """Train for `steps` batches while the rate grows from 1e-6 to 1; then put everything back as it was.

    Only training images are read. Weights, the state of random generators and the `trainable` flags of `model` are
    the same afterwards, bit for bit, and it is not compiled.

    Raises:
        InputError: the loss is not a number from the first step on.
    """
    flags = [(layer, layer.trainable) for layer in model.layers]
    before = [np.copy(variable.numpy()) for variable in model.variables]
    try:
        strategies.set_trainable(model, phase)
        return _run(keras.Model(model.inputs, model.outputs), train, recipe, augment, steps)
    finally:
        for layer, flag in flags:
            layer.trainable = flag
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)


@runtime.forgetting_gradients()
def _run(model: keras.Model, train: Split, recipe: Recipe, augment, steps: int) -> LearningRateRange:
    epochs = -(-steps // pipeline.steps_per_epoch(len(train), recipe.batch_size))
    optimizer = replace(recipe, schedule="constant", learning_rate=LOWEST).build_optimizer(1)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, recipe.loss, jit_compile=False)
    batches = pipeline.training_batches(
        [train.images],
        train.labels,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        epochs=epochs,
        augment=augment,
        classes=len(train.class_names),
    )
    grow = _Grow(steps)
    model.fit(batches, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[grow])
    if not grow.losses:
        raise InputError(
            "--lr find: expected a loss that is a number, received none from the first step on; check the images and "
            "the weights"
        )
    return LearningRateRange(np.geomspace(LOWEST, HIGHEST, steps)[: len(grow.losses)], np.array(grow.losses))


class _Grow(keras.callbacks.Callback):
    """Set the next rate before each batch; stop where the loss diverges."""

    def __init__(self, steps: int):
        super().__init__()
        self.rates, self.mean, self.total = np.geomspace(LOWEST, HIGHEST, steps), 0.0, 0.0
        self.losses: list[float] = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rates[batch]

    def on_train_batch_end(self, batch, logs=None):
        # Keras reports the mean over the batches so far.
        loss, self.total = logs["loss"] * (batch + 1) - self.total, logs["loss"] * (batch + 1)
        self.mean = SMOOTHING * self.mean + (1 - SMOOTHING) * loss
        smoothed = self.mean / (1 - SMOOTHING ** (batch + 1))
        if not np.isfinite(smoothed) or smoothed > DIVERGED * min(self.losses, default=np.inf):
            self.model.stop_training = True
            return
        self.losses.append(float(smoothed))
