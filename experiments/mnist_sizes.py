"""How many images per class does a frozen ImageNet network need to read digits?

    python -m tl_keras.run mnist_sizes --backbone mobilenet_0.25,mobilenet_v2_0.35 --weights FILE,FILE

MNIST scaled to 224x224, a new last layer on frozen features, 10 to 90 training images per class.

Printed with --test-limit 2000 and the ImageNet weights of keras.applications (5 draws; as many steps as 50 epochs of
the largest sets; honest: the epoch is picked on 400 validation images; solved: a logistic regression instead):

    network            images a class  lowest test error      95% interval  honest  solved
    mobilenet_0.25                 10             13.23%  11.01% to 15.82%  13.72%  15.09%
    mobilenet_0.25                 30              8.15%    7.00% to 9.47%   8.49%   8.86%
    mobilenet_0.25                 90              5.67%    4.58% to 7.00%   6.04%   6.45%
    mobilenet_v2_0.35              10             16.86%  14.75% to 19.20%  17.49%  21.22%
    mobilenet_v2_0.35              30              9.91%   8.45% to 11.59%  10.46%  12.29%
    mobilenet_v2_0.35              90              6.60%    5.42% to 8.02%   7.18%   7.13%

Hardware: 2 cores of an AMD EPYC (AVX-512), 24 GiB, TensorFlow 2.21, Keras 3.15.1; 6 min 45 s, some other work beside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from tl_keras.config import TransferSettings, option
from tl_keras.data import pipeline, selection
from tl_keras.data.image_data import ImageData
from tl_keras.data.selection import FewImages
from tl_keras.errors import InputError
from tl_keras.models import model_file, networks
from tl_keras.study.trial import Trial
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.strategies import find

DEFAULT_DATA = "mnist"
# Chosen on the validation images of one draw, among 0.001, 0.003, 0.01 and 0.03.
RATE = 1e-2

METHOD = """\
{backbones} ({weights} weights) stay frozen; a new random layer of {classes} outputs is trained on their features with \
cross-entropy: AdamW at a constant rate of {rate:.0e}, in batches of {batch_size}. {data} is scaled to 224 by 224 \
pixels. The training sets hold {sizes} images of each class. All are trained for as many steps as {epochs} epochs of \
the largest sets take, so that the curve shows the images and not the length of the training. {draws} draws of each \
size give the intervals, and within one draw a smaller set is part of the larger ones. The features of each image are \
computed once for each network: all sizes and draws share them. Beside each trained layer stands one that was solved: \
a logistic regression, its penalty chosen by cross-validation on the same few images.

The study asks for the lowest test error over the epochs. That picks the epoch by the test images ({test:,}), which is \
optimistic. Beside it stands the honest figure: the epoch is picked on {validation:,} validation images that are \
neither trained on nor tested on, and the test error of that epoch is read. Both are followed in one and the same \
training."""


@dataclass(frozen=True)
class Settings(TransferSettings):
    """What this study can be asked."""

    epochs: int = option(50, "passes over the largest training sets; smaller ones take as many steps", minimum=1)
    batch_size: int = option(32, "images per training step", minimum=1)
    backbone: str = option("resnet50,vgg19", "the frozen networks, separated by commas", listed=True)
    weights: str | None = option(None, "their weights: imagenet, none or files; one for all, or one each", listed=True)
    seeds: int = option(5, "how many draws of each training set", minimum=2)
    sizes: str = option("10,30,50,70,90", "training images per class, separated by commas")
    validation: int = option(40, "images per class that pick the epoch honestly, never trained on", minimum=1)
    test_limit: int | None = option(None, "test images used, for slow machines", minimum=1)

    def __post_init__(self):
        super().__post_init__()
        if self.lr == "find":
            raise InputError("--lr: expected a number, received find; the sets differ too much in size for one range")
        _ = self.networks, self.counts  # checked before anything is loaded

    @property
    def networks(self) -> dict[str, str]:
        """The weights of each backbone, under its name.

        >>> Settings(backbone="resnet50,vgg19", weights="none").networks
        {'resnet50': 'none', 'vgg19': 'none'}
        """
        names = self.backbone.split(",")
        weights = self.weights.split(",") if self.weights else [None]
        if len({Path(name).stem for name in names}) != len(names):
            raise InputError(f"--backbone: expected different networks, received {self.backbone}; name each once")
        if len(weights) not in (1, len(names)):
            raise InputError(
                f"--weights: expected one for all or one for each of {len(names)} backbones, received {len(weights)}; "
                "separate them by commas"
            )
        given = weights * len(names) if len(weights) == 1 else weights
        return {name: networks.weights_of(name, weight) for name, weight in zip(names, given, strict=True)}

    @property
    def counts(self) -> list[int]:
        """The training-set sizes, images per class, ascending."""
        texts = self.sizes.split(",")
        if not all(text.strip().isdecimal() and int(text) for text in texts):
            raise InputError(f"--sizes: expected numbers above zero, received {self.sizes!r}; give some such as 10,30")
        return sorted({int(text) for text in texts})


def load(settings: Settings) -> ImageData:
    """The digits at their own size; each trial scales what it reads to the size of its network."""
    return selection.asked(settings.data, DEFAULT_DATA, settings.data_dir, None)


def trials(settings: Settings, images: ImageData) -> list[Trial]:
    """A new last layer for every network, size and draw, trained and solved.

    The largest sets are the arms called by the network alone.
    """
    largest, rate = settings.counts[-1], settings.learning_rate(RATE)
    recipe: dict[str, Any] = {"schedule": "constant", "weight_decay": 0.0, "label_smoothing": 0.0}
    found = []
    for (backbone, weights), size, draw in product(settings.networks.items(), settings.counts, range(settings.seeds)):
        short, seed = _short(backbone), settings.repeats[draw]
        few = FewImages(
            images.source, settings.data_dir, settings.limit, settings.seed, settings.validation,
            per_class=size, draw=draw, draws=settings.seeds, largest=largest, test_limit=settings.test_limit,
        )  # fmt: skip
        epochs = _epochs(settings, size, len(images.class_names))
        numbered = f"_draw{draw + 1}" if draw else ""
        trained = Trial(
            f"{short}_{size}{numbered}", short if size == largest else f"{short}_{size}", f"{short}, {size} a class",
            few, networks.view(backbone, images.mirror, margin=False), backbone,
            Recipe(epochs, settings.batch_size, rate, seed=seed, **recipe),
            weights=weights, strategy=find("last_layer"), seed=seed, precision=settings.precision,
            activations=settings.activations, disk_limit=settings.disk_limit, prefix_engine=settings.prefix_engine,
            body_seed=settings.seed, keep=size == largest and not draw,
        )  # fmt: skip
        solved = replace(
            trained, name=f"{short}_{size}_solved{numbered}", arm=f"{short}_{size}_solved",
            title=f"{trained.title}, solved", strategy=find("probe"), keep=False,
        )  # fmt: skip
        found += [trained, solved]
    return found


def _epochs(settings: Settings, size: int, classes: int) -> int:
    """So many that a set of `size` images of each class is trained for at least as many steps as the largest one."""
    few, many = (
        pipeline.steps_per_epoch(count * classes, settings.batch_size) for count in (size, settings.counts[-1])
    )
    return -(-settings.epochs * many // few)


def _short(backbone: str) -> str:
    return Path(backbone).stem if model_file.is_one(backbone) else backbone


def report(run):
    """What the report says."""
    from experiments.few_images import pages
    from tl_keras.reporting import conclusion, sections
    from tl_keras.reporting.content import Report

    settings, found = run.settings, pages.read(run.records)
    shorts = [_short(backbone) for backbone in settings.networks]
    arms, record = [run.arm(short) for short in shorts], run.records[0]
    method = METHOD.format(
        backbones=" and ".join(shorts), weights=", ".join(Path(text).name for text in settings.networks.values()),
        classes=len(record.class_names), epochs=settings.epochs, rate=settings.learning_rate(RATE),
        data=record.data["name"], batch_size=settings.batch_size, sizes=", ".join(map(str, settings.counts)),
        draws=settings.seeds, test=record.data["test_images"],
        validation=settings.validation * len(record.class_names),
    )  # fmt: skip
    return Report(
        title="How many images does a frozen network need?",
        subtitle=f"{record.data['name']}: {', '.join(shorts)}, {settings.seeds} draws of each size",
        summary=pages.sentences(found) + conclusion.verdict(arms),
        sections=[
            sections.text_section("Question and method", method),
            sections.text_section("Results", "", pages.table(found), pages.chart(found)),
            sections.text_section("The largest sets, after the last epoch", "", sections.results_table(arms)),
            sections.training_section(arms),
            sections.errors_section(arms),
            sections.settings_section(run.config),
        ],
    )


def entries(run) -> dict[str, list]:
    """Every draw, for results.json."""
    from experiments.few_images import pages

    return {"sizes": pages.entries(pages.read(run.records))}
