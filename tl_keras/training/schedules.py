"""The recipe of a training: optimizer, learning-rate schedule and loss, all of them Keras' own."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras.optimizers import schedules


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: what a study varies, and nothing else.

    Args:
        learning_rate: the peak; with `one_cycle` the rate rises to it over `warmup` of all steps and falls to zero
            along a cosine (Smith and Topin, "Super-Convergence", 2018).
        weight_decay: decoupled (Loshchilov and Hutter, 2019); biases are left out.
        label_smoothing: share of each label spread over all classes (Szegedy et al., 2016).
        views: how many augmented versions of each image exist; None draws a new one every epoch.

    >>> Recipe(epochs=2, batch_size=64, learning_rate=1e-3).optimizer(steps=100).name
    'adamw'
    """

    epochs: int
    batch_size: int
    learning_rate: float
    warmup: float = 0.2
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    views: int | None = None
    seed: int = 0

    def optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        """AdamW on the one-cycle schedule over all `steps` of the training."""
        warmup = max(1, int(self.warmup * steps))
        rate = schedules.CosineDecay(
            initial_learning_rate=self.learning_rate / 25,
            decay_steps=max(1, steps - warmup),
            warmup_target=self.learning_rate,
            warmup_steps=warmup,
        )
        optimizer = keras.optimizers.AdamW(rate, weight_decay=self.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    def loss(self, labels, probabilities):
        """Cross-entropy (B,) of probabilities (B, classes) against labels (B,), smoothed."""
        targets = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32"), probabilities.shape[-1])
        return keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=self.label_smoothing)
