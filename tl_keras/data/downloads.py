"""Sets that come over the network: keras.datasets and TensorFlow Datasets, imported only when one is asked for.

Both try for minutes, noisily, where there is no network; so their server is asked first, once and briefly.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np

from tl_keras.errors import InputError

SERVERS = {"cifar10": "https://www.cs.toronto.edu", "mnist": "https://storage.googleapis.com"}
TIMEOUT_SECONDS = 4


class Unavailable(InputError):
    """A named set that is neither on this machine nor to be downloaded."""


def keras_arrays(name: str, places: list[Path]) -> dict[str, np.ndarray]:
    """The arrays x_train, y_train, x_test, y_test of `keras.datasets.NAME`, downloaded into the Keras cache.

    Args:
        name: `cifar10` or `mnist`.
        places: where the set was looked for, the Keras cache last; the error names them.

    Raises:
        Unavailable: it cannot be downloaded.
    """
    try:
        if not any(places[-1].glob("cifar-10-*_archive" if name == "cifar10" else "mnist.npz")):
            _ask(SERVERS[name])
        from keras import datasets

        train, test = getattr(datasets, name).load_data()
    except Exception as error:
        raise Unavailable(
            f"{name}: expected {name}.npz, {name}.zip or {name}/ in {' or '.join(map(str, places))}, or a download, "
            f"received neither ({_first_line(error)}); put it into one of them"
        ) from error
    return {"x_train": train[0], "y_train": train[1], "x_test": test[0], "y_test": test[1]}


def tfds_images(name: str, folder: Path | None) -> tuple[list[bytes], np.ndarray, np.ndarray, tuple[str, ...], int]:
    """The encoded images of a TensorFlow Datasets set, its train split first, then test or else validation.

    Args:
        name: as TFDS knows it: `beans`, `cats_vs_dogs:4.0.1`.
        folder: the TFDS data directory; None is TFDS's own.

    Returns:
        Encoded images, ids, labels, class names, and how many of the images are the train split's.

    Raises:
        Unavailable: it is not prepared in `folder` and cannot be downloaded.
        InputError: it has no train split, or is not one of images with one class label each.
    """
    builder = _prepared(name, folder)
    import tensorflow_datasets as tfds

    splits, features = builder.info.splits, dict(builder.info.features)
    image_key, label_key = builder.info.supervised_keys or ("image", "label")
    image, label = features.get(image_key), features.get(label_key)
    if "train" not in splits or not isinstance(image, tfds.features.Image) or not getattr(label, "names", None):
        raise InputError(
            f"tfds:{name}: expected a train split of images with a class label, received splits "
            f"{', '.join(splits)} of {', '.join(features)}; choose a classification set"
        )
    decoders = {image_key: tfds.decode.SkipDecoding()}
    images, labels, ids = [], [], []
    parts = ["train", *[part for part in ("test", "validation") if part in splits][:1]]
    for part in parts:
        examples = tfds.as_numpy(builder.as_dataset(split=part, decoders=decoders, shuffle_files=False))
        for number, example in enumerate(examples):
            ids.append(f"{part}/{number}")
            images.append(example[image_key])
            labels.append(example[label_key])
    return images, np.array(ids), np.array(labels), tuple(getattr(label, "names", ())), splits["train"].num_examples


def _prepared(name: str, folder: Path | None):
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(name, data_dir=folder)
        if not builder.is_prepared():
            _ask(next(iter(builder.url_infos or ()), "https://storage.googleapis.com"))
            builder.download_and_prepare()
    except Exception as error:
        raise Unavailable(
            f"tfds:{name}: expected a set prepared in {folder or '~/tensorflow_datasets'}, or a download, received "
            f"neither ({_first_line(error)}); prepare it there"
        ) from error
    return builder


def _ask(url: str) -> None:
    """Raise OSError if the server of `url` does not answer."""
    server = urllib.parse.urlsplit(url).netloc
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError:  # an answer, too
        return
    except (OSError, http.client.HTTPException) as error:
        raise OSError(f"no answer from {server}: {getattr(error, 'reason', error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
