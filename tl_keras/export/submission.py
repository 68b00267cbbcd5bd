"""The submission of the CS5304 assignment: a folder from which a grader in PyTorch measures two networks.

model.txt    one word: the torchvision network that both files belong to
model_ft     state_dict of the network whose new last layer was trained on fixed features
model_cnn    state_dict of the network that was fine-tuned
assign3.py   the code that trains both
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from tl_keras.errors import InputError
from tl_keras.export import torch_bridge, torch_layouts
from tl_keras.files import write_bytes
from tl_keras.quiet import keras

# The grader's words, and the backbones that are those networks. The resnet50 of keras.applications is another one.
BACKBONES = {"vgg16": "vgg16", "resnet50": "torch_resnet50", "resnet34": "torch_resnet34"}
MODELS = {"model_ft": "feature extraction", "model_cnn": "fine-tuning"}
WORD, CODE = "model.txt", "assign3.py"


def word_for(backbone: str) -> str | None:
    """The grader's word for a backbone; None for one that the grader does not know.

    >>> word_for("torch_resnet34"), word_for("mobilenet_0.25")
    ('resnet34', None)
    """
    return next((word for word, name in BACKBONES.items() if name == backbone), None)


def write(folder: Path, models: Mapping[str, keras.Model], code: str) -> Path:
    """Write the submission of two trained networks, whole or not at all; it takes the place of an earlier one.

    Args:
        folder: where the four files will lie.
        models: `model_ft` and `model_cnn`, each of `backbones.build`, with logits or with a softmax behind them.
        code: the source of assign3.py.

    Raises:
        InputError: a network is missing, torchvision or the grader has none that computes the same, or they differ.

    >>> write(Path("submission"), {"model_ft": extracted, "model_cnn": tuned}, "...")  # doctest: +SKIP
    PosixPath('submission')
    """
    if set(models) != set(MODELS):
        raise InputError(
            f"submission: expected the networks {' and '.join(MODELS)}, received {', '.join(models) or 'none'}; "
            "train both"
        )
    words = {torch_layouts.find(model).name for model in models.values()}
    if len(words) > 1 or not words <= set(BACKBONES):
        raise InputError(
            f"submission: expected two networks of one kind, {', '.join(BACKBONES)}, received "
            f"{' and '.join(sorted(words))}; train both from one backbone that the grader knows"
        )
    folder = Path(folder)
    new, old = (folder.with_name(f".{os.getpid()}.{part}.{folder.name}") for part in ("new", "old"))
    try:
        for name in MODELS:
            torch_bridge.save_state_dict(models[name], new / name)
        write_bytes(new / WORD, words.pop().encode())  # without a newline: a strict grader compares the text
        write_bytes(new / CODE, code.encode())
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return folder


def filled(template: str, values: Mapping[str, object]) -> str:
    """The code of a script with other constants: each `NAME = ...` at the beginning of a line gets its value.

    Args:
        template: the source; every name is assigned in one line of its own.
        values: Python literals under the names.

    Raises:
        ValueError: a name is not assigned in the template.

    >>> filled("EPOCHS = 50  # each", {"EPOCHS": 1})
    'EPOCHS = 1  # each'
    """
    for name, value in values.items():
        text = f"{name} = {value!r}"
        # Not as a template of its own, in which a backslash would mean something.
        escaped = text.replace("\\", r"\\")
        template, count = re.subn(rf"^{name} = .*?(?=  #|$)", escaped, template, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"{name}: expected one assignment in the template, received {count}")
    return template
