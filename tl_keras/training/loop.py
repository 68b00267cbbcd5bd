"""The one training loop: Keras `fit` on the part of the network that trains, recorded, resumable, audited."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from tl_keras.data import pipeline
from tl_keras.data.augment import Augmentation
from tl_keras.data.lazy import Rows, taken
from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.quiet import keras
from tl_keras.run_folder import RunFolder
from tl_keras.training import averaging, devices, inference, runtime, solving
from tl_keras.training.callbacks import Epochs, write_history
from tl_keras.training.checkpoint import Checkpoint, Progress
from tl_keras.training.schedules import Recipe, accuracy, cross_entropy
from tl_keras.transfer import activations, frozen, strategies
from tl_keras.transfer.strategies import Phase


@dataclass(frozen=True)
class Training:
    """What a training gave: numbers by epoch, time, how many parameters trained in its last phase.

    `probabilities` answers what the network says of a split, (N, classes), `features` what its last dense layer reads
    of some rows, (rows, F), both float32. `prefix_engine` is who ran its frozen layers; None where it has none.
    """

    name: str
    history: dict[str, list[float]]
    seconds: float
    parameters: int
    trainable_parameters: int
    probabilities: Callable[[Split], np.ndarray] = field(repr=False)
    features: Callable[[Split, np.ndarray], np.ndarray] = field(repr=False)
    prefix_engine: str | None = None


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
    plain: Split | None = None,
    devices: str = "one",
) -> Training:
    """Train `model` in place: what is frozen runs once for each version of an image, what trains every epoch.

    Args:
        model: maps images to class probabilities.
        validation: measured after every epoch; nothing is chosen by it.
        phases: which layers train, one phase after the other (`transfer.strategies`); all layers by default.
        storage: where activations of frozen layers are kept; the run folder by default.
        watched: further splits whose accuracy is recorded after every epoch, as `accuracy_NAME`.
        plain: the training images as the network sees them when it is measured, where `augment` cuts its own part out
            of larger ones; a solved last layer reads them. `train` by default.
        devices: one, or all of this machine to train whole stages on (`training.devices`).

    Where the recipe averages weights, what is measured after an epoch is the average, and each phase ends with it.
    Where `augment` mixes images, the recorded accuracy on training images is that of the label with the larger share.

    Returns:
        The numbers by epoch. With the checkpoint of an unfinished training in `out`, training goes on there and
        ends with the very weights of an uninterrupted one; a finished training is only read back.

    Raises:
        InputError: there are fewer epochs than phases; or `augment` mixes images, which frozen layers see alone.
        RuntimeError: a frozen weight changed.
    """
    storage = storage or activations.Storage(out.activations)
    ends = _ends(phases, recipe.epochs)
    task = _Task(
        name, model, train, plain or train, validation, recipe, out, augment, storage, watched or {}, ends[-1], devices
    )
    progress = Progress()
    for number, (phase, end) in enumerate(zip(phases, ends, strict=True), start=1):
        progress = task.run(phase, number, end, progress)
    write_history(out, name, progress)
    history = {column: [row[column] for row in progress.rows] for column in progress.rows[0]}
    parameters = strategies.count_parameters(model)
    return Training(name, history, progress.seconds, *parameters, task.probabilities, task.features, task.prefix_engine)


def _ends(phases: Sequence[Phase], epochs: int) -> list[int]:
    """The last epoch of each phase: a solved one is one epoch, the others share `epochs`."""
    total = sum(phase.epochs for phase in phases if not phase.solved)
    ends, share, solved = [], 0.0, 0
    for phase in phases:
        solved += bool(phase.solved)
        share += 0 if phase.solved else phase.epochs
        ends.append(solved + (round(epochs * share / total) if total else 0))
    if len({0, *ends}) <= len(phases):
        raise InputError(f"--epochs: expected at least {len(phases)}, one for each phase, received {epochs}; give more")
    return ends


@dataclass(frozen=True)
class _Task:
    """One training, phase by phase."""

    name: str
    model: keras.Model
    train: Split
    plain: Split
    validation: Split
    recipe: Recipe
    out: RunFolder
    augment: Augmentation | None
    storage: activations.Storage
    watched: Mapping[str, Split]
    epochs: int
    devices: str

    def run(self, phase: Phase, number: int, end: int, before: Progress) -> Progress:
        """Train from the last epoch of `before`, or of the phase's checkpoint, to epoch `end`."""
        strategies.set_trainable(self.model, phase)
        prefix, trained = self._cut()
        if prefix and not phase.solved:
            pipeline.check_each_alone(self.augment)
        frozen_before = strategies.frozen_digest(self.model)
        learner = devices.mirrored(trained, phase, self.devices)
        optimizer = [] if phase.solved else self._compile(trained, learner, phase, end - before.epoch).variables
        path = self.out.checkpoint(self.name if number == 1 else f"{self.name}.phase{number}")
        identity = self._identity(phase, frozen_before) | devices.identity(learner)
        checkpoint = Checkpoint(path, learner.variables + optimizer, identity)
        progress = checkpoint.restore(before)
        devices.give(learner, trained)
        if progress.epoch < end:
            self._tell_what_trains(learner)
            if phase.solved:
                self._solve(phase.solved, prefix, trained, end, progress, checkpoint)
            else:
                self._train(prefix, trained, learner, end, progress, checkpoint)
        if strategies.frozen_digest(self.model) != frozen_before:
            raise RuntimeError(
                f"{self.name}: expected frozen weights to stay as they are, received changed ones; report a bug"
            )
        return progress

    def probabilities(self, split: Split) -> np.ndarray:
        """What the network says of images; what frozen layers made of them is read where it lies stored."""
        prefix, trained = self.finished
        stored = activations.find(prefix, split, self.storage) if prefix else None
        if stored:
            return inference.probabilities(trained, *stored)
        return inference.probabilities(self.model, split.images, wanted=self.storage.engine)

    def features(self, split: Split, rows: np.ndarray) -> np.ndarray:
        """What the last dense layer reads of the images at `rows`; an InputError where the last layer is another."""
        prefix, trained = self.finished
        stored = activations.find(prefix, split, self.storage) if prefix else None
        network = trained if stored else self.model
        inputs = [each[rows] for each in stored] if stored else [taken(split.images, rows)]
        before = frozen.before(network, strategies.last_dense(network))
        return inference.outputs(before, inputs).astype("float32").reshape(len(rows), -1)

    @property
    def prefix_engine(self) -> str | None:
        """Who ran the frozen layers, by what is stored of the validation images."""
        prefix, _ = self.finished
        return activations.store(prefix, self.validation, self.storage)[0].engine if prefix else None

    @functools.cached_property
    def finished(self) -> tuple[keras.Model | None, keras.Model]:
        """The frozen prefix, if there is one, and the rest, as the last phase left them."""
        return self._cut()

    def _cut(self) -> tuple[keras.Model | None, keras.Model]:
        prefix, trained = frozen.split_frozen(self.model)
        weighted = strategies.weighted_layers(prefix)
        if self.augment and self.augment.mixes:  # they are mixed before anything else, be it a mere normalisation
            weighted = [layer for layer in weighted if not isinstance(layer, keras.layers.Normalization)]
        return (prefix, trained) if weighted else (None, self.model)

    def _compile(self, trained, learner: keras.Model, phase: Phase, epochs: int) -> keras.optimizers.Optimizer:
        of_weights = strategies.rate_factors(self.model, phase.layer_decay) if phase.layer_decay != 1 else {}
        pairs = zip(trained.trainable_weights, learner.trainable_weights, strict=True)
        factors = {copy.path: of_weights[weight.path] for weight, copy in pairs} if of_weights else None
        return compile_for(learner, self.recipe, self._steps, epochs, phase.rate, factors)

    def _identity(self, phase: Phase, frozen_digest: str) -> dict:
        identity = {
            "recipe": asdict(self.recipe),
            "phase": asdict(phase),
            "data": self.train.fingerprint(),
            "frozen": frozen_digest,
            "augment": repr(self.augment),
        }
        watched = {name: split.fingerprint() for name, split in self.watched.items()}
        return identity | ({"watched": watched} if watched else {})

    @property
    def _steps(self) -> int:
        return pipeline.steps_per_epoch(len(self.train), self.recipe.batch_size)

    @runtime.forgetting_gradients()
    def _train(self, prefix, trained, learner: keras.Model, end: int, progress: Progress, checkpoint: Checkpoint):
        """Let `learner` learn; `trained`, the very same where one device trains, is what is measured of it."""
        started = time.perf_counter()
        inputs = self._inputs(prefix)
        seen = {name: self._seen(prefix, split) for name, split in self._measured_splits.items()}
        if learner is trained:  # Keras hands no more than one step over to several devices
            # Not by `compile`, which would write it into the model's file.
            shape = inputs[0].shape[1:]
            learner.steps_per_execution = pipeline.steps_per_execution(self._steps, self.recipe.batch_size, shape)

        def measure():
            with averaging.averages(learner, for_good=progress.epoch + 1 == end):
                devices.give(learner, trained)
                return self._measure(trained, seen)

        devices.draw_apart(learner)
        progress.seconds += time.perf_counter() - started
        batches = self._batches(inputs, augment=None if prefix else self.augment, start=progress.epoch, end=end)
        learner.fit(
            devices.shared_out(batches, learner),
            epochs=end,
            initial_epoch=progress.epoch,
            steps_per_epoch=self._steps,
            callbacks=[Epochs(self.name, end, self.epochs, self._steps, progress, checkpoint, self.out, measure)],
            shuffle=False,  # the batches are
            verbose=0,
        )

    def _solve(self, how: str, prefix, trained, end: int, progress: Progress, checkpoint: Checkpoint) -> None:
        def measure():
            return self._measure(trained, {name: seen(split) for name, split in self._measured_splits.items()})

        seen, seed = functools.partial(self._seen, prefix), self.recipe.seed
        solving.solve(self.name, how, trained, self.plain, seen, measure, end, progress, checkpoint, seed)

    @property
    def _measured_splits(self) -> dict[str, Split]:
        """What is measured at the end of every epoch; the validation images have no name."""
        return {"": self.validation, **self.watched}

    def _measure(self, trained: keras.Model, seen: Mapping[str, Sequence[Rows]]) -> dict[str, float]:
        """Loss and accuracy on the validation images, and the accuracy on those watched beside."""
        said = {name: solving.predicted(trained, seen[name], split) for name, split in self._measured_splits.items()}
        validation = said.pop("")
        watched = {f"accuracy_{name}": predicted.accuracy for name, predicted in said.items()}
        return {"val_loss": validation.loss, "val_accuracy": validation.accuracy} | watched

    def _seen(self, prefix: keras.Model | None, split: Split) -> Sequence[Rows]:
        """What the trained part sees of images as they are: these, or what the frozen prefix makes of them."""
        return activations.store(prefix, split, self.storage) if prefix else [split.images]

    def _inputs(self, prefix: keras.Model | None) -> Sequence[Rows]:
        """What the trained part sees in training."""
        if not prefix or not self.augment:
            return self._seen(prefix, self.train)
        views, seed = self.recipe.views or self.recipe.epochs, self.recipe.seed
        return activations.store(prefix, self.train, self.storage, augment=self.augment, seed=seed, views=views)

    def _batches(self, inputs: Sequence[Rows], augment: Augmentation | None, start: int, end: int):
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
            classes=len(self.train.class_names),
        )

    def _tell_what_trains(self, learner: keras.Model) -> None:
        where = f" on {devices.count(learner)} devices" if devices.count(learner) > 1 else ""
        parameters, trainable = strategies.count_parameters(self.model)
        print(f"{self.name}: {trainable:,} of {parameters:,} parameters train{where}", flush=True)


def compile_for(
    model: keras.Model, recipe: Recipe, steps: int, epochs: int | None = None, rate: float = 1.0, factors=None
) -> keras.optimizers.Optimizer:
    """Compile `model` for `recipe` and return its optimizer, state and all: a checkpoint can be read into it."""
    build = functools.partial(recipe.build_optimizer, steps, epochs, rate, factors)
    with devices.scope(model):
        # No labels are smoothed here. Of metrics by name Keras makes variables in the first step, and traces it anew.
        metrics = [keras.metrics.MeanMetricWrapper(each, name=each.__name__) for each in (accuracy, cross_entropy)]
        optimizer, loss = devices.optimizer(build, model), devices.loss(recipe.loss, model)
        # XLA made training on CPU several times slower.
        model.compile(optimizer, loss, weighted_metrics=metrics, jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    return model.optimizer
