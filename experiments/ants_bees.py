"""Ants or bees: fine-tune a network trained on ImageNet, or only train a new last layer on its features?

    python -m tl_keras.run ants_bees --backbone mobilenet_v2_0.35 --weights FILE --seeds 3

The transfer-learning tutorial of PyTorch (Chilamkurthy) in Keras: 245 training and 153 validation photographs.

Printed with the ImageNet weights of keras.applications:

    --strategies last_layer --views 0 --seeds 3
    network            right of 153   test accuracy    95% interval  seconds
    mobilenet_v2_0.35  139, 139, 139          0.908  0.908 to 0.908       21
    mobilenet_0.25     137, 137, 135          0.891  0.872 to 0.910       17

    --strategies last_layer,full,lp_ft
    network            strategy                       right of 153  test accuracy    95% interval  seconds
    mobilenet_v2_0.35  last layer                              138          0.902  0.845 to 0.940      141
    mobilenet_v2_0.35  full fine-tuning                        135          0.882  0.822 to 0.924      252
    mobilenet_v2_0.35  linear probe, then fine-tuning          139          0.908  0.852 to 0.945      118
    mobilenet_0.25     last layer                              133          0.869  0.807 to 0.914       74
    mobilenet_0.25     full fine-tuning                        133          0.869  0.807 to 0.914      132
    mobilenet_0.25     linear probe, then fine-tuning          132          0.863  0.799 to 0.908       86

Hardware: 2 cores of an Intel Xeon (AVX-512) with other work beside, TensorFlow 2.21, Keras 3.15.1.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from tl_keras import data, evaluation, export, models, reporting, training, transfer
from tl_keras.config import TransferSettings, option

DEFAULT_DATA = "hymenoptera"
# The short side is scaled to 256 and the centre of 224 is measured, as ImageNet networks are.
LOADED, SEEN = (256, 256), (224, 224)
RATE = 1e-3
# A new last layer that trains alone fits 245 images perfectly unless its weights decay, and what it is then depends on
# how it began. Chosen among 0 to 50 in six times five folds of the training images, where it took the accuracy from
# 0.913 to 0.923 (MobileNetV2-0.35) and from 0.839 to 0.865 (MobileNet-0.25).
LAST_LAYER = {"weight_decay": 20.0}
# With BatchNorm frozen a few steps of a MobileNet's gradients are so large that plain SGD ruins it at 1e-4 already.
FINE_TUNING = {"weight_decay": 0.0, "clip_norm": 1.0}

METHOD = """\
{backbone} ({weights} weights) is re-used for {classes} classes: {train:,} training images, {test:,} test images. Its \
last layer is new. Each strategy says which layers train: {strategies}. What does not train, BatchNorm statistics \
included, was proved to stay as it was, byte for byte.

The protocol is the tutorial's: {epochs} epochs of SGD with momentum 0.9 in batches of {batch_size}, rate {rates}, a \
tenth of it every 7 epochs. Two things are added, both chosen by training images: a last layer that trains alone \
has a weight decay of {decay:.0f}, since without it the layer fits them perfectly; elsewhere the norm of all gradients \
is bounded by {clip:.0f}, since with frozen BatchNorm a few large ones can ruin a network. Training images are \
{augmentation}; test images are scaled to a short side of 256, of which the centre, 224 by 224, counts. The test \
images were measured after every epoch, as the figures show, but nothing was chosen by them: the weights after the \
last epoch count. (The tutorial keeps the best epoch by test accuracy, which is an optimistic choice.)"""


@dataclass(frozen=True)
class Settings(TransferSettings):
    """What this study can be asked; the defaults are the tutorial's."""

    epochs: int = option(25, "passes over the training images", minimum=1)
    batch_size: int = option(4, "images per training step", minimum=1)
    backbone: str = option("torch_resnet18", "the network to re-use")
    weights: str = option("imagenet", "its weights: imagenet, none or a file")
    strategies: str = option("last_layer,full", "what is compared, separated by commas")

    @property
    def names(self) -> tuple[str, ...]:
        """The strategies, by name."""
        return tuple(name.strip() for name in self.strategies.split(","))


@dataclass(frozen=True)
class Photographs:
    """The images as they are loaded, and as a network sees them when it is measured."""

    name: str
    train: data.splits.Split
    seen_train: data.splits.Split
    seen_test: data.splits.Split
    augment: data.augment.RandomResizedCrop | None


def load(settings: Settings, out) -> Photographs:
    """The images, scaled to a short side of 256 pixels."""
    images = data.sources.load(settings.data or DEFAULT_DATA, settings.data_dir, LOADED, fallback=not settings.data)
    out.update_config(data=reporting.sections.describe(images))
    splits = [data.splits.limit(split, settings.limit, settings.seed) for split in (images.train, images.test)]
    seen = [replace(split, images=data.lazy.CenterCrop(split.images, SEEN)) for split in splits]
    if settings.views == 0:
        return Photographs(images.name, seen[0], *seen, augment=None)
    # Mirrored where a mirror image is still one of its class.
    augment = data.augment.RandomResizedCrop(SEEN, flip=images.name not in ("digits", "mnist"))
    return Photographs(images.name, splits[0], *seen, augment)


def train(settings: Settings, out, photographs: Photographs, strategy, seed: int):
    """Train one network; return it with its learning rate and what it came to."""
    training.runtime.prepare(seed, settings.precision)
    weights = "none" if strategy.name == "scratch" else settings.weights
    classes = len(photographs.train.class_names)
    model = models.heads.with_softmax(models.backbones.build(settings.backbone, classes, weights))
    recipe = training.schedules.Recipe(
        settings.epochs, settings.batch_size, settings.learning_rate(RATE), optimizer="sgd", schedule="steps",
        label_smoothing=0.0, views=settings.views or None, seed=seed,
        **(LAST_LAYER if strategy.name == "last_layer" else FINE_TUNING),
    )  # fmt: skip
    name = strategy.name if seed == settings.seed else f"{strategy.name}_seed{seed}"
    if settings.lr == "find":
        found = training.lr_range.find(
            model, photographs.train, recipe, strategy.phases[0], augment=photographs.augment
        )
        print(f"{name}: learning rate {found.suggestion:.1e}, by a range test on training images", flush=True)
        recipe = replace(recipe, learning_rate=found.suggestion)
    storage = transfer.activations.Storage(out.activations, settings.activations, settings.disk_limit)
    trained = training.loop.fit(
        name, model, photographs.train, photographs.seen_test, recipe, out,
        augment=photographs.augment, phases=strategy.phases, storage=storage,
    )  # fmt: skip
    export.saved_model.save_keras(model, out.model(name))
    outcome = evaluation.outcome.measure(model, trained, seed, photographs.seen_train, photographs.seen_test, out)
    return model, recipe.learning_rate, outcome


def run(settings: Settings, out) -> None:
    """Train the network by each strategy with every seed, and write what came of it."""
    strategies = [transfer.strategies.find(name, settings.stages, settings.train_batch_norm) for name in settings.names]
    models.backbones.find(settings.backbone)
    photographs = load(settings, out)
    kept, rates, networks = {}, {}, []
    for strategy in strategies:
        outcomes = []
        for seed in range(settings.seed, settings.seed + settings.seeds):
            model, rate, outcome = train(settings, out, photographs, strategy, seed)
            kept.setdefault(strategy.name, (model, photographs.train.class_names))
            rates.setdefault(strategy.title, rate)
            outcomes.append(outcome)
        networks.append(evaluation.outcome.Network(strategy.name, strategy.title, tuple(outcomes)))
    notebook = reporting.notebook.of_study(__file__, settings)
    report = compose(settings, out, photographs, networks, rates)
    export.publish.publish(out, networks, kept, report, notebook)


def counted(network) -> str:
    """Right answers of all: `141/153`, for each seed."""
    return ", ".join(f"{outcome.test.correct.sum()}/{len(outcome.test.labels)}" for outcome in network.outcomes)


def compose(settings: Settings, out, photographs: Photographs, networks, rates) -> reporting.content.Report:
    """What the report says."""
    sections, test = reporting.sections, photographs.seen_test
    first, *others = networks
    found = reporting.conclusion.verdict(networks) + reporting.conclusion.transfer_effects(others, first)
    found[:0] = [f"{network.title}: {counted(network)} test images right." for network in networks]
    method = METHOD.format(
        backbone=settings.backbone, weights=Path(settings.weights).name, classes=len(test.class_names),
        train=len(photographs.train), test=len(test), strategies=", ".join(network.title for network in networks),
        epochs=settings.epochs, batch_size=settings.batch_size, decay=LAST_LAYER["weight_decay"],
        clip=FINE_TUNING["clip_norm"],
        augmentation="random crops of the central square, mirrored at random" if photographs.augment else "as they are",
        rates=", ".join(f"{rate:.1e} ({title})" for title, rate in rates.items()),
    )  # fmt: skip
    return reporting.content.Report(
        title=f"{' or '.join(test.class_names[:4])}{'' if len(test.class_names) < 5 else ' ...'}?".capitalize(),
        subtitle=f"{photographs.name}: {settings.backbone}, {settings.epochs} epochs, {settings.seeds} seed(s)",
        summary=found,
        sections=[
            sections.text_section("Question and method", method),
            sections.text_section("Results", "", sections.results_table(networks)),
            sections.comparison_section(networks, first, found, out),
            sections.training_section(networks, out),
            sections.errors_section(networks, [test] * len(networks), out),
            sections.settings_section(out.config()),
        ],
    )
