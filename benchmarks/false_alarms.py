"""How often the verdict calls noise a difference, and how often it finds one that is there: simulated trainings.

    python benchmarks/false_alarms.py 2000

Every training of an arm has an accuracy of its own, scattered by SPREAD points around that of the arm; images differ in
how easy they are, which all trainings share, and each training errs on some images by chance alone: networks of 90%
disagree on about one image in twelve. All arms are the same recipe: each "more than noise" is a false alarm. Then one
arm is better by 1 and by 2 points: the power; and how often an arm's interval holds its true accuracy. Below stand
families of several arms, arms of which one always trains to the same network, and what one seed would be worth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from tl_keras.evaluation.compare import accuracy_interval, all_pairs

ACCURACY, EASE, CHANCE = 0.9, 0.85, 0.15  # variances of a normal propensity: shared by trainings, of one alone
CUT = stats.norm.ppf(ACCURACY)
PER_POINT = 0.01 / stats.norm.pdf(CUT)  # of propensity, for a point of accuracy


def trained(rng, gains: Sequence[float], seeds: int, count: int, spreads: Sequence[float]) -> list[np.ndarray]:
    """Whether each image was recognised, bool (seeds, N), for one arm per gain and spread (in points).

    All arms meet the same images. Where the spread is 0 every seed gives the very same network.
    """
    ease, arms = rng.normal(CUT, EASE**0.5, count), []
    for gain, spread in zip(gains, spreads, strict=True):
        different = seeds if spread else 1
        ability = ease + PER_POINT * (gain + spread * rng.normal(size=(different, 1)))
        correct = ability + rng.normal(0, CHANCE**0.5, (different, count)) > 0
        arms.append(np.broadcast_to(correct, (seeds, count)))
    return arms


def alarms(rng, gains: Sequence[float], seeds: int, count: int, *spreads: float) -> bool:
    """Whether the verdict calls the lead of the winner over any other arm more than noise."""
    arms = trained(rng, gains, seeds, count, spreads if spreads[1:] else spreads * len(gains))
    best = int(np.argmax([arm.mean() for arm in arms]))
    return bool((all_pairs(arms)[best] < 0.05).any())


def covered(rng, seeds: int, count: int, spread: float) -> bool:
    """Whether the interval of one arm holds what the arm comes to over all trainings and images."""
    truth = stats.norm.cdf(CUT / np.sqrt(1 + (PER_POINT * spread) ** 2))
    found = accuracy_interval(trained(rng, [0.0], seeds, count, [spread])[0])
    return found.low <= truth <= found.high


def share(repeats: int, seed: int, event: Callable, *given) -> str:
    rng = np.random.default_rng(seed)
    return f"{np.mean([event(rng, *given) for _ in range(repeats)]):6.1%}"


def main(repeats: int) -> None:
    print(f"verdict at the 5% level, {repeats:,} simulated comparisons a line; spread: points between trainings")
    print("seeds  images  spread   false alarm  power 1 point  power 2 points  interval covers")
    for seeds in (2, 3, 5):
        for count in (150, 2_000, 10_000):
            for spread in (0.3, 1.0):
                given = seeds, count, spread
                shown = [share(repeats, 0, alarms, gains, *given) for gains in ([0.0, 0.0], [1.0, 0.0], [2.0, 0.0])]
                cover = share(repeats, 0, covered, *given)
                print(
                    f"{seeds:>5} {count:>7,} {spread:>7}   {shown[0]:>11}  {shown[1]:>13}  {shown[2]:>14}  {cover:>15}"
                )
    print("several arms of one recipe, 3 seeds, 2,000 images, spread 0.3: the winner's lead over any other")
    for arms in (5, 8):
        print(f"{arms} arms   {share(repeats // 4, 0, alarms, [0.0] * arms, 3, 2_000, 0.3)} false alarms")
    print("two arms, of which one always gives the same network (a solved head); spread 1.0 of the other")
    for seeds in (2, 3, 5):
        print(f"{seeds} seeds  {share(repeats, 0, alarms, [0.0, 0.0], seeds, 2_000, 1.0, 0.0)} false alarms")
    print("one seed each, 2,000 and 10,000 images, spread 1.0: the claim is about these two networks, not strategies")
    for count in (2_000, 10_000):
        print(f"{count:>7,}   {share(repeats, 0, alarms, [0.0, 0.0], 1, count, 1.0)} would be false of strategies")


if __name__ == "__main__":
    main(int(sys.argv[1]))
