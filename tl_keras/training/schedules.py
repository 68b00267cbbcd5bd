"""The recipe of a training: optimizer, learning-rate schedule and loss, all of them Keras' own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tl_keras.errors import InputError
from tl_keras.quiet import keras

SMALLEST = 2.0**-52  # the probability of the true class counts as this at least


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: what a study varies, and nothing else.

    Args:
        learning_rate: the peak; None: a range test on training images chooses it (`training.lr_range`).
        optimizer: `adamw`, or `sgd` with `momentum`.
        schedule: `one_cycle`: the rate rises to its peak over `warmup` of all steps and falls to zero along a cosine
            (Smith and Topin, "Super-Convergence", 2018); `steps`: it falls to a tenth every `step_epochs` epochs;
            `constant`.
        weight_decay: decoupled (Loshchilov and Hutter, 2019); biases, and what normalisation layers scale and shift
            by, are left out.
        clip_norm: the most that the norm of all gradients together may be (Pascanu et al., "On the difficulty of
            training recurrent neural networks", 2013); None leaves them as they are.
        label_smoothing: share of each label spread over all classes (Szegedy et al., 2016).
        views: how many augmented versions of each image exist; None draws a new one every epoch.
        ema: momentum, such as 0.99, of an exponential moving average of the trained weights over the steps (Polyak and
            Juditsky, 1992; Tarvainen and Valpola, "Mean teachers", 2017). What is measured after each epoch, and what
            the network has in the end, is the average; None averages nothing (`training.averaging`).

    Raises:
        InputError: `ema` is outside [0, 1).

    >>> Recipe(epochs=2, batch_size=64, learning_rate=1e-3).build_optimizer(steps=50).name
    'adam_w'
    """

    epochs: int
    batch_size: int
    learning_rate: float | None
    optimizer: str = "adamw"
    schedule: str = "one_cycle"
    warmup: float = 0.2
    step_epochs: int = 7
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    momentum: float = 0.9
    clip_norm: float | None = None
    views: int | None = None
    seed: int = 0
    ema: float | None = None

    def __post_init__(self):
        if self.ema is not None and not 0 <= self.ema < 1:
            raise InputError(
                f"--ema: expected a momentum of at least 0 and below 1, received {self.ema}; give one such as 0.99"
            )

    def build_optimizer(
        self,
        steps: int,
        epochs: int | None = None,
        rate: float = 1.0,
        factors: dict[str, float] | None = None,
        changed: Callable[[type], type] | None = None,
    ) -> keras.optimizers.Optimizer:
        """The optimizer for `epochs` (default: all) of `steps` each.

        Args:
            rate: factor on the learning rate.
            factors: a further one for the path of each weight; without it all weights have one rate.
            changed: makes of the optimizer's class the one to take, as `training.devices` does.
        """
        if self.learning_rate is None:
            raise ValueError("recipe: expected a learning rate, received None; find one with training.lr_range")
        schedule = self._schedule(steps, epochs or self.epochs, self.learning_rate * rate)
        arguments: dict[str, Any]
        kind, arguments = {
            "adamw": (keras.optimizers.AdamW, {}),
            "sgd": (keras.optimizers.SGD, {"momentum": self.momentum}),
        }[self.optimizer]
        kind = _with_factors(kind, factors) if factors else kind
        kind = changed(kind) if changed else kind
        if self.ema is not None:
            arguments |= {"use_ema": True, "ema_momentum": self.ema}
        optimizer = kind(schedule, weight_decay=self.weight_decay, global_clipnorm=self.clip_norm, **arguments)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer

    def _schedule(self, steps: int, epochs: int, peak: float):
        schedules = keras.optimizers.schedules
        if self.schedule == "constant":
            return peak
        if self.schedule == "steps":
            falls = range(self.step_epochs, epochs, self.step_epochs)
            rates = [peak * 0.1**fall for fall in range(len(falls) + 1)]
            # A boundary is the last step with the rate before it, and steps count from 0.
            return schedules.PiecewiseConstantDecay([fall * steps - 1 for fall in falls], rates) if falls else peak
        warmup = max(1, int(self.warmup * steps * epochs))
        return schedules.CosineDecay(
            initial_learning_rate=peak / 25,
            decay_steps=max(1, steps * epochs - warmup),
            warmup_target=peak,
            warmup_steps=warmup,
        )

    def loss(self, labels, probabilities):
        """Cross-entropy (B,) of probabilities (B, classes) against labels (B,) or shares (B, classes), smoothed."""
        targets = labels
        if not are_shares(labels, probabilities):
            labels = keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32")
            targets = keras.ops.one_hot(labels, probabilities.shape[-1])
        return keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=self.label_smoothing)


def cross_entropy(labels, probabilities):
    """What networks are compared by: -log p (B,) of the true class, labels as they are; `records.Predictions.loss`.

    Against shares (B, classes) of mixed images it is the mean of -log p over the classes, weighted by these.
    Keras' own cuts probabilities at 1e-7, which flatters a network that is sure and wrong.
    """
    if are_shares(labels, probabilities):
        of_classes = probabilities / keras.ops.sum(probabilities, axis=1, keepdims=True)
        return -keras.ops.sum(labels * keras.ops.log(keras.ops.clip(of_classes, SMALLEST, 1.0)), axis=1)
    labels = keras.ops.cast(keras.ops.reshape(labels, (-1, 1)), "int32")
    of_truth = keras.ops.take_along_axis(probabilities, labels, axis=1)[:, 0] / keras.ops.sum(probabilities, axis=1)
    return -keras.ops.log(keras.ops.clip(of_truth, SMALLEST, 1.0))


def accuracy(labels, probabilities):
    """1 where the most probable class is the true one, else 0 (B,); of shares (B, classes) the largest is true."""
    if are_shares(labels, probabilities):
        return keras.metrics.categorical_accuracy(labels, probabilities)
    return keras.metrics.sparse_categorical_accuracy(labels, probabilities)


def are_shares(labels, probabilities) -> bool:
    """Whether labels are shares (B, classes) of mixed images, not the numbers (B,) or (B, 1) of classes.

    >>> are_shares(np.eye(2), np.eye(2)), are_shares(np.array([0, 1]), np.eye(2))
    (True, False)
    """
    return len(labels.shape) == 2 and labels.shape[1] == probabilities.shape[-1] > 1


def _with_factors(kind: type[keras.optimizers.Optimizer], factors: dict[str, float]) -> type:
    """`kind` with a factor on the learning rate of each weight; Keras has one rate for all."""

    class RatesByWeight(kind):  # type: ignore[valid-type, misc]
        def build(self, variables):
            super().build(variables)
            self.factors = [factors[variable.path] for variable in variables]

        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate * self.factors[self._get_variable_index(variable)])

        def _apply_weight_decay(self, variables):
            for variable in filter(self._use_weight_decay, variables):
                factor = self.factors[self._get_variable_index(variable)]
                variable.assign(variable * (1 - (self.weight_decay or 0.0) * self.learning_rate * factor))

    return RatesByWeight
