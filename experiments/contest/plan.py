"""The plan: which blocks are extracted and taken, what is fine-tuned and for how long, so that it fits the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from experiments.contest import candidates
from tl_keras.data import selection
from tl_keras.data.image_data import ImageData
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.evaluation import compare
from tl_keras.models import networks
from tl_keras.quiet import keras
from tl_keras.study import crossfit
from tl_keras.training import runtime
from tl_keras.transfer import block_choice, blocks, kernel_ridge, strategies
from tl_keras.transfer.activations import Storage
from tl_keras.transfer.block import Block

# The most of a budget that is spent by the end of extraction, by that of the selection of blocks, before ablations.
FOR_FEATURES, SELECTED, ABLATED = 0.4, 0.65, 0.6
PAGES = 150.0  # seconds that predictions, the report and the notebook take
HEADS = 90.0  # seconds that the heads take for 6,000 images
FEWEST_EPOCHS = 3
LINEAR = (0.3, 1.0, 3.0)  # penalties of a linear head, of which the best counts
TIMED = 32  # images


@dataclass
class Clock:
    """How much of a budget is left, in seconds; without a budget there is no end.

    Args:
        budget: minutes, or None.
        began: by `time.monotonic`.
    """

    budget: int | None
    began: float

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def left(self, share: float = 1.0) -> float:
        """Seconds until `share` of the budget is spent."""
        return float("inf") if self.budget is None else 60 * share * self.budget - self.spent


@dataclass
class Plan:
    """What was measured and decided before anything is trained; config.json keeps it.

    Args:
        taken: titles of the blocks, in the order of the selection.
        growth: the accuracy out of fold after each of them was added.
        seconds: what each extracted block took.
        did_not_help: titles of the blocks that were extracted and not taken.
        left_out: what was not done since it would not have fit the time.
        ablation: title, right of all images, number of images, points against the full set, p.
    """

    taken: list[str] = field(default_factory=list)
    growth: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    did_not_help: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    ablation: list[list] = field(default_factory=list)
    epochs: int = 0
    budget: int | None = None

    def to_json(self) -> dict:
        """As config.json holds it."""
        return asdict(self)


def extracted(
    candidates: Sequence[Block], images: ImageData, storage: Storage, clock: Clock, plan: Plan
) -> dict[Block, np.ndarray]:
    """The features of the training images for each block that fits the time, the first ones first.

    Raises:
        InputError: not even one does.
    """
    found: dict[Block, np.ndarray] = {}
    rest = len(images.train) + (len(images.unlabelled) if images.unlabelled else 0)
    for block in candidates:
        expected = _expected(block, images, rest, plan, found)
        if expected > clock.left(FOR_FEATURES):
            if not found and block == candidates[-1]:
                least = int((clock.spent + expected) / FOR_FEATURES // 60) + 1
                raise InputError(
                    f"--budget: expected at least {least} minutes for the features of one network on {rest:,} images, "
                    f"received {clock.budget}; give more, or fewer images by --limit"
                )
            plan.left_out.append(f"{block.title}: its features would have taken about {expected:.0f} seconds")
            continue
        started = time.monotonic()
        found[block] = blocks.features(block, images.train, images.mirror, storage)
        plan.seconds[block.title] = round(time.monotonic() - started, 1)
        print(f"{block.title}: {found[block].shape[1]:,} features, {plan.seconds[block.title]:.0f} s", flush=True)
    return found


def _expected(block: Block, images: ImageData, count: int, plan: Plan, found: dict[Block, np.ndarray]) -> float:
    """Seconds for a block: by the same network at another size, or by a first batch, on the slower engine."""
    for other in reversed(found):
        if other.backbone == block.backbone:
            return 1.3 * plan.seconds[other.title] * (block.size / other.size) ** 2
    body = blocks.network(block)
    batch = selection.seen(images.train.take(np.arange(min(TIMED, len(images.train)))), View((block.size, block.size)))
    pixels = batch.images[:]
    body(pixels, training=False)  # the first call also prepares
    started = time.monotonic()
    body(pixels, training=False)
    return (1 + images.mirror) * count * (time.monotonic() - started) / len(pixels)


def chosen(found: dict[Block, np.ndarray], images: ImageData, clock: Clock, plan: Plan, seed: int) -> list[Block]:
    """The blocks to stack, by forward selection out of fold; all of them where that would take too long."""
    named, classes = list(found), len(images.class_names)
    plan.taken = [block.title for block in named]
    if len(images.train) > kernel_ridge.MOST or len(found) == 1:
        return named
    folds = crossfit.folds_of(images.train, crossfit.FOLDS, seed)
    grams = [block_choice.gram(rows) for rows in found.values()]
    started = time.monotonic()
    _right(list(found.values())[:1], images, folds)
    expected = (time.monotonic() - started) * len(named) * (len(named) + 1) / 2
    if expected > clock.left(SELECTED):
        plan.left_out.append(f"trying which blocks help would have taken about {expected:.0f} seconds: all are stacked")
        return named
    grown = block_choice.best_set(grams, images.train.labels, classes, folds)
    taken = [named[number] for number in grown[-1][0]]
    plan.taken, plan.growth = [block.title for block in taken], [accuracy for _, accuracy in grown]
    plan.did_not_help = [block.title for block in named if block not in taken]
    print(f"stacked: {', '.join(plan.taken)} ({plan.growth[-1]:.1%} out of fold)", flush=True)
    return taken


def ablate(
    taken: Sequence[Block],
    found: dict[Block, np.ndarray],
    images: ImageData,
    storage: Storage,
    clock: Clock,
    plan: Plan,
    seed: int,
) -> None:
    """What each part brings: the set without it, out of fold, all with one width and penalty."""
    if clock.left(ABLATED) < 0:
        plan.left_out.append("what each part brings was not measured")
        return
    folds = crossfit.folds_of(images.train, crossfit.FOLDS, seed)
    last = {block: blocks.network(replace(block, stages=0)).output_shape[1] for block in taken}
    first, networks = taken[0], list(dict.fromkeys(block.backbone for block in taken))
    sets: dict[str, Callable[[], list[np.ndarray]]] = {
        "all parts": lambda: [found[block] for block in taken],
    }
    if any(block.stages for block in taken):
        sets["without middle stages"] = lambda: [found[block][:, -last[block] :] for block in taken]
    if taken[1:]:
        sets[f"one block, {first.title}"] = lambda: [found[first]]
    if images.mirror:
        sets["without mirror images"] = lambda: [blocks.features(b, images.train, False, storage) for b in taken]
    if networks[1:]:
        sets[f"{first.name} alone"] = lambda: [found[b] for b in taken if b.backbone == first.backbone]
    if len({block.size for block in taken}) > 1:
        sets[f"one size, {first.size}"] = lambda: [found[b] for b in found if b.size == first.size]
    judged = {title: _right(rows(), images, folds) for title, rows in sets.items()}
    judged["linear ridge instead of the Gaussian kernel"] = _right(sets["all parts"](), images, folds, linear=True)
    full = judged["all parts"]
    for title, right in judged.items():
        points = 100 * (right.mean() - full.mean())
        p_value = compare.paired_p_value(right[None], full[None]) if right is not full else 1.0
        plan.ablation.append([title, int(right.sum()), len(right), round(float(points), 2), float(p_value)])


def _right(rows: Sequence[np.ndarray], images: ImageData, folds: np.ndarray, linear: bool = False) -> np.ndarray:
    labels, classes = images.train.labels, len(images.class_names)
    products = np.sum([block_choice.gram(each) for each in rows], axis=0)
    width, penalty = kernel_ridge.USUAL
    if linear:
        products *= np.float32(1 / np.diag(products).mean())
        tried = [kernel_ridge.out_of_fold(products, labels, classes, folds, penalty) for penalty in LINEAR]
        scores = max(tried, key=lambda each: (each.argmax(axis=1) == labels).sum())
    else:
        scores = kernel_ridge.out_of_fold(block_choice.gaussian(products, width), labels, classes, folds, penalty)
    return (scores.argmax(axis=1) == labels)[folds >= 0]


def with_heads(settings, images: ImageData, plan: Plan):
    """The settings with heads that can be solved: of very many images the similarities of all pairs do not fit."""
    if len(images.train) <= kernel_ridge.MOST or "kernel" not in settings.asked_heads:
        return settings
    plan.left_out.append(f"kernel head: {len(images.train):,} images, and {kernel_ridge.MOST:,} fit into memory")
    return replace(settings, heads="logistic")


def with_epochs(settings, images: ImageData, clock: Clock, plan: Plan):
    """The settings with as many epochs of fine-tuning as fit the time, or without it."""
    best, view = candidates.best(settings), candidates.tuned_view(settings, images)

    def network() -> keras.Model:
        runtime.prepare(settings.seed)
        return networks.build(best.backbone, len(images.class_names), view, best.weights)

    phase = settings.tuned[0].phases[-1]
    plan.epochs = _epochs_that_fit(network, phase, images, settings.batch_size, settings.epochs, clock)
    if plan.epochs == settings.epochs:
        return settings
    fit = f"{plan.epochs} epochs instead of {settings.epochs}" if plan.epochs else f"not even {FEWEST_EPOCHS} epochs"
    plan.left_out.append(f"fine-tuning: {fit} fit the time")
    print(plan.left_out[-1], flush=True)
    if plan.epochs:
        return replace(settings, epochs=plan.epochs)
    # What only fine-tuning reads is refused without it.
    unread = {
        name: type(settings).__dataclass_fields__[name].default for name in ("views", "lr", "stages", "batch_norm")
    }
    return replace(settings, strategies="none", augment="crop", **unread)


def _epochs_that_fit(
    network: Callable[[], keras.Model], phase: strategies.Phase, images: ImageData, batch_size: int, wanted: int, clock
) -> int:
    """How many epochs of a cross-fitted fine-tuning fit what is left, `wanted` at most; 0 where fewer than three do."""
    if clock.budget is None:
        return wanted
    model = network()
    strategies.set_trainable(model, phase)
    model.compile("adamw", "sparse_categorical_crossentropy", jit_compile=False)
    pixels = np.zeros((batch_size, *model.input_shape[1:]), "uint8")
    times = []
    for _ in range(4):
        started = time.monotonic()
        model.train_on_batch(pixels, np.zeros(batch_size, int))
        times.append(time.monotonic() - started)
    count, folds = len(images.train), crossfit.FOLDS
    step = 1.5 * min(times)  # reading, augmenting, and what is measured after each epoch
    epoch = folds * count / batch_size * step  # all folds without one, and once all of them
    solved = (folds + 1) * count * 0.008  # the probe that each begins with
    fit = int((clock.left() - PAGES - HEADS * (count / 6000) ** 2 - solved) / max(epoch, 1e-9))
    return 0 if fit < FEWEST_EPOCHS else min(fit, wanted)
