"""Voted trials: an ensemble of trials that are finished, computed from their records, and one network of it."""

from __future__ import annotations

import numpy as np

from tl_keras import records
from tl_keras.data.view import View
from tl_keras.evaluation import ensemble
from tl_keras.models import model_file
from tl_keras.quiet import keras
from tl_keras.records import TEST, Record
from tl_keras.run_folder import RunFolder
from tl_keras.study.crossfit import OUT_OF_FOLD
from tl_keras.study.trial import Voted


def voted(trial: Voted, out: RunFolder) -> Record:
    """Choose the weights out of fold, and let the members vote.

    The accuracy out of fold is that of weights chosen on the other folds; what is hidden is predicted with weights
    that were chosen on all of them.
    """
    members = [records.read(out, name) for name in trial.members]
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


def _network(taken, view: View, name: str) -> keras.Model:
    """The members' probabilities, weighted, of images as `view` has them; a member scales them to what it sees."""
    images = keras.Input(view.shape, name="images")
    parts = []
    for path, weight in taken:
        member = model_file.load(path)
        member.name = path.stem
        size = tuple(member.input_shape[1:3])
        seen = images
        if size != view.size:
            seen = keras.ops.round(keras.layers.Resizing(*size, antialias=True, name=f"{path.stem}_sees")(images))
        parts.append(float(weight) * keras.tree.flatten(member(seen))[0])
    return keras.Model(images, keras.layers.Add(name="vote")(parts) if parts[1:] else parts[0], name=name)
