"""Augmentation policies by name: what may be done to training images, from nothing to mixing two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from tl_keras.data.augment import Augmentation, FlipShift, RandAugment, RandomResizedCrop
from tl_keras.data.distortions import Brightness, Erasing, Rotate
from tl_keras.data.mixing import Chained, CutMix, Mixing, MixUp
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.quiet import tf

NAMES = ("none", "flip", "crop", "rotate", "brightness", "randaugment", "erasing", "mixup", "cutmix")


def find(name: str, size: tuple[int, int], mirror: bool) -> Augmentation | None:
    """The policy called `name`; None where it leaves images as they are.

    `crop`, and what builds on it, cuts 35 to 100% of the area, not the 8 to 100% that networks are trained with on
    ImageNet: small data sets have no images to waste on corners. With one seed they all cut the same parts. `crop` and
    `rotate` and `brightness` mirror half of the images. `randaugment` is as strong as the paper's for a ResNet-50: two
    operations of magnitude 9 out of 30; its images have three channels. `erasing`, `mixup` and `cutmix` are those of
    their papers (`distortions`, `mixing`); the last two only go with strategies that train all layers.

    Args:
        size: (height, width) that the network sees.
        mirror: whether a mirrored image is still of its class; without it no policy mirrors any, and `flip` is none.

    Raises:
        InputError: there is no such policy.

    >>> find("mixup", (224, 224), mirror=True).parts[1]
    MixUp(alpha=0.2)
    """
    crop = RandomResizedCrop(size, area=(0.35, 1.0), flip=mirror)
    flip = (FlipShift(shift=0.0),) if mirror else ()
    known: dict[str, tuple[Augmentation, ...]] = {
        "none": (),
        "flip": flip,
        "crop": (crop,),
        "rotate": (*flip, Rotate(15.0)),
        "brightness": (*flip, Brightness(0.2, 0.25)),
        "randaugment": (crop, RandAugment(0.3, layers=2)),
        "erasing": (crop, Erasing()),
        "mixup": (crop, MixUp(0.2)),
        "cutmix": (crop, CutMix(1.0)),
    }
    if name not in known:
        raise InputError(f"--augment: expected one of {', '.join(NAMES)}, received {name!r}; choose one of them")
    parts = known[name]
    return Chained(parts) if len(parts) > 1 else next(iter(parts), None)


def examples(images: np.ndarray, size: tuple[int, int], mirror: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """The same images as a network would see them in training, by each policy.

    Args:
        images: (N, H, W, 3), uint8, scaled as for training: at least as large as `size`, whose centre is what a
            policy that does not crop sees.
        size, mirror: as for `find`.

    Returns:
        (N, *size, 3), uint8, by name, in the order of `NAMES`.

    Raises:
        InputError: the images are smaller than `size`.

    >>> list(examples(np.zeros((2, 36, 36, 3), "uint8"), (32, 32), mirror=True))[:3]
    ['none', 'flip', 'crop']
    """
    alone = np.zeros(len(images), int)
    return {name: _seen(images, alone, name, size, mirror, seed)[0] for name in NAMES}


def answers(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    size: tuple[int, int],
    mirror: bool,
    seed: int = 0,
) -> dict[str, list[str]]:
    """What the labels of `examples` say: a class for each image, or the shares of the two that were mixed into it.

    >>> images, labels = np.zeros((2, 36, 36, 3), "uint8"), np.array([0, 1])
    >>> answers(images, labels, ("ants", "bees"), (32, 32), mirror=True)["cutmix"]  # doctest: +SKIP
    ['0.7 ants + 0.3 bees', 'bees']
    """
    shares = {name: _seen(images, labels, name, size, mirror, seed, len(class_names))[1] for name in NAMES}
    return {name: [_said(row, class_names) for row in rows] for name, rows in shares.items()}


def _seen(
    images: np.ndarray, labels: np.ndarray, name: str, size: tuple[int, int], mirror: bool, seed: int, classes: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, *size, 3) and the shares (N, classes) of the classes in each."""
    augment, centre = find(name, size, mirror), View(size, scaled=images.shape[1:3]).window
    if not (augment and augment.crops):
        images = images[:, *centre]
    shares = np.eye(classes, dtype="float32")[labels]
    if augment is None:
        return images, shares
    numbers = augment.draw(len(images), seed, 0)
    made = augment(tf.constant(images), numbers)
    if augment.mixes:
        made, shares = cast(Mixing, augment).mix(made, tf.constant(shares), numbers)
    return np.asarray(made), np.asarray(shares)


def _said(shares: np.ndarray, class_names: Sequence[str]) -> str:
    """The classes with at least half a tenth, the largest first; one alone without its share."""
    largest = [row for row in np.argsort(-shares, kind="stable") if shares[row] >= 0.05]
    if len(largest) == 1:
        return class_names[largest[0]]
    return " + ".join(f"{shares[row]:.1f} {class_names[row]}" for row in largest)
