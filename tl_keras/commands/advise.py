"""Which backbone and which strategy suit these images? Measured in minutes, without training a network.

    python -m tl_keras.run advise DATA --backbones mobilenet_0.25=FILE,mobilenet_v2_0.35=FILE

The features of each backbone are computed once and scored by LogME, H-score, LEEP where it applies and a linear
probe, beside its ImageNet accuracy, which knows nothing of the data. The strategy comes from the table of little or
much data and similar or different images (`transfer.advice`). Only training images are scored.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np

from tl_keras import data, evaluation, models, reporting, training, transfer
from tl_keras.config import ENGINES, Options, option
from tl_keras.errors import InputError
from tl_keras.quiet import keras
from tl_keras.study.backbone_choice import LOADED, RANKED_BY, Candidate, Scored, parse, ranked, score

HINT = "name weight files, as in --backbones mobilenet_0.25=FILE,mobilenet_v2_0.35=FILE"
METHOD = """\
{used} training images were scored; no test image was. Each backbone ran once over them, \
scaled to a short side of 256 pixels, of which the centre, 224 by 224, counts; a model file saw them at its own size. \
The features of a backbone are what its last layer reads. Nothing was trained but the probe, a logistic regression \
that is asked about images it was not fitted to, in {folds} folds{few}.

Backbones are ranked by the probe, the one score that is an accuracy on these images. That order is a rule of thumb. \
No score orders backbones best everywhere (Agostinelli et al., "How stable are Transferability Metrics evaluations?", \
2022), and a list that never looks at the data can beat them (Singh et al., "How NOT to benchmark your SITE metric", \
2025). Trying both the best by probe and the best by ImageNet accuracy did better than either alone (Renggli et al., \
"Which Model to Transfer?", 2022).

How similar the images are to ImageNet's is judged by the probe alone: a measure of its own would need those images. \
Always naming the largest class reaches {chance:.1%}."""
NOTE = """\
In brackets: the rank by that score alone. The interval is Wilson's, for so many images. LogME and H-score compare \
backbones on these images only; the H-score says little where images are not many more than features. LEEP needs the \
classifier that a backbone was pre-trained with: the registry's come without, a model file that ends in a softmax has \
it. ImageNet top-1 is what was published for the weights; a weight file is taken to hold those."""


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    data: str = option(None, "data set: a name (cifar10, mnist, digits, tfds:NAME) or a path", positional=True)
    data_dir: str | None = option(None, "where named sets lie (default $TL_KERAS_DATA, then the Keras cache)")
    backbones: str | None = option(
        None, "NAME, NAME=FILE or NAME=none (random), separated by commas (default: all with published weights)",
        listed=True,
    )  # fmt: skip
    limit: int = option(2000, "most training images that are scored", minimum=4)
    prefix_engine: str = option("auto", "who runs the backbones; auto: the faster one here", choices=ENGINES)
    seed: int = option(0, "fixes random weights, which images are scored and the folds", minimum=0, maximum=2**31 - 1)

    def __post_init__(self):
        super().__post_init__()
        _ = self.candidates  # a misspelt name is answered before TensorFlow is imported

    @property
    def candidates(self) -> list[Candidate]:
        """The backbones to score; where none was named, all that have published weights."""
        if self.backbones is None:
            return [Candidate(name, "imagenet") for name in models.backbones.names()]
        return parse(self.backbones)


def run(settings: Settings, out) -> None:
    """Score every backbone on the training images; write and print the ranking and the advice."""
    images = load(settings)
    out.update_config(data=images.described())
    split = scored_part(images, settings)
    scored, left_out = score_all(settings, split, out)
    advice = advise(images, split, scored)
    conclusion = conclude(settings, scored, advice)
    ranking = ranking_table(scored)
    out.write_results(
        {
            "experiment": "advise",
            "data": images.name,
            "training_images": len(images.train),
            "scored_images": len(split),
            "ranked_by": RANKED_BY,
            "backbones": [one.entry() for one in scored],
            "left_out": left_out,
            "advice": advice and {"strategy": advice.strategy, "reasons": [list(reason) for reason in advice.reasons]},
            "conclusion": conclusion,
        }
    )
    sections = compose(images, split, scored, left_out, advice, out.config())
    title = "Which backbone and which strategy?"
    subtitle = f"{images.name}: {len(split):,} training images, {len(images.class_names)} classes"
    reporting.report.write(reporting.content.Report(title, subtitle, conclusion, sections), out)
    out.remove_activations()
    announce(ranking, method(images, split), conclusion, advice)
    print(f"\nreport: {out.path / 'report.html'}")


def load(settings: Settings) -> data.sources.ImageData:
    """The images at a size that all networks can be served from."""
    return data.sources.load(settings.data, settings.data_dir, LOADED)


def scored_part(images: data.sources.ImageData, settings: Settings) -> data.splits.Split:
    """At most `limit` training images.

    Raises:
        InputError: a class has too few images for a probe.
    """
    split = data.splits.limit(images.train, settings.limit, settings.seed)
    counts = np.bincount(split.labels, minlength=len(split.class_names))
    if counts.min() < 2:
        name, thinned = split.class_names[counts.argmin()], len(split) < len(images.train)
        remedy = "raise --limit" if thinned else "add images of it or leave the class out"
        raise InputError(
            f"{images.name}: expected at least 2 training images of every class, received {counts.min()} of {name!r} "
            f"among {len(split)}; {remedy}"
        )
    return split


def score_all(settings: Settings, split: data.splits.Split, out) -> tuple[list[Scored], dict[str, str]]:
    """Every backbone scored, best first, and why others of the registry were left out.

    Raises:
        InputError: weights of a backbone that was named, or of all, are not to be had.
    """
    scored, left_out = [], {}
    storage = transfer.activations.Storage(out.activations, engine=settings.prefix_engine)
    for candidate in settings.candidates:
        training.runtime.prepare(settings.seed)
        try:
            model = models.backbones.build(candidate.name, len(split.class_names), candidate.weights)
        except InputError as error:
            if settings.backbones:
                raise InputError(f"--backbones {candidate.name}: {error}") from error
            left_out[candidate.name] = str(error)
            print(f"{candidate.title}: left out, its published weights are not to be had", flush=True)
            continue
        print(f"{candidate.title}: scoring {len(split):,} images", flush=True)
        scored.append(score(candidate, model, split, settings.seed, storage))
        del model
        keras.backend.clear_session()
        training.runtime.release_memory()
    if not scored:
        first = next(iter(left_out.values()))
        raise InputError(f"--backbones: expected one whose weights can be had, received none ({first}); {HINT}")
    return ranked(scored), left_out


def advise(
    images: data.sources.ImageData, split: data.splits.Split, scored: list[Scored]
) -> transfer.advice.Advice | None:
    """The strategy for these images, by the best backbone that was trained before; None where none was."""
    best = best_trained(scored)
    if best is None:
        return None
    classes = len(images.class_names)
    return transfer.advice.advise(
        len(images.train) / classes, classes, best.scores[RANKED_BY], share_of_largest_class(split)
    )


def best_trained(scored: list[Scored]) -> Scored | None:
    """The first backbone in the ranking whose weights are not random."""
    return next((one for one in scored if not one.candidate.is_random), None)


def share_of_largest_class(split: data.splits.Split) -> float:
    """What a network reaches that always names the largest class."""
    return float(np.bincount(split.labels).max() / len(split))


def conclude(settings: Settings, scored: list[Scored], advice: transfer.advice.Advice | None) -> list[str]:
    """What the numbers say, in sentences."""
    first, *others = scored
    interval = first.interval
    sentences = [
        f"{first.candidate.title} ranks first: the linear probe names {interval.mean:.1%} of the images rightly "
        f"(95% interval {interval.low:.1%} to {interval.high:.1%})."
    ]
    if others:
        p_values = evaluation.compare.all_pairs([one.correct[None] for one in scored])[0, 1:]
        tested = list(zip(others, p_values, strict=True))
        alike = [f"{other.candidate.title} (p = {p:.2g})" for other, p in tested if p >= 0.05]
        sentences.append(
            f"On these images it cannot be told from {', '.join(alike)}."
            if alike
            else f"Its lead over the others is more than noise (p = {max(p for _, p in tested):.1g} or less)."
        )
    agnostic = [one for one in scored if one.ranks["imagenet_top1"] == 1]
    if agnostic and first not in agnostic:
        sentences.append(
            f"By ImageNet accuracy alone {agnostic[0].candidate.title} would come first; as a rule of thumb, try both."
        )
    trained = best_trained(scored)
    if advice is None or trained is None:
        return [*sentences, f"All weights here are random, so there is nothing to transfer and no advice; {HINT}."]
    best = trained.candidate
    title = transfer.strategies.find(advice.strategy).title
    return [
        *sentences,
        f"Try this strategy first, with {best.title}: {title}.",
        f"Only a comparison of trained networks is proof: {comparison_command(settings, best, advice.strategy)}",
    ]


def comparison_command(settings: Settings, best: Candidate, strategy: str) -> str:
    """The command that trains the network by the advised strategy and by its usual rivals."""
    backbone = best.name if best.is_own else f"{best.name}={best.weights}"
    strategies = dict.fromkeys((strategy, "probe", "full"))
    words = [settings.data, "--backbone", backbone, "--strategies", ",".join(strategies)]
    where = ["--data-dir", settings.data_dir] if settings.data_dir else []
    return shlex.join(["tl-keras", "finetune", *words, *where])


def announce(ranking: reporting.content.Table, how: str, conclusion: list[str], advice) -> None:
    """Print what a person wants to know at once; the report says the rest."""
    print("\n".join(["", ranking.text, "", how.split("\n\n")[0], "", *conclusion]))
    if advice:
        reasons = (f"  {kind:<{len(transfer.advice.RULE)}}  {text}" for kind, text in advice.reasons)
        print("\n".join(["", "Why this strategy:", *reasons]))


def method(images: data.sources.ImageData, split: data.splits.Split) -> str:
    """How it was measured, and by what right the ranking and the advice are given."""
    smallest = int(np.bincount(split.labels).min())
    folds = min(transfer.transferability.FOLDS, smallest)
    thinned = f"{len(split):,} of {len(images.train):,} (thinned by --limit, every class in proportion)"
    return METHOD.format(
        used=thinned if len(split) < len(images.train) else f"All {len(split):,}",
        folds=folds, chance=share_of_largest_class(split),
        few=f" (a class has only {smallest} images)" if folds < transfer.transferability.FOLDS else "",
    )  # fmt: skip


def ranking_table(scored: list[Scored]) -> reporting.content.Table:
    """Every backbone with every score and its rank by it."""

    def cell(one: Scored, name: str, form: str) -> str | None:
        return None if one.scores[name] is None else f"{one.scores[name]:{form}} ({one.ranks[name]})"

    rows = [
        [
            one.candidate.title,
            one.candidate.origin,
            one.features,
            cell(one, RANKED_BY, ".3f"),
            f"{one.interval.low:.3f} to {one.interval.high:.3f}",
            cell(one, "log_me", ".3f"),
            cell(one, "h_score", ".3f"),
            cell(one, "leep", ".3f"),
            cell(one, "imagenet_top1", ".3f"),
        ]
        for one in scored
    ]
    header = ["backbone", "weights", "features", "probe", "95% interval", "LogME", "H-score", "LEEP", "ImageNet top-1"]
    return reporting.content.Table("The backbones, best probe first", header, rows, NOTE)


def compose(images, split, scored: list[Scored], left_out: dict[str, str], advice, config) -> list:
    """The sections of the report."""
    section, content = reporting.sections.text_section, reporting.content
    bars = {one.candidate.title: (one.interval.mean, one.interval.low, one.interval.high) for one in scored}
    caption = (
        f"The share of {len(split):,} training images that the probe names rightly, with its 95% interval; always "
        f"naming the largest class reaches {share_of_largest_class(split):.3f}."
    )
    figure = content.Figure("probe", caption, lambda: reporting.figures.bars(bars, "Accuracy of the linear probe"))
    blocks = [ranking_table(scored), figure]
    if left_out:
        rows = [[name, reason] for name, reason in left_out.items()]
        blocks.append(content.Table("Left out: weights that could not be had", ["backbone", "reason"], rows))
    reasons = [[text, kind] for kind, text in advice.reasons] if advice else []
    table = content.Table("Why this strategy", ["reason", "how it is known"], reasons)
    return [
        *([section("Advice", "", table)] if advice else []),
        section("Ranking", "", *blocks),
        section("How this was measured", method(images, split)),
        reporting.sections.settings_section(config),
    ]
