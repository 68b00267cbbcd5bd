"""Backbones and what their features say of labelled images: each run once, scored in several ways, ranked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tl_keras import evaluation, transfer
from tl_keras.data import selection, splits
from tl_keras.data.image_data import ImageData
from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.models import backbones, heads, model_file, networks, weights
from tl_keras.quiet import keras
from tl_keras.training import runtime
from tl_keras.transfer.activations import Storage

LOADED = (256, 256)  # all networks can be served from images that are scaled to cover this
RANKED_BY = "linear_probe"
DEFAULT = "mobilenet_v2_1.0"  # small and good, where no published weights lie on the machine yet


@dataclass(frozen=True)
class Candidate:
    """A backbone of the registry or a person's own model file, and its weights: imagenet, none or a file."""

    name: str
    weights: str

    @property
    def is_own(self) -> bool:
        """Whether it is a model file, which brings its weights."""
        return backbones.find(self.name).input_size is None

    @property
    def is_random(self) -> bool:
        """Whether it was never trained."""
        return self.weights == "none" and not self.is_own

    @property
    def title(self) -> str:
        """How tables and figures call it."""
        return f"{Path(self.name).stem if self.is_own else self.name}{' (random)' if self.is_random else ''}"

    @property
    def origin(self) -> str:
        """Where the weights come from: published, random, a weight file, or the model file itself."""
        known = {"imagenet": "published", "none": "model file" if self.is_own else "random"}
        return known.get(self.weights, "weight file")


def parse(text: str | None, given: str | None = None) -> list[Candidate]:
    """The backbones of a list such as `vgg16,mobilenet_0.25=FILE,resnet50=none`.

    Args:
        text: None: those whose published weights lie on this machine, or else the default one.
        given: the weights of those that name none themselves; None: a model file's own, or the published ones.

    Raises:
        InputError: no such backbone, no such file, or one backbone twice.

    >>> [candidate.title for candidate in parse("vgg16, mobilenet_0.25=none")]
    ['vgg16', 'mobilenet_0.25 (random)']
    """
    names = text.split(",") if text is not None else weights.at_hand() or [DEFAULT]
    candidates = [_candidate(name.strip(), given) for name in names]
    titles = [candidate.title for candidate in candidates]
    if len(titles) != len(set(titles)):
        raise InputError(
            f"--backbone: expected each backbone once, by name, received {text}; take one out, or rename it"
        )
    return candidates


def _candidate(text: str, given: str | None) -> Candidate:
    name, says, own = text.partition("=")
    candidate = Candidate(name, networks.weights_of(name, own if says else given))
    if candidate.weights not in ("imagenet", "none") and not Path(candidate.weights).is_file():
        raise InputError(
            f"--backbone {name}: expected a weight file, imagenet or none, received {candidate.weights!r}; "
            "check the path"
        )
    return candidate


def choose(candidates: Sequence[Candidate], images: ImageData, limit: int, seed: int, storage: Storage) -> Candidate:
    """The candidate whose features name most training images rightly, by a linear probe on `limit` of them.

    Of equals the one named first.
    """
    split = splits.limit(images.train, limit, seed)
    shares = []
    for candidate in candidates:
        print(f"{candidate.title}: scoring {len(split):,} training images", flush=True)
        runtime.prepare(seed)  # random weights are of it
        model = backbones.build(candidate.name, len(split.class_names), candidate.weights)
        found = features(candidate, model, split, storage)
        shares.append(transfer.transferability.linear_probe(found, split.labels, seed).mean())
    best = candidates[int(np.argmax(shares))]
    print(f"{best.title} is re-used: a probe names {max(shares):.1%} rightly", flush=True)
    return best


@dataclass(frozen=True)
class Scored:
    """A backbone with what was measured of it.

    Args:
        correct: whether the probe named each image rightly, bool (N,).
        scores: by name, None where there is none.
        features: how many numbers the backbone makes of an image.
        ranks: by name of the score, among all backbones.
    """

    candidate: Candidate
    correct: np.ndarray
    scores: dict[str, float | None]
    features: int
    seconds: float
    ranks: dict[str, int | None] = field(default_factory=dict)

    @property
    def interval(self) -> evaluation.compare.Interval:
        """The probe's accuracy with its 95% interval."""
        return evaluation.compare.proportion_interval(self.correct.sum(), len(self.correct))

    def entry(self) -> dict:
        """What results.json says of it."""
        named = {"name": self.candidate.name, "title": self.candidate.title, "weights": self.candidate.weights}
        interval = [self.interval.low, self.interval.high]
        measured = {"scores": self.scores, "ranks": self.ranks, "linear_probe_interval": interval}
        return named | measured | {"features": self.features, "seconds": round(self.seconds, 1)}


def score(candidate: Candidate, model: keras.Model, split: Split, seed: int, storage: Storage) -> Scored:
    """Run the backbone over the images and score its features."""
    start = time.monotonic()
    found = features(candidate, model, split, storage)
    correct = transfer.transferability.linear_probe(found, split.labels, seed)
    scores = {
        RANKED_BY: float(correct.mean()),
        "log_me": transfer.transferability.log_me(found, split.labels),
        "h_score": transfer.transferability.h_score(found, split.labels),
        "leep": leep(candidate, split, storage) if candidate.is_own else None,
        "imagenet_top1": None if candidate.is_random else backbones.find(candidate.name).top1,
    }
    return Scored(candidate, correct, scores, found.shape[1], time.monotonic() - start)


def features(candidate: Candidate, model: keras.Model, split: Split, storage: Storage) -> np.ndarray:
    """What the last layer of a backbone reads of the images, (N, F)."""
    return outputs(candidate, keras.Model(model.input, model.get_layer("logits").input), split, storage)


def leep(candidate: Candidate, split: Split, storage: Storage) -> float | None:
    """LEEP of a model file by its own classifier; None where what it gives are no probabilities."""
    network = model_file.load(Path(candidate.name))
    images = keras.Input(heads.input_shape(network))
    flat = keras.Model(images, heads.flat(network, images))
    try:
        return transfer.transferability.leep(outputs(candidate, flat, split, storage), split.labels)
    except InputError:
        return None


def outputs(candidate: Candidate, network: keras.Model, split: Split, storage: Storage) -> np.ndarray:
    """What `network` makes of the images, as it sees them."""
    seen = selection.seen(split, networks.view(candidate.name, mirror=False))
    return transfer.activations.store(network, seen, storage)[0][:]


def ranked(scored: list[Scored]) -> list[Scored]:
    """Best probe first, LogME deciding between equals, each with its rank by every score."""

    def ranks(one: Scored) -> dict[str, int | None]:
        return {name: None if value is None else 1 + ahead(name, value) for name, value in one.scores.items()}

    def ahead(name: str, value: float) -> int:
        others = (other.scores[name] for other in scored)
        return sum(score is not None and score > value for score in others)

    ordered = sorted(scored, key=lambda one: (one.scores[RANKED_BY], one.scores["log_me"]), reverse=True)
    return [replace(one, ranks=ranks(one)) for one in ordered]
