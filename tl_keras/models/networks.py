"""Every network that a trial can name: the project's own ones, and the backbones with a new output layer."""

from __future__ import annotations

from pathlib import Path

from tl_keras.data.view import View, standard
from tl_keras.errors import InputError
from tl_keras.models import backbones, heads, model_file
from tl_keras.quiet import keras

OWN = ("cnn", "stn", "stn_plain")


def build(name: str, classes: int, view: View, weights: str = "none") -> keras.Model:
    """The network called `name`: images as `view` has them, 0 to 255, in; class probabilities (B, classes) out.

    Args:
        name: one of `OWN`, of the registry of backbones, or a model file.
        weights: as for `backbones.build`.

    Raises:
        InputError: no such network, weights that cannot be had, or another view than it sees.

    >>> build("cnn", 3, View((32, 32))).output_shape
    (None, 3)
    """
    if name in OWN:
        return _own(name, classes, view)
    model = heads.with_softmax(backbones.build(name, classes, weights, size=_size(name, view)))
    if tuple(model.input_shape[1:]) != view.shape:
        raise InputError(
            f"--backbone {name}: expected images {tuple(model.input_shape[1:])}, received a view of {view.shape}; "
            "name the view that it was trained with"
        )
    return model


def view(name: str, mirror: bool, margin: bool = True) -> View:
    """What a backbone sees: at the size and with the channels of its input.

    Args:
        name: of the registry, or a model file: one that this project wrote says itself how it sees images.
        mirror: as the data set says.
        margin: cut the centre out of what is scaled larger, as ImageNet networks are tested; else all of the image
            that fits is seen.

    >>> view("mobilenet_0.25", mirror=True)
    View(size=(224, 224), scaled=(256, 256), resampling='bilinear', channels=3, mirror=True)
    """
    entry = backbones.find(name)
    size, channels = entry.input_size, 3
    if size is None:
        saved = model_file.view(Path(name))
        if saved is not None:
            return View(saved.size, saved.scaled, saved.resampling, saved.channels, mirror)
        height, width, channels = backbones.input_shape(name)
        size = (height, width)
    make = standard if margin and channels == 3 and min(size) >= backbones.SMALLEST_MARGIN else View
    return make(size, channels=channels, mirror=mirror)


def weights_of(name: str, given: str | None) -> str:
    """Which weights a backbone starts with: those asked for; else a model file's own, else the published ones.

    Raises:
        InputError: other weights were asked for with a file that has its own.

    >>> weights_of("vgg16", None), weights_of("vgg16", "none")
    ('imagenet', 'none')
    """
    own = backbones.find(name).input_size is None
    if own and given not in (None, "none"):
        raise InputError(
            f"--weights: expected none with a model file, received {given}; {name} has its own weights, leave it out"
        )
    return given if given is not None else "none" if own else "imagenet"


def _own(name: str, classes: int, view: View) -> keras.Model:
    from tl_keras.models import cnn, stn_network  # they define layers, which needs Keras

    if name == "cnn":
        return cnn.build(classes, view.shape)
    return stn_network.build(view.shape, classes, transformer=name == "stn")


def _size(name: str, view: View) -> int | None:
    # Published networks can be built for other sizes; a model file says its own.
    return None if backbones.find(name).input_size in (None, view.size) else view.size[0]
