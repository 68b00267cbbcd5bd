"""Cross-fitted trials: trained once without each fold, once on all; training images are judged out of fold.

So every training image serves to choose by, and none judges a network that has learned it. The network that is kept,
and that hidden images are predicted with, has learned from all of them.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tl_keras.data import selection, splits
from tl_keras.data.image_data import ImageData
from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.models import heads, model_file
from tl_keras.quiet import keras
from tl_keras.records import TEST, Predictions, Record
from tl_keras.run_folder import RunFolder
from tl_keras.study import projection, single
from tl_keras.study.trial import Trial
from tl_keras.training import inference
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import early

FOLDS = 5
OUT_OF_FOLD = "out-of-fold"


def folds_of(train: Split, count: int, seed: int) -> np.ndarray:
    """The fold of each image, (N,); copies of an image share theirs; -1 for the only image of its class.

    Raises:
        InputError: no image can be held out.
    """
    found = splits.folds(train.labels, train.contents, count, seed)
    if not (found >= 0).any():
        raise InputError(
            f"folds: expected two different images of a class or more, received {len(train)} images of "
            f"{len(train.class_names)} classes; add images"
        )
    return found


def judged(
    images: ImageData, folds: np.ndarray, chances: np.ndarray, others: Mapping[str, np.ndarray]
) -> dict[str, Predictions]:
    """The predictions of a record: those out of fold, and those of splits that were not learned.

    Where the set has no test images of its own, its `test` are those out of fold.

    Args:
        chances: (N, classes) of the training images, out of fold.
        others: by split, of the network that learned from all training images.
    """
    held = np.flatnonzero(folds >= 0)
    own = Predictions(images.train.ids[held], images.train.labels[held], chances[held].astype("float32"))
    found = {OUT_OF_FOLD: own} if images.comes_with_test else {TEST: own}
    for name, given in others.items():
        split = images.splits[name]
        found[name] = Predictions(split.ids, split.labels, given)
    return found


def trained(trial: Trial, out: RunFolder) -> Record:
    """Train without each fold, then on all images, which is the network that is kept; mirror images are averaged.

    Raises:
        InputError: what the trial asks for cannot be had.
    """
    if trial.start or trial.measures:
        raise InputError(
            f"{trial.name}: expected a trial that starts from no other and measures nothing beside where folds are "
            f"held out, received {trial.start or trial.measures[0].name}; leave it out"
        )
    images = selection.loaded(trial.images, trial.view)
    folds = folds_of(images.train, trial.folds, trial.images.seed)
    chances = np.full((len(folds), len(images.class_names)), np.nan, "float32")
    fits = []
    for fold in np.unique(folds[folds >= 0]):
        rows, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        held = images.train.part(rows)
        network, fitted, _ = _fitted(replace(trial, name=f"{trial.name}_fold{fold + 1}"), images, rest, held, out)
        chances[rows] = inference.probabilities(network, held.images, wanted=trial.prefix_engine)
        fits.append(fitted)
    everyone = np.arange(len(folds))
    shown = images.train.part(np.flatnonzero(folds == folds.max()))
    network, last, recipe = _fitted(replace(trial, name=f"{trial.name}_all"), images, everyone, shown, out)
    said = {
        name: inference.probabilities(network, images.splits[name].images, wanted=trial.prefix_engine)
        for name in ["train", *not_learned(images)]
    }
    if trial.keep:
        model_file.save(network, out.model(trial.name), trial.view, images.class_names)
    learned = float((said.pop("train").argmax(axis=1) == images.train.labels).mean())
    return record_of(
        trial, images, folds, judged(images, folds, chances, said),
        features=last.features if images.comes_with_test else None,  # not of images that the network has learned
        history=_mean([fit.history for fit in fits]),
        seconds=last.seconds + sum(fit.seconds for fit in fits), train_accuracy=learned,
        parameters=last.parameters, trainable_parameters=last.trainable_parameters,
        measured={"learning_rate": recipe.learning_rate, "prefix_engine": last.prefix_engine},
    )  # fmt: skip


def _mean(histories: Sequence[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """Epoch by epoch over the folds."""
    means = {column: np.mean([each[column] for each in histories], axis=0).tolist() for column in histories[0]}
    return means | {"epoch": list(histories[0]["epoch"])}


def _fitted(
    trial: Trial, images: ImageData, rows: np.ndarray, held: Split, out: RunFolder
) -> tuple[keras.Model, Any, Recipe]:
    """One training on the images at `rows` of all; the network that averages mirror images, and what it gave."""
    part = replace(images, train=images.train.part(rows), unlabelled=None)
    network = single.network(trial, part, out)
    wide = single.wide(trial).part(rows) if trial.augment and trial.augment.crops else part.train
    if trial.strategy.is_early:
        taken = single.stage(trial, network, part, out).taken
        network = early.cut(network, taken, len(images.class_names))
    recipe = single.with_rate(trial, network, wide)
    fitted = single.fit(trial, network, wide, part, recipe, out, held)
    if trial.view.mirror and any(layer.name == "logits" for layer in network.layers):
        network = heads.with_softmax(heads.mirrored(keras.Model(network.input, network.get_layer("logits").output)))
    elif trial.view.mirror:  # its probabilities are averaged
        network = heads.mirrored(keras.Model(network.input, network.output))  # without how it was trained
    return network, fitted, recipe


def record_of(
    trial: Trial,
    images: ImageData,
    folds: np.ndarray,
    predictions,
    features: Callable[[Split, np.ndarray], np.ndarray] | None = None,
    **numbers,
) -> Record:
    """The record of a trial that judges training images out of fold.

    Args:
        features: of some rows of the images that are judged, as `projection.of` has it; None where there are none.
    """
    own = not images.comes_with_test
    shown = images.train.take(np.flatnonzero(folds >= 0)) if own else images.test
    said = single.said_of(images) | {"out_of_fold": own, "test_images": len(shown)}
    kept, projected = projection.of(shown, features) if features else ({}, {})
    # Of the process up to now: what it needs beside what ran before cannot be told.
    numbers["measured"] |= kept | {"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}
    return Record(
        trial=trial.to_json(),
        class_names=images.class_names,
        data=said,
        predictions=predictions,
        thumbnails=single.thumbnails(shown, predictions[TEST]),
        arrays={"folds": folds} | projected,
        **numbers,
    )


def not_learned(images: ImageData) -> list[str]:
    """The splits that a network sees for the first time when it has learned from all training images."""
    return [name for name in images.splits if name == "unlabelled" or (name == TEST and images.comes_with_test)]
