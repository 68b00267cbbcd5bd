"""Records as a training would leave them, made up: pages and comparisons are tested without training anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tl_keras import records
from tl_keras.evaluation.arms import Arm, arms_of
from tl_keras.records import Predictions, Record, Thumbnails
from tl_keras.run_folder import RunFolder

THUMBNAILS = 24


def made_up_record(
    arm: str = "A",
    seed: int = 0,
    images: int = 120,
    classes: int | Sequence[str] = 3,
    epochs: int = 4,
    accuracy: float = 0.8,
    title: str | None = None,
    side: int = 16,
    channels: int = 3,
    seconds: float = 12.5,
    trained: int = 1026,
    watched: str = "test",
    splits: Sequence[str] = ("test",),
    test_set: int = 0,
) -> Record:
    """One finished trial whose curves rise to about `accuracy`.

    Args:
        classes: how many, or their names.
        splits: which predictions there are, all alike in number.
        test_set: labels and thumbnails are the same for the same number, whatever the arm and the seed.
    """
    names = tuple(f"class {number}" for number in range(classes)) if isinstance(classes, int) else tuple(classes)
    rng = np.random.default_rng([seed, *arm.encode()])
    return Record(
        trial={"name": f"{arm}_seed{seed}" if seed else arm, "arm": arm, "title": title or f"arm {arm}", "seed": seed},
        class_names=names,
        data={"name": "made up", "train_images": 4 * images, "test_images": images, "watched": watched},
        history=_history(rng, epochs, accuracy),
        seconds=seconds,
        parameters=219_058,
        trainable_parameters=trained,
        train_accuracy=min(accuracy + 0.05, 1.0),
        predictions={split: _predictions(rng, images, len(names), accuracy, test_set) for split in splits},
        thumbnails=_thumbnails(images, len(names), side, channels, test_set),
    )


def made_up_arms(count: int, seeds: int = 1, **options) -> list[Arm]:
    """`count` arms over `seeds` seeds each, every one a little worse than the one before."""
    best = options.pop("accuracy", 0.9)
    return arms_of(
        made_up_record(f"arm_{number}", seed, accuracy=max(best - 0.06 * number, 0.1), **options)
        for number in range(count)
        for seed in range(seeds)
    )


def write_run(arms: Iterable[Arm], out: RunFolder) -> None:
    """Write the records of `arms`, with the histories that training would have left."""
    for record in (record for arm in arms for record in arm.records):
        columns = list(record.history)
        rows = zip(*(record.history[column] for column in columns), strict=True)
        out.write_rows(out.history(record.name), columns, rows)
        records.write(record, out)


def with_correct(arm: str, masks: Sequence[Sequence[bool]], **options) -> Arm:
    """An arm of two classes that is right on exactly the images of each seed's mask."""
    made = []
    for seed, mask in enumerate(np.asarray(masks, bool)):
        record = made_up_record(arm, seed, len(mask), 2, **options)
        labels = np.arange(len(mask)) % 2
        sure = np.where(np.arange(2) == np.where(mask, labels, 1 - labels)[:, None], 0.9, 0.1).astype("float32")
        made.append(replace(record, predictions={"test": Predictions(np.arange(len(mask)), labels, sure)}))
    return Arm(arm, made[0].title, tuple(made))


def _history(rng, epochs: int, accuracy: float) -> dict[str, list[float]]:
    epoch = np.arange(1, epochs + 1)
    rise = 1 - np.exp(-4 * epoch / epochs)
    noise = rng.normal(0, 0.01, (4, epochs))
    columns = {
        "loss": 2.2 - 1.9 * rise,
        "accuracy": (accuracy + 0.05) * rise,
        "val_loss": 2.2 - 1.7 * rise,
        "val_accuracy": accuracy * rise,
    }
    curves = {name: np.clip(curve + wave, 0, None) for (name, curve), wave in zip(columns.items(), noise, strict=True)}
    curves |= {name: np.minimum(curve, 1) for name, curve in curves.items() if name.endswith("accuracy")}
    return {name: curve.tolist() for name, curve in curves.items()} | {
        "epoch": epoch.tolist(),
        "learning_rate": [0.01] * epochs,
    }


def _predictions(rng, images: int, classes: int, accuracy: float, test_set: int) -> Predictions:
    labels = np.random.default_rng(test_set).integers(classes, size=images)
    wrong = (labels + rng.integers(1, max(classes, 2), images)) % classes
    answers = np.where(rng.permutation(images) < round(accuracy * images), labels, wrong)
    sure = rng.uniform(0.5, 1, images)
    probabilities = np.tile(((1 - sure) / max(classes - 1, 1))[:, None], classes)
    probabilities[np.arange(images), answers] = sure
    return Predictions(
        np.array([f"{test_set}/{row}" for row in range(images)]), labels, probabilities.astype("float32")
    )


def _thumbnails(images: int, classes: int, side: int, channels: int, test_set: int) -> Thumbnails:
    rng = np.random.default_rng(test_set)
    labels = rng.integers(classes, size=images)
    rows = np.sort(rng.choice(images, min(THUMBNAILS, images), replace=False))
    across = np.linspace(0, 1, side)
    waves = np.cos(6 * across * (1 + labels[rows, None])) if classes > 1 else np.zeros((len(rows), side))
    pictures = (
        127
        + 90 * waves[:, None, :, None] * across[None, :, None, None]
        + rng.normal(0, 12, (len(rows), side, side, channels))
    )
    return Thumbnails(rows, pictures.clip(0, 255).astype("uint8"))
