"""The pages of a competition: results out of fold, what each part brought, errors, and where the winner looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.contest import augmentation
from tl_keras.evaluation import classification, compare
from tl_keras.evaluation.arms import Arm
from tl_keras.records import TEST, Record
from tl_keras.reporting import augmentation_figures, explanations, figures, plan_figures, sections
from tl_keras.reporting.classification_sections import classification_section
from tl_keras.reporting.conclusion import p_text
from tl_keras.reporting.content import Figure, Report, Section, Table, Text
from tl_keras.reporting.explanations import Explained
from tl_keras.study.crossfit import OUT_OF_FOLD

METHOD = """\
{train:,} labelled images of {classes} classes, the largest {ratio:.1f} times as frequent as the smallest{balanced}. \
Every figure is out of fold: the images are cut into five parts, each with all classes in proportion, copies of an \
image in one part, and each part is judged by heads and networks that have learned the other four. Where a table or \
a figure says test images, these are meant{own}. The network that is kept, and that hidden images are predicted with, \
has learned from all of them.

Several networks ({networks}) see each image at several sizes; the features of their last layer and of a middle stage, \
averaged over the image and over its mirror image, are stacked. Which of these blocks are taken, forward selection \
decides. The head is a ridge regression on the similarity of an image to all training images; width, penalty and \
sharpness are those of least log loss. {tuned}The vote weighs the members' probabilities; its accuracy is that of \
weights chosen on the other folds.

The same images out of fold chose blocks, penalties and the winner, which flatters them a little; that each head \
learned from four fifths of the images only, works the other way."""

TUNED = """\
{name} is also fine-tuned ({titles}): {epochs} epochs of AdamW in batches of {batch}, a one-cycle schedule, the norm \
of the gradients bounded, augmented by the policy "{augment}". """


def members(run) -> list[Arm]:
    """The arms that compete, without the short trials of augmentations."""
    return [arm for arm in run.arms if not augmentation.is_one(arm.first)]


def chosen_by(run) -> str:
    """The split that decides: images out of fold."""
    return OUT_OF_FOLD if OUT_OF_FOLD in members(run)[0].first.predictions else TEST


def best(run) -> Arm:
    """The arm that names most images rightly out of fold; of equals the first."""
    return max(members(run), key=lambda arm: arm.correct(chosen_by(run)).mean())


def report(run) -> Report:
    """What the report says."""
    arms, winner = members(run), best(run)
    tuned = [arm for arm in arms if len(arm.first.history["epoch"]) > 1]
    short = [arm.first for arm in run.arms if augmentation.is_one(arm.first)]
    return Report(
        title="Which class does each image belong to?",
        subtitle=f"{winner.first.data['name']}: {winner.title}, handed in by {run.settings.roll}",
        summary=_findings(run),
        sections=[
            sections.text_section("Strategy", _method(run), _diagram(run)),
            sections.text_section("Results", "", _results(run), _required(run), *_resources(run)),
            *_parts(run),
            *([Section("Augmentation", _augmentation(run, short))] if short or _examples(run) else []),
            *([sections.training_section(tuned)] if tuned else []),
            sections.errors_section([winner]),
            classification_section(winner),
            *_looks(run),
            sections.settings_section({key: value for key, value in run.config.items() if key != "plan"}),
        ],
    )


def _findings(run) -> list[str]:
    winner, split = best(run), chosen_by(run)
    interval = winner.interval(split)
    found = [
        f"{winner.title.capitalize()} names {interval.mean:.1%} of {interval.n:,} images rightly out of fold (95% "
        f"interval {100 * interval.low:.1f} to {100 * interval.high:.1f})."
    ]
    others = sorted((arm for arm in members(run) if arm is not winner), key=lambda arm: -arm.correct(split).mean())
    for other in others:
        points = 100 * (interval.mean - other.correct(split).mean())
        p_value = compare.paired_p_value(winner.correct(split), other.correct(split))
        found.append(
            f"{other.title.capitalize()} is {points:.1f} points behind ({p_text(p_value)}, of these networks)."
        )
    if split != TEST:
        on_test = winner.interval()
        found.append(f"On {on_test.n:,} test images, which chose nothing, it names {on_test.mean:.1%} rightly.")
    hidden = winner.first.predictions.get("unlabelled")
    if hidden is not None:
        found.append(f"{len(hidden.ids):,} hidden images were predicted: {run.settings.roll}_06.csv.")
    left_out = run.config.get("plan", {}).get("left_out", [])
    return found + ([f"{len(left_out)} things did not fit the time and were left out."] if left_out else [])


def _method(run) -> str:
    record, settings = best(run).first, run.settings
    counts = np.bincount(record.predictions[chosen_by(run)].labels, minlength=len(record.class_names))
    tuned = [arm for arm in members(run) if arm.first.trial["network"] not in ("stacked", "vote")]
    said = TUNED.format(
        name=Path(tuned[0].first.trial["network"]).name, titles=", ".join(arm.title for arm in tuned),
        epochs=settings.epochs, batch=settings.batch_size, augment=settings.augment,
    ) if tuned else ""  # fmt: skip
    names = dict.fromkeys(Path(block.split("@")[0]).name for block in (settings.blocks or "").split(","))
    return METHOD.format(
        train=record.data["train_images"], classes=len(record.class_names), ratio=counts.max() / max(counts.min(), 1),
        balanced=", and each counts alike in the kernel head" if settings.balanced else "",
        own="" if chosen_by(run) == TEST else ", but those of the set's own test images, which were measured once",
        networks=", ".join(names), tuned=said,
    )  # fmt: skip


def _diagram(run) -> Figure:
    winner = best(run).first
    weights = winner.measured.get("weights", {winner.name: 1.0})
    titles = [(arm.title, weights[arm.first.name]) for arm in members(run) if weights.get(arm.first.name)]
    stacked = next(arm.first for arm in members(run) if arm.first.trial["network"] == "stacked")
    said = "The model that is handed in, from the image to the probabilities."
    blocks = stacked.measured["blocks"]
    return Figure("model", said, lambda: plan_figures.diagram(blocks, f"{stacked.trial['head']} head", titles))


def _results(run) -> Table:
    split = chosen_by(run)
    rows = []
    for arm in members(run):
        interval, predicted = arm.interval(split), arm.predictions(split)[0]
        scores = classification.class_report(predicted, arm.first.class_names)
        rows.append([
            arm.title, f"{interval.mean:.4f}", f"{interval.low:.4f} to {interval.high:.4f}", f"{scores.macro.f1:.4f}",
            f"{predicted.loss:.4f}", *([f"{arm.accuracy:.4f}"] if split != TEST else []),
        ])  # fmt: skip
    header = ["member", "accuracy", "95% interval", "macro F1", "log loss", *(["test accuracy"] * (split != TEST))]
    over = best(run).interval(split)
    note = f"On {over.n:,} images, each judged out of fold. Intervals: {over.kind}."
    return Table("The members and their vote", header, rows, note)


def _required(run) -> Table:
    """What the assignment asks for, on its one split: the first fold is held out, the others are trained on."""
    hardware = run.config.get("hardware", {})
    split, rows = chosen_by(run), []
    for arm in members(run):
        record = arm.first
        folds = record.arrays["folds"]
        held = record.predictions[split].correct[folds[folds >= 0] == 0]
        memory = record.measured.get("peak_memory_mb")
        rows.append([
            arm.title, run.settings.batch_size if record.trial["augment"] else None, record.trainable_parameters,
            f"{memory / 1000:.1f} GB" if memory else None, f"{record.seconds:.0f}", _size(record),
            f"{record.train_accuracy:.4f}", f"{held.mean():.4f}", f"{_macro_f1(record, split, folds):.4f}",
        ])  # fmt: skip
    return Table(
        "As the assignment asks",
        ["network", "batch", "trained", "memory", "seconds", "images trained on", "train", "validation", "val. F1"],
        rows,
        f"No GPU: {hardware.get('cores')} cores of {hardware.get('processor')}, {hardware.get('memory_gib')} GiB. "
        "Training accuracy is that of the network which learned from all images; validation is the first of the five "
        "folds, a fifth of the images, by what learned from the rest. Memory is the peak of the process up to then; "
        "seconds count all folds, and features where they were not stored yet. A head that is solved has no batches.",
    )


def _macro_f1(record: Record, split: str, folds: np.ndarray) -> float:
    said, held = record.predictions[split], folds[folds >= 0] == 0
    part = type(said)(said.ids[held], said.labels[held], said.probabilities[held])
    return float(classification.class_report(part, record.class_names).macro.f1 or 0.0)


def _size(record: Record) -> str:
    count, epochs = record.data["train_images"], len(record.history["epoch"])
    if epochs == 1:
        return f"{count:,}, and mirrored" if record.trial["view"]["mirror"] else f"{count:,}"
    return f"{count:,} in {record.trial['recipe']['views'] or epochs} versions"


def _resources(run) -> list[Figure]:
    split = chosen_by(run)
    found = []
    for arm in members(run):
        interval, record = arm.interval(split), arm.first
        memory = record.measured.get("peak_memory_mb", float("nan"))
        found.append(plan_figures.Member(
            arm.title, interval.mean, interval.low, interval.high, record.parameters, record.seconds, memory
        ))  # fmt: skip
    said = (
        "Accuracy out of fold with its 95% interval against what each member costs: parameters, seconds, peak memory."
    )
    return [Figure("resources", said, lambda: plan_figures.resources(found))]


def _parts(run) -> list[Section]:
    plan = run.config.get("plan", {})
    blocks: list[Text | Table | Figure] = []
    if plan.get("ablation"):
        rows, intervals = list[list](), dict[str, figures.Bounds]()
        for title, right, count, points, p_value in plan["ablation"]:
            interval = compare.proportion_interval(right, count)
            intervals[title] = (interval.mean, interval.low, interval.high)
            p_said = "–" if not rows else p_text(p_value)
            rows.append(
                [title, f"{interval.mean:.4f}", f"{interval.low:.4f} to {interval.high:.4f}", f"{points:+.2f}", p_said]
            )
        note = (
            "Kernel head, one width and penalty for all (the linear one: the best of three), out of fold; points and p "
            "against all parts, on the same images."
        )
        blocks.append(
            Table("What each part brings", ["features", "accuracy", "95% interval", "points", "p"], rows, note)
        )
        blocks.append(
            Figure("ablation", "The same as a figure.", lambda: figures.bars(intervals, "accuracy out of fold"))
        )
    if plan.get("growth"):
        rows = [[title, f"{value:.4f}", f"{plan['seconds'].get(title, 0):.0f}"]
                for title, value in zip(plan["taken"], plan["growth"], strict=True)]  # fmt: skip
        rest = ", ".join(plan.get("did_not_help", []))
        note = f"Forward selection out of fold. Not taken, since the accuracy rose no further: {rest or 'none'}."
        header = ["block", "accuracy with it", "seconds"]
        blocks.append(Table("The blocks in the order of their selection", header, rows, note))
    if plan.get("left_out"):
        blocks.append(Text(f"Did not fit the time: {'; '.join(plan['left_out'])}."))
    return [Section("What each part brought", blocks)] if blocks else []


def _augmentation(run, short: list[Record]) -> list[Text | Table | Figure]:
    blocks: list[Text | Table | Figure] = [augmentation.table(short)] if short else []
    kept = _examples(run)
    if kept:
        said = "The same images by every policy, as in training. Images that are measured are never varied."
        blocks.append(Figure("augmentation", said, lambda: augmentation_figures.preview(kept)))
    return blocks


def _examples(run) -> dict[str, np.ndarray]:
    return _kept(run.out.path / "examples.npz")


def _looks(run) -> list[Section]:
    kept, record = _kept(run.out.path / "explanations.npz"), best(run).first
    if not kept:
        return []
    names, said = record.class_names, record.test
    found = [
        Explained(Path(str(said.ids[row])).name, image, heat, names[said.classes[row]],
                  float(said.probabilities[row].max()), names[said.labels[row]])
        for row, image, heat in zip(kept["rows"], kept["images"], kept["heat"], strict=True)
    ]  # fmt: skip
    text = "Grad-CAM of the class that was predicted, by the network that is kept; it has learned these images since."
    caption = "What spoke for the predicted class: the lighter, the more. Wrong answers first."
    return [
        sections.text_section(
            "Where the network looks",
            text,
            Figure("explanations", caption, lambda: explanations.sheet(found, "Out of fold")),
        )
    ]


def _kept(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def entries(run) -> dict[str, object]:
    """The winner, for results.json."""
    arm, split = best(run), chosen_by(run)
    counted = "training images, each judged out of fold" if split == TEST else "the set's own test images"
    return {
        "winner": arm.name, "chosen_by": OUT_OF_FOLD, "out_of_fold_accuracy": float(arm.correct(split).mean()),
        "test_accuracy_is_of": counted, "plan": run.config.get("plan", {}),
    }  # fmt: skip
