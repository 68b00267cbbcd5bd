"""Weights of a network before it is re-used: random, the published download, or a file. Never random in silence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tl_keras.errors import InputError

if TYPE_CHECKING:
    import keras


@contextmanager
def published(name: str, weights: str, source: str) -> Iterator[str | None]:
    """What `keras.applications` and KerasHub take as `weights`: "imagenet" where that is asked for, else None.

    Raises:
        InputError: in the body of the `with`, the published weights could not be had.

    >>> with published("resnet50", "none", "keras.applications") as given:
    ...     print(given)
    None
    """
    if weights != "imagenet":
        yield None
        return
    try:
        yield weights
    except Exception as error:
        raise InputError(
            f"--weights imagenet: expected the published weights of {name} from {source}, received none "
            f"({first_line(error)}); give --weights PATH with a weight file, or --weights none"
        ) from error


def at_hand() -> list[str]:
    """The backbones whose published weights lie in the Keras cache already.

    >>> at_hand()  # doctest: +SKIP
    ['mobilenet_v2_1.0']
    """
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    return [name for name, pattern in _CACHED.items() if any(cache.glob(pattern))]


_CACHED = {  # as keras.applications names its downloads
    "vgg16": "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    "vgg19": "vgg19_weights_tf_dim_ordering_tf_kernels.h5",
    "resnet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "densenet121": "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "mobilenet_0.25": "mobilenet_2_5_224_tf_no_top.h5",
    "mobilenet_1.0": "mobilenet_1_0_224_tf_no_top.h5",
    "mobilenet_v2_0.35": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
    "mobilenet_v2_1.0": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    "efficientnetv2b0": "efficientnetv2-b0_notop.h5",
}


def load(name: str, path: str, *networks: keras.Model) -> keras.Model:
    """Load a weight file into that one of `networks` whose weights it holds, no more and no fewer.

    Keras itself matches layers by their order; it ignores surplus layers in a .weights.h5 and says at length what
    does not fit. So the shapes of all arrays are counted first. A network that a failure has left half-loaded must
    not be used: `backbones.build` drops it.

    Args:
        name: of the backbone, for the messages.
        path: a Keras 3 .weights.h5, or an older .h5 in the order of the layers (`keras.applications` publishes it).
        networks: built, without optimizer; the file has to fit one of them.

    Raises:
        InputError: no such file, no weight file, a damaged one, one of another network, or weights that are NaN.

    >>> vessel = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None)  # doctest: +SKIP
    >>> load("mobilenet_0.25", "mobilenet_2_5_224_tf_no_top.h5", vessel)  # doctest: +SKIP
    """
    if not Path(path).is_file():
        raise InputError(f"--weights: expected imagenet, none or a weight file, received {path}; check the path")
    if not path.endswith(".h5"):
        raise InputError(f"--weights: expected a file named .h5 or .weights.h5, received {path}; give a weight file")
    stored = _stored_shapes(path)
    expected = [Counter(tuple(weight.shape) for weight in network.weights) for network in networks]
    if stored not in expected:
        raise InputError(
            f"--weights: expected {_difference(expected[-1], stored)}, in {path}; give the weights of {name} without "
            "its classification layer (include_top=False)"
        )
    network = networks[expected.index(stored)]
    try:
        network.load_weights(path)
    except Exception as error:
        raise _unreadable(path, error) from error
    return finite(network, path)


def finite(network: keras.Model, path: str) -> keras.Model:
    """`network`, whose weights came from the file `path`, if they are numbers: one flipped bit can make a NaN.

    Raises:
        InputError: a weight is NaN or infinite.

    >>> finite(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), "mine.keras").name  # doctest: +SKIP
    'sequential'
    """
    for weight in network.weights:
        if not np.isfinite(weight.numpy()).all():
            raise InputError(
                f"{path}: expected finite weights, received NaN or infinite ones in {weight.path}; fetch it anew"
            )
    return network


def first_line(error: Exception) -> str:
    """The first line of a message, for errors that answer in one.

    >>> first_line(ValueError("no such preset\\nTraceback"))
    'no such preset'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _stored_shapes(path: str) -> Counter:
    import h5py

    shapes: Counter = Counter()

    def count(name: str, item) -> None:
        # The state of Dropout's random generator is no weight.
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name:
            shapes[item.shape] += 1

    try:
        with h5py.File(path) as file:
            # Beside the layers stand the optimizer and, in a saved model, its configuration.
            layers = next((file[group] for group in ("layers", "model_weights") if group in file), file)
            layers.visititems(count)
    except Exception as error:
        raise _unreadable(path, error) from error
    return shapes


def _difference(expected: Counter, stored: Counter) -> str:
    missing, surplus = expected - stored, stored - expected
    shapes = " and ".join(
        f"{next(iter(shapes))} {text}"
        for shapes, text in ((missing, "is missing"), (surplus, "belongs elsewhere"))
        if shapes
    )
    return f"{expected.total()} arrays of weights, received {stored.total()} ({shapes})"


def _unreadable(path: str, error: Exception) -> InputError:
    return InputError(
        f"--weights: expected a whole Keras weight file, received {path} ({first_line(error)}); fetch it "
        "anew, and keep its name"
    )
