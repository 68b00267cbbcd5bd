"""How many images per class does a frozen ImageNet network need to read digits?

    python -m tl_keras.run mnist_sizes --backbone mobilenet_0.25,mobilenet_v2_0.35 --weights FILE,FILE

MNIST scaled to 224x224, a new last layer on frozen features, 10 to 90 training images per class.

Expected, printed with --test-limit 2000 and the ImageNet weights of keras.applications (5 draws, 50 epochs;
honest: the epoch is picked on 400 validation images):

    network            images a class  lowest test error      95% interval  honest test error      95% interval
    mobilenet_0.25                 10             14.81%  12.91% to 16.71%             15.52%  14.09% to 16.95%
    mobilenet_0.25                 30              8.65%    8.25% to 9.05%              8.98%    8.37% to 9.59%
    mobilenet_0.25                 50              6.99%    6.51% to 7.47%              7.53%    6.62% to 8.44%
    mobilenet_0.25                 70              6.45%    6.02% to 6.88%              7.02%    6.27% to 7.77%
    mobilenet_0.25                 90              5.79%    5.61% to 5.97%              6.48%    5.82% to 7.14%
    mobilenet_v2_0.35              10             17.22%  15.90% to 18.54%             17.74%  16.64% to 18.84%
    mobilenet_v2_0.35              30              9.94%   9.02% to 10.86%             10.41%   9.36% to 11.46%
    mobilenet_v2_0.35              50              8.12%    7.18% to 9.06%              8.39%    7.56% to 9.22%
    mobilenet_v2_0.35              70              7.20%    6.71% to 7.69%              7.73%    7.07% to 8.39%
    mobilenet_v2_0.35              90              6.68%    6.19% to 7.17%              7.39%    7.19% to 7.59%

Hardware: 2 cores of an Intel Xeon (AVX-512), 24 GiB, TensorFlow 2.21, Keras 3.15.1; 12 minutes, other work beside.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tl_keras import data, evaluation, export, models, reporting, training, transfer
from tl_keras.config import TransferSettings, option
from tl_keras.errors import InputError

DEFAULT_DATA = "mnist"
SEEN = (224, 224)
# Chosen on the validation images of one draw, among 0.001, 0.003, 0.01 and 0.03.
RATE = 1e-2

METHOD = """\
{backbones} ({weights} weights) stay frozen; a new random layer of {classes} outputs is trained on their features with \
cross-entropy: {epochs} epochs of AdamW at a constant rate of {rate:.0e}, in batches of {batch_size}. {data} is scaled \
to 224 by 224 pixels. The training sets hold {sizes} images of each class; {draws} draws of each size give the \
intervals (Student's, 95%), and within one draw a smaller set is part of the larger ones. The features of each image \
are computed once for each network: all sizes and draws share them.

The study asks for the lowest test error over the epochs. That picks the epoch by the test images ({test:,}), which is \
optimistic. Beside it stands the honest figure: the epoch is picked on {validation:,} validation images that are \
neither trained on nor tested on, and the test error of that epoch is read."""


@dataclass(frozen=True)
class Settings(TransferSettings):
    """What this study can be asked."""

    epochs: int = option(50, "passes over the training images", minimum=1)
    batch_size: int = option(32, "images per training step", minimum=1)
    backbone: str = option("resnet50,vgg19", "the frozen networks, separated by commas")
    weights: str = option("imagenet", "their weights: imagenet, none or files; one for all, or one each")
    seeds: int = option(5, "how many draws of each training set", minimum=2)
    sizes: str = option("10,30,50,70,90", "training images per class, separated by commas")
    validation: int = option(40, "images per class that pick the epoch honestly, never trained on", minimum=1)
    test_limit: int | None = option(None, "test images used, for slow machines", minimum=1)

    def __post_init__(self):
        super().__post_init__()
        if self.lr == "find":
            raise InputError("--lr: expected a number, received find; the sets differ too much in size for one range")
        for name in self.networks:
            models.backbones.find(name)
        self.counts  # noqa: B018, checked before anything is loaded

    @property
    def networks(self) -> dict[str, str]:
        """The weights of each backbone, under its name.

        >>> Settings(backbone="resnet50,vgg19", weights="none").networks
        {'resnet50': 'none', 'vgg19': 'none'}
        """
        names, weights = (text.split(",") for text in (self.backbone, self.weights))
        if len(names) != len(set(names)):
            raise InputError(f"--backbone: expected different networks, received {self.backbone}; name each once")
        if len(weights) not in (1, len(names)):
            raise InputError(
                f"--weights: expected one for all or one for each of {len(names)} backbones, received {len(weights)}; "
                "separate them by commas"
            )
        return dict(zip(names, weights * len(names), strict=False))

    @property
    def counts(self) -> list[int]:
        """The training-set sizes, images per class, ascending."""
        texts = self.sizes.split(",")
        if not all(text.strip().isdigit() and int(text) for text in texts):
            raise InputError(f"--sizes: expected numbers above zero, received {self.sizes!r}; give some such as 10,30")
        return sorted({int(text) for text in texts})


def load(settings: Settings, out):
    """(validation, draws, test): the draws hold the largest number of images of each class."""
    images = data.sources.load(settings.data or DEFAULT_DATA, settings.data_dir, fallback=not settings.data)
    out.update_config(data=reporting.sections.describe(images))
    train = data.splits.limit(images.train, settings.limit, settings.seed)
    test = data.splits.limit(images.test, settings.test_limit or settings.limit, settings.seed)
    validation, rest = data.splits.per_class(train, settings.validation, settings.seed)
    draws = [
        {count: data.splits.per_class(rest, count, settings.seed + draw)[0].ids for count in settings.counts}
        for draw in range(settings.seeds)
    ]
    drawn = rest.take(np.flatnonzero(np.isin(rest.ids, np.concatenate([draw[settings.counts[-1]] for draw in draws]))))
    return images.name, drawn, draws, validation, test


def features(settings: Settings, out, name: str, weights: str, splits):
    """The network, its name, the part that trains, and what the frozen part makes of each split, computed once."""
    training.runtime.prepare(settings.seed, settings.precision)
    network = models.backbones.build(name, len(splits[0].class_names), weights)
    model = models.heads.with_softmax(network)
    transfer.strategies.set_trainable(model, transfer.strategies.Phase(last_layers=1))
    prefix, suffix = transfer.frozen.split_frozen(model)
    storage = transfer.activations.Storage(out.activations, settings.activations, settings.disk_limit)
    stored = []
    for split in splits:
        seen = replace(split, images=data.lazy.Resized(split.images, SEEN))
        print(f"{name}: features of {len(split):,} images", flush=True)
        stored.append(replace(split, images=transfer.activations.store(prefix, seen, storage)[0]))
    return model, network.name, suffix, stored


def train(settings: Settings, out, name: str, suffix, splits, seed: int):
    """Train a new last layer; return it, its training and the epochs picked."""
    train_split, validation, test = splits
    recipe = training.schedules.Recipe(
        settings.epochs, settings.batch_size, settings.learning_rate(RATE), schedule="constant", weight_decay=0.0,
        label_smoothing=0.0, seed=seed,
    )  # fmt: skip
    curves = []
    # Twice the very same training, bit for bit: measured on the validation images, then on the test images.
    for file_name, split in ((f"{name}_validation", validation), (name, test)):
        training.runtime.prepare(seed, settings.precision)
        head = models.heads.renewed(suffix)
        trained = training.loop.fit(file_name, head, train_split, split, recipe, out)
        curves.append(trained.history["val_accuracy"])
    return head, trained, evaluation.epoch_choice.choose(*curves)


def run(settings: Settings, out) -> None:
    """Train a last layer for every network, size and draw, and write what came of it."""
    name_of_data, drawn, draws, validation, test = load(settings, out)
    choices, networks, kept = {}, [], {}
    for name, weights in settings.networks.items():
        model, short, suffix, stored = features(settings, out, name, weights, (drawn, validation, test))
        outcomes = []
        for size in settings.counts:
            for draw, ids in enumerate(draws):
                part = stored[0].take(np.flatnonzero(np.isin(drawn.ids, ids[size])))
                file_name = f"{short}_{size}" + (f"_draw{draw + 1}" if draw else "")
                seed = settings.seed + draw
                head, trained, choice = train(settings, out, file_name, suffix, (part, *stored[1:]), seed)
                choices.setdefault((short, size), []).append(choice)
                if size == settings.counts[-1]:
                    outcomes.append(evaluation.outcome.measure(head, trained, seed, part, stored[2], out))
                    if not draw:
                        suffix.set_weights(head.get_weights())
                        export.saved_model.save_keras(model, out.model(file_name))
                        kept[short] = (model, test.class_names)
        networks.append(evaluation.outcome.Network(short, f"{short}, {size} a class", tuple(outcomes)))
    finish(settings, out, name_of_data, test, choices, networks, kept)


def finish(settings: Settings, out, name_of_data: str, test, choices, networks, kept) -> None:
    """Write models, results, report and notebook."""
    sections, table = reporting.sections, reporting.sizes.table(choices)
    found = reporting.sizes.sentences(choices) + reporting.conclusion.verdict(networks)
    method = METHOD.format(
        backbones=" and ".join(kept), weights=", ".join(Path(text).name for text in settings.weights.split(",")),
        classes=len(test.class_names), epochs=settings.epochs, rate=settings.learning_rate(RATE), data=name_of_data,
        batch_size=settings.batch_size, sizes=", ".join(map(str, settings.counts)), draws=settings.seeds,
        test=len(test), validation=settings.validation * len(test.class_names),
    )  # fmt: skip
    report = reporting.content.Report(
        title="How many images does a frozen network need?",
        subtitle=f"{name_of_data}: {', '.join(kept)}, {settings.seeds} draws of each size",
        summary=found,
        sections=[
            sections.text_section("Question and method", method),
            sections.text_section("Results", "", table, *reporting.sizes.charts(choices, out)),
            sections.text_section("The largest sets, after the last epoch", "", sections.results_table(networks)),
            sections.training_section(networks, out),
            sections.errors_section(networks, [test] * len(networks), out),
            sections.settings_section(out.config()),
        ],
    )
    notebook = reporting.notebook.of_study(__file__, settings)
    export.publish.publish(out, networks, kept, report, notebook, sizes=reporting.sizes.entries(choices))
    print(f"\n{table.text}")
