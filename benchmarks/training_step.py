"""Where the time of a training step goes, for the CNN of cifar_ab: forward, backward, optimizer.

    python benchmarks/training_step.py [ROUNDS]

Milliseconds an image, 128 a batch, each part in turn, medians over the rounds; beside them how fast the network's
multiplications would be at the rate of a large matrix product on the same cores, which bounds what any framework can
do without computing less. And what other layers would save: BatchNorm in TensorFlow's one kernel instead of Keras' sums
and products, no Dropout, neither of them nor ReLU. `throughput.py` has the whole loop, with input and metrics.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from tl_keras.config import environment
from tl_keras.models import cnn
from tl_keras.quiet import import_tensorflow, keras, tf
from tl_keras.training import runtime

import_tensorflow()
BATCH, STEPS, CLASSES, SIDE = 128, 20, 8, 2048
MULTIPLICATIONS = sum(
    side * side * 9 * before * after
    for side, before, after in ((32, 3, 40), (16, 40, 80), (16, 80, 160), (8, 160, 128))
) + 8192 * 128  # fmt: skip
RNG = np.random.default_rng(0)


def parts_of(model: keras.Model) -> dict[str, Callable[[], object]]:
    """One step of each kind on one batch that is in memory: each holds what the one before does."""
    images = tf.constant(RNG.integers(0, 256, (BATCH, 32, 32, 3), "uint8"))
    labels = tf.constant(RNG.integers(0, CLASSES, BATCH))
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.build(model.trainable_variables)

    def loss(training: bool = True):
        probabilities = model(tf.cast(images, tf.float32), training=training)
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, probabilities))

    def gradients():
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, model.trainable_variables)

    steps = {
        "inference": lambda: loss(training=False),
        "forward": loss,
        "and backward": gradients,
        "and optimizer": lambda: optimizer.apply(gradients()),
    }
    return {name: tf.function(step, jit_compile=False) for name, step in steps.items()}


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """The same in training, by one kernel. Not used by any study: a file with it could not be read by plain Keras."""

    def call(self, inputs, training=None, mask=None):
        if not training:
            return super().call(inputs, training=training)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return outputs


class Nothing(keras.layers.Layer):
    """In the place of a layer that is left out."""

    def call(self, inputs, training=None, mask=None):
        return inputs


def changed(change: Callable) -> keras.Model:
    return keras.models.clone_model(cnn.build(CLASSES), clone_function=change)


def with_fused(layer):
    own = isinstance(layer, keras.layers.BatchNormalization)
    return FusedBatchNormalization.from_config(layer.get_config()) if own else layer.from_config(layer.get_config())


def without(*kinds):
    def change(layer):
        left_out = isinstance(layer, kinds)
        return Nothing(name=layer.name) if left_out else layer.from_config(layer.get_config())

    return change


def seconds(step: Callable[[], object], times: int = STEPS) -> float:
    started = time.perf_counter()
    for _ in range(times):
        step()
    return time.perf_counter() - started


def matrix_product() -> float:
    """Multiplications a second, and as many additions."""
    factor = tf.constant(RNG.random((SIDE, SIDE), "float32"))
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(factor, factor)))
    product()
    return 5 * SIDE**3 / min(seconds(lambda: product().numpy(), 5) for _ in range(3))


def main(rounds: int) -> None:
    runtime.prepare(seed=0)
    layers = keras.layers
    networks = {
        "the network": cnn.build(CLASSES),
        "BatchNorm in one kernel": changed(with_fused),
        "no Dropout": changed(without(layers.Dropout)),
        "no BatchNorm, Dropout, ReLU": changed(without(layers.BatchNormalization, layers.Dropout, layers.ReLU)),
    }
    steps = {(name, part): step for name, model in networks.items() for part, step in parts_of(model).items()}
    for step in steps.values():
        step()
    times: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    rates = []
    for _ in range(rounds):
        rates.append(matrix_product())
        for key, step in steps.items():
            times[key].append(1e3 * seconds(step) / STEPS / BATCH)
    middle = {key: statistics.median(values) for key, values in times.items()}
    bound = 1e3 * MULTIPLICATIONS / statistics.median(rates)
    print(environment()["hardware"])
    print(f"at {2e-9 * statistics.median(rates):.0f} GFLOP/s of a {SIDE} matrix product (n = {rounds}):", end=" ")
    print(f"forward {bound:.2f}, with backward {3 * bound:.2f} ms an image")
    for name in networks:
        said = (
            f"{part} {middle[name, part]:.2f}" for part in ("inference", "forward", "and backward", "and optimizer")
        )
        print(f"{name:<28} {', '.join(said)} ms an image: {1e3 / middle[name, 'and optimizer']:.0f} images/s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
