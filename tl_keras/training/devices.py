"""One training on all devices of one machine: a copy of the network on each, a share of every batch for each.

The batch stays the recipe's, so the training stays the same: gradients are added up over the devices before anything
else is done with them, every image of a batch weighs alike however it is shared out, and BatchNorm layers that train
see the whole batch. What one device would learn is learned to the rounding of float32, which long trainings amplify as
they do between two machines. Layers that draw at random (Dropout) draw other numbers than on one device, on each its
own, and the same ones in every run with as many devices: a stopped training goes on exactly.

The network itself stays on one device, where it is measured and saved; a copy of it trains (`mirrored`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from tl_keras.models import heads
from tl_keras.quiet import keras, tf
from tl_keras.transfer.strategies import Phase

FLOAT16 = "mixed_float16"


def mirrored(model: keras.Model, phase: Phase, wanted: str) -> keras.Model:
    """A copy of `model` on all devices, or `model` itself where there is nothing to share out.

    That is so where one device is wanted, where the machine has one, and where only last layers train: they do on
    stored features, in less time than it takes to share these out.

    Args:
        wanted: one, or all: every GPU that this process sees, without any every logical CPU device.

    >>> mirrored(model, Phase(), "one") is model, count(mirrored(model, Phase(), "all"))  # doctest: +SKIP
    (True, 4)
    """
    strategy = None if wanted == "one" or phase.solved or phase.last_layers is not None else _all_devices()
    if strategy is None:
        return model
    with strategy.scope():
        copy = keras.models.clone_model(model)
        copy = _model_class()(copy.inputs, copy.outputs, name=model.name)
    for layer in copy._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    give(model, copy)
    return copy


@functools.cache
def _all_devices() -> tf.distribute.MirroredStrategy | None:
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in found]) if found[1:] else None


def _model_class() -> type[keras.Model]:
    class SharesBatches(keras.Model):
        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            # Keras would average over the shares, be they of one size or not, to know their shapes.
            results = self.distribute_strategy.experimental_local_results
            for _, _, batches in iterator or []:
                data_batch = keras.tree.map_structure(lambda share: results(share)[0], next(batches))
                break
            super()._maybe_symbolic_build(data_batch=data_batch)

    return SharesBatches


def count(model: keras.Model) -> int:
    """On how many devices `model` trains.

    >>> count(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    1
    """
    return model.distribute_strategy.num_replicas_in_sync


def identity(model: keras.Model) -> dict[str, int]:
    """What tells a training on several devices from one on fewer or more, which ends with other roundings.

    >>> identity(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    {}
    """
    return {"devices": count(model)} if count(model) > 1 else {}


def scope(model: keras.Model) -> AbstractContextManager:
    """Within, what is made (an optimizer, metrics) lies where `model` trains.

    >>> with scope(model):  # doctest: +SKIP
    ...     model.compile("adam", "mse")
    """
    return model.distribute_strategy.scope() if count(model) > 1 else nullcontext()


def give(source: keras.Model, target: keras.Model) -> None:
    """Give `target`, a copy of `source` or the other way round, its weights and the state of its random layers.

    >>> give(model, model)
    """
    if source is target:
        return
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(old.numpy())
    heads.copy_state(source, target)


def draw_apart(model: keras.Model) -> None:
    """Let random layers draw other numbers on each device: their seed there is larger by the number of the device.

    They would all draw the same, and the n-th image of each share lose the same features. What a checkpoint holds is
    the state on the first device, from which those on the others follow: this comes after it is read.

    >>> draw_apart(mirrored(model, Phase(), "all"))  # doctest: +SKIP
    """
    if count(model) == 1:
        return
    weights = {id(weight) for weight in model.weights}
    for state in (variable for variable in model.variables if id(variable) not in weights):
        first, *others = model.distribute_strategy.experimental_local_results(state.value)
        for number, other in enumerate(others, start=1):
            other.assign(first + tf.constant([number, 0], first.dtype))


def shared_out(batches: tf.data.Dataset, model: keras.Model) -> tf.data.Dataset:
    """Batches of which each device gets images; with several also what each image counts in what is recorded.

    Of a batch with fewer images than devices each gets all, which leaves its mean as it is: some layers cannot work
    with a share of no image.

    >>> shared_out(pipeline.training_batches(...), model)  # doctest: +SKIP
    <_MapDataset ...>
    """
    devices = count(model)

    def enough(inputs, labels):
        images = tf.shape(labels)[0]
        times = tf.where(images < devices, devices, 1)
        rows = tf.range(images * times) % images
        inputs, labels = keras.tree.map_structure(lambda each: tf.gather(each, rows), (inputs, labels))
        return inputs, labels, tf.fill([images * times], 1 / times)

    return batches if devices == 1 else batches.map(enough)


def loss(of_image: Callable, model: keras.Model) -> Callable:
    """What `model` is compiled with, so that the mean over the whole batch is minimised.

    Keras weighs shares alike, be they of 4 images or of 3.

    Args:
        of_image: from labels (B, ...) and probabilities (B, classes) to the losses (B,).

    >>> model.compile("adam", loss(recipe.loss, model))  # doctest: +SKIP
    """

    class MeanOverBatch(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None):
            losses = of_image(y_true, y_pred)
            return tf.reduce_sum(losses) / _added(tf.cast(tf.size(losses), losses.dtype))

    return of_image if count(model) == 1 else MeanOverBatch()


def optimizer(build: Callable[..., keras.optimizers.Optimizer], model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer to train `model` with: with several devices, one that adds up their gradients first of all.

    Keras would clip the norm of those of each device. In float16 it would ask those of the first alone whether a
    step overflows.

    Args:
        build: makes it; `changed`, a function of its class, is `Recipe.build_optimizer`'s.

    >>> optimizer(functools.partial(recipe.build_optimizer, steps), model)  # doctest: +SKIP
    <keras.src.optimizers.adamw.AdamW ...>
    """
    if count(model) == 1:
        return build()
    made = build(changed=_adding_first)

    class AsksAll(keras.optimizers.LossScaleOptimizer):
        def check_finite(self, grads):
            return _added(tf.cast(tf.logical_not(super().check_finite(grads)), "float32")) == 0

    return AsksAll(made) if model.dtype_policy.name == FLOAT16 else made


def _adding_first(kind: type) -> type:
    class AddsFirst(kind):
        def apply(self, grads, trainable_variables=None):
            there = iter(_added([gradient for gradient in grads if gradient is not None]))
            super().apply([None if gradient is None else next(there) for gradient in grads], trainable_variables)

        def _all_reduce_sum_gradients(self, grads_and_vars):
            return list(grads_and_vars)

    return AddsFirst


def _added(values):
    """The sum over all devices; the values themselves where Keras tries shapes, outside of all."""
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, values) if replica else values
