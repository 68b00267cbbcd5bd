"""Which strategy to try first: the four cases of transfer learning, decided by measurements where there are some.

Little or much data, images similar to or different from those of the pre-training (Stanford CS231n, "Transfer
Learning"). The table and its thresholds are rules of thumb; only a comparison of trained networks is proof.
"""

from __future__ import annotations

from dataclasses import dataclass

from tl_keras.errors import InputError

MEASURED, RULE = "measured", "rule of thumb"

# Half of what ImageNet offers for a class: its backbones learned all their layers from about 1,000 images of each.
MUCH_IMAGES_PER_CLASS = 500
# Halfway from guessing to perfect, the features hold more of what tells these classes apart than they lack.
SIMILAR_PROBE = 0.5
# The middle of the scale: map a measure with another scale on it first.
SIMILAR_IMAGES = 0.5
# About COCO's size, where training from scratch caught up with ImageNet weights in detection (He et al., "Rethinking
# ImageNet Pre-training", 2019).
SCRATCH_IMAGES = 100_000

_TABLE = {  # (much data, similar images)
    (False, True): (
        "last_layer",
        "Little data, similar images: keep the features and train a new last layer; more trained weights would overfit",
    ),
    (False, False): (
        "early_probe",
        "Little data, different images: early layers are general and late ones are not (Yosinski et al., 2014), so "
        "train a linear classifier on features from earlier layers",
    ),
    (True, True): (
        "lp_ft",
        "Much data, similar images: fine-tune all layers at a small rate, from a last layer trained first, so that "
        "good features are not distorted (Kumar et al., 2022)",
    ),
    (True, False): (
        "full",
        "Much data, different images: fine-tune all layers; ImageNet weights are still a better start than random ones",
    ),
}
_SCRATCH = (
    "scratch",
    "Much data, features that are no better than guessing: train from scratch, nothing is lost with the weights",
)


@dataclass(frozen=True)
class Advice:
    """A strategy's name and why: pairs of MEASURED or RULE and a sentence, in the order of the argument."""

    strategy: str
    reasons: tuple[tuple[str, str], ...]


def advise(
    images_per_class: float, classes: int, probe_accuracy: float, chance: float, similarity: float | None = None
) -> Advice:
    """The strategy to try first on a data set.

    Similar is decided by the linear probe, which asks whether the features suit *this* task, and by the similarity of
    the images if it was measured; images count as similar only where nothing measured speaks against it.

    Args:
        images_per_class: training images divided by classes.
        classes: at least 2.
        probe_accuracy: the mean of `transferability.linear_probe`, 0 to 1.
        chance: the share of the largest class, what a network reaches that always names it.
        similarity: of the images to those of the pre-training, by a measure of the caller's, 0 to 1; None: unknown.

    Raises:
        InputError: a number that cannot be, such as a chance below 1 / classes.

    >>> advice = advise(122, 2, probe_accuracy=0.92, chance=0.51)
    >>> advice.strategy, advice.reasons[0]
    ('last_layer', ('measured', '122 training images per class, 244 in all.'))
    """
    _check(images_per_class, classes, probe_accuracy, chance, similarity)
    images = images_per_class * classes
    gain = (probe_accuracy - chance) / (1 - chance)
    much = images_per_class >= MUCH_IMAGES_PER_CLASS
    similar = gain >= SIMILAR_PROBE and (similarity is None or similarity >= SIMILAR_IMAGES)
    worthless = images >= SCRATCH_IMAGES and much and gain <= 0
    strategy, rule = _SCRATCH if worthless else _TABLE[much, similar]
    reasons = [
        (MEASURED, f"{images_per_class:,.0f} training images per class, {images:,.0f} in all."),
        (RULE, f"Below {MUCH_IMAGES_PER_CLASS:,} images per class data count as little, from there on as much."),
        (MEASURED, _probe_sentence(probe_accuracy, chance, gain)),
        (RULE, f"From {SIMILAR_PROBE:.0%} of that way on, images count as similar to those of the pre-training."),
    ]
    if similarity is not None:
        reasons += [
            (MEASURED, f"The similarity of the images to those of the pre-training is {similarity:.2f}."),
            (RULE, f"Below {SIMILAR_IMAGES:.2f} images count as different, whatever the probe says."),
        ]
    return Advice(strategy, (*reasons, (RULE, f"{rule}.")))


def _probe_sentence(accuracy: float, chance: float, gain: float) -> str:
    way = f"{gain:.0%} of the way from guessing to perfect" if gain > 0 else "no better than guessing"
    return (
        f"Logistic regression on the frozen features reaches an accuracy of {accuracy:.1%}, always naming the largest "
        f"class {chance:.1%}: {way}."
    )


def _check(images_per_class: float, classes: int, accuracy: float, chance: float, similarity: float | None) -> None:
    facts = [
        ("classes", classes, classes >= 2, "at least 2", "give images of several classes"),
        ("images_per_class", images_per_class, 0 < images_per_class < float("inf"), "above 0", "count the images"),
        ("probe_accuracy", accuracy, 0 <= accuracy <= 1, "0 to 1", "give a share, not a percentage"),
        ("chance", chance, 1 / max(classes, 1) - 1e-9 <= chance < 1, "1 / classes to below 1",
         "give the share of the largest class"),
        ("similarity", similarity, similarity is None or 0 <= similarity <= 1, "0 to 1", "map the measure on it"),
    ]  # fmt: skip
    for name, value, holds, expected, remedy in facts:
        if not holds:
            raise InputError(f"{name}: expected {expected}, received {value}; {remedy}")
