"""What a learning curve over training-set sizes shows: figures, a table, sentences, entries of results.json.

All take the choices of every draw under (network, images per class).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl_keras.evaluation.compare import Interval
from tl_keras.evaluation.epoch_choice import Choice, over_draws
from tl_keras.reporting import figures
from tl_keras.reporting.content import Figure, Table
from tl_keras.run_folder import RunFolder

Choices = Mapping[tuple[str, int], Sequence[Choice]]
CHARTS = (  # file, pick, value, title, label, caption
    ("lowest_error", "by_test", "error", "Lowest test error", "Test error",
     "Lowest test error over the epochs, as the study asks for it: the test images pick the epoch."),
    ("honest_error", "by_validation", "error", "Test error, epoch picked on validation images", "Test error",
     "The honest figure: validation images pick the epoch, the test images only measure."),
    ("epochs", "by_test", "epoch", "Epochs to the best test accuracy", "Epochs",
     "The number of epochs until the test accuracy was best."),
)  # fmt: skip


def charts(choices: Choices, out: RunFolder) -> list[Figure]:
    """Each quantity against the number of images: mean and 95% interval over the draws."""
    made = []
    for file_name, pick, value, title, label, caption in CHARTS:
        networks = list(dict.fromkeys(network for network, _ in choices))
        sizes = sorted({size for _, size in choices})
        curves = {
            network: np.array([_numbers(over_draws(choices[network, size], pick, value)) for size in sizes])
            for network in networks
        }
        path = out.plot(file_name)
        figures.save(figures.trends(title, sizes, curves, "Training images of each class", label), path)
        made.append(Figure(path, f"{caption} Shaded: 95% interval of the mean over the draws."))
    return made


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
    """What the errors say: the gain from more images, the best network at the largest size, the price of honesty."""
    found = []
    largest = max(size for _, size in choices)
    for network in dict.fromkeys(network for network, _ in choices):
        sizes = sorted(size for name, size in choices if name == network)
        first, last = (over_draws(choices[network, size], "by_validation", "error") for size in (sizes[0], sizes[-1]))
        found.append(
            f"{network}: from {sizes[0]} to {sizes[-1]} images of each class the test error went from "
            f"{first.mean:.2%} to {last.mean:.2%} (epoch picked on validation images, means of {last.n} draws)."
        )
    errors = {name: over_draws(drawn, "by_test", "error") for (name, size), drawn in choices.items() if size == largest}
    best = min(errors, key=lambda name: errors[name].mean)
    found.append(
        f"The lowest test error at {largest} images of each class, picked by the test images as the study asks, was "
        f"{errors[best].mean:.2%} [{errors[best].low:.2%}, {errors[best].high:.2%}], of {best}."
    )
    price = [choice.by_validation[1] - choice.by_test[1] for drawn in choices.values() for choice in drawn]
    found.append(
        f"Picking the epoch by the test images looks {100 * np.mean(price):.2f} points better than picking it on "
        f"validation images (mean of {len(price)} trainings)."
    )
    return found


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


def _numbers(interval: Interval) -> tuple[float, float, float]:
    return interval.mean, interval.low, interval.high
