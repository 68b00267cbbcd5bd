"""Frozen dataclasses to JSON and back: what a trial is made of can be written, read, compared and sent elsewhere.

A value says its kind, the class that it is of, so that parts may be of several kinds (an augmentation, a selection of
images). Only classes of this project are made anew: a file cannot ask for anything else.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from tl_keras.errors import InputError

PACKAGES = ("tl_keras", "experiments")


def to_json(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses become objects with their `kind`, tuples become lists.

    Raises:
        TypeError: there is something in it that is neither a dataclass nor plain.

    >>> to_json(View((28, 28)))["kind"], to_json((1, None))
    ('tl_keras.data.view.View', [1, None])
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return {"kind": kind} | {item.name: to_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(part) for key, part in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"expected a dataclass or a plain value, received {type(value).__name__}; make it a dataclass")


def from_json(content: Any) -> Any:
    """What `to_json` was given; lists come back as tuples, since values are frozen.

    Raises:
        InputError: a kind that is no dataclass of this project, or other fields than it has.

    >>> from_json(to_json(View((28, 28)))) == View((28, 28))
    True
    """
    if isinstance(content, list):
        return tuple(from_json(part) for part in content)
    if not isinstance(content, dict):
        return content
    parts = {key: from_json(part) for key, part in content.items() if key != "kind"}
    return _made(content["kind"], parts) if "kind" in content else parts


def _made(kind: str, parts: dict[str, Any]) -> Any:
    module, _, name = str(kind).rpartition(".")
    try:
        if module.split(".")[0] not in PACKAGES:
            raise ValueError(f"it is not of {' or '.join(PACKAGES)}")
        found = getattr(importlib.import_module(module), name)
        if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
            raise ValueError("it is no dataclass")
        return found(**parts)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"value: expected one that this version of the project knows, received the kind {kind!r} ({error}); "
            "start a new run"
        ) from error
