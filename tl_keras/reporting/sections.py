"""The parts that the report of every study has: networks, curves, comparison, errors, settings, surroundings."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from sklearn.metrics import confusion_matrix

from tl_keras.data.sources import ImageData
from tl_keras.data.splits import Split
from tl_keras.evaluation.outcome import Network
from tl_keras.evaluation.transfer_effect import effect, leads
from tl_keras.reporting import figures
from tl_keras.reporting.conclusion import p_text
from tl_keras.reporting.content import Figure, Report, Section, Table, Text
from tl_keras.reporting.report import write_html, write_pdf
from tl_keras.run_folder import RunFolder

SHOWN_SAMPLES = 24


def describe(images: ImageData) -> dict[str, Any]:
    """The data set really used, as config.json and the report name it."""
    return {
        "name": images.name,
        "train_images": len(images.train),
        "test_images": len(images.test),
        "classes": list(images.class_names),
        "image_shape": list(images.train.images.shape[1:]),
        "fingerprint_train": images.train.fingerprint(),
        "fingerprint_test": images.test.fingerprint(),
        "quarantined": len(images.quarantine),
    }


def results_table(networks: list[Network]) -> Table:
    """Accuracy, loss, time and size of each network."""
    seeds = max(len(network.outcomes) for network in networks)
    header = [
        "network",
        "seeds",
        "test accuracy",
        "95% interval",
        "train accuracy",
        "gap",
        "test loss",
        "seconds",
        "trained weights",
    ]
    rows = []
    for network in networks:
        interval, first = network.interval(), network.first
        train = np.mean([outcome.train_accuracy for outcome in network.outcomes])
        rows.append(
            [
                network.title,
                len(network.outcomes),
                f"{interval.mean:.4f}",
                f"{interval.low:.4f} to {interval.high:.4f}",
                f"{train:.4f}",
                f"{train - interval.mean:+.4f}",
                f"{np.mean([outcome.test.loss for outcome in network.outcomes]):.4f}",
                f"{network.seconds:.1f}",
                first.training.trainable_parameters,
            ]
        )
    note = (
        "Accuracies are measured in inference mode on images without augmentation, after the last epoch. Intervals "
        "of networks with one seed are Wilson's, for the finite test set"
        + ("; with several seeds they are Student's, for the mean over seeds. " if seeds > 1 else ". ")
        + "Seconds are those of the first seed and include running the frozen layers once."
    )
    return Table("The networks after training", header, rows, note)


def text_section(title: str, text: str, *blocks: Table | Figure) -> Section:
    """A section that begins with a text."""
    return Section(title, [Text(text), *blocks] if text else blocks)


def layers_table(model: keras.Model) -> Table:
    """The layers of a network with the shapes they give and their weights."""
    rows = [
        [layer.name, type(layer).__name__, " × ".join(map(str, layer.output.shape[1:])), layer.count_params()]
        for layer in model.layers
    ]
    note = f"{model.count_params():,} weights in all."
    return Table("The network, for part A", ["layer", "kind", "output", "weights"], rows, note)


def training_section(networks: list[Network], out: RunFolder) -> Section:
    """One figure for each network: loss and accuracy, training and test, by epoch."""
    blocks = []
    for network in networks:
        path = out.plot(f"history_{network.name}")
        figures.save(figures.history(network.title, network.first.training.history), path)
        blocks.append(
            Figure(
                path,
                f"{network.title}: loss and accuracy by epoch, training and test images. The "
                "training curve is measured while weights move, with Dropout and any augmentation on.",
            )
        )
    return Section("Learning curves", blocks)


def comparison_section(networks: list[Network], baseline: Network, sentences: list[str], out: RunFolder) -> Section:
    """The networks side by side: curves, final accuracies, paired tests and the effect of transfer."""
    told = [_leads_table(networks), _effects_table(networks, baseline), Text("\n\n".join(sentences))]
    return Section("Comparison", [*comparison_figures(networks, out), *told])


def comparison_figures(networks: list[Network], out: RunFolder) -> list[Figure]:
    """Learning curves of the first seed, and final accuracies with their intervals."""
    curves, bars = out.plot("comparison"), out.plot("accuracy")
    figures.save(figures.compare({network.title: network.first.training.history for network in networks}), curves)
    intervals = {network.title: network.interval() for network in networks}
    values = {title: (interval.mean, interval.low, interval.high) for title, interval in intervals.items()}
    figures.save(figures.bars(values, "test accuracy"), bars)
    return [
        Figure(
            curves, "Test accuracy and loss by epoch, first seed. Where labels are smoothed the loss stays above zero."
        ),
        Figure(bars, "Test accuracy after the last epoch, with its 95% interval."),
    ]


def _leads_table(networks: list[Network]) -> Table:
    winner, gaps = leads(networks)
    rows = [
        [
            f"{winner.title} against {lead.other.title}",
            f"{lead.points:+.2f}",
            p_text(lead.p_value),
            "yes" if lead.is_real else "no",
        ]
        for lead in gaps
    ]
    return Table(
        "The winner's lead",
        ["pair", "lead (points)", "p", "more than noise"],
        rows,
        "Paired test on the same test images (McNemar's exact test for one seed, sign flips over images for several), "
        "adjusted for several comparisons (Holm). It asks whether other test images would give the same order.",
    )


def _effects_table(networks: list[Network], baseline: Network) -> Table:
    rows = []
    for network in networks:
        seen = effect(network, baseline)
        rows.append(
            [
                network.title,
                f"{seen.start:.4f}",
                f"{100 * seen.slope:+.2f}",
                f"{seen.final:.4f}",
                f"{seen.seconds:.1f}",
                seen.reaches_baseline or "never",
            ]
        )
    return Table(
        f"What transfer did, against {baseline.title}",
        ["network", "start", "slope", "final", "seconds", "epoch of baseline's level"],
        rows,
        "Start: test accuracy after epoch 1. Slope: points per epoch over the first five epochs. Final: test accuracy "
        "after the last epoch. Curves are means over the seeds.",
    )


def errors_section(networks: list[Network], tests: list[Split], out: RunFolder) -> Section:
    """Confusion matrix and sample predictions of each network."""
    blocks = []
    for network, test in zip(networks, tests, strict=True):
        predicted = network.first.test
        matrix = confusion_matrix(predicted.labels, predicted.classes, labels=range(len(test.class_names)))
        path = out.plot(f"confusion_{network.name}")
        figures.save(figures.confusion(matrix, test.class_names, network.title), path)
        blocks.append(Figure(path, f"{network.title}: test images by true class (row) and predicted class (column)."))
        path, shown = out.plot(f"samples_{network.name}"), _sample(len(test))
        figure = figures.samples(
            test.images[shown],
            predicted.labels[shown],
            predicted.classes[shown],
            predicted.probabilities.max(axis=1)[shown],
            test.class_names,
            network.title,
        )
        figures.save(figure, path)
        blocks.append(Figure(path, f"{network.title}: {len(shown)} test images drawn at random, with predictions."))
    return Section("Errors and samples", blocks)


def _sample(count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).choice(count, min(SHOWN_SAMPLES, count), replace=False))


def settings_section(config: dict[str, Any]) -> Section:
    """Every setting, the data and the machine, from config.json."""
    settings = [[name.replace("_", " "), _shown(value)] for name, value in config["settings"].items()]
    surroundings = config["versions"] | config["hardware"]
    data = [[name.replace("_", " "), _shown(value)] for name, value in config["data"].items()]
    return Section(
        "Settings and environment",
        [
            Table("Settings", ["setting", "value"], settings),
            Table("Data", ["property", "value"], data),
            Table(
                "Environment",
                ["item", "value"],
                [[name.replace("_", " "), _shown(v)] for name, v in surroundings.items()],
            ),
        ],
    )


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)


def publish(report: Report, out: RunFolder) -> None:
    """Write report.html and report.pdf."""
    write_html(report, out.path / "report.html")
    write_pdf(report, out.path / "report.pdf")
