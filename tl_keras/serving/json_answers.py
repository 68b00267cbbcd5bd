"""Arrays as answers in TensorFlow Serving's JSON.

Numbers are written as it writes them: six digits where those say a float exactly, else as many as it takes, and always
with a point or an exponent. NaN, Infinity and -Infinity are written so, which strict JSON does not know. Strings that
are not UTF-8 are refused, where TensorFlow Serving writes what is no JSON then; name an output `..._bytes` for those.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping

import numpy as np

from tl_keras.errors import InputError

DIGITS = {"float32": 9, "float64": 17}  # decimal digits that tell any two values apart
NAMES = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def predict_answer(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The answer to a predict request.

    Args:
        outputs: arrays by name, at least one; strings as object arrays of bytes or str. Strings whose name ends in
            `_bytes` are written as base64.
        rows: one entry for each row of the batch, or one for each output.

    Raises:
        InputError: no output, one of a type that JSON has no values for, strings that are not UTF-8; in rows: outputs
            without a batch, or of different batch sizes.

    >>> predict_answer({"y": np.array([2.5, 3.0])}, rows=True)
    b'{"predictions": [2.5, 3.0]}'
    >>> predict_answer({"y": np.array([2.5, 3.0]), "n": np.array(1)}, rows=False)
    b'{"outputs": {"y": [2.5, 3.0], "n": 1}}'
    """
    if not outputs:
        raise InputError("outputs: expected at least one, received an empty tensor map; give the signature an output")
    arrays = {name: _as_array(value) for name, value in outputs.items()}
    if not rows:
        whole = {name: _nested(name, array, 0)[0] for name, array in arrays.items()}
        return _document("outputs", _object(whole) if len(whole) > 1 else next(iter(whole.values())))
    _check_batch(arrays)
    columns = {name: _nested(name, array, 1) for name, array in arrays.items()}
    if len(columns) > 1:
        entries = [_object(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    else:
        entries = next(iter(columns.values()))
    return _document("predictions", _list(entries))


def classify_answer(classes: np.ndarray | None, scores: np.ndarray | None) -> bytes:
    """The answer to a classify request: for each example a list of [class, score].

    Args:
        classes: strings (B, K), or None: every class is called "".
        scores: float32 (B, K), or None: every score is 0.0.

    Raises:
        InputError: neither of them, another type, another shape, no example.

    >>> classify_answer(np.array([[b"car", b"bus"]], object), np.array([[0.2, 0.8]], np.float32))
    b'{"results": [[["car", 0.2], ["bus", 0.8]]]}'
    """
    given = {name: array for name, array in (("classes", classes), ("scores", scores)) if array is not None}
    shapes = {array.shape for array in given.values()}
    if len(shapes) != 1 or any(len(shape) != 2 for shape in shapes):
        received = ", ".join(f"{name} {list(array.shape)}" for name, array in given.items()) or "none"
        raise InputError(
            f"classify: expected classes or scores of one shape [batch, classes], received {received}; mend the model"
        )
    batch, count = shapes.pop()
    if not batch:
        raise InputError(
            "classify: expected at least one example, received none: empty ClassificationResults; send one"
        )
    if classes is not None and classes.dtype.kind not in "OSU":
        raise InputError(f"classes: expected strings, received {classes.dtype}; correct the model's signature")
    labels = ['""'] * (batch * count) if classes is None else _texts("classes", classes)
    decimals = ["0.0"] * (batch * count) if scores is None else _texts("scores", _float32("scores", scores))
    pairs = [f"[{label}, {score}]" for label, score in zip(labels, decimals, strict=True)]
    return _document("results", _list([_list(pairs[row * count : (row + 1) * count]) for row in range(batch)]))


def regress_answer(values: np.ndarray) -> bytes:
    """The answer to a regress request: a number for each example.

    Args:
        values: float32 (B,) or (B, 1).

    Raises:
        InputError: another type, another shape, no example.

    >>> regress_answer(np.array([[0.5], [1.0]], np.float32))
    b'{"results": [0.5, 1.0]}'
    """
    if values.ndim != 1 and values.shape[1:] != (1,):
        raise InputError(
            f"regress: expected the shape [batch] or [batch, 1], received {list(values.shape)}; correct the model"
        )
    if not len(values):
        raise InputError("regress: expected at least one example, received none: empty RegressionResults; send one")
    return _document("results", _list(_texts("outputs", _float32("outputs", values))))


def error_answer(message: str) -> bytes:
    """The answer to a request that failed.

    >>> error_answer('Bad key: "key"')
    b'{"error": "Bad key: \\\\"key\\\\""}'
    """
    return _document("error", json.dumps(message))


def _as_array(value: np.ndarray | bytes | str) -> np.ndarray:
    """Also of a scalar string, which TensorFlow hands out as bytes."""
    return np.asarray(value, object if isinstance(value, bytes | str) else None)


def _check_batch(arrays: Mapping[str, np.ndarray]) -> None:
    first, batch = "", -1
    for name, array in arrays.items():
        if not array.ndim:
            raise InputError(
                f"{name}: expected a batch in rows, received a scalar, with no shape information; ask in columns, with "
                f"'inputs'"
            )
        if batch not in (-1, len(array)):
            raise InputError(
                f"{name}: expected the batch size of {first}, {batch}, received an inconsistent batch size: "
                f"{len(array)}; ask in columns, with 'inputs'"
            )
        first, batch = name, len(array)


def _float32(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        raise InputError(f"{name}: expected float32, received {array.dtype}; correct the model's signature")
    return array


def _nested(name: str, array: np.ndarray, axis: int) -> list[str]:
    """The JSON of every entry along the first `axis` dimensions."""
    texts = _texts(name, array)
    for at in range(array.ndim - 1, axis - 1, -1):
        size, count = array.shape[at], math.prod(array.shape[:at])
        texts = [_list(texts[index * size : (index + 1) * size]) for index in range(count)]
    return texts


def _texts(name: str, array: np.ndarray) -> list[str]:
    """The JSON of every value, in order."""
    values = array.ravel().tolist()
    kind = array.dtype.kind
    if array.dtype.name in DIGITS:
        return _decimals(values, array.dtype)
    if kind in "iu":
        return list(map(str, values))
    if kind == "b":
        return ["true" if value else "false" for value in values]
    if kind in "SU" or (kind == "O" and all(isinstance(value, bytes | str) for value in values)):
        return [_string(name, value) for value in values]
    raise InputError(f"{name}: expected numbers, booleans or strings, received tensor type: {array.dtype}; cast it")


def _decimals(values: list[float], dtype: np.dtype) -> list[str]:
    texts = [f"{value:g}" for value in values]
    with np.errstate(over="ignore", under="ignore"):
        read = np.array(list(map(float, texts)), np.float64).astype(dtype)
    exact = read == np.array(values, dtype)
    digits = DIGITS[dtype.name]
    return [
        _pointed(text if same else f"{value:.{digits}g}")
        for text, same, value in zip(texts, exact.tolist(), values, strict=True)
    ]


def _pointed(text: str) -> str:
    """With a point where it would read as a whole number; what is not finite by its name in JSON."""
    return NAMES.get(text) or (text if "." in text or "e" in text else text + ".0")


def _string(name: str, value: bytes | str) -> str:
    try:
        if name.endswith("_bytes"):
            encoded = value.encode() if isinstance(value, str) else value
            return _object({"b64": f'"{base64.b64encode(encoded).decode()}"'})
        return json.dumps(value.decode() if isinstance(value, bytes) else value)
    except UnicodeError:
        raise InputError(
            f"{name}: expected text in UTF-8, received other bytes; call the output {name}_bytes, and it goes as base64"
        ) from None


def _list(texts: list[str]) -> str:
    return f"[{', '.join(texts)}]"


def _object(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in members.items()) + "}"


def _document(key: str, text: str) -> bytes:
    return f'{{"{key}": {text}}}'.encode()
