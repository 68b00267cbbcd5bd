"""Averages of weights: over the steps of a training, and between a network before and after fine-tuning.

Over the steps Keras' optimizers keep them (`Recipe.ema`), as variables that a checkpoint holds like all others. They
are of the weights that train. Statistics of BatchNorm layers, frozen by default, are in no average: where they train,
they follow the batches as ever, themselves a moving average, and an averaged network is measured with the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from tl_keras.errors import InputError
from tl_keras.quiet import keras


@contextmanager
def averages(model: keras.Model, for_good: bool = False) -> Iterator[None]:
    """Within, `model` has the averages of the weights that train; behind it its own again, to the bit.

    Where its optimizer keeps none, nothing happens.

    Args:
        model: compiled, with an optimizer that is built.
        for_good: the averages stay, as at the end of a training.

    >>> with averages(model):  # doctest: +SKIP
    ...     accuracy = measured(model)
    """
    weights = model.trainable_variables
    # One for float16 holds the optimizer that does the work.
    if not getattr(model.optimizer, "inner_optimizer", model.optimizer).use_ema:
        yield
        return
    before = [np.copy(weight.numpy()) for weight in weights]
    model.optimizer.finalize_variable_values(weights)
    yield
    if not for_good:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)


def interpolate(model: keras.Model, before: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """Set every weight to `(1 - share) * before + share * after`, where `after` is what `model` has now.

    Between a network whose last layer alone was trained and the fine-tuned one: networks in between are often more
    accurate than both, most of all on images of another kind (Wortsman et al., "Robust fine-tuning of zero-shot
    models", CVPR 2022: WiSE-FT, which takes 1/2 where there is nothing to choose by). Weights that fine-tuning left
    alone stay as they are, to the bit.

    Args:
        model: has the weights after fine-tuning.
        before: what `model.get_weights()` was before.
        share: of the fine-tuned weights, from 0 to 1.

    Returns:
        The weights `after`; `model.set_weights` puts them back.

    Raises:
        InputError: a share outside its bounds, or weights of another network.

    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    >>> interpolate(model, [np.zeros((1, 1), "float32"), np.zeros(1, "float32")], share=0.25)[0].tolist()
    [[1.0]]
    >>> model.get_weights()[0].tolist()
    [[0.25]]
    """
    after = model.get_weights()
    shapes, received = ([weight.shape for weight in weights] for weights in (after, before))
    if not 0 <= share <= 1:
        raise InputError(f"interpolation: expected a share from 0 to 1, received {share}; give one such as 0.5")
    if shapes != received:
        raise InputError(
            f"interpolation: expected the weights of {model.name}, {len(shapes)} arrays, received {len(received)} of "
            "other shapes or in another order; give those that it had before fine-tuning"
        )
    pairs = zip(before, after, strict=True)
    model.set_weights([np.where(old == new, new, (1 - share) * old + share * new) for old, new in pairs])
    return after


def by_share(
    model: keras.Model,
    before: Sequence[np.ndarray],
    measure: Callable[[keras.Model], float],
    shares: Sequence[float] = tuple(np.linspace(0, 1, 11).round(1).tolist()),
) -> dict[float, float]:
    """What `measure` finds of the networks between `before` and `model`, by the share of the latter.

    Afterwards `model` is as it was. A share that is to be taken is chosen on validation images, never on test images:
    `max(found, key=found.get)`.

    Args and errors are those of `interpolate`.

    >>> by_share(model, before, lambda model: accuracy(model, data.validation))  # doctest: +SKIP
    {0.0: 0.91, 0.1: 0.92, ..., 1.0: 0.93}
    """
    after, found = model.get_weights(), dict[float, float]()
    try:
        for share in shares:
            model.set_weights(after)
            interpolate(model, before, share)
            found[share] = measure(model)
    finally:
        model.set_weights(after)
    return found
