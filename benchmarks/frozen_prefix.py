"""The two re-use networks of `cifar_ab`: frozen layers paid for once, against running them in every epoch.

    python benchmarks/frozen_prefix.py RUN_FOLDER/models/A.keras [rounds]

Both train the same suffix on the same batches for 20 epochs and measure the test images after each. The reference runs
the whole graph, its frozen part in inference mode, in Keras `fit`. They run in turn, `rounds` times, each from nothing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from experiments.cifar_ab import IMAGE_SIZE, STRATEGIES, Settings, classes_of_part_b
from tl_keras.data import pipeline
from tl_keras.data.augment import FlipShift
from tl_keras.data.selection import ByClass
from tl_keras.data.view import View
from tl_keras.models import cnn
from tl_keras.run_folder import RunFolder
from tl_keras.training import inference, loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import frozen, strategies

# The order of the study: the second one starts from what the first one stored.
NAMES = ("B_last_two", "B_last")


class WholeGraph(keras.Model):
    """The network with its frozen part called in inference mode, and nothing stored."""

    def __init__(self, prefix: keras.Model, suffix: keras.Model):
        super().__init__()
        self.prefix, self.suffix = prefix, suffix

    def call(self, images, training=None):
        return self.suffix(self.prefix(images, training=False), training=training)


def stored(name, model, train, test, recipe, phases, folder) -> None:
    loop.fit(name, model, train, test, recipe, RunFolder(Path(folder)), augment=FlipShift(), phases=phases)


def every_epoch(name, model, train, test, recipe, phases, folder) -> None:
    strategies.set_trainable(model, phases[0])
    whole = WholeGraph(*frozen.split_frozen(model))
    whole(np.zeros((1, *model.input_shape[1:]), "float32"))
    steps = pipeline.steps_per_epoch(len(train), recipe.batch_size)
    loop.compile_for(whole, recipe, steps)
    batches = pipeline.training_batches(
        [train.images],
        train.labels,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        epochs=recipe.epochs,
        augment=FlipShift(),
        views=recipe.views,
    )
    whole.fit(
        batches,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        verbose=0,
        shuffle=False,
        validation_data=pipeline.evaluation_batches([test.images], test.labels),
    )


def main(path: str, rounds: int) -> None:
    settings = Settings()
    part_b = ByClass("cifar10", classes=tuple(classes_of_part_b(settings.registration))).load(View(IMAGE_SIZE))
    train, test = part_b.train, part_b.test
    network_a = keras.models.load_model(path, compile=False)
    seconds, trained = {stored: [], every_epoch: []}, {}
    for _ in range(rounds):
        for way in (stored, every_epoch):
            spent = 0.0
            with tempfile.TemporaryDirectory() as folder:
                for name in NAMES:
                    _, strategy, rate, views = STRATEGIES[name]
                    runtime.prepare(seed=0)
                    model = cnn.build(2)
                    strategies.copy_weights(network_a, model)
                    recipe = Recipe(settings.epochs, settings.batch_size, rate, views=views)
                    phases = strategies.find(strategy).phases
                    started = time.perf_counter()
                    way(name, model, train, test, recipe, phases, folder)
                    spent += time.perf_counter() - started
                    trained[way, name] = model
            seconds[way].append(spent)
    for name in NAMES:
        ours, theirs = trained[stored, name], trained[every_epoch, name]
        difference = max(np.abs(a.numpy() - b.numpy()).max() for a, b in zip(ours.weights, theirs.weights, strict=True))
        said = [inference.probabilities(model, test.images).argmax(axis=1) for model in (ours, theirs)]
        accuracies = [(classes == test.labels).mean() for classes in said]
        print(
            f"{name:<11} test accuracy {accuracies[0]:.4f} and {accuracies[1]:.4f}, "
            f"largest difference of a weight {difference:.1e}"
        )
    for way, values in seconds.items():
        print(f"{way.__name__:<12} seconds " + " ".join(f"{value:.1f}" for value in values))
    ratio = statistics.median(seconds[every_epoch]) / statistics.median(seconds[stored])
    print(f"stored activations are {ratio:.1f} times as fast (n = {rounds})")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2)
