"""Which augmentation helps on these images: one short fine-tuning for each policy, "none" among them."""

from __future__ import annotations

from tl_keras.data import policies
from tl_keras.data.selection import Selection
from tl_keras.data.view import View
from tl_keras.evaluation import compare
from tl_keras.records import Record
from tl_keras.reporting.content import Table
from tl_keras.study import runner
from tl_keras.study.trial import Trial
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.block import Block
from tl_keras.transfer.strategies import find as strategy

LIMIT, EPOCHS, SIDE = 2000, 4, 128  # a small budget: what helps here may still not pay in a longer training
PREFIX = "augment_"


def find(settings, block: Block, out) -> str:
    """The policy whose network names most held-out images rightly; of equals the earlier, "none" first."""
    trials = [_trial(settings, block, name) for name in policies.NAMES]
    found = [runner.run_one(trial, out) for trial in trials]
    best = max(found, key=lambda record: (record.test.accuracy, -found.index(record)))
    name = best.name.removeprefix(PREFIX)
    print(f"augmentation: {name}, {best.test.accuracy:.1%} of held-out images after a short training", flush=True)
    return name


def _trial(settings, block: Block, name: str) -> Trial:
    view = View((SIDE, SIDE), mirror=not settings.no_mirror)
    images = Selection(settings.data, settings.data_dir, min(LIMIT, settings.limit or LIMIT), settings.seed)
    recipe = Recipe(EPOCHS, settings.batch_size, 3e-3, clip_norm=1.0, seed=settings.seed)
    return Trial(
        f"{PREFIX}{name}", f"{PREFIX}{name}", name, images, view, block.backbone, recipe, weights=block.weights,
        strategy=strategy("lp_ft"), augment=policies.find(name, view.size, view.mirror), seed=settings.seed, keep=False,
        prefix_engine=settings.prefix_engine, devices=settings.devices,
    )  # fmt: skip


def is_one(record: Record) -> bool:
    """Whether a record is of such a short fine-tuning, and no member of the comparison."""
    return record.name.startswith(PREFIX)


def table(records: list[Record]) -> Table:
    """The policies with their intervals, each against "none" on the same held-out images."""
    none = next(record for record in records if record.name == f"{PREFIX}none")
    rows = []
    for record in sorted(records, key=lambda one: -one.test.accuracy):
        interval = compare.proportion_interval(record.test.correct.sum(), len(record.test.labels))
        points = 100 * (record.test.accuracy - none.test.accuracy)
        p_value = compare.paired_p_value(record.test.correct[None], none.test.correct[None])
        p_text = "–" if record is none else f"{p_value:.2g}"
        rows.append([record.title, f"{interval.mean:.4f}", f"{interval.low:.4f} to {interval.high:.4f}",
                     f"{points:+.2f}", p_text, f"{record.seconds:.0f}"])  # fmt: skip
    return Table(
        "Augmentation in a short fine-tuning", ["policy", "accuracy", "95% interval", "points", "p", "seconds"],
        rows, f"{EPOCHS} epochs on {none.data['train_images']:,} images of {SIDE}x{SIDE}, measured on "
        f"{none.data['test_images']:,} held-out ones; one network each, so p speaks of these networks. With "
        f"{len(rows)} policies the smallest of the p values is to be multiplied by {len(rows) - 1}.",
    )  # fmt: skip
