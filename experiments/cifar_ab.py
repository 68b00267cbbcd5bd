"""CIFAR-10 split A/B: what is re-using a trained network worth?

    python -m tl_keras.run cifar_ab --registration 2020387499 --seeds 3

Expected, printed by that command (CIFAR-10, 20 epochs, part B = deer and truck, 10,000 training and 2,000 test images):

    network             seeds  test accuracy      95% interval  train accuracy  seconds
    A, eight classes        1         0.8925  0.8855 to 0.8991          0.9360   1522.8
    B from scratch          3         0.9898  0.9855 to 0.9942          0.9963    440.3
    B, last two layers      3         0.9885  0.9852 to 0.9918          0.9917     30.7
    B, last layer           3         0.9707  0.9699 to 0.9714          0.9636     16.9

The two best are not to be told apart on these test images (p = 0.55). Hardware: 2 cores of an Intel Xeon (AVX-512),
24 GiB, float32, TensorFlow 2.21, Keras 3.15.1; about an hour in all, resumed once, with other heavy work on its cores
(undisturbed epochs took less than half the time of most).
"""

from dataclasses import dataclass

from tl_keras import data, evaluation, export, models, reporting, training, transfer
from tl_keras.config import Settings as CommonSettings
from tl_keras.config import only_own_network, option
from tl_keras.errors import InputError

DEFAULT_DATA = "cifar10"
IMAGE_SIZE = (32, 32)
# Widths, BatchNorm, Dropout, label smoothing and rate of network A were chosen in some trials on 4,000 training images
# of part A held out; the rates for part B by benchmarks/learning_rates.py, one grid for all three, when the network had
# no BatchNorm yet. No test image was read.
RATE_A = 4e-3
STRATEGIES = {  # name: (title, strategy, peak learning rate)
    "B_scratch": ("B from scratch", "scratch", 8e-3),
    "B_last_two": ("B, last two layers", "last_two", 1e-3),
    "B_last": ("B, last layer", "last_layer", 8e-3),
}
# Part B sees this many augmented versions of each image, so that what frozen layers make of them can be stored.
VIEWS_B = 2

METHOD = """\
Part A holds the classes {a}; part B holds {b}, the classes named by the registration number {registration}. A \
convolutional network is trained on A. Then the same architecture is trained on B ({train:,} training images, {test:,} \
test images) in three ways: from scratch (random weights); re-using the weights of A with only the last fully \
connected layer trained, whose two outputs are new; and re-using them with both fully connected layers trained.

One protocol holds for all: {epochs} epochs of AdamW on a one-cycle schedule, random shifts of up to an eighth of the \
side and, for natural images, mirroring; part B sees {views} augmented versions of each image. Only the peak learning \
rate differs; it was chosen on a validation part of the training images. The test images were measured after every \
epoch, as the figures show, but nothing was chosen by them: the weights after the last epoch count.

Layers that are frozen are run once for each version of an image, in inference mode; the layers behind them are \
trained on what they gave. The numbers equal those of training the whole network."""


@dataclass(frozen=True)
class Settings(CommonSettings):
    """What this study can be asked."""

    registration: str = option("2020387499", "university number; its last two digits name the classes of part B")
    seeds: int = option(1, "how often each network for part B is trained", minimum=1)

    def __post_init__(self):
        super().__post_init__()
        classes_of_part_b(self.registration)
        only_own_network(self, "cnn")


def classes_of_part_b(registration: str) -> list[int]:
    """The two classes named by the last two digits; equal ones: the first moves back until they differ.

    >>> classes_of_part_b("2020387499")
    [4, 9]
    """
    if not (registration.isascii() and registration.isdigit() and len(registration) > 1):
        raise InputError(
            f"--registration: expected a number of at least two digits, received {registration!r}; "
            "give your university number"
        )
    last = registration[-1]
    first = next((digit for digit in reversed(registration[:-1]) if digit != last), None)
    if first is None:
        raise InputError(
            f"--registration: expected two different digits, received {registration!r}; give a number that has them"
        )
    return sorted([int(first), int(last)])


def parts(images, settings: Settings) -> dict:
    """Cut train and test images into part A (eight classes) and part B (two): {"A": (train, test), "B": ...}."""
    if len(images.class_names) < 10:
        raise InputError(
            f"--data: expected a set of ten classes or more, received {images.name} with "
            f"{len(images.class_names)}; choose another set"
        )
    of_b = classes_of_part_b(settings.registration)
    of_a = [number for number in range(len(images.class_names)) if number not in of_b]
    splits = [data.splits.limit(split, settings.limit, settings.seed) for split in (images.train, images.test)]
    return {
        name: tuple(data.splits.by_class(split, classes) for split in splits)
        for name, classes in (("A", of_a), ("B", of_b))
    }


def run(settings: Settings, out) -> None:
    """Train network A, then the three networks for part B with every seed, and write what came of it."""
    wanted = settings.data or DEFAULT_DATA
    images = data.sources.load(wanted, settings.data_dir, size=IMAGE_SIZE, fallback=settings.data is None)
    part = parts(images, settings)
    out.update_config(data=reporting.sections.describe(images))
    name_of_data = images.name
    del images  # the parts are copies
    # Mirrored digits are no digits; mirrored cats are.
    augment = data.augment.FlipShift(flip=name_of_data not in ("digits", "mnist"))

    def train(name, split, seed, rate, strategy="scratch", views=None):
        train_split, test_split = part[split]
        training.runtime.prepare(seed, settings.precision)
        model = models.cnn.build(len(train_split.class_names), (*IMAGE_SIZE, 3))
        if strategy != "scratch":
            transfer.strategies.copy_weights(kept["A"], model, new_layers=1)
        recipe = training.schedules.Recipe(settings.epochs, settings.batch_size, rate, views=views, seed=seed)
        phases = transfer.strategies.find(strategy).phases
        trained = training.loop.fit(name, model, train_split, test_split, recipe, out, augment=augment, phases=phases)
        export.saved_model.save_keras(model, out.model(name))
        return model, evaluation.outcome.measure(model, trained, seed, train_split, test_split, out)

    kept = {}
    kept["A"], outcome_a = train("A", "A", settings.seed, RATE_A)
    networks = [evaluation.outcome.Network("A", "A, eight classes", (outcome_a,))]
    for name, (title, strategy, rate) in STRATEGIES.items():
        outcomes = []
        for repeat in range(settings.seeds):
            file_name = f"{name}_seed{settings.seed + repeat}" if repeat else name
            model, outcome = train(file_name, "B", settings.seed + repeat, rate, strategy, VIEWS_B)
            kept.setdefault(name, model)
            outcomes.append(outcome)
        networks.append(evaluation.outcome.Network(name, title, tuple(outcomes)))
    finish(settings, out, name_of_data, part, kept, networks)


def finish(settings: Settings, out, name_of_data, part, kept, networks) -> None:
    """Write models, results, report and notebook."""
    with_classes = {name: (model, part[name[0]][0].class_names) for name, model in kept.items()}
    notebook = reporting.notebook.of_study(__file__, settings)
    export.publish.publish(out, networks, with_classes, compose(settings, out, name_of_data, part, networks), notebook)


def conclusion(networks) -> list[str]:
    """What the numbers say, in sentences."""
    scratch, *reused = networks[1:]
    return reporting.conclusion.verdict(networks[1:]) + reporting.conclusion.transfer_effects(reused, scratch)


def compose(settings: Settings, out, name_of_data, part, networks) -> reporting.content.Report:
    """What the report says."""
    found = conclusion(networks)
    sections, (of_a, of_b) = reporting.sections, (part[name][0].class_names for name in "AB")
    seeds = "one seed" if settings.seeds == 1 else f"{settings.seeds} seeds"
    method = METHOD.format(
        a=", ".join(of_a), b=" and ".join(of_b), train=len(part["B"][0]), test=len(part["B"][1]), views=VIEWS_B,
        registration=settings.registration, epochs=settings.epochs,
    )  # fmt: skip
    return reporting.content.Report(
        title="What is re-using a trained network worth?",
        subtitle=f"{name_of_data}: part A ({len(of_a)} classes) and part B ({' and '.join(of_b)}), "
        f"{settings.epochs} epochs, {seeds} for part B",
        summary=found,
        sections=[
            sections.text_section("Question and method", method, sections.layers_table(models.cnn.build(len(of_a)))),
            sections.text_section("Results", "", sections.results_table(networks)),
            sections.comparison_section(networks[1:], networks[1], found, out),
            sections.training_section(networks, out),
            sections.errors_section(networks, [part[network.name[0]][1] for network in networks], out),
            sections.settings_section(out.config()),
        ],
    )
