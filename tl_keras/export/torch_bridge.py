"""Weights between Keras and torchvision, exactly: the same float32 bytes under the other's names and axes.

Both directions reorder axes and round nothing, so a round trip gives the bytes it began with. The networks are those of
`torch_layouts`; torchvision has to be fed what it is trained on, RGB / 255 minus the ImageNet mean, over the deviation.
PyTorch is needed only to read and write .pth files.

What PyTorch keeps and Keras does not is `num_batches_tracked`: it is written as 0 and skipped on reading. PyTorch uses
it only in a BatchNorm with momentum=None, which torchvision has nowhere. BatchNorm's momentum is no weight either:
whoever trains on in PyTorch gets 0.1 there, that is, 0.9 as Keras counts.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tl_keras.errors import InputError
from tl_keras.export import torch_layouts
from tl_keras.export.torch_layouts import NORM, Part
from tl_keras.files import atomic
from tl_keras.models.weights import first_line
from tl_keras.quiet import keras

COUNTER = "num_batches_tracked"
FLOATS = ("float32", "float16", "bfloat16", "float64")


def to_state_dict(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of `model` under torchvision's keys, in torchvision's order, shapes and types.

    Args:
        model: of `backbones.build`, with logits or with a softmax behind them.

    Returns:
        Copies: float32 arrays, and an int64 scalar `num_batches_tracked` for each BatchNorm.

    Raises:
        InputError: torchvision has no network that computes the same.

    >>> to_state_dict(backbones.build("torch_resnet18", classes=5))["fc.weight"].shape
    (5, 512)
    """
    mapping: dict[str, np.ndarray] = {}
    for part in torch_layouts.find(model).parts:
        for weight, name in zip(model.get_layer(part.layer).weights, part.weights.values(), strict=True):
            mapping[f"{part.module}.{name}"] = _to_torch(part, np.asarray(weight))
        if part.weights is NORM:
            mapping[f"{part.module}.{COUNTER}"] = np.array(0, "int64")
    return mapping


def load_state_dict(model: keras.Model, mapping: Mapping[str, object]) -> None:
    """Give `model` the weights of a torchvision network. All is checked first: it takes all of them, or none.

    Args:
        model: of `backbones.build`, with logits or with a softmax behind them.
        mapping: torchvision's keys, and arrays or tensors. float16, bfloat16 and float64 become float32 where no value
            changes by it. `num_batches_tracked` may be absent.

    Raises:
        InputError: the model is not torchvision's, a key is missing or too many, or an array does not fit.

    >>> load_state_dict(backbones.build("torch_resnet18", classes=5), read_state_dict("resnet18.pth"))
    """
    parts = torch_layouts.find(model).parts
    expected = {
        f"{part.module}.{name}": (part, weight)
        for part in parts
        for weight, name in zip(model.get_layer(part.layer).weights, part.weights.values(), strict=True)
    }
    if not isinstance(mapping, Mapping):
        raise InputError(
            f"state_dict: expected a mapping of keys to arrays, received {type(mapping).__name__}; pass "
            "network.state_dict()"
        )
    # The published DenseNets are older than torchvision's names: norm.1 there is norm1 here.
    given = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", str(key)): mapping[key] for key in mapping}
    counters = {f"{part.module}.{COUNTER}" for part in parts if part.weights is NORM}
    _check_keys(expected, [key for key in given if key not in counters])
    arrays = [_to_keras(key, part, weight, given[key]) for key, (part, weight) in expected.items()]
    for (_, weight), array in zip(expected.values(), arrays, strict=True):
        weight.assign(array)


def save_state_dict(model: keras.Model, path: str | Path) -> None:
    """Write `to_state_dict(model)` for PyTorch, as `torch.save(network.state_dict(), path)` does, whole or not at all.

    Args:
        path: a name in .safetensors is written in that format, which needs no PyTorch.

    Raises:
        InputError: torchvision has no network that computes the same; the package for the format is absent.

    >>> save_state_dict(model, "submission/model_ft")
    """
    path, mapping = Path(path), to_state_dict(model)
    if path.suffix == ".safetensors":
        with atomic(path) as temporary:
            package("safetensors.numpy").save_file(mapping, temporary)
        return
    torch = package("torch")
    with atomic(path) as temporary:
        torch.save({key: torch.from_numpy(array) for key, array in mapping.items()}, temporary)


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a state_dict in a file: .safetensors by that name, else what `torch.save` wrote. Runs no code.

    Args:
        path: of any torchvision network. bfloat16, which numpy lacks, becomes float32.

    Raises:
        InputError: no such file, a damaged one, one that holds more than tensors, or an absent package.

    >>> read_state_dict("resnet18.pth")["fc.weight"].shape
    (1000, 512)
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"state_dict: expected a .pth or .safetensors file, received {path}; check the path")
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a state_dict, received {type(content).__name__}; save network.state_dict()")
    return {str(key): _array(str(key), value) for key, value in content.items()}


def package(name: str) -> ModuleType:
    """A package of the extra `torch`, imported when it is needed.

    Raises:
        InputError: it is absent; the message says what to install.

    >>> package("torch").Tensor.__name__
    'Tensor'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"state_dict: expected the package {name.split('.')[0]}, received {first_line(error)}; "
            "pip install 'tl-keras[torch]'"
        ) from error


def _axes(part: Part) -> tuple[int, ...]:
    return {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[len(part.shape)]


def _to_torch(part: Part, array: np.ndarray) -> np.ndarray:
    """Outputs first, then inputs, height and width; a bias has but one axis. The result is a copy, in C order."""
    if array.ndim == 1:
        return array.copy()
    moved = array.reshape(*part.shape[:-1], -1).transpose(_axes(part))
    return np.array(moved.reshape(len(moved), -1) if array.ndim == 2 else moved, order="C")


def _to_keras(key: str, part: Part, weight: keras.Variable, value: object) -> np.ndarray:
    array, shape = _float32(key, _array(key, value)), tuple(weight.shape)
    outputs, axes = shape[-1:], _axes(part)
    if len(shape) == 1:
        expected = moved = shape
    else:
        moved = tuple((*part.shape[:-1], *outputs)[axis] for axis in axes)
        expected = (*outputs, int(np.prod(moved[1:]))) if len(shape) == 2 else moved
    if array.shape != expected:
        raise InputError(
            f"{key}: expected shape {expected}, received {array.shape}; give the weights of the same network with as "
            "many classes"
        )
    return array if len(shape) == 1 else array.reshape(moved).transpose(np.argsort(axes)).reshape(shape)


def _check_keys(expected: Mapping[str, object], given: list[str]) -> None:
    wrapped = next((key for key in given if key.startswith("module.")), None)
    if wrapped:
        raise InputError(
            f"state_dict: expected {wrapped.removeprefix('module.')}, received {wrapped}, the prefix of DataParallel; "
            "save network.module.state_dict(), or strip module. from every key"
        )
    missing = [key for key in expected if key not in given]
    surplus = [key for key in given if key not in expected]
    if missing or surplus:
        counted = [
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in (("missing", missing), ("unexpected", surplus))
            if keys
        ]
        raise InputError(
            f"state_dict: expected the {len(expected)} keys of the model, received {len(given)}, of which "
            f"{' and '.join(counted)}; give the state_dict of the same torchvision network"
        )


def _array(key: str, value: Any) -> np.ndarray:
    """A numpy array of an array or a tensor, whose type is known by its methods: PyTorch may be absent."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    except Exception as error:
        raise InputError(
            f"{key}: expected a dense tensor, received {first_line(error)}; save network.state_dict() as it is trained"
        ) from error
    if not isinstance(value, np.ndarray | np.generic):
        raise InputError(
            f"{key}: expected a tensor, received {type(value).__name__}; save network.state_dict() itself, without a "
            "dictionary around it"
        )
    return np.asarray(value)


def _float32(key: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.name not in FLOATS:
        raise InputError(f"{key}: expected floating-point numbers, received {array.dtype}; give unquantized weights")
    with np.errstate(over="ignore"):
        converted = array.astype("float32", copy=False)
    if array.dtype.name == "float64" and not np.array_equal(converted, array, equal_nan=True):
        raise InputError(
            f"{key}: expected numbers that float32 holds, received float64 with more digits; round them yourself with "
            "network.float()"
        )
    return converted


def _safetensors(path: Path) -> object:
    reader = package("safetensors.numpy")
    try:
        return reader.load_file(path)
    except Exception as error:
        raise _damaged(path, error) from error


def _pickle(path: Path) -> object:
    torch = package("torch")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign:
            raise InputError(
                f"{path}: expected a state_dict, received a pickle of {foreign[1]}, none of which was run; save "
                "network.state_dict(), tensors alone, not the network itself"
            ) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    # What PyTorch says before this is advice to read the file in a way that runs its code.
    reason = str(error).rpartition("WeightsUnpickler error:")[2].strip() or type(error).__name__
    return InputError(
        f"{path}: expected a whole state_dict file, received {reason.splitlines()[0]}; save or fetch it anew"
    )
