"""CS5304, assignment 3: five classes of Tiny-ImageNet by feature extraction and by fine-tuning, graded in PyTorch.

    python -m tl_keras.run cs5304 --backbone resnet34

2,500 training and 250 validation images of 64x64, scaled to 224x224; 50 epochs of each approach. The grader's words
vgg16, resnet50 and resnet34 give a submission; another backbone, such as MobileNet, is trained without one.

Printed with --backbone mobilenet_v2_0.35 and the ImageNet weights of keras.applications (seed 0, n = 250):

    network              right of 250  test accuracy    95% interval  train accuracy  seconds
    feature extraction            186          0.744  0.686 to 0.794           0.806       66
    fine-tuning                   191          0.764  0.708 to 0.812           1.000     4023

Feature extraction with mobilenet_0.25 came to 0.708 (177 of 250). Hardware: 2 cores of an Intel Xeon (AVX-512) that did
other work beside, TensorFlow 2.21, Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tl_keras import data, evaluation, export, models, reporting, training, transfer
from tl_keras.config import TransferSettings, option

DEFAULT_DATA = "tiny-imagenet-5"
# The grader scales the short side to 224 and cuts out the centre of 224: of square images, all.
SEEN = (224, 224)
# Chosen on training images that were held out: feature extraction in five folds with MobileNetV2-0.35 and
# MobileNet-0.25, where it was among the best for both; fine-tuning on a fifth of them with MobileNetV2-0.35.
RECIPES = {
    "model_ft": {"learning_rate": 1e-2, "optimizer": "sgd", "weight_decay": 0.5},
    "model_cnn": {"learning_rate": 3e-4, "optimizer": "adamw", "weight_decay": 0.02},
}

METHOD = """\
{backbone} ({weights} weights) is re-used for the classes {classes}, in this order: {train:,} training images, \
{test:,} validation images, scaled to 224 by 224 pixels. Its last layer is new. Feature extraction (model_ft) trains \
that layer alone, on features of {views} augmented views of each image that were computed once. Fine-tuning \
(model_cnn, {strategy}) trains others too. What does not train, BatchNorm statistics included, was proved to stay as \
it was, byte for byte.

Both take {epochs} epochs in batches of {batch_size}, with a one-cycle schedule and labels smoothed by 0.1: {recipes}. \
Training images are mirrored and shifted at random. As in the course the validation images are the test: they were \
measured after every epoch, as the figures show, but the weights after the last epoch count."""
NO_SUBMISSION = "No submission was written: the grader builds {known}, and {backbone} is none of them."
SUBMISSION = (
    "The submission for the grader's {word} lies in {folder}. To grade it: python -m tl_keras.run grade {folder}"
)


@dataclass(frozen=True)
class Settings(TransferSettings):
    """What this study can be asked; the epochs are the assignment's."""

    epochs: int = option(50, "passes over the training images", minimum=1)
    batch_size: int = option(32, "images per training step", minimum=1)
    backbone: str = option("vgg16", "vgg16, resnet50 or resnet34 of torchvision, or another one without a submission")
    weights: str = option("imagenet", "its weights: imagenet, none or a file")
    strategy: str = option("full", "how model_cnn is fine-tuned")
    views: int = option(4, "augmented versions of each image for feature extraction", minimum=1)

    @property
    def network(self) -> str:
        """The backbone in the registry: the grader's words mean torchvision's networks."""
        return export.submission.BACKBONES.get(self.backbone, self.backbone)

    @property
    def approaches(self) -> list[transfer.strategies.Strategy]:
        """Feature extraction and fine-tuning, under the names of their files."""
        chosen = ("last_layer", self.strategy)
        found = [transfer.strategies.find(name, self.stages, self.train_batch_norm) for name in chosen]
        named = zip(found, export.submission.MODELS.items(), strict=True)
        return [replace(strategy, name=name, title=title) for strategy, (name, title) in named]


def load(settings: Settings, out) -> data.sources.ImageData:
    """The images as the networks see them."""
    images = data.sources.load(settings.data or DEFAULT_DATA, settings.data_dir, SEEN, fallback=not settings.data)
    out.update_config(data=reporting.sections.describe(images))
    cut = {part: data.splits.limit(getattr(images, part), settings.limit, settings.seed) for part in ("train", "test")}
    return replace(images, **cut)


def train(settings: Settings, out, images: data.sources.ImageData, approach, seed: int):
    """Train one network; return it with its learning rate and what it came to."""
    training.runtime.prepare(seed, settings.precision)
    classes = len(images.class_names)
    model = models.heads.with_softmax(models.backbones.build(settings.network, classes, settings.weights))
    augment = data.augment.FlipShift(flip=images.name not in ("digits", "mnist"))
    recipe = training.schedules.Recipe(
        settings.epochs, settings.batch_size, **RECIPES[approach.name], seed=seed,
        views=settings.views if approach.name == "model_ft" else None,
    )  # fmt: skip
    recipe = replace(recipe, learning_rate=settings.learning_rate(recipe.learning_rate))
    name = approach.name if seed == settings.seed else f"{approach.name}_seed{seed}"
    if settings.lr == "find":
        found = training.lr_range.find(model, images.train, recipe, approach.phases[0], augment=augment)
        print(f"{name}: learning rate {found.suggestion:.1e}, by a range test on training images", flush=True)
        recipe = replace(recipe, learning_rate=found.suggestion)
    storage = transfer.activations.Storage(out.activations, settings.activations, settings.disk_limit)
    trained = training.loop.fit(
        name, model, images.train, images.test, recipe, out, augment=augment, phases=approach.phases, storage=storage
    )
    export.saved_model.save_keras(model, out.model(name))
    outcome = evaluation.outcome.measure(model, trained, seed, images.train, images.test, out)
    return model, recipe.learning_rate, outcome


def run(settings: Settings, out) -> None:
    """Train the network by both approaches with every seed, and write what came of it."""
    approaches, word = settings.approaches, export.submission.word_for(settings.network)
    models.backbones.find(settings.network)
    if word:
        export.torch_bridge.package("torch")  # not after hours of training
    images = load(settings, out)
    kept, rates, networks = {}, {}, []
    for approach in approaches:
        outcomes = []
        for seed in range(settings.seed, settings.seed + settings.seeds):
            model, rate, outcome = train(settings, out, images, approach, seed)
            kept.setdefault(approach.name, model)
            rates.setdefault(approach.name, rate)
            outcomes.append(outcome)
        networks.append(evaluation.outcome.Network(approach.name, approach.title, tuple(outcomes)))
    told = submit(settings, out, images, kept, rates) if word else NO_SUBMISSION.format(
        known=", ".join(export.submission.BACKBONES), backbone=settings.backbone
    )  # fmt: skip
    report = compose(settings, out, images, networks, rates, told)
    notebook = reporting.notebook.of_study(__file__, settings, backbone=settings.network)
    named = {name: (model, images.class_names) for name, model in kept.items()}
    export.publish.publish(out, networks, named, report, notebook, submission="submission" if word else None)


def used(rates) -> dict[str, dict]:
    """The recipes with the learning rates that were taken."""
    return {name: recipe | {"learning_rate": rates[name]} for name, recipe in RECIPES.items()}


def template() -> str:
    """The source of the submission's script, with the default settings."""
    return (Path(__file__).with_name("notebooks") / "assign3.py").read_text(encoding="utf-8")


def submit(settings: Settings, out, images, kept, rates) -> str:
    """Write the submission; say where it lies."""
    values = {name.upper(): getattr(settings, name) for name in ("weights", "epochs", "batch_size", "strategy", "seed")}
    values |= {"BACKBONE": settings.network, "DATA": settings.data or images.name, "LIMIT": settings.limit}
    values |= {"STAGES": settings.stages, "TRAIN_BATCH_NORM": settings.train_batch_norm, "VIEWS": settings.views}
    code = export.submission.filled(template(), values | {"RECIPES": used(rates)})
    folder = export.submission.write(out.path / "submission", kept, code)
    return SUBMISSION.format(word=export.submission.word_for(settings.network), folder=folder)


def compose(settings: Settings, out, images, networks, rates, told: str) -> reporting.content.Report:
    """What the report says."""
    sections, first = reporting.sections, networks[0]
    found = [*reporting.conclusion.verdict(networks), *reporting.conclusion.transfer_effects(networks[1:], first), told]
    method = METHOD.format(
        backbone=settings.backbone, weights=Path(settings.weights).name, classes=", ".join(images.class_names),
        train=len(images.train), test=len(images.test), strategy=settings.strategy, epochs=settings.epochs,
        batch_size=settings.batch_size, views=settings.views, recipes="; ".join(
            f"{name} with {recipe['optimizer']}, a peak rate of {recipe['learning_rate']:.1e} and a weight decay of "
            f"{recipe['weight_decay']}" for name, recipe in used(rates).items()
        ),
    )  # fmt: skip
    return reporting.content.Report(
        title="Feature extraction or fine-tuning?",
        subtitle=f"{images.name}: {settings.backbone}, {settings.epochs} epochs, {settings.seeds} seed(s)",
        summary=found,
        sections=[
            sections.text_section("Question and method", method),
            sections.text_section("Results", "", sections.results_table(networks)),
            sections.comparison_section(networks, first, found, out),
            sections.training_section(networks, out),
            sections.errors_section(networks, [images.test] * len(networks), out),
            sections.settings_section(out.config()),
        ],
    )
