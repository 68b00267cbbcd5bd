"""A block: one network at one size, whose features are stacked beside those of others (`transfer.blocks`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tl_keras.errors import InputError
from tl_keras.models import backbones

TIMES_SMALLER = 32  # these networks halve an image five times


@dataclass(frozen=True)
class Block:
    """One network at one size.

    Args:
        backbone: of the registry, or a model file.
        weights: as for `backbones.build`.
        size: height and width in pixels.
        stages: how many middle stages are read beside the last features, from the last one backwards.

    >>> Block("mobilenet_0.25", "none", 160).title
    'mobilenet_0.25 at 160'
    """

    backbone: str
    weights: str
    size: int
    stages: int = 1

    @property
    def title(self) -> str:
        """As tables call it."""
        return f"{self.name} at {self.size}"

    @property
    def name(self) -> str:
        """The network's, without a folder."""
        return Path(self.backbone).stem if backbones.find(self.backbone).input_size is None else self.backbone


def parse(text: str) -> list[tuple[str, int]]:
    """The network and the size of each block in a list such as `mobilenet_0.25@160,vgg16@224`.

    Raises:
        InputError: an entry is none, or is there twice.

    >>> parse("mobilenet_0.25@160, vgg16@224")
    [('mobilenet_0.25', 160), ('vgg16', 224)]
    """
    found = [re.fullmatch(r"(.+)@([1-9]\d{0,3})", entry.strip()) for entry in text.split(",")]
    blocks = [(match[1], int(match[2])) for match in found if match]
    if len(blocks) < len(found) or len(set(blocks)) < len(blocks):
        raise InputError(
            f"--blocks: expected different entries NAME@SIZE, separated by commas, received {text!r}; give one such as "
            "mobilenet_0.25@160"
        )
    return blocks


def sizes(side: int) -> list[int]:
    """The sizes that are worth a block where images are loaded at `side` x `side`: multiples of 32.

    >>> sizes(256), sizes(64)
    ([224, 160, 192, 128, 256], [64])
    """
    usual = [size for size in (224, 160, 192, 128, 256, 320) if size <= side]
    return usual or [max(TIMES_SMALLER, side // TIMES_SMALLER * TIMES_SMALLER)]
