"""Conclusions in words, computed from the numbers of a comparison; a sentence has at most thirty words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tl_keras.evaluation.arms import Arm
from tl_keras.evaluation.compare import Interval
from tl_keras.evaluation.transfer_effect import Effect, Lead, effect, leads
from tl_keras.records import TEST

ONCE = "Networks trained once are compared, not ways to train: the noise of training was not measured."


def verdict(arms: Sequence[Arm], split: str = TEST) -> list[str]:
    """Who came out ahead, and over whom by more than noise, on the images of `split`; of one arm, what it came to.

    Where every arm was trained with several seeds the noise of training is counted and the leads are those of ways to
    train; where one was not, they are those of the networks that were trained, and a sentence says so.

    >>> verdict([last_layer, scratch])  # doctest: +SKIP
    ['Last layer came out ahead: 90.0% of 100 test images (95% interval 82.6 to 94.5).',
     'Its lead over scratch is more than noise of training and test images: 20 points, p < 0.001.']
    """
    judged = seen_on(arms, split)
    winner, gaps = leads(judged)
    best = [winner.title, *(lead.other.title for lead in gaps if not lead.points)]
    sentences = [f"{_listed(best, 12)} {_degree(len(best), len(arms))} {_share(winner, split)}."]
    if split != TEST:
        same = next(arm for arm in arms if arm.name == winner.name)
        sentences.append(f"On test images, which chose nothing, it recognised {_share(same, TEST)}.")
    behind = [lead for lead in gaps if lead.points]
    sentences += _lead_sentences(behind, "Their" if len(best) > 1 else "Its", split)
    if not all(lead.of_strategies for lead in behind):
        sentences.append(
            "Networks trained once are compared, not ways to train: the noise of training was not measured."
        )
    return sentences + _at_chance(judged)


def _lead_sentences(behind: Sequence[Lead], whose: str, split: str) -> list[str]:
    counted = {
        (True, True): f"is more than noise of training and {split} images",
        (True, False): f"is more than noise on these {split} images",
        (False, True): "may be noise of training and images",
        (False, False): "may be noise",
    }
    sentences = []
    for kind, said in counted.items():
        found = [lead for lead in behind if (lead.is_real, lead.of_strategies) == kind]
        if found:
            names = _listed([lead.other.title for lead in found], 11)
            sentences.append(f"{whose} lead over {names} {said}: {_sizes(found)}, {_chances(found)}.")
    return sentences


def _at_chance(arms: Sequence[Arm]) -> list[str]:
    """Which arms cannot be told from a network that always gives the same answer."""
    labels = arms[0].first.test.labels
    chance = float(np.bincount(labels).max() / len(labels))
    found = [arm.title for arm in arms if arm.interval().low <= chance]
    return [f"No better than always naming the commonest class ({chance:.1%}): {_listed(found, 12)}."] * bool(found)


def transfer_effects(arms: Sequence[Arm], baseline: Arm) -> list[str]:
    """What each re-use did to start, final level and cost against `baseline`: one sentence each."""
    base = effect(baseline, baseline)
    others = (arm for arm in arms if arm.name != baseline.name)
    return [_effect_sentence(arm.title, effect(arm, baseline), baseline.title, base) for arm in others]


def _effect_sentence(title: str, seen: Effect, of_baseline: str, base: Effect) -> str:
    against = of_baseline if len(of_baseline.split()) <= 3 else "the baseline"
    reaches = f"reaches its final level in epoch {seen.reaches_baseline}"
    return (
        f"Against {against}, {_short(title, 6)} {_change('starts', seen.start - base.start)}, "
        f"{_change('ends', seen.final - base.final)}, "
        f"{reaches if seen.reaches_baseline else 'never reaches its final level'} and {_cost(seen, base)}."
    )


def _change(verb: str, difference: float) -> str:
    points = f"{100 * abs(difference):.1f}"
    return f"{verb} level" if points == "0.0" else f"{verb} {points} points {'higher' if difference > 0 else 'lower'}"


def _cost(seen: Effect, base: Effect) -> str:
    times = max(base.seconds, 0.01) / max(seen.seconds, 0.01)
    if 0.95 < times < 1.05:
        return "trains as fast"
    factor = max(times, 1 / times)
    text = f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}"
    return f"trains {text} times faster" if times > 1 else f"takes {text} times as long"


def seen_on(arms: Sequence[Arm], split: str) -> list[Arm]:
    """The arms as if `split` were their test images."""
    pairs = [(arm, zip(arm.records, arm.predictions(split), strict=True)) for arm in arms]
    return [
        replace(arm, records=tuple(replace(record, predictions={TEST: found}) for record, found in pair))
        for arm, pair in pairs
    ]


def interval_text(interval: Interval) -> str:
    """`97.10% [96.2, 97.8]`."""
    return f"{100 * interval.mean:.2f}% [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def p_text(p_value: float) -> str:
    """A p-value as one reads it."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _degree(best: int, arms: int) -> str:
    if arms == 1:
        return "recognised"
    if best > 1:
        return "came out alike:" if best == arms else "share the lead:"
    return "came out ahead:"


def _share(arm: Arm, split: str) -> str:
    interval, count = arm.interval(), len(arm.first.test.labels)
    bounds = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    return f"{100 * interval.mean:.1f}% of {count:,} {split} images (95% interval {bounds})"


def _sizes(found: Sequence[Lead]) -> str:
    least, most = (f"{pick(lead.points for lead in found):.2g}" for pick in (min, max))
    return f"{least} points" if least == most else f"{least} to {most} points"


def _chances(found: Sequence[Lead]) -> str:
    """The p-value; of several the one nearest to the other verdict."""
    worst = (max if found[0].is_real else min)(lead.p_value for lead in found)
    text = p_text(worst)
    return text if len(found) == 1 or "<" in text else text.replace("=", "≤" if found[0].is_real else "≥")


def _listed(titles: Sequence[str], words: int) -> str:
    """`A, B and C`; where that is more than `words` words, `A and 2 others`."""
    titles = [_short(title, words - 3) for title in titles]
    for rest in range(len(titles)):
        parts = titles[: len(titles) - rest] + [f"{rest} other{'s' if rest > 1 else ''}"] * bool(rest)
        text = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
        if len(text.split()) <= words:
            return text
    return f"{len(titles)} others"


def _short(title: str, words: int) -> str:
    parts = title.split()
    return title if len(parts) <= words else f"{' '.join(parts[:words])}…"
