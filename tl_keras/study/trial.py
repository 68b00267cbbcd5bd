"""A trial: all that one training is, as a value. It can be written, read, compared, and sent to another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tl_keras import values
from tl_keras.data.augment import Augmentation
from tl_keras.data.image_data import ImageData
from tl_keras.data.selection import Selection
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.block import Block
from tl_keras.transfer.strategies import Strategy, find

if TYPE_CHECKING:
    import keras


class Measure(Protocol):
    """What a study measures of a trained network beside its predictions: a value, as all that a trial is made of."""

    name: ClassVar[str]

    def __call__(self, model: keras.Model, images: ImageData) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Plain numbers for `record.measured[name]`, and arrays for `record.arrays["<name>.<key>"]`."""


@dataclass(frozen=True)
class Trial:
    """One training.

    Args:
        name: as in file names; no two trials of a run have the same.
        arm: what is compared, and what this trial is one repetition of: the key in results.json.
        title: the arm as tables and figures call it.
        images: which images it learns from and is measured on.
        view: how the network sees them.
        network: one of `models.networks`.
        recipe: optimizer, schedule, epochs.
        weights: what a backbone starts with: none, imagenet or a file.
        start: the name of the trial whose weights it starts from, in all layers but the last.
        strategy: which layers train.
        seed: decides the random weights, and which repetition of its arm this is.
        body_seed: draws all weights but those of the last layer, which `seed` draws: trials that differ in their
            seed then have one body. Only where the last layer alone trains. None: `seed` draws them all.
        augment: how training images are varied.
        precision: the arithmetic of the layers.
        activations: the precision of stored activations; `disk_limit` the most gigabytes of them.
        prefix_engine: who runs what does not train (`transfer.engine`): tensorflow, onnxruntime or auto. TensorFlow
            gives the same bits in every run; the engine that auto takes is told by the record.
        devices: one, or all of the machine that it runs on, to train whole stages on (`training.devices`).
        measures: what is measured beside.
        keep: whether the network is kept: as a .keras file, and the first one of an arm as a SavedModel.
        folds: above 0 the training is done once without each fold of the training images, and once on all of them:
            what is predicted of a training image is then said by a network that has not seen it (`study.crossfit`).

    >>> trial = Trial("B", "B", "part B", Selection("digits"), View((32, 32)), "cnn", Recipe(2, 32, 1e-3))
    >>> Trial.from_json(trial.to_json()) == trial
    True
    """

    name: str
    arm: str
    title: str
    images: Selection
    view: View
    network: str
    recipe: Recipe
    weights: str = "none"
    start: str | None = None
    strategy: Strategy = find("scratch")  # noqa: RUF009, frozen
    seed: int = 0
    body_seed: int | None = None
    augment: Augmentation | None = None
    precision: str = "float32"
    activations: str = "float32"
    disk_limit: int = 50
    prefix_engine: str = "tensorflow"
    devices: str = "one"
    measures: tuple[Measure, ...] = ()
    keep: bool = True
    folds: int = 0

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the trials that have to be finished before."""
        return (self.start,) if self.start else ()

    def __post_init__(self):
        if self.body_seed is not None and any(phase.last_layers != 1 for phase in self.strategy.phases):
            raise InputError(
                f"{self.name}: expected a strategy that trains the last layer alone, received {self.strategy.name}; "
                "leave body_seed out"
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return values.to_json(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Trial:
        """What `to_json` wrote.

        Raises:
            InputError: it is no trial, or one of another version.
        """
        trial = values.from_json(content)
        if not isinstance(trial, cls):
            raise InputError(f"trial: expected one, received {type(trial).__name__}; start a new run")
        return trial


@dataclass(frozen=True)
class Stacked(Trial):
    """A head solved on the features of several networks at several sizes (`transfer.blocks`), out of fold.

    Args:
        blocks: whose features are stacked.
        head: kernel (`transfer.kernel_ridge`) or logistic (`transfer.probe`).
        balanced: each class counts alike, however many images it has.
    """

    blocks: tuple[Block, ...] = ()
    head: str = "kernel"
    balanced: bool = False


@dataclass(frozen=True)
class Voted(Trial):
    """Soft voting of other trials, with weights by greedy selection out of fold (`evaluation.ensemble`).

    Args:
        members: their names.
    """

    members: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        return self.members


def repeated(trial: Trial, seeds: Sequence[int]) -> list[Trial]:
    """`trial` once for each seed; the first keeps its name, the others have their seed in it.

    >>> [each.name for each in repeated(trial, [3, 4])]  # doctest: +SKIP
    ['B', 'B_seed4']
    """
    return [
        replace(
            trial,
            name=trial.name if seed == seeds[0] else f"{trial.name}_seed{seed}",
            recipe=replace(trial.recipe, seed=seed),
            seed=seed,
        )
        for seed in seeds
    ]


def in_order(trials: Sequence[Trial]) -> list[Trial]:
    """The trials so that each comes behind those that it needs.

    Raises:
        InputError: two of one name, a start that is not among them, or that leads back to itself.
    """
    names = [trial.name for trial in trials]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"trials: expected different names, received {twice[0]} twice; compare different things")
    waiting, ordered = list(trials), list[Trial]()
    while waiting:
        ready = [trial for trial in waiting if {done.name for done in ordered}.issuperset(trial.needs)]
        if not ready:
            raise InputError(
                f"{waiting[0].name}: expected to start from one of {', '.join(names)} that ends before, received "
                f"{', '.join(waiting[0].needs)}; name another one"
            )
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered
