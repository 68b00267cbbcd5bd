"""Image files in the layout of the assignment, and submissions of networks with random weights."""

import numpy as np
import pytest
from PIL import Image

CLASSES = ("n09193705", "n09246464", "n09256479", "n09332890", "n09428293")


def tiny_imagenet(root, train=2, test=2, classes=CLASSES, size=(64, 64)):
    """`train/CLASS/images/*.JPEG` and `val/images` with its table, whose lines are in no order; every third is grey."""
    rng = np.random.default_rng(0)
    lines = []

    def paint(path, number):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 80, (size[1] // 8, size[0] // 8, 3)) + number * 40
        pixels = np.kron(pixels, np.ones((8, 8, 1))).astype("uint8")
        image = Image.fromarray(pixels)
        (image.convert("L") if rng.random() < 0.3 else image).save(path, "JPEG", quality=90)

    for number, name in enumerate(classes):
        for index in range(train):
            paint(root / "train" / name / "images" / f"{name}_{index}.JPEG", number)
        for index in range(test):
            file = f"val_{index * len(classes) + number}.JPEG"
            paint(root / "val/images" / file, number)
            lines.append(f"{file}\t{name}\t0\t0\t63\t63\n")
    (root / "val/val_annotations.txt").write_text("".join(rng.permutation(lines)))
    return root


def network(backbone="torch_resnet34", classes=5, seed=0):
    """A network whose logits are of order 1 to 10."""
    from torchvision_networks import images, randomise

    from tl_keras.models import backbones

    if backbone.startswith("torch"):
        pytest.importorskip("keras_hub", reason="the extra kerashub is not installed")
    model = backbones.build(backbone, classes)
    randomise(model, images(count=2), seed)
    return model
