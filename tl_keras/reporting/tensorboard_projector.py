"""Files of TensorBoard's embedding projector: what a network's last layer reads of images, and pictures of these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image

from tl_keras.errors import InputError
from tl_keras.records import Record

CONFIG, VECTORS, METADATA, SPRITE = "projector_config.pbtxt", "vectors.tsv", "metadata.tsv", "sprite.png"
PARTS = ("rows", "features", "images")
COLUMNS = ("label", "prediction", "right", "probability", "test_image")  # labelled by the first that is no number


def files(record: Record) -> dict[str, bytes]:
    """The content of each file by its name, the one that names the others last; none for a record without features.

    Raises:
        InputError: features of other images than the pictures, or than were tested.

    >>> list(files(record))  # doctest: +SKIP
    ['vectors.tsv', 'metadata.tsv', 'sprite.png', 'projector_config.pbtxt']
    """
    if not {f"projector.{name}" for name in PARTS} <= set(record.arrays):
        return {}
    rows, features, images = (record.arrays[f"projector.{name}"] for name in PARTS)
    if not _agree(rows, features, images, len(record.test.ids)):
        raise InputError(
            f"{record.name}: expected features and pictures of the same test images, received others; start a new run"
        )
    lines = ["\t".join(f"{number:.7g}" for number in row) for row in features.tolist()]
    return {
        VECTORS: _text(lines),
        METADATA: _text(_metadata(record, rows)),
        SPRITE: sprite(images),
        CONFIG: _config(record, features, images),
    }


def sprite(images: np.ndarray) -> bytes:
    """A PNG file of all `images` (n, height, width, channels), uint8: rows of as many as there are rows, from the top.

    >>> Image.open(BytesIO(sprite(np.zeros((5, 8, 8, 1), "uint8")))).size
    (24, 24)
    """
    side = math.ceil(math.sqrt(len(images)))
    height, width, channels = images.shape[1:]
    sheet = np.zeros((side * side, height, width, channels), "uint8")
    sheet[: len(images)] = images
    sheet = sheet.reshape(side, side, height, width, channels).swapaxes(1, 2)
    return _png(sheet.reshape(side * height, side * width, channels))


def _png(image: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(file, format="PNG")
    return file.getvalue()


def _agree(rows: np.ndarray, features: np.ndarray, images: np.ndarray, tested: int) -> bool:
    return (
        (rows.ndim, features.ndim, images.ndim) == (1, 2, 4)
        and len(rows) == len(features) == len(images) > 0
        and bool(np.isin(rows, range(tested)).all())
        and features.dtype.kind == "f"
        and images.dtype == "uint8"
        and images.shape[3] in (1, 3)
    )


def _metadata(record: Record, rows: np.ndarray) -> list[str]:
    """A header, and what is said of each image: the projector colours points by any of these columns."""
    test, names = record.test, np.array([*record.class_names, ""])  # the last one is that of -1: a hidden label
    labels, classes = test.labels[rows], test.classes[rows]
    right = np.where(labels < 0, "", np.where(labels == classes, "yes", "no"))
    sure = [f"{chance:.4f}" for chance in test.probabilities[rows].max(axis=1)]
    found = zip(names[labels], names[classes], right, sure, test.ids[rows], strict=True)
    return ["\t".join(COLUMNS), *("\t".join(_in_a_cell(each) for each in line) for line in found)]


def _in_a_cell(value: object) -> str:
    return " ".join(str(value).split())


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")


def _config(record: Record, features: np.ndarray, images: np.ndarray) -> bytes:
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    config = ProjectorConfig()
    part = config.embeddings.add(tensor_name=_title(record), tensor_path=VECTORS, metadata_path=METADATA)
    part.tensor_shape.extend(features.shape)
    part.sprite.image_path = SPRITE
    part.sprite.single_image_dim.extend([images.shape[2], images.shape[1]])
    return text_format.MessageToString(config).encode()


def _title(record: Record) -> str:
    said = record.measured.get("projector")
    variance = said.get("variance", 1.0) if isinstance(said, Mapping) else 1.0
    width = said.get("width") if isinstance(said, Mapping) else None
    shown = record.arrays["projector.features"].shape[1]
    if width in (None, shown):
        return "features"
    return f"features ({shown} principal components of {width}: {variance:.0%} of the variance)"
