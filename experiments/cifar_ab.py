"""CIFAR-10 split A/B: what is re-using a trained network worth?

    python -m tl_keras.run cifar_ab --registration 2020387499

Printed by that command (CIFAR-10, 20 epochs, part B = deer and truck, 10,000 training and 2,000 test images, one seed):

    network             test accuracy      95% interval  train accuracy  seconds
    A, eight classes           0.8889  0.8818 to 0.8956          0.9330   2746.7
    B from scratch             0.9890  0.9834 to 0.9927          0.9970    614.2
    B, last two layers         0.9870  0.9810 to 0.9911          0.9920     34.9
    B, last layer              0.9655  0.9566 to 0.9727          0.9629     20.9

The two best networks are not to be told apart on these test images (p = 0.54). Hardware: 2 cores of an AMD EPYC
(AVX-512), 24 GiB, float32, TensorFlow 2.21, Keras 3.15.1; resumed once, with much other work on its cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tl_keras.config import Settings as CommonSettings
from tl_keras.config import only_own_network, option
from tl_keras.data import selection, sources
from tl_keras.data.augment import FlipShift
from tl_keras.data.image_data import ImageData
from tl_keras.data.selection import ByClass
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.study.trial import Trial, repeated
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies

DEFAULT_DATA = "cifar10"
IMAGE_SIZE = (32, 32)
# Widths, BatchNorm, Dropout, label smoothing and rate of network A were chosen in some trials on 4,000 training images
# of part A held out; the rates for part B by benchmarks/learning_rates.py, which reads no test image.
RATE_A = 4e-3
# Of each image re-use sees two augmented versions, so that what frozen layers make of them can be stored; training from
# scratch, which stores nothing, sees a new one in every epoch.
VIEWS = 2
STRATEGIES = {  # name: (title, strategy, peak learning rate, versions of each image; None: a new one every epoch)
    "B_scratch": ("B from scratch", "scratch", 4e-3, None),
    "B_last_two": ("B, last two layers", "last_two", 2e-3, VIEWS),
    "B_last": ("B, last layer", "last_layer", 1.6e-2, VIEWS),
}

METHOD = """\
Part A holds the classes {a}; part B holds {b}, the classes named by the registration number {registration}. A \
convolutional network is trained on A. Then the same architecture is trained on B ({train:,} training images, {test:,} \
test images) in three ways: from scratch (random weights); re-using the weights of A with only the last fully \
connected layer trained, whose two outputs are new; and re-using them with both fully connected layers trained.

One protocol holds for all: {epochs} epochs of AdamW on a one-cycle schedule, random shifts of up to an eighth of the \
side and, for natural images, mirroring. Each way has the best protocol found for it on a validation part of the \
training images: its own peak learning rate, sought until half and twice of it were worse; re-use sees {views} \
augmented versions of each image, whose frozen part is stored, training from scratch a new one in every epoch. The \
test images were measured after every epoch, as the figures show, but nothing was chosen by them: the weights after \
the last epoch count.

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


def load(settings: Settings) -> ImageData:
    """The whole set; a set of fewer than ten classes is refused."""
    images = selection.asked(settings.data, DEFAULT_DATA, settings.data_dir, IMAGE_SIZE)
    if len(images.class_names) < 10:
        raise InputError(
            f"--data: expected a set of ten classes or more, received {images.name} with "
            f"{len(images.class_names)}; choose another set"
        )
    return images


def trials(settings: Settings, images: ImageData) -> list[Trial]:
    """Network A, and the three ways to a network for part B with every seed."""
    of_b = classes_of_part_b(settings.registration)
    of_a = [number for number in range(len(images.class_names)) if number not in of_b]
    part_a = ByClass(images.source, settings.data_dir, settings.limit, settings.seed, classes=tuple(of_a))
    network_a = Trial(
        "A", "A", "A, eight classes", part_a, View(IMAGE_SIZE, mirror=images.mirror), "cnn",
        Recipe(settings.epochs, settings.batch_size, RATE_A, seed=settings.seed),
        seed=settings.seed, augment=FlipShift(flip=images.mirror), precision=settings.precision,
    )  # fmt: skip
    found = [network_a]
    for name, (title, strategy, rate, views) in STRATEGIES.items():
        found += repeated(
            replace(
                network_a, name=name, arm=name, title=title, images=replace(part_a, classes=tuple(of_b)),
                recipe=replace(network_a.recipe, learning_rate=rate, views=views),
                strategy=strategies.find(strategy), start=None if strategy == "scratch" else "A",
            ),
            range(settings.seed, settings.seed + settings.seeds),
        )  # fmt: skip
    return found


def report(run):
    """What the report says."""
    from tl_keras.reporting import conclusion, sections
    from tl_keras.reporting.content import Report

    settings, (arm_a, *arms_b) = run.settings, run.arms
    scratch, *reused = arms_b
    found = conclusion.verdict(arms_b) + conclusion.transfer_effects(reused, scratch)
    (of_a, of_b), data_b = (arm.first.class_names for arm in (arm_a, scratch)), scratch.first.data
    method = METHOD.format(
        a=", ".join(of_a), b=" and ".join(of_b), train=data_b["train_images"], test=data_b["test_images"],
        registration=settings.registration, epochs=settings.epochs, views=VIEWS,
    )  # fmt: skip
    seeds = "one seed" if settings.seeds == 1 else f"{settings.seeds} seeds"
    return Report(
        title="What is re-using a trained network worth?",
        subtitle=f"{data_b['name']}: part A ({len(of_a)} classes) and part B ({' and '.join(of_b)}), "
        f"{settings.epochs} epochs, {seeds} for part B",
        summary=found,
        sections=[
            sections.text_section("Question and method", method),
            sections.text_section("Results", "", sections.results_table(run.arms)),
            sections.comparison_section(arms_b, scratch),
            sections.training_section(run.arms),
            sections.errors_section(arms_b),
            sections.settings_section(run.config),
        ],
    )


def finish(run) -> dict[str, str | None]:
    """Write handin.ipynb: the study in plain Keras, all of its code in one notebook, executed beside this run."""
    from tl_keras.reporting import notebook

    settings, source = run.settings, run.config["data"]["source"]
    found = sources.location(source, settings.data_dir)
    if (found and found.suffix.lower() != ".npz") or run.config["data"]["quarantined"]:
        print("no hand-in notebook: it reads cifar10, mnist, digits or an .npz, and leaves no image out", flush=True)
        return {"handin": None}
    script = (Path(__file__).parent / "handin" / "cifar_ab.py").read_text(encoding="utf-8")
    given = {
        name: getattr(settings, name) for name in ("registration", "epochs", "batch_size", "limit", "seed", "seeds")
    }
    given["data"] = str(found.absolute()) if found else source
    print("executing the hand-in notebook", flush=True)
    path = run.out.path / "handin.ipynb"
    notebook.execute(notebook.build(script, given), path, run.out.path)
    if source in sources.KERAS_SETS:  # elsewhere the set is asked for by its name
        notebook.rename(path, given["data"], source)
    return {"handin": path.name}
