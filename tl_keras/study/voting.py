"""Voted trials: an ensemble of trials that are finished, computed from their records, and one network of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tl_keras import records
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.evaluation import ensemble
from tl_keras.models import model_file
from tl_keras.quiet import keras
from tl_keras.records import TEST, Record
from tl_keras.run_folder import RunFolder
from tl_keras.study import single
from tl_keras.study.crossfit import OUT_OF_FOLD
from tl_keras.study.trial import Voted
from tl_keras.transfer import blocks


def voted(trial: Voted, out: RunFolder) -> Record:
    """Choose the weights out of fold, and let the members vote.

    The accuracy out of fold is that of weights chosen on the other folds; what is hidden is predicted with weights
    that were chosen on all of them.

    Raises:
        InputError: no members, or some that were not judged out of the same folds.
    """
    members = _members(trial, out)
    first = members[0]
    chosen_by = OUT_OF_FOLD if OUT_OF_FOLD in first.predictions else TEST
    seen = [member.predictions[chosen_by] for member in members]
    folds = first.arrays["folds"]
    weights = ensemble.greedy(seen)
    predictions = {
        split: ensemble.vote([member.predictions[split] for member in members], weights) for split in first.predictions
    }
    predictions[chosen_by] = ensemble.cross_fitted(seen, folds[folds >= 0])
    if trial.keep:
        taken = [(out.model(name), weight) for name, weight in zip(trial.members, weights, strict=True) if weight]
        model_file.save(_network(taken, trial.view, trial.name), out.model(trial.name), trial.view, first.class_names)
    judged = predictions[chosen_by]
    learned = float(np.average([member.train_accuracy for member in members], weights=weights))
    row = {"epoch": 1, "loss": float("nan"), "accuracy": learned, "val_loss": judged.loss}
    return Record(
        trial=trial.to_json(),
        class_names=first.class_names,
        data=first.data,
        history={k: [v] for k, v in {**row, "val_accuracy": judged.accuracy, "learning_rate": 0.0}.items()},
        seconds=sum(member.seconds for member, weight in zip(members, weights, strict=True) if weight),
        parameters=sum(member.parameters for member, weight in zip(members, weights, strict=True) if weight),
        trainable_parameters=sum(m.trainable_parameters for m, weight in zip(members, weights, strict=True) if weight),
        train_accuracy=learned,
        predictions=predictions,
        thumbnails=first.thumbnails,
        measured={"weights": dict(zip(trial.members, weights.tolist(), strict=True))},
        arrays={"folds": folds},
    )


def _members(trial: Voted, out: RunFolder) -> list[Record]:
    members = [records.read(out, name) for name in trial.members]
    folds = [member.arrays["folds"] for member in members if "folds" in member.arrays]
    if not folds or len(folds) < len(members) or any(not np.array_equal(each, folds[0]) for each in folds):
        raise InputError(
            f"{trial.name}: expected members that are judged out of the same folds, received "
            f"{', '.join(trial.members) or 'none'}; give them the same images and folds"
        )
    return members


def _network(taken, view: View, name: str) -> keras.Model:
    """The members' probabilities, weighted, of images as `view` has them; a member scales them to what it sees."""
    single.forget()
    keras.backend.clear_session()  # layers are named alike whatever was built before
    images = keras.Input(view.shape, name="images")
    parts = []
    for path, weight in taken:
        member = model_file.load(path)
        member.name = path.stem
        parts.append(float(weight) * keras.tree.flatten(member(_seen(images, view, path)))[0])
    voted = keras.layers.Add(dtype="float32", name="vote")(parts) if parts[1:] else parts[0]
    return keras.Model(images, voted, name=name)


def _seen(images: keras.KerasTensor, view: View, path: Path) -> keras.KerasTensor:
    """The images as the member of that file sees them."""
    own = model_file.view(path) or view
    if view.size not in (own.loaded, own.size):
        images = blocks.covering(images, own.loaded, path.stem)
    if tuple(images.shape[1:3]) != own.size:
        images = keras.layers.CenterCrop(*own.size, dtype="float32", name=f"{path.stem}_sees")(images)
    return images
