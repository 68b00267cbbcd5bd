"""What a learning curve over training-set sizes shows: a figure, a table, sentences, entries of results.json.

All take the choices of every draw under (network, images per class).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context

from experiments.few_images.epoch_choice import Choice, over_draws
from tl_keras.reporting import figures
from tl_keras.reporting.content import Figure, Table

Choices = Mapping[tuple[str, int], Sequence[Choice]]
PANELS = (  # pick, value, title
    ("by_test", "error", "Lowest test error"),
    ("by_validation", "error", "Test error, epoch by validation"),
    ("by_test", "epoch", "Epochs to the best test accuracy"),
)


def chart(choices: Choices) -> Figure:
    """The errors and the epochs against the number of images: mean and 95% interval over the draws."""
    caption = (
        "Against the training images of each class: the lowest test error over the epochs, as the study asks for it; "
        "the honest one, its epoch picked by validation images; the epochs to the best test accuracy. Shaded: 95% "
        "interval of the mean over the draws."
    )
    sizes = sorted({size for _, size in choices})
    networks = list(dict.fromkeys(network for network, _ in choices))
    panels = {
        title: {
            network: np.array([_numbers(over_draws(choices[network, size], pick, value)) for size in sizes])
            for network in networks
        }
        for pick, value, title in PANELS
    }
    return Figure("sizes", caption, lambda: _drawn(panels, sizes))


@rc_context(figures.STYLE)
def _drawn(panels: Mapping[str, Mapping[str, np.ndarray]], sizes: Sequence[int]):
    figure = figures.canvas("", 9, 3.2)
    for axis, (title, curves) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for number, (name, values) in enumerate(curves.items()):
            mean, low, high = values.T
            style = {"color": figures.PALETTE[number], "linestyle": figures.DASHES[number % len(figures.DASHES)]}
            axis.plot(sizes, mean, label=name, marker="o", markersize=4, **style)
            axis.fill_between(sizes, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel="Training images of each class")
        axis.set_xticks(sizes)
        axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    return figure


def table(choices: Choices) -> Table:
    """Errors and epochs of every network and size."""
    header = ["network", "images a class", "draws", "lowest test error", "95% interval", "epoch", "honest test error",
              "95% interval", "epoch"]  # fmt: skip
    rows = []
    for (network, size), drawn in choices.items():
        row: list[object] = [network, size, len(drawn)]
        for pick in ("by_test", "by_validation"):
            error = over_draws(drawn, pick, "error")
            epoch = over_draws(drawn, pick, "epoch").mean
            row += [f"{error.mean:.2%}", f"{error.low:.2%} to {error.high:.2%}", f"{epoch:.1f}"]
        rows.append(row)
    note = (
        "Lowest: over all epochs, picked by the test images. Honest: the epoch is picked on validation images. Means "
        "over the draws; intervals are Student's."
    )
    return Table("Test error by training-set size", header, rows, note)


def sentences(choices: Choices) -> list[str]:
    """What the errors say: the best network at the largest size, the gain from more images, the price of honesty."""
    largest = max(size for _, size in choices)
    errors = {name: over_draws(drawn, "by_test", "error") for (name, size), drawn in choices.items() if size == largest}
    best = min(errors, key=lambda name: errors[name].mean)
    found = [
        f"{best} had the lowest test error at {largest} images of each class: {errors[best].mean:.2%} "
        f"[{errors[best].low:.2%}, {errors[best].high:.2%}], picked by the test images as the study asks."
    ]
    for network in dict.fromkeys(network for network, _ in choices):
        sizes = sorted(size for name, size in choices if name == network)
        first, last = (over_draws(choices[network, size], "by_validation", "error") for size in (sizes[0], sizes[-1]))
        found.append(
            f"{network}: from {sizes[0]} to {sizes[-1]} images of each class the honest test error went from "
            f"{first.mean:.2%} to {last.mean:.2%}."
        )
    price = [choice.by_validation[1] - choice.by_test[1] for drawn in choices.values() for choice in drawn]
    return [*found, f"Picking the epoch by the test images looks {100 * np.mean(price):.2f} points better than honest."]


def entries(choices: Choices) -> list[dict[str, Any]]:
    """Every draw, for results.json."""
    return [
        {
            "network": network,
            "images_per_class": size,
            "draw": number,
            "lowest_test_error": choice.by_test[1],
            "epoch_of_lowest": choice.by_test[0],
            "honest_test_error": choice.by_validation[1],
            "epoch_picked_on_validation": choice.by_validation[0],
        }
        for (network, size), drawn in choices.items()
        for number, choice in enumerate(drawn, start=1)
    ]


def _numbers(interval) -> tuple[float, float, float]:
    return interval.mean, interval.low, interval.high
