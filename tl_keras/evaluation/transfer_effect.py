"""What transfer did to a learning curve: start, slope, final level and cost.

The three first are those of Torrey and Shavlik, "Transfer Learning" (2009), figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tl_keras.evaluation.arms import Arm
from tl_keras.evaluation.compare import holm, paired_p_value

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
    """How far the winner is ahead of another arm, and the p-value that this is chance (Holm-adjusted)."""

    other: Arm
    points: float
    p_value: float

    @property
    def is_real(self) -> bool:
        """Whether chance is an unlikely explanation at the 5% level."""
        return self.p_value < 0.05


def leads(arms: Sequence[Arm]) -> tuple[Arm, list[Lead]]:
    """The arm with the best mean test accuracy and its lead over each of the others, in percentage points."""
    ranked = sorted(arms, key=lambda arm: arm.accuracy, reverse=True)
    winner, others = ranked[0], ranked[1:]
    p_values = holm([paired_p_value(winner.correct(), other.correct()) for other in others])
    gaps = [100 * (winner.accuracy - other.accuracy) for other in others]
    return winner, [Lead(*lead) for lead in zip(others, gaps, p_values, strict=True)]
