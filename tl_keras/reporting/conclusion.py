"""Conclusions in words, computed from the numbers of a comparison; nothing in them is canned."""

from __future__ import annotations

from tl_keras.evaluation.compare import Interval
from tl_keras.evaluation.outcome import Network
from tl_keras.evaluation.transfer_effect import SLOPE_EPOCHS, Effect, effect, leads


def verdict(networks: list[Network]) -> list[str]:
    """Who won, by how much, and whether the lead is more than noise: one sentence each."""
    winner, gaps = leads(networks)
    count = len(winner.first.test.labels)
    best = [winner.title, *(lead.other.title for lead in gaps if lead.points == 0)]
    degree = "best" if len(networks) != 2 else "better" if len(best) == 1 else "same"
    sentences = [
        f"{' and '.join(best)} reached the {degree} test accuracy: {percent(winner)} on {count:,} test images."
    ]
    for lead in gaps:
        if lead.points == 0:
            continue
        noise = "more than noise" if lead.is_real else "not to be told from noise"
        sentences.append(
            f"It is {lead.points:.2f} percentage points ahead of {lead.other.title} ({percent(lead.other)}): "
            f"{noise} on these test images (paired test, {p_text(lead.p_value)})."
        )
    return sentences


def transfer_effects(networks: list[Network], baseline: Network) -> list[str]:
    """What each re-use did to start, slope, final level and cost against `baseline`: one sentence each."""
    base = effect(baseline, baseline)
    return [_effect_sentence(network, effect(network, baseline), baseline, base) for network in networks]


def _effect_sentence(network: Network, seen: Effect, baseline: Network, base: Effect) -> str:
    start, final = 100 * (seen.start - base.start), 100 * (seen.final - base.final)
    trained, of_baseline = (each.first.training.trainable_parameters for each in (network, baseline))
    reached = (
        f"it reached the final accuracy of {baseline.title} in epoch {seen.reaches_baseline}"
        if seen.reaches_baseline
        else f"it never reached the final accuracy of {baseline.title}"
    )
    epochs = min(SLOPE_EPOCHS, len(network.first.training.history["epoch"]))
    return (
        f"{network.title}: start {start:+.2f} points after the first epoch ({seen.start:.3f} against "
        f"{base.start:.3f}), slope {100 * seen.slope:+.2f} points per epoch over the first {epochs} epochs "
        f"(against {100 * base.slope:+.2f}), final level {final:+.2f} points; {reached}. Cost: {seen.seconds:.1f} s "
        f"against {base.seconds:.1f} s of training, {trained:,} parameters trained against {of_baseline:,}."
    )


def percent(network: Network) -> str:
    """The accuracy with its interval, as in a sentence."""
    return interval_text(network.interval())


def interval_text(interval: Interval) -> str:
    """`97.10% [96.2, 97.8]`."""
    return f"{100 * interval.mean:.2f}% [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def p_text(p_value: float) -> str:
    """A p-value as one reads it."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
