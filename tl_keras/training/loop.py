"""The one training loop: Keras `fit` on the part of the network that trains, recorded, resumable, audited."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import keras

from tl_keras.data import pipeline
from tl_keras.data.augment import FlipShift
from tl_keras.data.splits import Split
from tl_keras.run_folder import RunFolder
from tl_keras.training.callbacks import COLUMNS, Record, write_history
from tl_keras.training.checkpoint import Checkpoint
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import frozen, strategies


@dataclass(frozen=True)
class Training:
    """What a training gave: numbers by epoch, time, and how many parameters trained."""

    name: str
    history: dict[str, list[float]]
    seconds: float
    parameters: int
    trainable_parameters: int


def fit(
    name: str,
    model: keras.Model,
    train: Split,
    validation: Split,
    recipe: Recipe,
    out: RunFolder,
    *,
    augment: FlipShift | None = None,
    last_layers: int | None = None,
) -> Training:
    """Train `model` in place: what is frozen runs once for each version of an image, what trains every epoch.

    Args:
        model: maps images to class probabilities.
        validation: measured after every epoch; nothing is chosen by it.
        last_layers: how many layers with weights train, from the end; None trains all.

    Returns:
        The numbers by epoch. With the checkpoint of an unfinished training in `out`, training goes on there and
        ends with the very weights of an uninterrupted one; a finished training is only read back.

    Raises:
        RuntimeError: a frozen weight changed.
    """
    strategies.set_trainable(model, last_layers)
    prefix, trained = frozen.split_frozen(model)
    if not prefix.weights:
        prefix, trained = None, model
    frozen_before = strategies.frozen_digest(model)
    steps = pipeline.steps_per_epoch(len(train), recipe.batch_size)
    optimizer = compile_for(trained, recipe, steps)
    identity = {
        "recipe": asdict(recipe),
        "data": train.fingerprint(),
        "frozen": frozen_before,
        "augment": repr(augment),
    }
    checkpoint = Checkpoint(out.checkpoint(name), trained.variables + optimizer.variables, identity)
    progress = checkpoint.restore()
    if progress.epoch < recipe.epochs:
        started = time.perf_counter()
        batches, validation_batches = _feed(prefix, train, validation, recipe, out, augment, progress.epoch)
        progress.seconds += time.perf_counter() - started
        trained.fit(
            batches,
            epochs=recipe.epochs,
            initial_epoch=progress.epoch,
            steps_per_epoch=steps,
            validation_data=validation_batches,
            callbacks=[
                Record(name, recipe.epochs, steps, progress, checkpoint, out),
                keras.callbacks.TensorBoard(out.tensorboard / name, write_graph=False),
            ],
            shuffle=False,  # the batches are
            verbose=0,
        )
    write_history(out, name, progress)
    if strategies.frozen_digest(model) != frozen_before:
        raise RuntimeError(f"{name}: expected frozen weights to stay as they are, received changed ones; report a bug")
    history = {column: [row[column] for row in progress.rows] for column in COLUMNS}
    return Training(name, history, progress.seconds, *strategies.count_parameters(model))


def compile_for(model: keras.Model, recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    """Compile `model` for `recipe` and return its optimizer, state and all: a checkpoint can be read into it."""
    optimizer = recipe.optimizer(steps * recipe.epochs)
    # XLA made training on CPU several times slower.
    model.compile(optimizer, recipe.loss, metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model.optimizer


def _feed(prefix: keras.Model | None, train: Split, validation: Split, recipe: Recipe, out: RunFolder, augment, epoch):
    """The batches that the trained part sees: images, or what the frozen prefix makes of them."""
    inputs, validation_inputs = [train.images], [validation.images]
    if prefix:
        views = (recipe.views or recipe.epochs) if augment else 1
        inputs = frozen.store(prefix, train, out.activations, augment=augment, seed=recipe.seed, views=views)
        validation_inputs = frozen.store(prefix, validation, out.activations)
    batches = pipeline.training_batches(
        inputs,
        train.labels,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        start_epoch=epoch,
        epochs=recipe.epochs,
        augment=None if prefix else augment,
        views=recipe.views,
    )
    return batches, pipeline.evaluation_batches(validation_inputs, validation.labels)
