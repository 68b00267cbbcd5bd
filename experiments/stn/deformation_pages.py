"""Which deformations spatial transformers learned to undo: the sections, tables and sentences of a report.

Transformers are arms whose networks have one; `pairs` are transformers, each with the same classifier without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from experiments.stn import figures
from experiments.stn.affine import PARTS
from experiments.stn.deformations import DEFORMATIONS, Deformation
from tl_keras.evaluation.arms import Arm
from tl_keras.evaluation.compare import Interval, over_trainings, proportion_interval
from tl_keras.reporting.content import Figure, Section, Table

Pairs = Sequence[tuple[Arm, Arm]]


def theta_section(transformers: Sequence[Arm]) -> Section:
    """What the transformers do with the test images: theta's parts, overall and by class, and the extreme images."""
    return Section(
        "What the transformers do with the test images",
        [
            parts_table(transformers),
            Figure("theta", "Parts of theta on all test images and on each class; lines are medians.",
                   partial(figures.distributions, {arm.title: groups(arm) for arm in transformers})),
            Figure("extremes", "The images with the lowest and the highest values of each part of theta, before and "
                   f"after. From the left: {', '.join(arm.title for arm in transformers)}; first seeds.",
                   partial(figures.before_after, extremes(transformers))),
        ],
    )  # fmt: skip


def groups(arm: Arm) -> dict[str, np.ndarray]:
    """The parts of theta (n, 6) of all test images, and of each class."""
    parts, labels, names = arm.first.arrays["theta.parts"], arm.first.test.labels, arm.first.class_names
    return {"all": parts} | {names[label]: parts[labels == label] for label in np.unique(labels)}


def extremes(transformers: Sequence[Arm]) -> dict[str, list[tuple[np.ndarray, np.ndarray, str]]]:
    """For `figures.before_after`: a row for each part, the images of one transformer after those of the other."""
    rows: dict[str, list] = {part.replace("_", " "): [] for part in PARTS}
    for arm in transformers:
        found = {name: arm.first.arrays[f"theta.{name}"] for name in ("parts", "rows", "before", "after")}
        for number, (part, pairs) in enumerate(rows.items()):
            values = found["parts"][found["rows"][number], number]
            texts = [f"{value:.0f}°" if part == "rotation" else f"{value:.2f}" for value in values]
            pairs += zip(found["before"][number], found["after"][number], texts, strict=True)
    return rows


def parts_table(transformers: Sequence[Arm]) -> Table:
    """Mean, spread and quantiles of each part, and how much of its variance the class explains."""
    rows = []
    for arm in transformers:
        for part, seen in arm.first.measured["theta"].items():
            cells = [f"{seen[name]:.3f}" for name in ("mean", "deviation", "low", "high")]
            rows.append([f"{arm.title}: {part.replace('_', ' ')}", *cells, f"{seen['between_classes']:.0%}"])
    note = "Rotation in degrees, shifts in halves of the side. The identity has scales of 1 and zeros. First seeds."
    return Table("Parts of theta", ["part", "mean", "deviation", "5%", "95%", "variance between classes"], rows, note)


def undone_section(pairs: Pairs) -> Section:
    """What the transformers undo, and the accuracy on deformed images with them and without."""
    transformers = [transformer for transformer, _ in pairs]
    undone = {
        arm.title: {kind.name: arm.first.arrays[f"undone.{kind.name}"] for kind in DEFORMATIONS} for arm in transformers
    }
    curves = {arm.title: accuracies(arm) for pair in pairs for arm in pair}
    images = pairs[0][0].first.measured["deformed"]["images"]
    return Section(
        "What the transformers undo",
        [
            slopes_table(transformers),
            Figure("undone", "What was undone against what was applied: mean over the test images of the first seed, "
                   "with its 95% interval. Dotted: all of it, nothing of it.",
                   partial(figures.by_deformation, "Undone", undone, reference=True)),
            gains_table(pairs),
            Figure("accuracy_deformed", f"Accuracy on {images:,} deformed test images, first seed, with Wilson's 95% "
                   "intervals.", partial(figures.by_deformation, "Test accuracy", curves)),
        ],
    )  # fmt: skip


def accuracies(arm: Arm) -> dict[str, np.ndarray]:
    """The accuracy on images deformed by each amount, with Wilson's 95% interval (A, 3), by deformation; first seed."""
    found = arm.first.measured["deformed"]
    intervals = {
        kind: [proportion_interval(right, found["images"]) for right in counts]
        for kind, counts in found["right"].items()
    }
    return {kind: np.array([(one.mean, one.low, one.high) for one in ones]) for kind, ones in intervals.items()}


def slope(arm: Arm, kind: Deformation) -> Interval:
    """The share of a deformation that is undone: over images when there is one seed, else over the seeds' means."""
    found = [record.measured["undone"][kind.name] for record in arm.records]
    bounds = [(one["slope"], *one["interval_95"]) for one in found]
    return over_trainings([Interval(mean, low, high, found[0]["images"]) for mean, low, high in bounds])


def slopes_table(transformers: Sequence[Arm]) -> Table:
    """Slopes of every transformer and deformation."""
    rows = []
    for arm in transformers:
        for kind in DEFORMATIONS:
            found, eased = slope(arm, kind), arm.first.measured["undone"][kind.name]["displacement_undone"]
            interval = f"{found.low:.3f} to {found.high:.3f}"
            rows.append([f"{arm.title}: {kind.name}", len(arm.records), f"{found.mean:.3f}", interval, f"{eased:.0%}"])
    images = transformers[0].first.measured["undone"][DEFORMATIONS[0].name]["images"]
    note = (
        f"Slope of what was undone on what was applied, on {images:,} test images: 1 = fully undone, 0 = ignored, "
        "below 0 = made worse. Student's intervals: over images with one seed, over the seeds with several. Eased: the "
        "share of the displacement of points that is taken back, by whatever answer (first seed): a rotation can be "
        "answered by a shear."
    )
    return Table("What the transformers undo", ["deformation", "seeds", "slope", "95% interval", "eased"], rows, note)


def gains(transformer: Arm, plain: Arm) -> list[tuple[float, str]]:
    """The change of the accuracy, in points, at every amount of every deformation, and where: the largest first."""
    ours, theirs = accuracies(transformer), accuracies(plain)
    found = [
        (100 * (mine - other), f"{kind.name} {amount:.3g}: {mine:.1%} against {other:.1%}")
        for kind in DEFORMATIONS
        for amount, mine, other in zip(kind.amounts, ours[kind.name][:, 0], theirs[kind.name][:, 0], strict=True)
    ]
    return sorted(found, reverse=True)


def mean_gain(transformer: Arm, plain: Arm) -> float:
    """The mean of `gains`, in points."""
    return float(np.mean([points for points, _ in gains(transformer, plain)]))


def gains_table(pairs: Pairs) -> Table:
    """What each transformer is worth on deformed images: on average, where it helps most, where least."""
    rows = []
    for transformer, plain in pairs:
        most, *_, least = (f"{points:+.1f} ({place})" for points, place in gains(transformer, plain))
        rows.append([transformer.title, f"{mean_gain(transformer, plain):+.1f}", most, least])
    note = "Points of accuracy that the transformer adds to its plain network, over all amounts of all deformations."
    return Table("Gain on deformed images", ["transformer", "mean", "largest", "smallest"], rows, note)


def sentences(pairs: Pairs) -> list[str]:
    """What each transformer undoes most and least, and what that is worth."""
    found = []
    for transformer, plain in pairs:
        ranked = sorted(DEFORMATIONS, key=lambda kind: slope(transformer, kind).mean)
        told = [
            f"{kind.name} ({100 * one.mean:.0f}% [{100 * one.low:.0f}, {100 * one.high:.0f}])"
            for kind in (ranked[-1], ranked[0])
            for one in [slope(transformer, kind)]
        ]
        found.append(f"{transformer.title}: of what is put in it undoes {told[0]} best, {told[1]} least.")
        gain = mean_gain(transformer, plain)
        ahead = f"{abs(gain):.1f} points {'ahead of' if gain > 0 else 'behind'} {plain.title}"
        found.append(f"{transformer.title}: {ahead} on deformed test images, on average.")
    return found


def entries(transformers: Sequence[Arm]) -> list[dict[str, Any]]:
    """Every slope, for results.json."""
    return [
        {"transformer": arm.title, "repeat": number} | record.measured["undone"][kind.name]
        for arm in transformers
        for number, record in enumerate(arm.records)
        for kind in DEFORMATIONS
    ]
