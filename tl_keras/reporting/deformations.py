"""Which deformations a spatial transformer learned: the sections, tables and sentences of a report.

Transformers are given as a mapping from title to responses: for each seed a list with one `Response` for each
deformation, in one order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl_keras.data.splits import Split
from tl_keras.evaluation.compare import Interval, over_trainings
from tl_keras.evaluation.deformation import PARTS, Deformation, Response, decompose, deform
from tl_keras.reporting import deformation_figures as drawn
from tl_keras.reporting import figures
from tl_keras.reporting.content import Figure, Section, Table
from tl_keras.run_folder import RunFolder

Responses = Mapping[str, Sequence[Sequence[Response]]]


def theta_section(title: str, name: str, theta: np.ndarray, test: Split, out: RunFolder) -> Section:
    """What the transformer does with the test images: theta's parts, overall and by class, and the extreme images.

    Args:
        title: of the network; `name` is for its files.
        theta: the maps (N, 2, 3) of the images of `test`.
    """
    parts = decompose(theta)
    groups = {"all": parts} | {
        class_name: parts[test.labels == label]
        for label, class_name in enumerate(test.class_names)
        if (test.labels == label).any()
    }
    by_class, pairs = out.plot(f"theta_{name}"), out.plot(f"extremes_{name}")
    figures.save(drawn.distributions(f"Theta: {title}", groups), by_class)
    rows = drawn.extremes(test.images, deform(test.images, theta), parts)
    figures.save(drawn.before_after(f"Before and after: {title}", rows), pairs)
    return Section(
        f"What it does with the test images: {title}",
        [
            parts_table(f"Parts of theta: {title}", parts, test.labels),
            Figure(
                by_class, "Parts of theta on the test images: grey for all, blue for each class; lines are medians."
            ),
            Figure(pairs, "The test images with the four lowest and the four highest values of each part of theta."),
        ],
    )


def undone_section(
    transformers: Responses, deformations: Sequence[Deformation], accuracies: Mapping[str, Sequence], out: RunFolder
) -> Section:
    """What the transformers undo, and the accuracy on deformed images with them and without.

    Args:
        accuracies: for each network a list, by deformation, of lists of intervals, by amount.
    """
    undone, accuracy = out.plot("undone"), out.plot("accuracy_deformed")
    figures.save(drawn.responses("What the transformer undoes", transformers), undone)
    figures.save(drawn.accuracies("Accuracy on deformed images", deformations, accuracies), accuracy)
    images = next(iter(accuracies.values()))[0][0].n
    return Section(
        "What the transformer undoes",
        [
            slopes_table(transformers),
            Figure(
                undone,
                "What was undone against what was applied: mean over the test images of the first seed, with its 95% "
                "interval. Dotted: all of it, nothing of it.",
            ),
            Figure(accuracy, f"Accuracy on {images:,} deformed test images, first seed, with Wilson's 95% intervals."),
        ],
    )


def parts_table(caption: str, parts: np.ndarray, labels: np.ndarray) -> Table:
    """Mean, spread and quantiles of each part, and how much of its variance the class explains."""
    rows = []
    for number, part in enumerate(PARTS):
        values = parts[:, number]
        low, high = np.quantile(values, (0.05, 0.95))
        cells = (values.mean(), values.std(), low, high)
        share = between_classes(values, labels)
        rows.append([part.replace("_", " "), *(f"{cell:.3f}" for cell in cells), f"{share:.0%}"])
    note = "Rotation in degrees, shifts in halves of the side. The identity has scales of 1 and zeros."
    header = ["part", "mean", "deviation", "5%", "95%", "variance between classes"]
    return Table(caption, header, rows, note)


def between_classes(values: np.ndarray, labels: np.ndarray) -> float:
    """The share of the variance of values (N,) that lies between the classes of labels (N,); 0 where nothing varies.

    >>> between_classes(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
    1.0
    """
    means = np.zeros(len(values))
    for label in np.unique(labels):
        means[labels == label] = values[labels == label].mean()
    return float(means.var() / values.var()) if values.var() else 0.0


def slope(seeds: Sequence[Response]) -> Interval:
    """The share of a deformation that is undone: over images when there is one seed, else over the seeds' means."""
    return over_trainings([response.slope for response in seeds])


def slopes_table(transformers: Responses) -> Table:
    """Slopes of every transformer and deformation, with intervals over images and over seeds."""
    rows = []
    for name, seeds in transformers.items():
        for same in zip(*seeds, strict=True):
            first, over_seeds = same[0].slope, slope(same)
            several = len(seeds) > 1
            rows.append([
                name, same[0].deformation.name, len(seeds), f"{first.mean:.3f}", _range(first),
                f"{over_seeds.mean:.3f}" if several else None, _range(over_seeds) if several else None,
                f"{same[0].displacement.mean:.0%}",
            ])  # fmt: skip
    images = next(iter(transformers.values()))[0][0].slope.n
    note = (
        f"Slope of what was undone on what was applied, on {images:,} test images: 1 = fully undone, 0 = ignored, "
        "below 0 = made worse. Intervals are Student's, 95%: over images for the first seed, over the seeds where "
        "there are several. Eased: the share of the displacement of points that is taken back, by whatever answer "
        "(first seed): a rotation can be answered by a shear."
    )
    header = ["transformer", "deformation", "seeds", "slope", "95%, images", "mean of seeds", "95%, seeds", "eased"]
    return Table("What the transformer undoes", header, rows, note)


def _range(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def sentences(transformers: Responses) -> list[str]:
    """What each transformer learned to undo, most of it first."""
    found = []
    for name, seeds in transformers.items():
        slopes = {same[0].deformation.name: slope(same) for same in zip(*seeds, strict=True)}
        ranked = sorted(slopes, key=lambda kind: slopes[kind].mean, reverse=True)
        told = ", ".join(
            f"{kind} {100 * slopes[kind].mean:.0f}% [{100 * slopes[kind].low:.0f}, {100 * slopes[kind].high:.0f}]"
            for kind in ranked
        )
        count = seeds[0][0].slope.n
        over = f"{len(seeds)} seeds" if len(seeds) > 1 else f"{count:,} test images"
        found.append(f"{name}: of a deformation put in, the transformer undoes this share: {told} (95% over {over}).")
    return found


def gains(deformations: Sequence[Deformation], title: str, with_transformer, without) -> list[str]:
    """Where the transformer helps most and least, from the accuracies under every deformation."""
    differences = [
        (ours.mean - theirs.mean, kind.name, amount, ours, theirs)
        for kind, some, others in zip(deformations, with_transformer, without, strict=True)
        for amount, ours, theirs in zip(kind.amounts, some, others, strict=True)
    ]
    most, least = max(differences, key=lambda one: one[0]), min(differences, key=lambda one: one[0])
    told = [
        f"at {kind} {amount:.3g} ({100 * ours.mean:.1f}% against {100 * theirs.mean:.1f}%, {100 * gain:+.1f} points)"
        for gain, kind, amount, ours, theirs in (most, least)
    ]
    mean = np.mean([one[0] for one in differences])
    return [
        f"{title}: on deformed test images the transformer changes the accuracy by {100 * mean:+.1f} points on "
        f"average; its gain is largest {told[0]} and smallest {told[1]}."
    ]


def entries(transformers: Responses) -> list[dict[str, Any]]:
    """Every slope, for results.json."""
    return [
        {
            "transformer": name, "repeat": number, "deformation": response.deformation.name,
            "amounts": list(response.deformation.amounts), "slope": response.slope.mean,
            "interval_95": [response.slope.low, response.slope.high], "images": response.slope.n,
            "displacement_undone": response.displacement.mean,
            "undone": response.curve()[:, 0].tolist(), "applied": response.applied.tolist(),
        }
        for name, seeds in transformers.items()
        for number, responses in enumerate(seeds)
        for response in responses
    ]  # fmt: skip
