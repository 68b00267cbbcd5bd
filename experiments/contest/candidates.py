"""Which networks at which sizes come into question, and which of them is fine-tuned."""

from __future__ import annotations

from tl_keras.data.image_data import ImageData
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import backbones, networks
from tl_keras.study import backbone_choice
from tl_keras.transfer import block, feature_store
from tl_keras.transfer.block import Block

LOADED = (320, 320)
TUNED = 160  # the side of the images that fine-tuning sees


def asked(settings) -> list[Block]:
    """The blocks that were asked for, or every network at every size, the most useful first."""
    known = backbone_choice.parse(settings.backbone, settings.weights)
    stages = 0 if stored(settings) else 1  # a store holds the last features alone
    if settings.blocks:
        weights = {candidate.name: candidate.weights for candidate in known}
        pairs = block.parse(settings.blocks)
        lacking = [name for name, _ in pairs if name not in weights]
        if lacking:
            raise InputError(f"--blocks: expected networks of --backbone, received {lacking[0]}; name it there too")
        return [Block(name, weights[name], size, stages) for name, size in pairs]
    sizes = {candidate.name: _sizes(candidate.name) for candidate in known}
    longest = max(map(len, sizes.values()))
    return [
        Block(candidate.name, candidate.weights, sizes[candidate.name][turn], stages)
        for turn in range(longest)
        for candidate in known
        if turn < len(sizes[candidate.name])
    ]


def stored(settings) -> View | None:
    """How the network saw images whose features are stored; None where DATA holds images."""
    return feature_store.view_of(settings.data, settings.data_dir)


def loaded(settings) -> View:
    """How images are loaded: at a size that all blocks can be scaled from, or as a store has them."""
    return stored(settings) or View(LOADED)


def _sizes(name: str) -> list[int]:
    own = backbones.find(name).input_size is None
    return [backbones.input_shape(name)[0]] if own else block.sizes(LOADED[0])


def best(settings) -> Block:
    """The first block that was taken: alone it names most images rightly."""
    return asked(settings)[0]


def tuned_view(settings, images: ImageData) -> View:
    """How the network that is fine-tuned sees images: small, which costs little where these are small themselves."""
    own = backbones.find(best(settings).backbone).input_size is None
    return networks.view(best(settings).backbone, images.mirror) if own else View((TUNED, TUNED), mirror=images.mirror)
