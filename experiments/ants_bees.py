"""Ants or bees: fine-tune a network trained on ImageNet, or only train a new last layer on its features?

    python -m tl_keras.run ants_bees --backbone mobilenet_v2_0.35 --weights FILE --seeds 3

The transfer-learning tutorial of PyTorch (Chilamkurthy) in Keras: 245 training and 153 validation photographs.

Printed with the ImageNet weights of keras.applications:

    --strategies last_layer --views 0 --seeds 3
    network            right of 153   test accuracy    95% interval  seconds
    mobilenet_v2_0.35  139, 139, 139          0.908  0.852 to 0.945        5
    mobilenet_0.25     137, 137, 135          0.891  0.832 to 0.931       13

    --strategies last_layer,full,lp_ft
    network            strategy                       right of 153  test accuracy    95% interval  seconds
    mobilenet_v2_0.35  last layer                              138          0.902  0.845 to 0.940       80
    mobilenet_v2_0.35  full fine-tuning                        138          0.902  0.845 to 0.940      206
    mobilenet_v2_0.35  linear probe, then fine-tuning          139          0.908  0.852 to 0.945      174
    mobilenet_0.25     last layer                              133          0.869  0.807 to 0.914       82
    mobilenet_0.25     full fine-tuning                        130          0.850  0.785 to 0.898      188
    mobilenet_0.25     linear probe, then fine-tuning          136          0.889  0.829 to 0.929      165

Hardware: 2 cores of an AMD EPYC (AVX-512) with other work beside, TensorFlow 2.21, Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments import finetune
from experiments.finetune import chosen_by, entries, resolve  # noqa: F401, this study is a preset of that one
from tl_keras.config import option
from tl_keras.data.image_data import ImageData
from tl_keras.study.trial import Trial
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.strategies import Strategy

DEFAULT_DATA = "hymenoptera"
RATE = 1e-3
# A new last layer that trains alone fits 245 images perfectly unless its weights decay, and what it is then depends on
# how it began. Chosen among 0 to 50 in six times five folds of the training images, where it took the accuracy from
# 0.913 to 0.923 (MobileNetV2-0.35) and from 0.839 to 0.865 (MobileNet-0.25).
LAST_LAYER: dict[str, Any] = {"weight_decay": 20.0}
# With BatchNorm frozen a few steps of a MobileNet's gradients are so large that plain SGD ruins it at 1e-4 already.
FINE_TUNING: dict[str, Any] = {"weight_decay": 0.0, "clip_norm": 1.0}

METHOD = """\
{backbone} ({weights} weights) is re-used for {classes} classes: {train:,} training images, {test:,} test images. Its \
last layer is new. Each strategy says which layers train: {strategies}. What does not train, BatchNorm statistics \
included, was proved to stay as it was, byte for byte.

The protocol is the tutorial's: {epochs} epochs of SGD with momentum 0.9 in batches of {batch_size}, rate {rates}, a \
tenth of it every 7 epochs. Two things are added, both chosen by training images: a last layer that trains alone \
has a weight decay of {decay:.0f}, since without it the layer fits them perfectly; elsewhere the norm of all gradients \
is bounded by {clip:.0f}, since with frozen BatchNorm a few large ones can ruin a network. A linear probe is solved. \
Training images are {augmentation}; test images are scaled to a short side of 256, of which the centre, 224 by 224, \
counts. The test images were measured after every epoch, as the figures show, but nothing was chosen by them: the \
weights after the last epoch count. (The tutorial keeps the best epoch by test accuracy, an optimistic choice.) Those \
of hymenoptera had been looked at twice before the decay was chosen, without one and with a weaker one: what is said \
of them is mildly optimistic."""


@dataclass(frozen=True)
class Settings(finetune.Settings):
    """What this study can be asked; the defaults are the tutorial's."""

    data: str = option(None, "data set: a name (cifar10, mnist, digits, tfds:NAME) or a path")
    epochs: int = option(25, "passes over the training images", minimum=1)
    batch_size: int = option(4, "images per training step", minimum=1)
    backbone: str = option("torch_resnet18", "the network to re-use", listed=True)
    strategies: str = option("last_layer,full", "what is compared, separated by commas")
    validation: int = option(
        0, "percentage of the training images held out; 0: the test images are watched", minimum=0, maximum=50
    )


def load(settings: Settings) -> ImageData:
    """The photographs, or the embedded digits where they cannot be had."""
    return finetune.load(settings, DEFAULT_DATA)


def trials(settings: Settings, images: ImageData) -> list[Trial]:
    """One network for each strategy and seed, with the tutorial's recipe."""
    return finetune.trials(settings, images, recipe_for)


def recipe_for(settings: Settings, strategy: Strategy) -> Recipe:
    """The tutorial's, with what is added to it."""
    added = LAST_LAYER if strategy.name == "last_layer" else FINE_TUNING
    return Recipe(
        settings.epochs, settings.batch_size, settings.learning_rate(RATE), optimizer="sgd", schedule="steps",
        label_smoothing=0.0, views=settings.views or None, **added,
    )  # fmt: skip


def report(run):
    """What the report says."""
    names = run.arms[0].first.class_names
    return finetune.report(run, f"{' or '.join(names[:4])}{'' if len(names) < 5 else ' ...'}?".capitalize(), described)


def described(run) -> str:
    """The method in words."""
    rates = {arm.title: arm.first.measured["learning_rate"] for arm in run.arms}
    crops = run.arms[0].first.trial["augment"]
    return METHOD.format(
        **finetune.facts(run), decay=LAST_LAYER["weight_decay"], clip=FINE_TUNING["clip_norm"],
        augmentation="random crops of the central square, mirrored at random" if crops else "as they are",
        rates=", ".join(f"{rate:.1e} ({title})" for title, rate in rates.items()),
    )  # fmt: skip
