"""Requests in TensorFlow Serving's JSON, as arrays.

A predict request names its tensors in rows, {"instances": [...]}, or in columns, {"inputs": ...}; the README of
TensorFlow Serving's REST API says how. Values that no tensor of the declared type holds (300 as uint8), shapes other
than the declared one, and features that stand both in the context and in an example are refused here, where TensorFlow
Serving cuts them, leaves them to the model, or takes one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from tl_keras.errors import InputError
from tl_keras.serving.json_documents import is_base64, parse, shown, signature_name, to_bytes

DEFAULT = "serving_default"
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# Which of Python's types a value may have, by the tensor's, and how a message names them.
VALUES: dict[str, tuple[set[type], str]] = {
    "float32": ({int, float}, "a number"),
    "float64": ({int, float}, "a number"),
    **{name: ({int}, "a whole number without decimal point") for name in INTEGERS},
    "bool": ({bool}, "true or false"),
    "string": ({str, dict}, 'a string or {"b64": "..."}'),
}
MAX_RANK = 64  # numpy's
# Which list of a tf.train.Feature a value goes to.
FEATURES = {bool: "int64", int: "int64", float: "float", str: "bytes", dict: "bytes"}


class Tensor(NamedTuple):
    """What a signature says of an input.

    Args:
        dtype: numpy's name of the type of its values, or "string".
        shape: its dimensions, None within for any size; None if even their number is unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


class Asked(NamedTuple):
    """A predict request.

    Args:
        signature: the one that it names, "serving_default" if none.
        inputs: its tensors by name; strings as object arrays of bytes.
        rows: whether it came in rows ("instances"), as then its answer goes, or in columns ("inputs").
    """

    signature: str
    inputs: dict[str, np.ndarray]
    rows: bool


def predict_request(body: bytes, signatures: Mapping[str, Mapping[str, Tensor]]) -> Asked:
    """What a predict request asks.

    Args:
        body: the JSON.
        signatures: the inputs of each signature of the model.

    Raises:
        InputError: not JSON, not as the protocol has it, or not what the signature takes.

    >>> predict_request(b'{"instances": [[1, 2], [3, 4]]}', {"serving_default": {"x": Tensor("float32", (None, 2))}})
    Asked(signature='serving_default', inputs={'x': array([[1., 2.],
           [3., 4.]], dtype=float32)}, rows=True)
    """
    document = parse(body)
    signature = signature_name(document) or DEFAULT
    if not signatures.get(signature):
        known = ", ".join(sorted(name for name, tensors in signatures.items() if tensors)) or "none"
        raise InputError(
            f"'signature_name': expected one of this model's ({known}), received {shown(signature)}; name one of them"
        )
    tensors = signatures[signature]
    if ("instances" in document) == ("inputs" in document):
        both = "both" if "inputs" in document else "neither"
        raise InputError(f"body: expected only one of 'instances' and 'inputs', received {both}; send one of them")
    rows = "instances" in document
    values = _of_rows(document["instances"], tensors) if rows else _of_columns(document["inputs"], tensors)
    return Asked(signature, {name: _array(name, values[name], tensor) for name, tensor in tensors.items()}, rows)


def _of_rows(instances: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The values of each tensor, from a list of plain values or of objects with one value for each tensor."""
    if type(instances) is not list or not instances:
        raise InputError(f"'instances': expected a list of at least one, received {shown(instances)}; send a list")
    objects = [type(row) is dict and not is_base64(row) for row in instances]
    if not any(objects):
        return {_only(tensors, "'instances'", "a list of plain values"): instances}
    if not all(objects):
        other = objects.index(not objects[0])
        kinds = ("an object", "a value or list") if objects[0] else ("a value or list", "an object")
        raise InputError(
            f"'instances': expected {kinds[0]} at item {other} as at the first, received {kinds[1]}; make all alike"
        )
    for index, row in enumerate(instances):
        if row.keys() != tensors.keys():
            raise InputError(
                f"'instances': expected an object with the keys {_names(tensors)} at item {index}, received the keys "
                f"{_names(row)}; name each input once"
            )
    return {name: [row[name] for row in instances] for name in tensors}


def _of_columns(inputs: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The values of each tensor, from a plain value or from an object, which may hold more."""
    if type(inputs) is not dict or is_base64(inputs):
        return {_only(tensors, "'inputs'", "a plain value or list"): inputs}
    missing = [name for name in tensors if name not in inputs]
    if missing:
        raise InputError(
            f"'inputs': expected an object with the keys {_names(tensors)}, received one without {shown(missing[0])}; "
            f"add it"
        )
    return inputs


def _only(tensors: Mapping[str, Tensor], where: str, received: str) -> str:
    if len(tensors) > 1:
        raise InputError(
            f"{where}: expected objects with the keys {_names(tensors)}, received {received}; name the inputs"
        )
    return next(iter(tensors))


def _names(members: Mapping[str, Any]) -> str:
    names = [shown(name) for name in list(members)[:10]]
    return ", ".join(names + ["..."] * (len(members) > 10)) or "none"


def _array(name: str, value: Any, tensor: Tensor) -> np.ndarray:
    """A value or nested list of the document as the array that `tensor` declares."""
    if tensor.dtype not in VALUES:
        raise InputError(f"{name}: expected a tensor that JSON can hold, received one of {tensor.dtype}; use another")
    values, shape = _flat(name, value)
    declared = tensor.shape
    if declared is not None and (
        len(declared) != len(shape)
        or any(wanted not in (None, given) for wanted, given in zip(declared, shape, strict=True))
    ):
        wanted = ["any" if size is None else str(size) for size in declared]
        raise InputError(
            f"{name}: expected the shape [{', '.join(wanted)}], received {list(shape)}; send lists of that shape"
        )
    types, expected = VALUES[tensor.dtype]
    if not types.issuperset(map(type, values)):
        index = next(index for index, value in enumerate(values) if type(value) not in types)
        raise InputError(
            f"{_place(name, index, shape)}: expected {expected}, received {shown(values[index])}, not of the expected "
            f"type {tensor.dtype}; correct it"
        )
    return _typed(name, values, tensor.dtype, shape).reshape(shape)


def _flat(name: str, value: Any) -> tuple[list, tuple[int, ...]]:
    """The leaves of nested lists in order, and their shape; level by level, as lists may be nested deep."""
    leaves = [value]
    shape: list[int] = []
    while list in (kinds := set(map(type, leaves))):
        if len(shape) == MAX_RANK:
            raise InputError(f"{name}: expected at most {MAX_RANK} dimensions, received more; send flatter lists")
        lengths = set(map(len, leaves)) if len(kinds) == 1 else set()
        if len(lengths) != 1:
            received = "lists and values" if len(kinds) > 1 else f"lists of {min(lengths)} and of {max(lengths)}"
            raise InputError(
                f"{name}: expected lists of one size in dimension {len(shape)}, received {received}; make them alike"
            )
        shape.append(lengths.pop())
        leaves = list(chain.from_iterable(leaves))
    return leaves, tuple(shape)


def _place(name: str, index: int, shape: tuple[int, ...]) -> str:
    return name + "".join(f"[{at}]" for at in np.unravel_index(index, shape)) if shape else name


def _typed(name: str, values: list, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Leaves of the right types as a flat array; numbers beyond a float are infinite, and zero below it."""
    if dtype == "string":
        array = np.empty(len(values), object)
        for index, value in enumerate(values):
            try:
                array[index] = to_bytes(value)
            except InputError as error:
                raise InputError(f"{_place(name, index, shape)}: {error}") from None
        return array
    if dtype.startswith("float"):
        try:
            wide = np.array(values, np.float64)
        except OverflowError:
            wide = np.array([_saturated(value) for value in values])
        with np.errstate(over="ignore", under="ignore"):
            return wide.astype(dtype)
    try:
        return np.array(values, dtype)
    except OverflowError:
        limits = np.iinfo(dtype)
        index = next(index for index, value in enumerate(values) if not limits.min <= value <= limits.max)
        raise InputError(
            f"{_place(name, index, shape)}: expected a whole number from {limits.min} to {limits.max}, received "
            f"{shown(values[index])}, not of the expected type {dtype}; correct it"
        ) from None


def _saturated(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")


def examples_request(body: bytes) -> tuple[str | None, list[dict[str, list]]]:
    """What a classify or regress request asks: examples for tf.train.Example.

    Returns:
        The signature that it names, or None; for each example its features, those of the context among them: lists of
        bytes, of int within 64 bits (true and false are 1 and 0), or of float.

    Raises:
        InputError: not JSON, or not as the protocol has it.

    >>> examples_request(b'{"context": {"k": true}, "examples": [{"x": 2.5, "s": ["a", {"b64": "aGVsbG8="}]}]}')
    (None, [{'k': [1], 'x': [2.5], 's': [b'a', b'hello']}])
    """
    document = parse(body)
    signature = signature_name(document)
    context = _example(document["context"], "'context'") if "context" in document else {}
    examples = document.get("examples")
    if type(examples) is not list or not examples:
        received = shown(examples) if "examples" in document else "none"
        raise InputError(f"'examples': expected a list/array of at least one object, received {received}; send a list")
    merged = []
    for index, features in enumerate(examples):
        example = _example(features, f"'examples' item {index}")
        for name in context.keys() & example.keys():
            raise InputError(
                f"'examples' item {index}: expected features that are not in the context, received {shown(name)}; "
                f"name it in one of them"
            )
        merged.append(context | example)
    return signature, merged


def _example(features: Any, where: str) -> dict[str, list]:
    if type(features) is not dict:
        raise InputError(f"{where}: expected an Example as a JSON object, received {shown(features)}; send an object")
    example = {}
    for name, value in features.items():
        try:
            to_bytes(name)  # TensorFlow takes names in UTF-8 only
            example[name] = _feature(value if type(value) is list else [value])
        except InputError as error:
            raise InputError(f"{where}, feature {shown(name)}: {error}") from None
    return example


def _feature(values: list) -> list:
    kinds = {FEATURES.get(type(value)) for value in values}
    if None in kinds:
        value = next(value for value in values if type(value) not in FEATURES)
        raise InputError(f"expected numbers or strings, received {shown(value)}; send one of them")
    if len(kinds) > 1:
        found = " and ".join(sorted(map(str, kinds)))
        raise InputError(f"expected elements of one type, received {found}; make them alike")
    if kinds == {"bytes"}:
        return [to_bytes(value) for value in values]
    if kinds == {"int64"}:
        for value in values:
            if not -(2**63) <= value < 2**63:
                raise InputError(f"expected a whole number within int64, received {shown(value)}; send such a one")
        return [int(value) for value in values]
    return values
