"""Runs trials: one, or many on an engine. A finished trial is never trained again, a stopped one goes on."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from tl_keras import processes, records, transfer, values
from tl_keras.data import selection, splits
from tl_keras.data.image_data import ImageData
from tl_keras.data.splits import Split
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import heads, model_file, networks
from tl_keras.quiet import keras
from tl_keras.records import Predictions, Record, Thumbnails
from tl_keras.run_folder import RunFolder
from tl_keras.study.trial import Trial, in_order
from tl_keras.training import runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import activations, strategies

SHOWN, WRONG, SIDE = 24, 12, 96  # thumbnails: drawn at random, wrong answers, and their longest side


def run(trials: Sequence[Trial], out: RunFolder, engine: str = "here") -> list[Record]:
    """Run the trials that have no record yet, and give the records of all, in the order of `trials`.

    Args:
        engine: `here`, one after the other; or `processes:N`, so many at a time, each with its share of the cores.

    Raises:
        InputError: no such engine, trials that cannot be brought in order, or a record of another trial.
    """
    count = engine_processes(engine)
    ordered = in_order(trials)
    out.update_config(trials=[trial.name for trial in trials])
    try:
        if count == 1:
            for trial in ordered:
                run_one(trial, out)
        else:
            _in_processes(ordered, out, count)
    finally:
        selection.forget()
        transfer.engine.forget()
        _body.cache_clear()
    return [records.read(out, trial.name) for trial in trials]


def engine_processes(engine: str) -> int:
    """How many processes an engine is.

    >>> engine_processes("here"), engine_processes("processes:2")
    (1, 2)
    """
    found = re.fullmatch(r"here|processes:([1-9][0-9]{0,2})", engine, re.ASCII)
    if not found:
        raise InputError(f"--engine: expected here or processes:N, received {engine!r}; give one such as processes:2")
    return int(found[1] or 1)


def run_one(trial: Trial, out: RunFolder) -> Record:
    """Train one trial, unless it has a record, and leave its record and its network in the run folder.

    Raises:
        InputError: there is a record of that name of another trial; or what the trial asks for cannot be had.
    """
    if out.record(trial.name).exists():
        return _finished(trial, records.read(out, trial.name))
    images = selection.loaded(trial.images, trial.view)
    model = _network(trial, images, out)
    train = _wide(trial) if trial.augment and trial.augment.crops else images.train
    choice = _choice(trial, model, images, out) if trial.strategy.is_early else None
    if choice:
        model = transfer.early.cut(model, choice.taken, len(images.class_names))
    recipe = _with_rate(trial, model, train)
    trained = _fit(trial, model, train, images, recipe, out)
    if trial.keep:
        model_file.save(model, out.model(trial.name), trial.view, images.class_names)
    record = _record(trial, model, images, trained, recipe, choice)
    records.write(record, out)
    return record


def _choice(trial: Trial, model: keras.Model, images: ImageData, out: RunFolder) -> transfer.early.Choice:
    """The stage that is taken, by the training images as they are."""
    choice = transfer.early.choose(model, images.train, _storage(trial, out), trial.recipe.seed)
    print(f"{trial.name}: {choice}, by cross-validation on training images", flush=True)
    return choice


def _storage(trial: Trial, out: RunFolder) -> activations.Storage:
    return activations.Storage(out.activations, trial.activations, trial.disk_limit, trial.prefix_engine)


def _fit(trial: Trial, model: keras.Model, train: Split, images: ImageData, recipe: Recipe, out: RunFolder):
    from tl_keras.training import loop  # it imports Keras, which waits until there is work for it

    return loop.fit(
        trial.name,
        model,
        train,
        images.validation or images.test,
        recipe,
        out,
        augment=trial.augment,
        phases=trial.strategy.phases,
        storage=_storage(trial, out),
        watched=images.watched,
        plain=images.train,
    )


def _record(
    trial: Trial, model: keras.Model, images: ImageData, trained, recipe: Recipe, choice: transfer.early.Choice | None
) -> Record:
    predicted = {
        name: Predictions(split.ids, split.labels, trained.probabilities(split))
        for name, split in images.splits.items()
    }
    measured, arrays = _measured(trial, model, images)
    if choice:
        measured["early"] = values.to_json(choice)
    return Record(
        trial=trial.to_json(),
        class_names=images.class_names,
        data=_said_of(images),
        history=trained.history,
        seconds=trained.seconds + (choice.seconds if choice else 0.0),
        parameters=trained.parameters,
        trainable_parameters=trained.trainable_parameters,
        train_accuracy=predicted.pop("train").accuracy,
        predictions=predicted,
        thumbnails=_thumbnails(images.test, predicted["test"]),
        measured={"learning_rate": recipe.learning_rate, "prefix_engine": trained.prefix_engine} | measured,
        arrays=arrays,
    )


def _finished(trial: Trial, record: Record) -> Record:
    asked = trial.to_json()
    if record.trial != asked:
        keys = [key for key in {**asked, **record.trial} if asked.get(key) != record.trial.get(key)]
        raise InputError(
            f"{trial.name}: expected the trial that was finished here, received one with another {', '.join(keys)}; "
            "start a new run"
        )
    print(f"{trial.name}: finished before", flush=True)
    return record


def _network(trial: Trial, images: ImageData, out: RunFolder) -> keras.Model:
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


def _wide(trial: Trial) -> Split:
    """The training images before their centre is cut out, for augmentations that cut their own part."""
    return selection.loaded(trial.images, trial.view.loading).train


def _with_rate(trial: Trial, model: keras.Model, train: Split):
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


def _said_of(images: ImageData) -> dict:
    counts = {f"{name}_images": len(split) for name, split in images.splits.items()}
    return {"name": images.name, **counts, "watched": "test" if images.validation is None else "validation"}


def _thumbnails(test: Split, predicted: Predictions) -> Thumbnails:
    """Some test images drawn at random, and the wrong answers that the network was surest of."""
    wrong = np.flatnonzero(~predicted.correct) if test.labelled else np.arange(0)
    surest = wrong[np.argsort(-predicted.probabilities.max(axis=1)[wrong], kind="stable")][:WRONG]
    rows = np.union1d(splits.drawn(len(test), SHOWN), surest)
    return Thumbnails(rows, np.stack([_small(image) for image in test.images[rows]]))


def _small(image: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(image.squeeze())
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture).reshape(picture.height, picture.width, -1)


def _in_processes(ordered: list[Trial], out: RunFolder, count: int) -> None:
    """So many trials at a time, each in a process of its own; one that starts from another waits for it."""
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    with processes.pool(count, _begin, threads) as pool:
        waiting, running, done = list(ordered), dict[Future, str](), set[str]()
        while waiting or running:
            for trial in [trial for trial in waiting if trial.start is None or trial.start in done]:
                running[pool.submit(_work, trial, out)] = trial.name
                waiting.remove(trial)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                done.add(running.pop(future))


def _begin(threads: int) -> None:
    """Prepare a worker process: its share of the cores, no progress bars, which would overwrite each other."""
    os.environ["TQDM_DISABLE"] = "1"
    from tl_keras import quiet

    quiet.import_tensorflow()
    quiet.tf.config.threading.set_intra_op_parallelism_threads(threads)
    quiet.tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))


def _work(trial: Trial, out: RunFolder) -> str:
    run_one(trial, out)
    return trial.name
