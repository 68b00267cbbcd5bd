"""What a transformer learned of zoomed-out and elastic images: the sections, tables and sentences of a report."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from experiments.stn import elastic_figures, figures
from experiments.stn.affine import PARTS
from experiments.stn.copies import THIRDS, ZOOM, thirds
from experiments.stn.elastic_field import gained
from experiments.stn.elastic_figures import shown
from tl_keras.evaluation.arms import Arm
from tl_keras.evaluation.compare import Interval, accuracy_interval, holm, over_trainings, paired_p_value
from tl_keras.reporting.conclusion import interval_text, p_text
from tl_keras.reporting.content import Figure, Section, Table
from tl_keras.reporting.sections import results_table

# Shares of a deformation from which on it counts as undone, mostly undone, undone in part.
WORDS = ((0.9, "learned"), (0.5, "mostly learned"), (0.1, "learned in part"), (-np.inf, "not learned"))
FIELD = {
    "field as made (pixels)": "pixels",
    "after the best affine map": "pixels_after_best_affine",
    "after the transformer": "pixels_after_transformer",
    "share that an affine map can undo": "affine_share",
    "share that the transformer undoes": "undone",
}
CONTROLS = {"share that centring undoes": "centring", "more than centring": "beyond_centring"}
LINES = [  # of the table: what it is called, where it stands in an entry of results.json
    ("zoom-out: share of the scale undone", ["scale_undone"]),
    *((f"zoom-out: {line}", ["zoom", key]) for line, key in FIELD.items()),
    *((f"elastic: {line}", ["elastic", key]) for line, key in (FIELD | CONTROLS).items()),
    *((f"elastic: slope of {shown(part)}", ["elastic", "slopes", part]) for part in PARTS),
    *((f"{shown(third)}: spread of theta (pixels)", ["theta_spread_pixels", third]) for third in THIRDS),
]


def accuracy_section(arms: Sequence[Arm]) -> Section:
    """The networks after training and on the way there, on all test images and on each third."""
    caption = (
        "Accuracy by epoch, first seed. That on training images is measured while weights move and with Dropout on, "
        "which is why it lies below that on test images."
    )
    draw = partial(elastic_figures.accuracy_by_epoch, {arm.title: arm.first.history for arm in arms})
    curves = Figure("accuracy_by_epoch", caption, draw)
    return Section("Results", [results_table(arms), accuracy_table(*arms[:2]), curves])


def undone_section(transformer: Arm, control: Arm) -> Section:
    """Images before and after the transformer, theta's parts, and what is left of the deformations."""
    seen = {name.partition(".")[2]: array for name, array in transformer.first.arrays.items()}
    entry = transformer.first.measured["undone"]
    slopes = {part: found["mean"] for part, found in entry["elastic"]["slopes"].items()}
    kinds = {shown(name).replace(" ", "\n"): parts for name, parts in zip(THIRDS, seen["parts"], strict=True)}
    return Section(
        "What the transformer undoes",
        [
            undone_table(_entries(transformer), transformer.title),
            undone_table(_entries(control), control.title),
            Figure("before_after", "The first of the images measured, before and after the transformer. Above each: "
                   "how many times larger it is shown.", partial(figures.before_after, pictures(seen))),
            Figure("theta", "Parts of theta for the same images original, elastic and zoomed out; lines are medians.",
                   partial(figures.distributions, {transformer.title: kinds})),
            Figure("fields", "Fields of the first images measured: arrows from every third pixel to where the original "
                   "was read; then what is left. Above each: root mean square over the digit, in pixels.",
                   partial(elastic_figures.fields, seen["before"][1][: seen["fields"].shape[1]], seen["fields"],
                           seen["pixels"][:, : seen["fields"].shape[1]])),
            Figure("followed", "One dot for each elastic image: a part of the transformer's map against that of the "
                   "best affine map. Rotation in degrees, shifts in halves of the side. First seed.",
                   partial(elastic_figures.followed, seen["wanted"], seen["done"], slopes)),
        ],
    )  # fmt: skip


def pictures(seen: Mapping[str, np.ndarray]) -> dict[str, list[tuple[np.ndarray, np.ndarray, str]]]:
    """For `figures.before_after`: a row for each kind of image."""
    sizes = np.abs(seen["parts"][:, : seen["before"].shape[1], 1:3]).prod(axis=2) ** -0.5
    return {
        shown(name): [(*pair, f"× {size:.2f}") for *pair, size in zip(before, after, larger, strict=True)]
        for name, before, after, larger in zip(THIRDS, seen["before"], seen["after"], sizes, strict=True)
    }


def accuracy_table(first: Arm, second: Arm) -> Table:
    """The test accuracy of two networks on all images and on each third, and whether they differ."""
    rows = [
        [shown(name), count, interval_text(ours), interval_text(theirs), f"{points:+.2f}", p]
        for name, count, ours, theirs, points, p in _compared(first, second)
    ]
    note = (
        "Test accuracy after the last epoch, with its 95% interval: over images, and over seeds where there are "
        "several. The difference is in percentage points; paired tests on the same images, which count the same "
        "noise, adjusted for several comparisons (Holm)."
    )
    header = ["test images", "count", first.title, second.title, "difference", "p"]
    return Table("Accuracy on each kind of image", header, rows, note)


def accuracy_sentences(first: Arm, second: Arm) -> list[str]:
    """Where the first of two networks is ahead of the second, and by how much."""
    return [
        f"{shown(name).capitalize()} test images: {first.title} {ours.mean:.2%}, {second.title} {theirs.mean:.2%}, "
        f"{points:+.2f} percentage points ({p})."
        for name, _, ours, theirs, points, p in _compared(first, second)[1:]
    ]


def _compared(first: Arm, second: Arm) -> list[tuple[str, int, Interval, Interval, float, str]]:
    """For all images and for each third: name, images, both accuracies, percentage points between them, p."""
    ours, theirs = first.correct(), second.correct()
    parts = {"all": slice(None), **thirds(ours.shape[1])}
    pairs = [(ours[:, rows], theirs[:, rows]) for rows in parts.values()]
    p_values = holm([paired_p_value(*pair) for pair in pairs])
    return [
        (name, mine.shape[1], accuracy_interval(mine), accuracy_interval(other),
         100 * float(mine.mean() - other.mean()), p_text(p))
        for name, (mine, other), p in zip(parts, pairs, p_values, strict=True)
    ]  # fmt: skip


def undone_table(entries: Sequence[Mapping[str, Any]], title: str) -> Table:
    """What a transformer undoes, each training in a column."""
    rows = [
        [line, *(_cell(functools.reduce(operator.getitem, keys, entry)) for entry in entries)] for line, keys in LINES
    ]
    note = (
        f"On {entries[0]['images']:,} test images. Scale: in octaves. Fields: root mean square over the pixels of the "
        "digits, each counted by its brightness; shares are of the mean square, below 0 where the transformer adds to "
        "the field. Slopes: each part of the transformer's map regressed on that of the best affine map, 1 = undone, "
        "0 = ignored. Spread: how far apart theta puts a pixel of different images. Intervals: 95%, over images."
    )
    header = ["", *(f"training {number}" for number in range(1, len(entries) + 1))]
    return Table(f"What is undone: {title}", header, rows, note)


def beyond(transformer: Arm, control: Arm) -> Interval:
    """How much more of the elastic fields' mean square a transformer undoes than its control.

    Of one training each the interval is over images; of several over trainings (Welch's).
    """
    shares = [[entry["elastic"]["undone"]["mean"] for entry in _entries(arm)] for arm in (transformer, control)]
    if min(map(len, shares)) > 1:
        found = stats.ttest_ind(*shares, equal_var=False).confidence_interval()
        return Interval(
            float(np.mean(shares[0]) - np.mean(shares[1])), float(found.low), float(found.high), len(shares[0])
        )
    (before, _, left), (_, _, other) = (arm.first.arrays["undone.pixels"] for arm in (transformer, control))
    return gained(before, other, left)


def undone_sentences(entries: Sequence[Mapping[str, Any]], gain: Interval) -> list[str]:
    """Whether the two deformations were learned; of the elastic one what goes beyond both controls counts."""
    scale = over([entry["scale_undone"] for entry in entries])
    elastic = {
        what: over([entry["elastic"][what] for entry in entries])
        for what in ("affine_share", "undone", "centring", "beyond_centring")
    }
    more = min(gain, elastic["beyond_centring"], key=lambda found: found.low)
    word = _word(more.mean / elastic["affine_share"].mean) if more.low > 0 else WORDS[-1][1]
    return [
        f"Zoom-out by {ZOOM}: {_word(scale.mean)}; the transformer undoes {interval_text(scale)} of the scale, in "
        "octaves.",
        f"Of the elastic fields' mean square an affine map could undo {elastic['affine_share'].mean:.1%}, the "
        f"transformer undoes {interval_text(elastic['undone'])}, centring, which learns nothing, "
        f"{elastic['centring'].mean:.1%}.",
        f"Elastic deformation: {word}; beyond centring {_points(elastic['beyond_centring'])} points of that square, "
        f"beyond a transformer that learned no elastic images {_points(gain)}.",
    ]


def over(shares: Sequence[Mapping[str, float]]) -> Interval:
    """An interval over images where there is one training, else Student's over the trainings."""
    return over_trainings([Interval(share["mean"], share["low"], share["high"], n=0) for share in shares])


def _cell(value: float | Mapping[str, float]) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**value)


def _entries(arm: Arm) -> list[Mapping[str, Any]]:
    return [record.measured["undone"] for record in arm.records]


def _points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _word(share: float) -> str:
    return next(word for least, word in WORDS if share >= least)
