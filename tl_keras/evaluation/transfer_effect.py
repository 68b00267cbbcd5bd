"""What transfer did to a learning curve: start, slope, final level and cost.

The three first are those of Torrey and Shavlik, "Transfer Learning" (2009), figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tl_keras.evaluation.arms import Arm
from tl_keras.evaluation.compare import all_pairs, counts_training

SLOPE_EPOCHS = 5


@dataclass(frozen=True)
class Effect:
    """One arm's learning curve in four numbers.

    Args:
        start: test accuracy after the first epoch.
        slope: mean gain in test accuracy per epoch over the first five epochs.
        final: test accuracy after the last epoch.
        seconds: training time.
        reaches_baseline: first epoch whose test accuracy is at least the baseline's final one; None if never.
    """

    start: float
    slope: float
    final: float
    seconds: float
    reaches_baseline: int | None


def effect(arm: Arm, baseline: Arm) -> Effect:
    """Describe the learning curve of `arm`, averaged over seeds, beside that of `baseline`."""
    curve = arm.mean_curve("val_accuracy")
    last = min(SLOPE_EPOCHS, len(curve)) - 1
    reached = np.flatnonzero(curve >= baseline.mean_curve("val_accuracy")[-1])
    return Effect(
        start=float(curve[0]),
        slope=float((curve[last] - curve[0]) / max(last, 1)),
        final=float(curve[-1]),
        seconds=arm.seconds,
        reaches_baseline=int(reached[0]) + 1 if len(reached) else None,
    )


@dataclass(frozen=True)
class Lead:
    """How far the winner is ahead of another arm, and the p-value that this is noise, adjusted for all pairs of arms.

    Args:
        points: of percentage.
        of_strategies: the noise of training was counted, so that the lead is one of ways to train; else it is one of
            the very networks that were trained.
    """

    other: Arm
    points: float
    p_value: float
    of_strategies: bool

    @property
    def is_real(self) -> bool:
        """Whether noise is an unlikely explanation at the 5% level."""
        return self.p_value < 0.05


def leads(arms: Sequence[Arm]) -> tuple[Arm, list[Lead]]:
    """The arm with the best mean test accuracy and its lead over each of the others.

    The winner is picked by the very images that judge it, so all pairs are tested, not only its own.
    """
    ranked = sorted(arms, key=lambda arm: arm.accuracy, reverse=True)
    winner, *others = ranked
    best, *tables = (arm.correct() for arm in ranked)
    p_values = all_pairs([best, *tables])[0, 1:]
    return winner, [
        Lead(other, 100 * (winner.accuracy - other.accuracy), float(p_value), counts_training(best, table))
        for other, table, p_value in zip(others, tables, p_values, strict=True)
    ]
