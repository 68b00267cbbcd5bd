"""Stacked trials: a head solved on the features of several networks, judged out of fold; no gradient steps."""

from __future__ import annotations

import time

import numpy as np

from tl_keras.data import selection
from tl_keras.data.image_data import ImageData
from tl_keras.models import heads, model_file
from tl_keras.quiet import keras
from tl_keras.records import TEST, Record
from tl_keras.run_folder import RunFolder
from tl_keras.study import crossfit, single
from tl_keras.study.trial import Stacked
from tl_keras.training import runtime
from tl_keras.transfer import blocks, kernel_ridge, probe, strategies


def solved(trial: Stacked, out: RunFolder) -> Record:
    """Extract what is not stored yet, solve the head out of fold and on all images, and build the network of it.

    Raises:
        InputError: as `transfer.blocks` and the head have it.
    """
    started = time.perf_counter()
    single.forget()
    keras.backend.clear_session()  # layers are named alike whatever was built before
    runtime.prepare(trial.seed, trial.precision)
    images = selection.loaded(trial.images, trial.view)
    folds = crossfit.folds_of(images.train, trial.folds, trial.images.seed)
    storage = single.storage(trial, out)
    features = {
        name: blocks.stacked(trial.blocks, images.splits[name], trial.view.mirror, storage)
        for name in ["train", *crossfit.not_learned(images)]
    }
    solve = _kernel if trial.head == "kernel" else _logistic
    said, chances, network, measured = solve(trial, images, folds, features)
    print(f"{trial.name}: solved, {measured['chosen']}", flush=True)
    if trial.keep:
        model_file.save(network, out.model(trial.name), trial.view, images.class_names)
    learned = float((said.pop("train").argmax(axis=1) == images.train.labels).mean())
    predictions = crossfit.judged(images, folds, chances, said)
    of_judged = features[TEST] if images.comes_with_test else features["train"][folds >= 0]
    judged = predictions.get(crossfit.OUT_OF_FOLD, predictions[TEST])
    row = {"epoch": 1, "loss": float("nan"), "accuracy": learned, "val_loss": judged.loss}
    history = {key: [value] for key, value in {**row, "val_accuracy": judged.accuracy, "learning_rate": 0.0}.items()}
    return crossfit.record_of(
        trial, images, folds, predictions, features=lambda _, rows: of_judged[rows],
        history=history, seconds=time.perf_counter() - started, train_accuracy=learned,
        parameters=network.count_params(), trainable_parameters=strategies.last_dense(network).count_params(),
        measured=measured | {"blocks": [block.title for block in trial.blocks]},
    )  # fmt: skip


def _kernel(trial: Stacked, images: ImageData, folds: np.ndarray, features: dict[str, np.ndarray]):
    train = images.train
    found = kernel_ridge.solve(
        features["train"], train.labels, len(images.class_names), folds, balanced=trial.balanced, seed=trial.seed
    )
    said = {name: found.head.probabilities(rows) for name, rows in features.items()}
    inputs, stacked = blocks.model(trial.blocks, trial.view)
    network = heads.with_softmax(keras.Model(inputs, found.head.logits(stacked), name=trial.name))
    head = found.head
    measured = {
        "chosen": f"width {head.width:g}, penalty {head.penalty:g}, sharpness {head.sharpness:.3g}",
        "features": features["train"].shape[1],
        "tried": [tried._asdict() for tried in found.tried],
    }
    return said, found.probabilities, network, measured


def _logistic(trial: Stacked, images: ImageData, folds: np.ndarray, features: dict[str, np.ndarray]):
    train, classes, rows = images.train, len(images.class_names), features["train"]
    found = probe.solve(rows, train.labels, classes, seed=trial.seed, groups=train.contents)
    chances = np.full((len(folds), classes), np.nan, "float32")
    for fold in np.unique(folds[folds >= 0]):
        rest, held = folds != fold, folds == fold
        part = probe.solve(rows[rest], train.labels[rest], classes, penalties=[found.penalty])
        chances[held] = _chances(part, rows[held])
    inputs, stacked = blocks.model(trial.blocks, trial.view)
    logits = heads.logits(stacked, classes)
    network = heads.with_softmax(keras.Model(inputs, logits, name=trial.name))
    strategies.last_dense(network).set_weights([found.weights, found.bias])
    measured = {"chosen": f"penalty C = {found.penalty:.3g}", "features": rows.shape[1]}
    return {name: _chances(found, each) for name, each in features.items()}, chances, network, measured


def _chances(found: probe.Solution, features: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    return softmax(features @ found.weights + found.bias, axis=1).astype("float32")
