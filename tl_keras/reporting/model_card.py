"""The model card: what a network is, was trained on and came to, as the README.md that travels with it.

Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019); the head that machines read is Hugging Face's, with a
`model-index` (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_keras import __version__
from tl_keras.evaluation.arms import Arm

# Of the published weights: a licence as Hugging Face calls it, and who gives it.
LICENCES = {
    r"vgg\d+": ("cc-by-4.0", "the Visual Geometry Group, University of Oxford"),
    r"resnet\d+": ("mit", "Kaiming He, Microsoft Research"),
    r"torch_resnet\d+": ("bsd-3-clause", "torchvision"),
    r"densenet\d+": ("bsd-3-clause", "Liu, Huang et al."),
    r"(mobilenet|efficientnet|vit).*": ("apache-2.0", "Google"),
}
UNKNOWN = ("other", "unknown")


def licences(trial: Mapping[str, Any]) -> dict[str, str]:
    """The licences of the weights that a trial started from, each with a sentence about it.

    >>> list(licences({"network": "resnet50", "weights": "imagenet"}))
    ['mit']
    """
    if trial.get("members"):
        return {"other": f"Those of the networks that vote hold: {', '.join(trial['members'])}."}
    parts = [(part["backbone"], part["weights"]) for part in trial.get("blocks", ())]
    return dict(_licence(*part) for part in parts or [(trial["network"], trial["weights"])])


def _licence(network: str, weights: str) -> tuple[str, str]:
    if weights == "none" and not network.endswith((".keras", ".h5")):
        return "other", "Trained from random weights: its licence is yours to choose, as far as the images allow."
    if weights != "imagenet":
        file = Path(network if weights == "none" else weights).name
        return "other", f"Trained from the weights in {file}, of which this run knows no licence: ask their owner."
    found = (said for pattern, said in LICENCES.items() if re.fullmatch(pattern, network))
    name, owner = next(found, UNKNOWN)
    return name, f"Trained from ImageNet weights of {network}, licensed {name} by {owner}."


def card(name: str, class_names: tuple[str, ...], arm: Arm | None, data: Mapping[str, Any] | None = None) -> str:
    """The card of the first network of an arm, Markdown.

    Args:
        name: as in `saved_models/`.
        arm: None for a network of which no record is known; its card says so.
        data: what the run's config.json says of the images.

    >>> card("mine", ("ant", "bee"), None).splitlines()[0]
    '---'
    """
    said = _head(name, arm, data or {})
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()), "---", ""]
    lines += [f"# {name}", "", f"Tells images apart: {_listed(class_names)}.", ""]
    lines += _told(arm, data or {}) if arm else ["Of its training nothing is recorded beside this file.", ""]
    lines += [
        "## Use",
        "",
        "```python",
        "import tensorflow as tf",
        "",
        'network = tf.saved_model.load("path/of/this/version")',
        'answer = network.signatures["serving_default"](images=tf.constant([open("photo.jpg", "rb").read()]))',
        'print(answer["class"], answer["probabilities"])',
        "```",
        "",
        f"Made by tl_keras {__version__}.",
    ]
    return "\n".join(lines) + "\n"


def _head(name: str, arm: Arm | None, data: Mapping[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"library_name": "keras", "pipeline_tag": "image-classification"}
    if arm is None:
        return head | {"license": "other", "license_name": "unknown"}
    names = list(licences(arm.first.trial))
    found = names[0] if len(names) == 1 else "other"
    interval, of = arm.interval(), str(data.get("name", arm.first.data["name"]))
    metrics = [
        {"type": "accuracy", "name": "Test accuracy", "value": round(arm.accuracy, 4)},
        {"type": "accuracy", "name": "Test accuracy, 95% interval, from", "value": round(interval.low, 4)},
        {"type": "accuracy", "name": "Test accuracy, 95% interval, to", "value": round(interval.high, 4)},
        {"type": "cross_entropy", "name": "Test loss", "value": round(arm.first.test.loss, 4)},
    ]
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": re.sub(r"[^\w.-]+", "-", of), "name": of, "split": "test"},
        "metrics": metrics,
    }
    own = {"license": found} | ({"license_name": "unknown"} if found == "other" else {})
    return head | own | {"tags": ["transfer-learning"], "model-index": [{"name": name, "results": [result]}]}


def _told(arm: Arm, data: Mapping[str, Any]) -> list[str]:
    first, interval = arm.first, arm.interval()
    of = data.get("name", first.data["name"])
    return [
        "## Data and numbers",
        "",
        f"Trained on {first.data['train_images']:,} images of {of}. Of {len(first.test.labels):,} test images it "
        f"recognised {first.test.accuracy:.1%}; the 95% interval of this way to train, over {len(arm.records)} "
        f"training{'s' * (len(arm.records) > 1)}, is {interval.low:.3f} to {interval.high:.3f}. Of images unlike these "
        "nothing is known.",
        "",
        "## Settings",
        "",
        "| setting | value |",
        "| --- | --- |",
        *(f"| {key} | {value} |" for key, value in _settings(arm).items()),
        "",
        "## Licence of the weights",
        "",
        *licences(first.trial).values(),
        "",
    ]


def _settings(arm: Arm) -> dict[str, Any]:
    first = arm.first
    trial, recipe, view = first.trial, first.trial["recipe"], first.trial["view"]
    solved = all(phase["solved"] for phase in trial["strategy"]["phases"])
    rate = first.measured.get("learning_rate", recipe["learning_rate"])
    height, width = view["size"]
    return {
        "way to train": arm.title,
        "network": Path(trial["network"]).name,
        "starting weights": trial["start"] or Path(trial["weights"]).name,
        "strategy": trial["strategy"]["title"],
        "epochs": len(first.history["epoch"]),
        "batch size": recipe["batch_size"],
        "optimizer": "none: solved" if solved else f"{recipe['optimizer']}, {recipe['schedule']}, rate {rate}",
        "sees": f"{height} x {width} pixels, {'grey' if view['channels'] == 1 else 'RGB'}",
        "seed": first.seed,
        "parameters": f"{first.parameters:,}, of which {first.trainable_parameters:,} were trained",
    }


def _listed(names: tuple[str, ...], most: int = 20) -> str:
    more = f" and {len(names) - most} more (labels.txt)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
