"""What a learning curve over training-set sizes shows: a figure, a table, sentences, entries of results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context

from experiments.few_images import epoch_choice
from experiments.few_images.epoch_choice import Choice
from tl_keras.evaluation.compare import Interval, share_interval
from tl_keras.records import Record
from tl_keras.reporting import figures
from tl_keras.reporting.content import Figure, Table

LOWEST, HONEST, EPOCHS = "Lowest test error", "Test error, honest", "Epochs to the lowest test error"
Place = tuple[str, int]  # network, images per class


@dataclass(frozen=True)
class Curves:
    """What every draw came to.

    Args:
        trained: the epochs picked in every draw.
        solved: the test error of the solved head in every draw.
        images: in the test set.
    """

    trained: Mapping[Place, Sequence[Choice]]
    solved: Mapping[Place, Sequence[float]]
    images: int

    @property
    def networks(self) -> list[str]:
        """In the order of the trials."""
        return list(dict.fromkeys(network for network, _ in self.trained))

    @property
    def sizes(self) -> list[int]:
        """Ascending."""
        return sorted({size for _, size in self.trained})

    def error(self, place: Place, pick: str) -> Interval:
        """The trained head's, its epoch picked `by_test` or `by_validation`."""
        return epoch_choice.error(self.trained[place], pick, self.images)

    def solved_error(self, place: Place) -> Interval:
        """The solved head's, which has no epochs to pick from."""
        return share_interval(self.solved[place], self.images)


def read(records: Sequence[Record]) -> Curves:
    """The curves that the records of a run hold."""
    trained: dict[Place, list[Choice]] = {}
    solved: dict[Place, list[float]] = {}
    for record in records:
        place = record.trial["title"].partition(",")[0], record.trial["images"]["per_class"]
        if record.trial["strategy"]["name"] == "probe":
            solved.setdefault(place, []).append(1 - record.test.accuracy)
        else:
            history = record.history
            picked = epoch_choice.choose(history["accuracy_validation"], history["val_accuracy"])
            trained.setdefault(place, []).append(picked)
    return Curves(trained, solved, records[0].data["test_images"])


def chart(curves: Curves) -> Figure:
    """The errors and the epochs against the number of images: mean and 95% interval over draws and test images."""
    caption = (
        "Against the training images of each class: the lowest test error over the epochs, as the study asks for it; "
        "the honest one, its epoch picked by validation images, beside that of heads that were solved instead of "
        "trained; the epochs to the lowest test error. Shaded: 95% interval of the mean."
    )
    panels: dict[str, dict[str, list[Interval]]] = {LOWEST: {}, HONEST: {}, EPOCHS: {}}
    for network in curves.networks:
        places = [(network, size) for size in curves.sizes]
        panels[LOWEST][network] = [curves.error(place, "by_test") for place in places]
        panels[HONEST][network] = [curves.error(place, "by_validation") for place in places]
        panels[HONEST][f"{network}, solved"] = [curves.solved_error(place) for place in places]
        panels[EPOCHS][network] = [epoch_choice.epoch(curves.trained[place]) for place in places]
    return Figure("sizes", caption, lambda: _drawn(panels, curves.sizes))


@rc_context(figures.STYLE)
def _drawn(panels: Mapping[str, Mapping[str, Sequence[Interval]]], sizes: Sequence[int]):
    figure = figures.canvas("", 9, 3.4)
    names = list(panels[HONEST])  # each network, and its solved head in the same colour
    for axis, (title, curves) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for name, found in curves.items():
            number = names.index(name)
            style = {"color": figures.PALETTE[number // 2], "linestyle": figures.DASHES[number % 2]}
            mean, low, high = np.array([(each.mean, each.low, each.high) for each in found]).T
            axis.plot(sizes, mean, label=name, marker="o", markersize=4, **style)
            axis.fill_between(sizes, low, high, color=style["color"], alpha=0.12, linewidth=0)
        axis.set(title=title, xlabel="Training images of each class")
        axis.set_xticks(sizes)
        axis.set_ylim(bottom=0)
        if title == HONEST:
            handles = axis.get_legend_handles_labels()
            figure.legend(*handles, loc="outside lower center", ncols=len(names), fontsize=8, handlelength=4)
    return figure


def table(curves: Curves) -> Table:
    """Errors and epochs of every network and size."""
    header = ["network", "images a class", "draws", "lowest test error", "95% interval", "epoch", "of", "honest",
              "95% interval", "solved head", "95% interval"]  # fmt: skip
    rows = []
    for (network, size), drawn in curves.trained.items():
        place = network, size
        epochs = [f"{epoch_choice.epoch(drawn).mean:.0f}", drawn[0].epochs]
        row = [network, size, len(drawn), *_shown(curves.error(place, "by_test")), *epochs]
        rows.append([*row, *_shown(curves.error(place, "by_validation")), *_shown(curves.solved_error(place))])
    note = (
        "Lowest: over all epochs, picked by the test images. Honest: the epoch is picked on validation images. Solved: "
        "a logistic regression in place of the trained layer. Means over the draws; intervals count draws and images."
    )
    return Table("Test error by training-set size", header, rows, note)


def sentences(curves: Curves) -> list[str]:
    """What the errors say: the best at the largest size, the gain from more images, the price of honesty."""
    least, most = curves.sizes[0], curves.sizes[-1]
    lowest = {network: curves.error((network, most), "by_test") for network in curves.networks}
    best = min(lowest, key=lambda network: lowest[network].mean)
    found = [
        f"{best} had the lowest test error at {most} images of each class: {lowest[best].mean:.2%} "
        f"[{lowest[best].low:.2%}, {lowest[best].high:.2%}], picked by the test images as the study asks."
    ]
    for network in curves.networks:
        first, last = (curves.error((network, size), "by_validation").mean for size in (least, most))
        solved = [curves.solved_error((network, size)).mean for size in (least, most)]
        found.append(
            f"{network}: from {least} to {most} images of each class the honest test error went from {first:.2%} to "
            f"{last:.2%}, that of a solved head from {solved[0]:.2%} to {solved[1]:.2%}."
        )
    price = [choice.by_validation[1] - choice.by_test[1] for drawn in curves.trained.values() for choice in drawn]
    found.append(f"Picking the epoch by the test images looks {100 * np.mean(price):.2f} points better than honest.")
    early = [f"{network} with {size}" for (network, size), of in curves.trained.items() if epoch_choice.ended_early(of)]
    if early:
        named = f"{early[0]} images a class{f' and {len(early) - 1} more' if early[1:] else ''}"
        found.append(f"The lowest error lies near the last epoch ({named}): with more epochs it may fall further.")
    return found


def entries(curves: Curves) -> list[dict[str, Any]]:
    """Every draw, for results.json."""
    return [
        {
            "network": network,
            "images_per_class": size,
            "draw": number,
            "epochs": choice.epochs,
            "lowest_test_error": choice.by_test[1],
            "epoch_of_lowest": choice.by_test[0],
            "honest_test_error": choice.by_validation[1],
            "epoch_picked_on_validation": choice.by_validation[0],
            "solved_test_error": solved,
        }
        for (network, size), drawn in curves.trained.items()
        for number, (choice, solved) in enumerate(zip(drawn, curves.solved[network, size], strict=True), start=1)
    ]


def _shown(interval: Interval) -> list[str]:
    return [f"{interval.mean:.2%}", f"{interval.low:.2%} to {interval.high:.2%}"]
