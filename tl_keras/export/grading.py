"""What the CS5304 grader does with a submission, in PyTorch with torchvision, and the same asked of Keras.

The grader reads model.txt, builds that network of torchvision with one output for each class, loads each state_dict
strictly and measures it on images that torchvision has resized, cropped, made tensors and normalised. Beside it stands
the Keras network with the same weights, on the same files, through the library's own decoding and resizing.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tl_keras.data.decode import decode_files
from tl_keras.data.layouts import Layout
from tl_keras.errors import InputError
from tl_keras.export import torch_bridge
from tl_keras.export.submission import BACKBONES, CODE, MODELS, WORD
from tl_keras.models import backbones
from tl_keras.models.weights import first_line
from tl_keras.quiet import keras

SIDE = 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# For logits up to 10; larger ones have fewer digits behind the point.
TOLERANCE, LARGEST = 1e-4, 10.0
BATCH = 32
_KEPT: list = []  # operators live as long as the library that declares them


@dataclass(frozen=True)
class Grade:
    """What the grader found of one file.

    Args:
        name: of the file, `model_ft` or `model_cnn`.
        correct: images that torchvision's network named rightly.
        count: images.
        difference: the largest between a logit of torchvision and the same one of Keras.
        largest: the largest logit, whatever its sign.
        disagreements: images that both name differently.
        levels: the largest difference between a pixel (0 to 255) after torchvision's transforms and after Keras'.
    """

    name: str
    correct: int
    count: int
    difference: float
    largest: float
    disagreements: int
    levels: int

    @property
    def accuracy(self) -> float:
        """The grader's figure."""
        return self.correct / self.count

    @property
    def agrees(self) -> bool:
        """Whether Keras and torchvision give the same answers and, but for rounding, the same logits."""
        return not self.disagreements and self.difference <= TOLERANCE * max(1.0, self.largest / LARGEST)


def grade(folder: Path, files: Layout, limit: int | None = None) -> list[Grade]:
    """Grade both networks of a submission.

    Args:
        folder: holds model.txt, model_ft, model_cnn and assign3.py.
        files: the data set; the images to test on are graded, and the classes are numbered in the order of their names.
        limit: grade that many images, evenly picked.

    Raises:
        InputError: a convention is broken; the message names it. Or torchvision is absent, or an image is damaged.

    >>> [grade.accuracy for grade in grade(Path("submission"), sources.files("tiny-imagenet-5"))]  # doctest: +SKIP
    [0.744, 0.816]
    """
    folder = Path(folder)
    word = check_folder(folder)
    paths, labels, classes = _tested(files, limit)
    torch, torchvision = _packages()
    pixels, _, rejected = decode_files(paths, (SIDE, SIDE))
    if rejected:
        raise InputError(f"{paths[rejected[0][0]]}: {rejected[0][1]}")
    tensors, levels = _transformed(torch, torchvision, paths, pixels)
    model = backbones.build(BACKBONES[word], classes)
    network = getattr(torchvision.models, word)(num_classes=classes)
    grades = []
    for name in MODELS:
        path = folder / name
        state = torch_bridge.read_state_dict(path)
        _check_word(torch, torchvision, path, state, word)
        ours = _in_keras(model, path, state, pixels)
        theirs = _in_torch(torch, network, path, word, tensors)
        grades.append(_graded(name, theirs, ours, labels, levels))
    return grades


def check_folder(folder: Path) -> str:
    """The word in model.txt of a folder in which all four files stand under their names.

    Raises:
        InputError: no folder, a file of another name, a word the grader does not know, code that is no Python.
    """
    if not folder.is_dir():
        raise InputError(f"submission: expected a folder, received {folder}; check the path")
    found = sorted(entry.name for entry in folder.iterdir())
    for name in (WORD, *MODELS, CODE):
        if not (folder / name).is_file():
            raise InputError(f"submission: expected a file {name}, received {_nearest(name, found)}")
    text = (folder / WORD).read_text(encoding="utf-8", errors="replace")
    if text not in BACKBONES:
        raise InputError(
            f"{folder / WORD}: expected one word, {', '.join(BACKBONES)}, received {text[:80]!r}; write the name of "
            "the network that both files belong to, and nothing behind it"
        )
    try:
        ast.parse((folder / CODE).read_bytes())
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{folder / CODE}: expected Python, received {first_line(error)}; mend it") from error
    return text


def _nearest(name: str, found: list[str]) -> str:
    others = [other for other in found if other not in (WORD, *MODELS, CODE)]
    suffixed = [other for other in others if Path(other).stem == name and other != name]
    if suffixed:
        return f"{suffixed[0]}; take the suffix {Path(suffixed[0]).suffix} away"
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.5)
    return f"{near[0]}; rename it" if near else f"{', '.join(found[:8]) or 'an empty folder'}; add it"


def _tested(files: Layout, limit: int | None) -> tuple[list[Path], np.ndarray, int]:
    """The files to test on, their class numbers, and how many classes there are."""
    if not files.test:
        raise InputError(f"{files.root}: expected labelled images in val/ or test/, received none; add them")
    names = files.class_names
    picked = np.unique(np.linspace(0, len(files.test) - 1, limit or len(files.test)).round().astype(int))
    paths = [files.root / files.test[index][0] for index in picked]
    return paths, np.array([names.index(files.test[index][1]) for index in picked]), len(names)


def _packages():
    """PyTorch, and torchvision's models and transforms."""
    try:
        import torch

        # torchvision's Python part cannot be imported where its C++ part, which declares these, does not fit to torch:
        # where only a CUDA build is to be had beside a torch for the CPU. No network here calls them.
        if not hasattr(torch.ops.torchvision, "nms"):
            _KEPT.append(torch.library.Library("torchvision", "FRAGMENT"))
            for name in ("nms", "qnms"):
                _KEPT[0].define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"grade: expected the packages torch and torchvision, received {first_line(error)}; "
            "pip install 'tl-keras[torch]'"
        ) from error
    return torch, torchvision


def _transformed(torch, torchvision, paths: Sequence[Path], pixels: np.ndarray):
    """What the grader feeds, (N, 3, 224, 224), and by how many levels its pixels differ from `pixels`."""
    transforms = torchvision.transforms
    cut = transforms.Compose([transforms.Resize(SIDE), transforms.CenterCrop(SIDE)])
    scaled = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)])
    tensors, levels = [], 0
    for path, ours in zip(paths, pixels, strict=True):
        with Image.open(path) as image:
            theirs = cut(image.convert("RGB"))
        levels = max(levels, int(np.abs(np.asarray(theirs, int) - ours).max()))
        tensors.append(scaled(theirs))
    return torch.stack(tensors), levels


def _check_word(torch, torchvision, path: Path, state: dict[str, np.ndarray], word: str) -> None:
    """Tell a wrong word from a damaged file: do the keys belong to another network that the grader knows?"""
    for other in BACKBONES:
        with torch.device("meta"):
            keys = set(getattr(torchvision.models, other)().state_dict())
        if other != word and keys == set(state):
            raise InputError(
                f"{path}: expected the keys of {word}, as {WORD} says, received those of {other}; write {other} into "
                f"{WORD}, or save the other network"
            )


def _in_keras(model: keras.Model, path: Path, state: dict[str, np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """The logits of the Keras network with the weights of the file."""
    try:
        torch_bridge.load_state_dict(model, state)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    batches = np.split(pixels, range(BATCH, len(pixels), BATCH))
    return np.concatenate([model.predict_on_batch(batch) for batch in batches])


def _in_torch(torch, network, path: Path, word: str, tensors) -> np.ndarray:
    """The logits of torchvision's network, loaded as the grader loads it."""
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    except RuntimeError as error:
        raise InputError(
            f"{path}: expected the state_dict of torchvision's {word}, received "
            f"{'; '.join(line.strip() for line in str(error).splitlines()[1:3])}; train and save that network"
        ) from error
    network.eval()
    with torch.inference_mode():
        return np.concatenate([network(batch).numpy() for batch in tensors.split(BATCH)])


def _graded(name: str, theirs: np.ndarray, ours: np.ndarray, labels: np.ndarray, levels: int) -> Grade:
    answers = theirs.argmax(axis=1)
    return Grade(
        name,
        int((answers == labels).sum()),
        len(labels),
        float(np.abs(theirs - ours).max()),
        float(np.abs(theirs).max()),
        int((answers != ours.argmax(axis=1)).sum()),
        levels,
    )
