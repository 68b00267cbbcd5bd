"""Your own images: which way of re-using a network works best on them, and the winner to take away.

    python -m tl_keras.run finetune DATA
    python -m tl_keras.run finetune DATA --backbone mobilenet_v2_0.35=FILE,mobilenet_0.25=FILE --seeds 3

DATA is a folder or .zip of class folders, a table, an .npz, a named set, or what `extract` stored. Where it has no
validation images, a fifth of the training images is held out; where it has no test images, a fifth is measured on. The
winner is chosen by the validation images alone. A `test/` without class folders is predicted:
`predictions/NAME.unlabelled.csv`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tl_keras.config import FineTuningSettings, option
from tl_keras.data import selection
from tl_keras.data.augment import RandomResizedCrop
from tl_keras.data.image_data import ImageData
from tl_keras.data.selection import Selection
from tl_keras.errors import InputError
from tl_keras.models import networks
from tl_keras.study import backbone_choice, from_store
from tl_keras.study.trial import Trial, repeated
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.activations import Storage
from tl_keras.transfer.strategies import Strategy, find

SCORED = 1000  # training images that choose among several backbones

METHOD = """\
{backbone} ({weights} weights) is re-used for {classes} classes: {train:,} training images, {test:,} test images. Its \
last layer is new. Each strategy says which layers train: {strategies}. What does not train, BatchNorm statistics \
included, was proved to stay as it was, byte for byte.

The linear probe is solved, not trained: a logistic regression on the features of the images as they are, its penalty \
chosen by cross-validation on training images; "linear probe, then fine-tuning" starts from it, and one on earlier \
features reads those of the stage that cross-validation on training images takes. A ridge classifier is solved too, by \
least squares, its penalty chosen in the same way. The others take {epochs} epochs of AdamW in batches of \
{batch_size} on a one-cycle schedule, with the norm of all gradients bounded, on random crops. {validation:,} \
validation images were watched, and alone chose the winner; the test images were measured once, after each \
training."""


@dataclass(frozen=True)
class Settings(FineTuningSettings):
    """What this study can be asked."""

    data: str = option(None, "data set: a path, or a name (cifar10, mnist, digits, tfds:NAME)", positional=True)
    epochs: int = option(10, "passes over the training images", minimum=1)
    batch_size: int = option(32, "images per training step", minimum=1)
    backbone: str = option(None, "NAME or NAME=FILE; of several, separated by commas, a probe chooses one", listed=True)
    strategies: str = option("probe,lp_ft,full", "what is compared, separated by commas")
    validation: int = option(
        20, "percentage of the training images held out to choose by, where the set has none", minimum=0, maximum=50
    )
    no_mirror: bool = option(False, "a mirrored image is of another class (letters, arrows)")

    def __post_init__(self):
        super().__post_init__()
        names = [strategy.name for strategy in self.compared]
        if len(names) != len(set(names)):
            raise InputError(f"--strategies: expected different ones, received {self.strategies}; name each once")
        self.refuse_ignored(names)
        backbone_choice.parse(self.backbone, self.weights)

    @property
    def compared(self) -> list[Strategy]:
        """The strategies, in the order asked for."""
        train_batch_norm = self.batch_norm == "trained"
        return [find(name.strip(), self.stages, train_batch_norm) for name in self.strategies.split(",")]


def load(settings: Settings, default: str = "") -> ImageData:
    """The images at a size that all networks can be served from."""
    images = selection.asked(settings.data, default, settings.data_dir, backbone_choice.LOADED)
    return replace(images, mirror=images.mirror and not settings.no_mirror)


def resolve(settings: Settings, images: ImageData, out) -> Settings:
    """The settings with the one backbone that is re-used: the one named, or the best by a probe on training images."""
    settings = from_store.named(settings, images, out)
    candidates = backbone_choice.parse(settings.backbone, settings.weights)
    best = candidates[0]
    if candidates[1:]:
        storage = Storage(out.activations, engine=settings.prefix_engine)
        best = backbone_choice.choose(candidates, images, SCORED, settings.seed, storage)
    return replace(settings, backbone=best.name, weights=best.weights)


def trials(settings: Settings, images: ImageData, recipe: Callable[..., Recipe] | None = None) -> list[Trial]:
    """One network for each strategy and seed; `recipe` of settings and strategy is that of a preset."""
    view = networks.view(settings.backbone, images.mirror)
    chosen = Selection(images.source, settings.data_dir, settings.limit, settings.seed, settings.validation)
    found = []
    for strategy in settings.compared:
        found += repeated(
            Trial(
                strategy.name, strategy.name, strategy.title, chosen, view, settings.backbone,
                (recipe or recipe_for)(settings, strategy),
                weights="none" if strategy.name == "scratch" else settings.weights or "none", strategy=strategy,
                augment=None if settings.views == 0 else RandomResizedCrop(view.size, flip=view.mirror),
                precision=settings.precision, activations=settings.activations, disk_limit=settings.disk_limit,
                prefix_engine=settings.prefix_engine, devices=settings.devices,
            ),
            settings.repeats,
        )  # fmt: skip
    return found


def recipe_for(settings: Settings, strategy: Strategy) -> Recipe:
    """How a network is trained by a strategy: gently, where it trains more than its last layer."""
    return Recipe(
        settings.epochs, settings.batch_size, settings.learning_rate(1e-2 if strategy.name == "last_layer" else 3e-4),
        clip_norm=1.0, views=settings.views or None,
    )  # fmt: skip


def chosen_by(run) -> str:
    """The split that the winner is chosen by."""
    return run.arms[0].first.data["watched"]


def report(run, title: str = "Which way of re-using the network works best?", method: Callable | None = None):
    """What the report says."""
    from tl_keras.reporting import conclusion, sections
    from tl_keras.reporting.classification_sections import classification_section
    from tl_keras.reporting.content import Report

    settings, arms = run.settings, run.arms
    first, *others = arms
    found = conclusion.verdict(arms, chosen_by(run)) + conclusion.transfer_effects(others, first) + _stages_taken(arms)
    return Report(
        title=title,
        subtitle=f"{first.first.data['name']}: {Path(settings.backbone).name}, {settings.seeds} seed(s)",
        summary=found,
        sections=[
            sections.text_section("Question and method", (method or described)(run)),
            sections.text_section("Results", "", sections.results_table(arms)),
            sections.comparison_section(arms, first if others else None),
            sections.training_section(arms),
            sections.errors_section(arms),
            classification_section(_winner(run)),
            sections.settings_section(run.config),
        ],
    )


def _stages_taken(arms) -> list[str]:
    """Of which stage a linear probe on earlier features reads the output."""
    chosen = {arm.title: arm.first.measured["early"] for arm in arms if "early" in arm.first.measured}
    return [
        f"{title.capitalize()} took the output of {found['taken']}, stage "
        f"{[stage['layer'] for stage in found['stages']].index(found['taken']) + 1} of {len(found['stages'])}, by "
        "cross-validation on training images."
        for title, found in chosen.items()
    ]


def described(run) -> str:
    """The method in words."""
    return METHOD.format(**facts(run), validation=run.arms[0].first.data.get("validation_images", 0))


def facts(run) -> dict[str, object]:
    """What the methods of this study and of its presets name."""
    settings, record = run.settings, run.arms[0].first
    return {
        "backbone": Path(settings.backbone).name, "weights": Path(settings.weights).name,
        "classes": len(record.class_names), "train": record.data["train_images"], "test": record.data["test_images"],
        "strategies": ", ".join(arm.title for arm in run.arms), "epochs": settings.epochs,
        "batch_size": settings.batch_size,
    }  # fmt: skip


def entries(run) -> dict[str, object]:
    """The winner, for results.json."""
    best, split = _winner(run), chosen_by(run)
    return {"winner": best.name, "chosen_by": split, f"{split}_accuracy": float(best.correct(split).mean())}


def _winner(run):
    return max(run.arms, key=lambda arm: arm.correct(chosen_by(run)).mean())
