"""The part of a report that looks at one network class by class."""

from __future__ import annotations

from collections.abc import Sequence

from tl_keras.evaluation import classification
from tl_keras.evaluation.arms import Arm
from tl_keras.evaluation.classification import BINS, Balance, Calibration, ClassReport, Confusion, Roc, Scores
from tl_keras.records import TEST
from tl_keras.reporting import classification_figures
from tl_keras.reporting.content import Figure, Section, Table, Text

ALL_SHOWN = 20  # classes: of more only the worst and the best stand in the table
SHOWN = 10  # of each end


def classification_section(arm: Arm, split: str = TEST) -> Section:
    """Precision and recall of each class, the most frequent confusions, ROC curves and calibration of the first seed.

    Args:
        arm: the network that is looked at.
        split: of which images; their labels must be known.

    Raises:
        InputError: there are no predictions of that split, or its labels are hidden.

    >>> [type(block).__name__ for block in classification_section(arm).blocks]  # doctest: +SKIP
    ['Text', 'Table', 'Table', 'Figure', 'Figure']
    """
    predicted, names = arm.predictions(split)[0], arm.first.class_names
    report = classification.class_report(predicted, names)
    curves, sureness = classification.roc(predicted, names), classification.calibration(predicted)
    images = f"the {len(predicted.labels):,} {split} images"
    confused = classification.confusions(predicted, names)
    said = [_scores_text(arm, report, classification.balance(predicted), images), _sureness_text(sureness)]
    said += [] if confused else ["No image was taken for one of another class."]
    said += [] if curves else ["ROC curves need images of two classes at least, and finite probabilities."]
    blocks: list[Text | Table | Figure] = [Text("\n\n".join([said[0], " ".join(said[1:])]))]
    blocks.append(_scores_table(report, images))
    blocks += [_confusions_table(confused, images)] if confused else []
    blocks += [_roc_figure(curves, images)] if curves else []
    blocks += [_calibration_figure(arm.title, sureness, images)] if sureness else []
    return Section("Class by class", blocks)


def _scores_text(arm: Arm, report: ClassReport, balance: Balance, images: str) -> str:
    seed = " (first seed)" if len(arm.records) > 1 else ""
    text = (
        f"On {images}, {arm.title}{seed}: accuracy {report.accuracy:.4f}, macro average of F1 {report.macro.f1:.4f}. "
        f"The largest class has {int(balance.counts.max()):,} images, {balance.ratio:.1f} times those of the smallest."
    )
    if balance.empty:
        text += f" {balance.empty} of {len(balance.counts)} classes have no image here and count in no average."
    return text


def _sureness_text(sureness: Calibration | None) -> str:
    if not sureness:
        return "Probabilities are not finite numbers: nothing can be said of how sure the network is."
    degree = "above" if sureness.surplus > 0 else "below"
    return (
        f"The mean probability of its answers is {100 * abs(sureness.surplus):.1f} points {degree} its accuracy. "
        f"Expected calibration error {sureness.ece:.4f} (Guo et al., 2017), Brier score {sureness.brier:.4f} (0 to 2), "
        f"log loss {sureness.log_loss:.4f}."
    )


def _scores_table(report: ClassReport, images: str) -> Table:
    note = (
        "Precision: of the images taken for the class, those that are of it. Recall: of its images, those recognised."
    )
    judged = report.by_f1
    if len(report.classes) > ALL_SHOWN and len(judged) > 2 * SHOWN:
        between = judged[SHOWN:-SHOWN]
        gap = [
            f"{len(between)} class{'es' if between[1:] else ''} between",
            "",
            "",
            "",
            sum(each.support for each in between),
        ]
        rows = [*map(_row, judged[:SHOWN]), gap, *map(_row, judged[-SHOWN:])]
        note += f" Shown are the {SHOWN} classes with the lowest and the {SHOWN} with the highest F1 of {len(judged)}."
    else:
        rows = [_row(each) for each in report.classes if len(report.classes) <= ALL_SHOWN or each.support]
    rows += [_row(report.macro), _row(report.weighted)]
    header = ["class", "precision", "recall", "F1", "images"]
    return Table(f"Precision and recall of each class on {images}", header, rows, note + _AVERAGES)


_AVERAGES = " Macro average: every class counts alike; weighted: every image does."


def _row(scores: Scores) -> list[object]:
    numbers = (scores.precision, scores.recall, scores.f1)
    return [scores.name, *(None if number is None else f"{number:.3f}" for number in numbers), scores.support]


def _confusions_table(confused: Sequence[Confusion], images: str) -> Table:
    rows = [[each.true, each.predicted, each.images, f"{each.share:.1%}", each.both] for each in confused]
    return Table(
        f"What was taken for what most often, of {images}",
        ["true class", "taken for", "images", "of the true class", "in both directions"],
        rows,
        f"At most {classification.MOST_PAIRS} pairs, most images first.",
    )


def _roc_figure(curves: Roc, images: str) -> Figure:
    caption = (
        f"ROC curves on {images}, each class against the rest, with the areas below them: the classes with the "
        "smallest areas in colour. The macro average (dashed, also on the right) is the mean over classes, the micro "
        "average counts all answers alike. Where it hides no curve, an inset enlarges the framed corner."
    )
    return Figure("roc", caption, lambda: classification_figures.roc(curves))


def _calibration_figure(title: str, sureness: Calibration, images: str) -> Figure:
    caption = (
        f"How often {images} are recognised against the probability of the answer, in {BINS} bins with 95% intervals; "
        "below, the share of images in each. Under the dotted line the network is too sure. ECE: expected calibration "
        "error, the mean gap to that line; surplus: mean probability less accuracy."
    )
    return Figure("calibration", caption, lambda: classification_figures.calibration({title: sureness}))
