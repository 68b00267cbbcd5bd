"""Runs one trial, and leaves its record and its network in the run folder."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from tl_keras import transfer, values
from tl_keras.data import selection, splits
from tl_keras.data.image_data import ImageData
from tl_keras.data.splits import Split
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import heads, model_file, networks
from tl_keras.quiet import keras
from tl_keras.records import Predictions, Record, Thumbnails
from tl_keras.run_folder import RunFolder
from tl_keras.study import projection
from tl_keras.study.trial import Trial
from tl_keras.training import runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import activations, strategies

SHOWN, WRONG, SIDE = 24, 12, 96  # thumbnails: drawn at random, wrong answers, and their longest side


def trained(trial: Trial, out: RunFolder) -> Record:
    """Train a network as the trial says, and give its record; the network is left in the run folder.

    Raises:
        InputError: what the trial asks for cannot be had.
    """
    images = selection.loaded(trial.images, trial.view)
    model = network(trial, images, out)
    train = wide(trial) if trial.augment and trial.augment.crops else images.train
    choice = stage(trial, model, images, out) if trial.strategy.is_early else None
    if choice:
        model = transfer.early.cut(model, choice.taken, len(images.class_names))
    recipe = with_rate(trial, model, train)
    fitted = fit(trial, model, train, images, recipe, out)
    if trial.keep:
        model_file.save(model, out.model(trial.name), trial.view, images.class_names)
    return _record(trial, model, images, fitted, recipe, choice)


def stage(trial: Trial, model: keras.Model, images: ImageData, out: RunFolder) -> transfer.early.Choice:
    """The stage that is taken, by the training images as they are."""
    choice = transfer.early.choose(model, images.train, storage(trial, out), trial.recipe.seed)
    print(f"{trial.name}: {choice}, by cross-validation on training images", flush=True)
    return choice


def forget() -> None:
    """Free the network that trials share.

    >>> forget()
    """
    _body.cache_clear()


def storage(trial: Trial, out: RunFolder) -> activations.Storage:
    """Where and how what is frozen is stored."""
    return activations.Storage(out.activations, trial.activations, trial.disk_limit, trial.prefix_engine)


def fit(
    trial: Trial,
    model: keras.Model,
    train: Split,
    images: ImageData,
    recipe: Recipe,
    out: RunFolder,
    held: Split | None = None,
):
    """Train `model` on `train`; `images` say what is watched, and how the network sees what it is measured on.

    Args:
        held: images that are watched in the place of validation or test images; not every class need be there.
    """
    from tl_keras.training import loop  # it imports Keras, which waits until there is work for it

    return loop.fit(
        trial.name,
        model,
        train,
        held or images.validation or images.test,
        recipe,
        out,
        augment=trial.augment,
        phases=trial.strategy.phases,
        storage=storage(trial, out),
        watched=images.watched,
        plain=images.train,
        devices=trial.devices,
    )


def _record(
    trial: Trial, model: keras.Model, images: ImageData, fitted, recipe: Recipe, choice: transfer.early.Choice | None
) -> Record:
    predicted = {
        name: Predictions(split.ids, split.labels, fitted.probabilities(split)) for name, split in images.splits.items()
    }
    measured, arrays = _measured(trial, model, images)
    kept, projected = projection.of(images.test, fitted.features)
    if choice:
        measured["early"] = values.to_json(choice)
    return Record(
        trial=trial.to_json(),
        class_names=images.class_names,
        data=said_of(images),
        history=fitted.history,
        seconds=fitted.seconds + (choice.seconds if choice else 0.0),
        parameters=fitted.parameters,
        trainable_parameters=fitted.trainable_parameters,
        train_accuracy=predicted.pop("train").accuracy,
        predictions=predicted,
        thumbnails=thumbnails(images.test, predicted["test"]),
        measured={"learning_rate": recipe.learning_rate, "prefix_engine": fitted.prefix_engine} | kept | measured,
        arrays=projected | arrays,
    )


def network(trial: Trial, images: ImageData, out: RunFolder) -> keras.Model:
    """The network of a trial before it is trained."""
    what = trial.network, len(images.class_names), trial.view, trial.weights
    if trial.body_seed is not None:
        model = _body(*what, trial.body_seed, trial.precision)
        runtime.prepare(trial.seed, trial.precision)
        strategies.redraw_last(model)
        return model
    model = _built(*what, trial.seed, trial.precision)
    if trial.strategy.name == "scratch" and model_file.is_one(trial.network):
        model = heads.renewed(model)  # the weights of the file are those of a trained network
    if trial.start:
        path = out.model(trial.start)
        if not path.exists():
            raise InputError(
                f"{trial.name}: expected the network of {trial.start} in {path}, received none; train that first"
            )
        strategies.copy_weights(model_file.load(path), model, new_layers=1)
    return model


def _built(name: str, classes: int, view: View, weights: str, seed: int, precision: str) -> keras.Model:
    _body.cache_clear()  # a network of its own is wanted: what was kept is not
    keras.backend.clear_session()
    runtime.prepare(seed, precision)
    return networks.build(name, classes, view, weights)


@functools.lru_cache(maxsize=1)
def _body(*what) -> keras.Model:
    """The network of trials that share their body: its last layer alone ever changes."""
    return _built(*what)


def wide(trial: Trial) -> Split:
    """The training images before their centre is cut out, for augmentations that cut their own part."""
    return selection.loaded(trial.images, trial.view.loading).train


def with_rate(trial: Trial, model: keras.Model, train: Split):
    """The recipe, with a learning rate found on training images where it names none."""
    if trial.recipe.learning_rate is not None:
        return trial.recipe
    from tl_keras.training import lr_range

    phase = next((phase for phase in trial.strategy.phases if not phase.solved), None)
    if phase is None:
        return replace(trial.recipe, learning_rate=0.0)
    found = lr_range.find(model, train, trial.recipe, phase, augment=trial.augment)
    print(f"{trial.name}: learning rate {found.suggestion:.1e}, by a range test on training images", flush=True)
    return replace(trial.recipe, learning_rate=found.suggestion)


def _measured(trial: Trial, model: keras.Model, images: ImageData) -> tuple[dict, dict[str, np.ndarray]]:
    plain, arrays = dict[str, Any](), dict[str, np.ndarray]()
    for measure in trial.measures:
        print(f"{trial.name}: measuring {measure.name.replace('_', ' ')}", flush=True)
        plain[measure.name], found = measure(model, images)
        arrays |= {f"{measure.name}.{key}": array for key, array in found.items()}
    return plain, arrays


def said_of(images: ImageData) -> dict:
    """What a record says of its data."""
    counts = {f"{name}_images": len(split) for name, split in images.splits.items()}
    return {"name": images.name, **counts, "watched": "test" if images.validation is None else "validation"}


def thumbnails(test: Split, predicted: Predictions) -> Thumbnails:
    """Some test images drawn at random, and the wrong answers that the network was surest of."""
    wrong = np.flatnonzero(~predicted.correct) if test.labelled else np.arange(0)
    surest = wrong[np.argsort(-predicted.probabilities.max(axis=1)[wrong], kind="stable")][:WRONG]
    rows = np.union1d(splits.drawn(len(test), SHOWN), surest)
    return Thumbnails(rows, np.stack([projection.small(image, SIDE) for image in test.images[rows]]))
