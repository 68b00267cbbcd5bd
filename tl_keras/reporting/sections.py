"""The parts that the report of every study has: results, comparison, curves, errors, settings and surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl_keras.evaluation.arms import Arm
from tl_keras.evaluation.transfer_effect import SLOPE_EPOCHS, effect, leads
from tl_keras.reporting import error_figures, figures
from tl_keras.reporting.conclusion import p_text, seen_on
from tl_keras.reporting.content import Figure, Section, Table, Text

LONGEST_VALUE = 160


def text_section(title: str, text: str, *blocks: Table | Figure) -> Section:
    """A section that begins with a text, which may be empty."""
    return Section(title, [Text(text), *blocks] if text else blocks)


def results_table(arms: Sequence[Arm]) -> Table:
    """Accuracy, loss, time and size of each arm; the note names the kinds of interval."""
    rows = []
    for arm in arms:
        interval = arm.interval()
        rows.append(
            [
                arm.title,
                len(arm.records),
                f"{interval.mean:.4f}",
                f"{interval.low:.4f} to {interval.high:.4f}",
                f"{np.mean([record.train_accuracy for record in arm.records]):.4f}",
                f"{np.mean([record.test.loss for record in arm.records]):.4f}",
                f"{arm.seconds:.1f}",
                arm.first.trainable_parameters,
            ]
        )
    kinds = dict.fromkeys(arm.interval().kind for arm in arms)
    return Table(
        "The networks after their last epoch",
        [
            "network",
            "seeds",
            "test accuracy",
            "95% interval",
            "train accuracy",
            "test loss",
            "seconds",
            "trained weights",
        ],
        rows,
        f"Measured in inference mode on images without augmentation. Intervals: {'; '.join(kinds)}. Seconds are those "
        "of the first seed and include running the frozen layers once.",
    )


def comparison_section(arms: Sequence[Arm], baseline: Arm | None = None) -> Section:
    """The arms side by side: curves, accuracies, paired tests, and what re-use did against `baseline`."""
    caption = (
        f"{figures.watched(arms).capitalize()} accuracy by epoch, and test accuracy after the last epoch with its 95% "
        "interval; means over the seeds. The names on the right have the colours of the curves."
    )
    blocks: list[Text | Table | Figure] = [Figure("comparison", caption, lambda: figures.comparison(arms))]
    blocks += [_leads_table(arms)] * (len(arms) > 1)
    blocks += [_effects_table(arms, baseline)] if baseline else []
    return Section("Comparison", blocks)


def training_section(arms: Sequence[Arm]) -> Section:
    """One figure: accuracy and loss of every arm by epoch, on training images and on those that were watched."""
    caption = (
        f"Accuracy and loss by epoch on training and {figures.watched(arms)} images, the last accuracies above. The "
        "training curve is measured while weights move, with Dropout and any augmentation on."
    )
    if any(len(arm.records) > 1 for arm in arms):
        caption += " Lines are means over the seeds, faint lines single seeds."
    return Section("Learning curves", [Figure("learning_curves", caption, lambda: figures.learning_curves(arms))])


def errors_section(arms: Sequence[Arm]) -> Section:
    """One figure with what every arm says of the same test images, one with all confusions."""
    said = (
        f"What {'each network' if len(arms) > 1 else 'the network'} says of kept test images, with its probability: "
        "first those that most got wrong, last those that fewest did. Wrong answers are bold."
    )
    counted = "Test images by true class (row) and predicted class (column), first seed; darker: more of its row."
    if any(len(arm.first.class_names) > error_figures.SMALL for arm in arms):
        counted += " With many classes the matrix is that of the best network, with the recall of every one beside it."
    blocks = [
        Figure("answers", said, lambda: error_figures.answers(arms)),
        Figure("confusion", counted, lambda: error_figures.confusions(arms)),
    ]
    return Section("Errors and samples", blocks)


def settings_section(config: Mapping[str, Any]) -> Section:
    """Every setting, the data and the machine, from config.json."""
    parts = {
        "Settings": config.get("settings", {}),
        "Data": config.get("data", {}),
        "Environment": config.get("versions", {}) | config.get("hardware", {}),
    }
    return Section(
        "Settings and environment",
        [
            Table(title, ["name", "value"], [[name.replace("_", " "), _shown(value)] for name, value in part.items()])
            for title, part in parts.items()
            if part
        ],
    )


def _leads_table(arms: Sequence[Arm]) -> Table:
    split = figures.watched(arms)
    winner, gaps = leads(seen_on(arms, split))
    rows = []
    for lead in gaps:
        noise = "training and images" if lead.of_strategies else "images"
        rows.append([lead.other.title, f"{lead.points:+.2f}", p_text(lead.p_value), lead.is_real, noise])
    return Table(
        f"The lead of {winner.title} on the {split} images",
        ["over", "lead (points)", "p", "more than noise", "noise of"],
        rows,
        "Paired test on the same images, adjusted for all pairs of networks (Holm). With several seeds of both: would "
        "other seeds and other images give the same order? With one: would other images, of these very networks?",
    )


def _effects_table(arms: Sequence[Arm], baseline: Arm) -> Table:
    rows = []
    for arm in arms:
        seen = effect(arm, baseline)
        numbers = [f"{seen.start:.4f}", f"{100 * seen.slope:+.2f}", f"{seen.final:.4f}", f"{seen.seconds:.1f}"]
        rows.append([arm.title, *numbers, seen.reaches_baseline])
    return Table(
        f"What transfer did, against {baseline.title}",
        ["network", "start", "slope", "final", "seconds", "epoch of baseline's level"],
        rows,
        f"Start and final: {figures.watched(arms)} accuracy after the first and the last epoch, means over the seeds. "
        f"Slope: points per epoch over the first {SLOPE_EPOCHS} epochs at most. –: its level was never reached.",
    )


def _shown(value: Any) -> str | bool | None:
    if isinstance(value, (list, tuple)):
        value = f"{len(value)}: {', '.join(map(str, value))}" if len(value) > 4 else ", ".join(map(str, value))
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {part}" for name, part in value.items())
    if value is None or isinstance(value, bool):
        return value
    return str(value) if len(str(value)) <= LONGEST_VALUE else f"{str(value)[: LONGEST_VALUE - 1]}…"
