"""What a transformer learned of zoomed-out and elastic images: the sections, tables and sentences of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tl_keras.evaluation.compare import (
    Interval,
    accuracy_interval,
    holm,
    mean_interval,
    over_trainings,
    paired_p_value,
)
from tl_keras.evaluation.deformation import PARTS, decompose, deform
from tl_keras.evaluation.elastic_field import Residuals, Undone
from tl_keras.evaluation.outcome import Network
from tl_keras.reporting import deformation_figures, elastic_figures, figures
from tl_keras.reporting.conclusion import interval_text, p_text
from tl_keras.reporting.content import Figure, Section, Table
from tl_keras.reporting.elastic_figures import shown
from tl_keras.reporting.sections import results_table
from tl_keras.run_folder import RunFolder

# Shares of a deformation from which on it counts as undone, mostly undone, undone in part.
WORDS = ((0.9, "learned"), (0.5, "mostly learned"), (0.1, "learned in part"))
SHOWN = 8
KINDS = {"zoom": "zoom-out", "elastic": "elastic"}


def accuracy_section(networks: Sequence[Network], thirds: Mapping[str, slice], out: RunFolder) -> Section:
    """The networks after training and on the way there, on all test images and on each third."""
    path = out.plot("accuracy_by_epoch")
    histories = {network.title: network.first.training.history for network in networks}
    figures.save(elastic_figures.accuracy_by_epoch(histories, list(thirds)), path)
    caption = (
        "Accuracy by epoch, first seed. That on training images is measured while weights move and with Dropout on, "
        "which is why it lies below that on test images."
    )
    return Section("Results", [results_table(networks), accuracy_table(networks, thirds), Figure(path, caption)])


def images_section(copies: Mapping[str, np.ndarray], thetas: Mapping[str, np.ndarray], out: RunFolder) -> Section:
    """Images before and after the transformer, and theta's parts, for each kind of image.

    Args:
        copies: for each kind the same images (N, H, W, C), from 0 to 255.
        thetas: for each kind the maps (N, 2, 3) that the transformer takes for them.
    """
    pictures, parts = out.plot("before_after"), out.plot("theta")
    rows = {shown(name): pairs(images, thetas[name]) for name, images in copies.items()}
    figures.save(deformation_figures.before_after("Before and after the transformer", rows), pictures)
    groups = {shown(name).replace(" ", "\n"): decompose(theta) for name, theta in thetas.items()}
    figures.save(deformation_figures.distributions("Theta for each kind of image", groups), parts)
    return Section(
        "What the transformer does",
        [
            Figure(pictures, f"The first {SHOWN} of the images measured, before and after the transformer. Above each: "
                   "how many times larger it is shown."),
            Figure(parts, "Parts of theta for the same images original, elastic and zoomed out; lines are medians."),
        ],
    )  # fmt: skip


def pairs(images: np.ndarray, theta: np.ndarray) -> list[tuple]:
    """For `deformation_figures.before_after`: the first images (N, H, W, C), and what theta (N, 2, 3) makes of them."""
    images, theta = images[:SHOWN], theta[:SHOWN]
    sizes = np.abs(decompose(theta)[:, 1:3]).prod(axis=1) ** -0.5
    after = deform(images, theta)
    return [(image, seen, f"× {size:.2f}") for image, seen, size in zip(images, after, sizes, strict=True)]


def undone_section(seeds: Sequence[Undone], copies: np.ndarray, deformed: np.ndarray, out: RunFolder) -> Section:
    """What is left of the deformations: the table, fields before and after, and part by part.

    Args:
        copies: the elastic images (N, H, W, C) that were measured, from 0 to 255.
        deformed: their fields (N, H, W, 2).
    """
    first, arrows, parts = seeds[0].elastic, out.plot("fields"), out.plot("followed")
    figures.save(elastic_figures.fields(copies, deformed, first, range(min(len(copies), SHOWN // 2))), arrows)
    figures.save(
        elastic_figures.followed("What the transformer does about each part of an elastic field", first), parts
    )
    return Section(
        "What the transformer undoes",
        [
            undone_table(seeds),
            Figure(arrows, "Fields of the first images measured: arrows from every third pixel to where the original "
                   "was read; then what is left. Above each: root mean square over the digit, in pixels."),
            Figure(parts, "One dot for each elastic image: a part of the transformer's map against that of the "
                   "best affine map. Rotation in degrees, shifts in halves of the side. First seed."),
        ],
    )  # fmt: skip


def accuracy_table(networks: Sequence[Network], thirds: Mapping[str, slice]) -> Table:
    """The test accuracy of two networks on all images and on each third, and whether they differ."""
    first, second = networks
    rows = [
        [shown(name), count, *map(interval_text, found), f"{points:+.2f}", p]
        for name, count, found, points, p in _compared(first, second, thirds)
    ]
    note = (
        "Test accuracy after the last epoch, with its 95% interval: Wilson's for the finite test set with one seed, "
        "Student's over several. The difference is in percentage points; paired tests on the same images, adjusted "
        "for several comparisons (Holm)."
    )
    header = ["test images", "count", first.title, second.title, "difference", "p"]
    return Table("Accuracy on each kind of image", header, rows, note)


def accuracy_sentences(networks: Sequence[Network], thirds: Mapping[str, slice]) -> list[str]:
    """Where the first of two networks is ahead of the second, and by how much."""
    first, second = networks
    return [
        f"On the {shown(name)} test images {first.title} reads {interval_text(ours)} and {second.title} "
        f"{interval_text(theirs)}: {points:+.2f} percentage points ({p})."
        for name, _, (ours, theirs), points, p in _compared(first, second, thirds)[1:]
    ]


def _compared(first: Network, second: Network, thirds: Mapping[str, slice]) -> list[tuple]:
    """For all images and for each third: name, images, both accuracies, percentage points between them, p."""
    parts = {"all": slice(None), **thirds}
    pairs = [(first.correct[:, rows], second.correct[:, rows]) for rows in parts.values()]
    p_values = holm([paired_p_value(*pair) for pair in pairs])
    return [
        (name, mine.shape[1], (accuracy_interval(mine), accuracy_interval(other)),
         100 * float(mine.mean() - other.mean()), p_text(p))
        for name, (mine, other), p in zip(parts, pairs, p_values, strict=True)
    ]  # fmt: skip


def undone_table(seeds: Sequence[Undone]) -> Table:
    """What the transformer undoes, each training in a column."""
    lines = {"zoom-out: share of the scale undone": lambda one: interval_text(mean_interval(one.scale))}
    for kind in ("zoom", "elastic"):
        lines |= {
            f"{KINDS[kind]}: {name}": lambda one, kind=kind, told=told: told(getattr(one, kind))
            for name, told in {
                "field as made (pixels)": lambda field: f"{_pixels(field.before):.3f}",
                "after the best affine map": lambda field: f"{_pixels(field.best):.3f}",
                "after the transformer": lambda field: f"{_pixels(field.left):.3f}",
                "share that an affine map can undo": lambda field: interval_text(field.possible),
                "share that the transformer undoes": lambda field: interval_text(field.undone),
            }.items()
        }
    for part in PARTS:
        lines[f"elastic: slope of {shown(part)}"] = lambda one, part=part: _slope_text(one.elastic.slope(part))
    for name in seeds[0].spread:
        lines[f"{shown(name)}: spread of theta (pixels)"] = lambda one, name=name: f"{one.spread[name]:.3f}"
    rows = [[name, *(told(one) for one in seeds)] for name, told in lines.items()]
    note = (
        f"On {len(seeds[0].scale):,} test images. Scale: in octaves. Fields: root mean square over the pixels of the "
        "digits, each counted by its brightness; shares are of the mean square, below 0 where the transformer adds to "
        "the field. Slopes: each part of the transformer's map regressed on that of the best affine map, 1 = undone, "
        "0 = ignored. Spread: how far apart theta puts a pixel of different images. Intervals: 95%, over images."
    )
    return Table("What the transformer undoes", ["", *(f"training {n}" for n in range(1, len(seeds) + 1))], rows, note)


def undone_sentences(seeds: Sequence[Undone], factor: float) -> list[str]:
    """Whether the two deformations were learned, and why no more of them."""
    scale = over(seeds, lambda one: mean_interval(one.scale))
    zoom, possible, undone = (
        over(seeds, lambda one, kind=kind, what=what: getattr(getattr(one, kind), what))
        for kind, what in (("zoom", "undone"), ("elastic", "possible"), ("elastic", "undone"))
    )
    before, best, left = (
        float(np.mean([_pixels(getattr(one.elastic, what)) for one in seeds])) for what in ("before", "best", "left")
    )
    share = undone.mean / possible.mean
    spreads = {shown(name): np.mean([one.spread[name] for one in seeds]) for name in seeds[0].spread}
    return [
        f"Zoom-out by {factor:g}: {_word(scale.mean)}. The transformer undoes {interval_text(scale)} of the scale, in "
        f"octaves: what the classifier sees of a zoomed-out digit has {factor ** (scale.mean - 1):.2f} of the size "
        f"that it sees of the original ({1 / factor:.2f} were nothing undone, 1 all). As a field, "
        f"{interval_text(zoom)} of the mean square is gone; an affine map could undo it all.",
        f"Elastic deformation: {_word(share)}, as far as an affine map goes. The fields move the pixels of a digit by "
        f"{before:.2f} pixels (root mean square). The best affine map of each image would leave {best:.2f} "
        f"({interval_text(possible)} of the mean square undone): the rest is bending, which no affine map can undo. "
        f"The transformer leaves {left:.2f} ({interval_text(undone)} undone), {share:.0%} of what an affine map could.",
        "How much the transformer tells images apart: theta puts a pixel of different images apart by "
        + ", ".join(f"{value:.2f} pixels ({name})" for name, value in spreads.items())
        + ", root mean square. Where it does not vary, the transformer does the same to every image of that kind.",
    ]


def over(seeds: Sequence[Undone], interval: Callable[[Undone], Interval]) -> Interval:
    """A quantity over images where there is one training, else Student's interval over the trainings."""
    return over_trainings([interval(one) for one in seeds])


def _slope_text(slope: Interval) -> str:
    return f"{slope.mean:.3f} [{slope.low:.3f}, {slope.high:.3f}]"


def _pixels(rms: np.ndarray) -> float:
    return float(np.sqrt(np.mean(rms**2)))


def _word(share: float) -> str:
    return next((word for least, word in WORDS if share >= least), "not learned")


def entries(seeds: Sequence[Undone]) -> list[dict[str, Any]]:
    """Every number of `undone_table`, for results.json."""
    return [
        {
            "images": len(one.scale),
            "scale_undone": _entry(mean_interval(one.scale)),
            "zoom": _field_entry(one.zoom),
            "elastic": _field_entry(one.elastic)
            | {"slopes": {part: _entry(one.elastic.slope(part)) for part in PARTS}},
            "theta_spread_pixels": dict(one.spread),
        }
        for one in seeds
    ]


def _field_entry(field: Residuals) -> dict[str, Any]:
    return {
        "pixels": _pixels(field.before),
        "pixels_after_best_affine": _pixels(field.best),
        "pixels_after_transformer": _pixels(field.left),
        "affine_share": _entry(field.possible),
        "undone": _entry(field.undone),
    }


def _entry(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}
