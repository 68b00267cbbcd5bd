"""The one training loop: Keras `fit` on the part of the network that trains, recorded, resumable, audited."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import keras
import numpy as np

from tl_keras.data import pipeline
from tl_keras.data.augment import Augmentation
from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder
from tl_keras.training import inference
from tl_keras.training.callbacks import Record, write_history
from tl_keras.training.checkpoint import Checkpoint, Progress
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import activations, frozen, strategies
from tl_keras.transfer.strategies import Phase


@dataclass(frozen=True)
class Training:
    """What a training gave: numbers by epoch, time, and how many parameters trained in its last phase."""

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
    augment: Augmentation | None = None,
    phases: Sequence[Phase] = (Phase(batch_norm=True),),
    storage: activations.Storage | None = None,
    watched: Mapping[str, Split] | None = None,
) -> Training:
    """Train `model` in place: what is frozen runs once for each version of an image, what trains every epoch.

    Args:
        model: maps images to class probabilities.
        validation: measured after every epoch; nothing is chosen by it.
        phases: which layers train, one phase after the other (`transfer.strategies`); all layers by default.
        storage: where activations of frozen layers are kept; the run folder by default.
        watched: further splits whose accuracy is recorded after every epoch, as `accuracy_NAME`.

    Returns:
        The numbers by epoch. With the checkpoint of an unfinished training in `out`, training goes on there and
        ends with the very weights of an uninterrupted one; a finished training is only read back.

    Raises:
        InputError: there are fewer epochs than phases.
        RuntimeError: a frozen weight changed.
    """
    storage = storage or activations.Storage(out.activations)
    task = _Task(name, model, train, validation, recipe, out, augment, storage, watched or {})
    progress = Progress()
    for number, (phase, end) in enumerate(zip(phases, _ends(phases, recipe.epochs), strict=True), start=1):
        progress = task.run(phase, number, end, progress)
    write_history(out, name, progress)
    history = {column: [row[column] for row in progress.rows] for column in progress.rows[0]}
    return Training(name, history, progress.seconds, *strategies.count_parameters(model))


def _ends(phases: Sequence[Phase], epochs: int) -> list[int]:
    """The last epoch of each phase."""
    shares = list(itertools.accumulate(phase.epochs for phase in phases))
    ends = [round(epochs * share / shares[-1]) for share in shares]
    if len({0, *ends}) <= len(phases):
        raise InputError(f"--epochs: expected at least {len(phases)}, one for each phase, received {epochs}; give more")
    return ends


@dataclass(frozen=True)
class _Task:
    """One training, phase by phase."""

    name: str
    model: keras.Model
    train: Split
    validation: Split
    recipe: Recipe
    out: RunFolder
    augment: Augmentation | None
    storage: activations.Storage
    watched: Mapping[str, Split]

    def run(self, phase: Phase, number: int, end: int, before: Progress) -> Progress:
        """Train from the last epoch of `before`, or of the phase's checkpoint, to epoch `end`."""
        strategies.set_trainable(self.model, phase)
        prefix, trained = frozen.split_frozen(self.model)
        if not prefix.weights:
            prefix, trained = None, self.model
        frozen_before = strategies.frozen_digest(self.model)
        steps = pipeline.steps_per_epoch(len(self.train), self.recipe.batch_size)
        factors = strategies.rate_factors(self.model, phase.layer_decay) if phase.layer_decay != 1 else None
        optimizer = compile_for(trained, self.recipe, steps, end - before.epoch, phase.rate, factors)
        identity = {
            "recipe": asdict(self.recipe),
            "phase": asdict(phase),
            "data": self.train.fingerprint(),
            "frozen": frozen_before,
            "augment": repr(self.augment),
        }
        if self.watched:
            identity["watched"] = {name: split.fingerprint() for name, split in self.watched.items()}
        path = self.out.checkpoint(self.name if number == 1 else f"{self.name}.phase{number}")
        checkpoint = Checkpoint(path, trained.variables + optimizer.variables, identity)
        progress = checkpoint.restore(before)
        if progress.epoch < end:
            self._tell_what_trains()
            self._train(prefix, trained, steps, end, progress, checkpoint)
        if strategies.frozen_digest(self.model) != frozen_before:
            raise RuntimeError(
                f"{self.name}: expected frozen weights to stay as they are, received changed ones; report a bug"
            )
        return progress

    def _train(self, prefix, trained: keras.Model, steps: int, end: int, progress: Progress, checkpoint) -> None:
        started = time.perf_counter()
        inputs, validation_inputs = self._inputs(prefix)
        # Not by `compile`, which would write it into the model's file.
        trained.steps_per_execution = pipeline.steps_per_execution(steps, self.recipe.batch_size, inputs[0].shape[1:])
        measures = {f"accuracy_{name}": partial(_accuracy, self.model, split) for name, split in self.watched.items()}
        progress.seconds += time.perf_counter() - started
        trained.fit(
            self._batches(inputs, augment=None if prefix else self.augment, start=progress.epoch, end=end),
            epochs=end,
            initial_epoch=progress.epoch,
            steps_per_epoch=steps,
            validation_data=pipeline.evaluation_batches(validation_inputs, self.validation.labels),
            callbacks=[
                Record(self.name, end, self.recipe.epochs, steps, progress, checkpoint, self.out, measures),
                keras.callbacks.TensorBoard(self.out.tensorboard / self.name, write_graph=False),
            ],
            shuffle=False,  # the batches are
            verbose=0,
        )

    def _inputs(self, prefix: keras.Model | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """What the trained part sees in training and validation: images, or what the frozen prefix makes of them."""
        train, recipe, augment = self.train, self.recipe, self.augment
        if not prefix:
            return [train.images], [self.validation.images]
        views = (recipe.views or recipe.epochs) if augment else 1
        inputs = activations.store(prefix, train, self.storage, augment=augment, seed=recipe.seed, views=views)
        return inputs, activations.store(prefix, self.validation, self.storage)

    def _batches(self, inputs: Sequence[np.ndarray], augment: Augmentation | None, start: int, end: int):
        recipe = self.recipe
        return pipeline.training_batches(
            inputs,
            self.train.labels,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            start_epoch=start,
            epochs=end,
            augment=augment,
            views=recipe.views,
        )

    def _tell_what_trains(self) -> None:
        parameters, trainable = strategies.count_parameters(self.model)
        print(f"{self.name}: {trainable:,} of {parameters:,} parameters train", flush=True)


def _accuracy(model: keras.Model, split: Split) -> float:
    return float((inference.probabilities(model, split).argmax(axis=1) == split.labels).mean())


def compile_for(
    model: keras.Model, recipe: Recipe, steps: int, epochs: int | None = None, rate: float = 1.0, factors=None
) -> keras.optimizers.Optimizer:
    """Compile `model` for `recipe` and return its optimizer, state and all: a checkpoint can be read into it."""
    optimizer = recipe.build_optimizer(steps, epochs, rate, factors)
    # XLA made training on CPU several times slower.
    model.compile(optimizer, recipe.loss, metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model.optimizer
