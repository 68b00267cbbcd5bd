"""A folder of images in; the best predictions of hidden ones, a full report and a notebook out.

    python -m tl_keras.run competition DATA --roll 2020387499
    python -m tl_keras.run competition DATA --backbone mobilenet_v2_0.35=FILE,mobilenet_0.25=FILE --budget 60

DATA is a folder or .zip of class folders, with the images to predict in a `test/` without such, or what `extract` made
of it. Everything is chosen out of fold: each training image is judged by heads and networks that have not learned it.
Features of several networks at several sizes are stacked under a kernel head, the best network is fine-tuned, and both
vote. The run folder gets `<roll>_06.csv`, `<roll>_06.pdf` and `<roll>_06.ipynb`.

On 5,900 images of 59 classes the kernel head on eleven blocks of two small MobileNets came to 0.718 out of fold (95%
interval 0.707 to 0.730), 18 minutes after the start, with a peak of 11.7 GB (2 cores of an AMD EPYC with AVX-512, other
work on them for a part of that; n = 1). Fine-tuning was not run to its end there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from experiments.contest import candidates
from tl_keras.config import FineTuningSettings, option
from tl_keras.data import policies
from tl_keras.data.image_data import ImageData
from tl_keras.data.selection import Everything
from tl_keras.errors import InputError
from tl_keras.export import predictions_csv
from tl_keras.study import backbone_choice, from_store
from tl_keras.study.trial import Stacked, Trial, Voted, repeated
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import block
from tl_keras.transfer.strategies import Strategy, find

FOLDS = 5
BEGAN = time.monotonic()  # the budget counts from the start of the program


@dataclass(frozen=True)
class Settings(FineTuningSettings):
    """What this study can be asked."""

    data: str = option(None, "folder or .zip of class folders, hidden images in test/", positional=True)
    roll: str = option("run", "the number that what is handed in is named by: ROLL_06.csv, .pdf, .ipynb")
    sample: str | None = option(None, "a sample of the predictions file (default: sample_submission.csv in DATA)")
    budget: int | None = option(None, "minutes that all may take (default: no limit)", minimum=1)
    epochs: int = option(10, "passes over the training images in fine-tuning", minimum=1)
    batch_size: int = option(32, "images per training step", minimum=1)
    backbone: str = option(None, "networks to stack, NAME or NAME=FILE, separated by commas", listed=True)
    blocks: str | None = option(None, "NAME@SIZE to stack, separated by commas (default: chosen out of fold)")
    heads: str = option("kernel", "heads on the stacked features: kernel, logistic, or both by a comma")
    strategies: str = option("lp_ft", "how the best network is fine-tuned, by commas; none: not at all")
    augment: str = option("crop", f"augmentation in fine-tuning: {', '.join(policies.NAMES)}, or find")
    balanced: bool = option(False, "each class counts alike in the kernel head, however many images it has")
    no_mirror: bool = option(False, "a mirrored image is of another class (letters, arrows)")

    def __post_init__(self):
        super().__post_init__()
        predictions_csv.check_roll(self.roll)
        backbone_choice.parse(self.backbone, self.weights)
        self.refuse_ignored([strategy.name for strategy in self.tuned])
        if self.blocks:
            block.parse(self.blocks)
        if self.augment != "find":
            policies.find(self.augment, (32, 32), mirror=True)
        if not self.asked_heads or set(self.asked_heads) - {"kernel", "logistic"}:
            raise InputError(f"--heads: expected kernel, logistic or both, received {self.heads!r}; name them")

    @property
    def tuned(self) -> list[Strategy]:
        """The strategies of fine-tuning."""
        names = [] if self.strategies == "none" else self.strategies.split(",")
        return [find(name.strip(), self.stages, self.batch_norm == "trained") for name in names]

    @property
    def asked_heads(self) -> list[str]:
        """The heads, each once."""
        return list(dict.fromkeys(name.strip() for name in self.heads.split(",")))


def load(settings: Settings) -> ImageData:
    """All labelled images to train on, at a size that all blocks can be scaled from."""
    from experiments.contest import deliver

    deliver.check_sample(settings)
    images = _selection(settings).load(candidates.loaded(settings))
    deliver.check_hidden(settings, images)
    mirror = images.mirror and not settings.no_mirror and not candidates.stored(settings)  # nobody stored mirror images
    return replace(images, mirror=mirror)


def resolve(settings: Settings, images: ImageData, out) -> Settings:
    """The settings with what only the images can decide: the blocks, the network to tune, its epochs, augmentation."""
    from experiments.contest import augmentation, plan  # they import what computes: not before there is work for it

    clock, found = plan.Clock(settings.budget, BEGAN), plan.Plan(budget=settings.budget)
    if settings.blocks and settings.augment != "find" and "plan" in out.config():
        return settings  # a run that is taken up
    settings = from_store.named(settings, images, out)
    settings = plan.with_heads(settings, images, found)
    storage = plan.Storage(out.activations, settings.activations, settings.disk_limit, settings.prefix_engine)
    rows = plan.extracted(candidates.asked(settings), images, storage, clock, found)
    taken = list(rows) if settings.blocks else plan.chosen(rows, images, clock, found, settings.seed)
    if len(images.train) <= plan.kernel_ridge.MOST:
        plan.ablate(taken, rows, images, storage, clock, found, settings.seed)
    settings = replace(settings, blocks=",".join(f"{block.backbone}@{block.size}" for block in taken))
    if settings.tuned and settings.augment == "find":
        settings = replace(settings, augment=augmentation.find(settings, candidates.best(settings), out))
    if settings.tuned:
        settings = plan.with_epochs(settings, images, clock, found)
    out.update_config(plan=found.to_json())
    return settings


def trials(settings: Settings, images: ImageData) -> list[Trial]:
    """The heads on stacked features, the fine-tuned network, and the vote of all."""
    view = replace(candidates.loaded(settings), mirror=images.mirror)
    rate = Recipe(1, settings.batch_size, 0.0)
    stacked = tuple(candidates.asked(settings))
    shared: dict[str, Any] = {
        "images": _selection(settings), "folds": FOLDS, "activations": settings.activations,
        "disk_limit": settings.disk_limit, "prefix_engine": settings.prefix_engine,
    }  # fmt: skip
    found: list[Trial] = [
        Stacked(head, head, f"{head} head on stacked features", view=view, network="stacked", recipe=rate,
                blocks=stacked, head=head, balanced=settings.balanced, seed=settings.seed, **shared)
        for head in settings.asked_heads
    ]  # fmt: skip
    best, tuned = candidates.best(settings), candidates.tuned_view(settings, images)
    for strategy in settings.tuned:
        found += repeated(
            Trial(strategy.name, strategy.name, f"{strategy.title}, {best.name}", view=tuned, network=best.backbone,
                  recipe=_recipe(settings, strategy), weights=best.weights, strategy=strategy,
                  augment=policies.find(settings.augment, tuned.size, tuned.mirror),
                  precision=settings.precision, devices=settings.devices, **shared),
            settings.repeats,
        )  # fmt: skip
    if found[1:]:
        members = tuple(trial.name for trial in found)
        found.append(Voted("vote", "vote", "vote of all", view=view, network="vote", recipe=rate, members=members,
                           seed=settings.seed, **shared))  # fmt: skip
    return found


def _recipe(settings: Settings, strategy: Strategy) -> Recipe:
    rate = settings.learning_rate(3e-3 if strategy.name == "lp_ft" else 3e-4)
    return Recipe(settings.epochs, settings.batch_size, rate, clip_norm=1.0, views=settings.views or None)


def _selection(settings: Settings) -> Everything:
    return Everything(settings.data, settings.data_dir, settings.limit, settings.seed)


def report(run):
    """What the report says."""
    from experiments.contest import pages

    return pages.report(run)


def finish(run) -> dict:
    """Keep where the winner looked, and what augmentation makes of some images, for the pages."""
    from experiments.contest import deliver

    return deliver.finish(run)


def hand_in(run) -> dict:
    """Write what is handed in, once the pages are drawn."""
    from experiments.contest import deliver

    return deliver.hand_in(run)


def entries(run) -> dict[str, object]:
    """The winner, for results.json."""
    from experiments.contest import pages

    return pages.entries(run)
