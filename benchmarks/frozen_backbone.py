"""A frozen backbone for many epochs: stored activations, against Keras with `trainable=False`.

    python benchmarks/frozen_backbone.py DATA [BACKBONE WEIGHTS IMAGES EPOCHS ROUNDS]

Three figures: how many times faster the whole training is than the plain Keras loop on the same images; how it compares
with one forward pass (`model.predict`) and training the head on features in memory; and the extraction's throughput
beside a bare `model.predict` on the same batch size. They run in turn, `rounds` times, each from nothing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import keras

from tl_keras.data import pipeline, sources, splits
from tl_keras.models import backbones, heads
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import activations, frozen, strategies

FEATURE_EXTRACTION = strategies.find("last_layer").phases


def network(name, weights, classes):
    runtime.prepare(seed=0)
    return heads.with_softmax(backbones.build(name, classes, weights))


def stored(model, split, recipe) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        loop.fit("net", model, split, split.take(slice(0, 32)), recipe, RunFolder(Path(folder)),
                 phases=FEATURE_EXTRACTION)  # fmt: skip
        return time.perf_counter() - started


def plain_keras(model, split, recipe) -> float:
    strategies.set_trainable(model, FEATURE_EXTRACTION[0])
    started = time.perf_counter()
    loop.compile_for(model, recipe, pipeline.steps_per_epoch(len(split), recipe.batch_size))
    model.fit(split.images, split.labels, batch_size=recipe.batch_size, epochs=recipe.epochs, verbose=0)
    return time.perf_counter() - started


def pass_and_head(model, split, recipe) -> float:
    """The least that can be: one forward pass, then the head on features in memory."""
    strategies.set_trainable(model, FEATURE_EXTRACTION[0])
    prefix, suffix = frozen.split_frozen(model)
    started = time.perf_counter()
    features = prefix.predict(split.images, batch_size=pipeline.evaluation_batch_size(split.images), verbose=0)
    loop.compile_for(suffix, recipe, pipeline.steps_per_epoch(len(split), recipe.batch_size))
    suffix.fit(features, split.labels, batch_size=recipe.batch_size, epochs=recipe.epochs, verbose=0)
    return time.perf_counter() - started


def throughput(model, split) -> tuple[float, float]:
    """Images per second of the extraction and of a bare `predict`, both traced before."""
    strategies.set_trainable(model, FEATURE_EXTRACTION[0])
    prefix, _ = frozen.split_frozen(model)
    size = pipeline.evaluation_batch_size(split.images)
    prefix.predict(split.images[:size], batch_size=size, verbose=0)
    prefix.predict_on_batch(split.images[:size])
    speeds = []
    for extract in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            if extract:
                activations.store(prefix, split, activations.Storage(Path(folder)))
            else:
                prefix.predict(split.images, batch_size=size, verbose=0)
            speeds.append(len(split) / (time.perf_counter() - started))
    return speeds[0], speeds[1]


def main(data, name="mobilenet_v2_0.35", weights="none", images="1000", epochs="50", rounds="2") -> None:
    loaded = sources.load(data, size=(224, 224)).train
    split = splits.limit(loaded, int(images), seed=0)
    split = replace(split, images=split.images.copy())
    recipe = Recipe(int(epochs), 32, 1e-3, "adamw", "constant", weight_decay=0.0)
    seconds = {stored: [], plain_keras: [], pass_and_head: []}
    speeds = []
    for _ in range(int(rounds)):
        for way, values in seconds.items():
            values.append(way(network(name, weights, len(split.class_names)), split, recipe))
            keras.backend.clear_session()
            print(f"{way.__name__:<14} {values[-1]:.1f} s", flush=True)
        speeds += [throughput(network(name, weights, len(split.class_names)), split) for _ in range(3)]
    ours, plain, least = (statistics.median(values) for values in seconds.values())
    share = statistics.median(extract / predict for extract, predict in speeds)
    print(f"{name}, {len(split):,} images at 224x224, {epochs} epochs, n = {rounds}")
    print(f"stored activations are {plain / ours:.1f} times as fast as the plain loop with trainable=False")
    print(f"they take {ours / least:.2f} times one forward pass and the head on features in memory")
    print(f"extraction reaches {share:.2f} of the throughput of predict (n = {len(speeds)})")


if __name__ == "__main__":
    main(*sys.argv[1:])
