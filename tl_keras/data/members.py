"""What a container of images gives, whichever kind it is, and how its labels become class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_BYTES = 2**30  # of one image with what belongs to it: no foreign length makes us ask for more memory


class Member(NamedTuple):
    """One image in a container, or, where `name` is empty, what is to be said of the container itself.

    Args:
        name: unlike all others in this container.
        start: where it lies: its first byte, or in Parquet its row.
        length: in bytes from there; -1 where rows are counted.
        label: its class; empty where that is hidden.
        content: the encoded image.
        reason: why it cannot be read; empty where it can be.
    """

    name: str
    start: int = 0
    length: int = -1
    label: str = ""
    content: bytes = b""
    reason: str = ""


def class_name(value: Any, names: Sequence[str] = ()) -> str:
    """The class that a label means: numbers have the names that the data set gives them, else they are their own.

    A label that is missing, not a number (NaN), or below zero is a hidden one, "".

    Raises:
        ValueError: no label of one class.

    >>> class_name(1, ("cat", "dog")), class_name(b"dog"), class_name(7), class_name(-1)
    ('dog', 'dog', '7', '')
    """
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None if value != value else value
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        value.encode()  # half a character, as JSON may have it, is a ValueError here
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"has a label that is no class: {ascii(value)[:50]}")
    if value < 0:
        return ""
    if names and value >= len(names):
        raise ValueError(f"has the label {value}, of which the data set names {len(names)}")
    return names[value] if names else str(value)


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names of numbered classes; none where two classes have one name, or a class has none.

    >>> distinct(["crane", "cat"]), distinct(["crane", "crane"])
    (('crane', 'cat'), ())
    """
    stripped = [name.strip() for name in names]
    return tuple(stripped) if all(stripped) and len(set(stripped)) == len(stripped) else ()


def printable(name: str) -> str:
    """A file name that is no UTF-8 with its foreign bytes escaped, so that tables can hold it.

    >>> printable("caf\\udce9.jpg")
    'caf\\\\udce9.jpg'
    """
    return name.encode("utf-8", "backslashreplace").decode()
