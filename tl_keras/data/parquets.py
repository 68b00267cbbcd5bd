"""Images in Parquet files: a column of encoded images, and one of labels, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from tl_keras.data.members import Member, class_name, distinct
from tl_keras.errors import InputError

IMAGES, LABELS = (
    ("image", "img"),
    ("label", "labels", "class", "cls"),
)  # what columns are called, where several might be it
AT_A_TIME = 64  # images in memory, whatever the size of a row group


def class_names(stream: BinaryIO) -> tuple[str, ...]:
    """The names of numbered classes, where the schema has Hugging Face's ClassLabel; else none.

    Raises:
        InputError: several columns could be the label.

    >>> with open("train-00000-of-00001.parquet", "rb") as file:  # doctest: +SKIP
    ...     class_names(file)
    ('cat', 'dog')
    """
    opened = _opened(stream)
    if isinstance(opened, str):
        return ()
    features = _features(opened.schema_arrow)
    return distinct(features.get(_label_column(opened.schema_arrow) or "", {}).get("names", ()))


def members(stream: BinaryIO) -> Iterator[Member]:
    """The images of a Parquet file, each called by its row; of a damaged one those before the damage.

    Images are encoded, in a column of bytes, or of Hugging Face's struct of `bytes` and `path`.

    Raises:
        InputError: no column, or several, could be the images or the labels.

    >>> with open("train-00000-of-00001.parquet", "rb") as file:  # doctest: +SKIP
    ...     next(members(file)).label
    'cat'
    """
    opened = _opened(stream)
    if isinstance(opened, str):
        yield Member("", reason=opened)
        return
    names, image, label = class_names(stream), image_column(opened.schema_arrow), _label_column(opened.schema_arrow)
    row = 0
    try:
        for batch in opened.iter_batches(AT_A_TIME, columns=[image, *([label] if label else [])]):
            for index in range(len(batch)):
                yield _member(row, batch[image][index], batch[label][index] if label else None, names)
                row += 1
    except _damage() as error:
        if getattr(error, "errno", None):  # the disk's or the network's
            raise
        yield Member("", reason=f"is damaged behind row {row} ({_first_line(error)})")


def _member(row: int, image: Any, label: Any, names: tuple[str, ...]) -> Member:
    try:
        told = "" if label is None else class_name(label.as_py(), names)
        return Member(str(row), row, -1, told, content(image.as_py()))
    except ValueError as error:
        return Member(str(row), reason=str(error))


def content(cell: Any) -> bytes:
    """The encoded image in a cell.

    Raises:
        ValueError: there is none.

    >>> content({"bytes": b"...", "path": None}), content(b"...")
    (b'...', b'...')
    """
    found = cell.get("bytes") if isinstance(cell, dict) else cell
    if found is None:
        raise ValueError("holds no bytes of an image")
    return found


def image_column(schema: Any) -> str:
    """The column of encoded images.

    Raises:
        InputError: none could be it, or several.
    """
    could_be = [field.name for field in schema if _holds_bytes(field.type)]
    told = [name for name in could_be if _features(schema).get(name, {}).get("_type") == "Image"]
    found = _one_of(told or could_be, IMAGES)
    if len(found) != 1:
        raise InputError(
            "expected one column of encoded images, called image or the only one of bytes, received "
            f"{', '.join(could_be) or 'none among ' + ', '.join(schema.names)}; give it that name"
        )
    return found[0]


def _label_column(schema: Any) -> str | None:
    told = [name for name, feature in _features(schema).items() if feature.get("_type") == "ClassLabel"]
    found = _one_of([name for name in schema.names if name in (*told, *LABELS)], LABELS)
    if len(found) > 1:
        raise InputError(f"expected one column of classes, received {', '.join(found)}; call the one that counts label")
    return found[0] if found else None


def _one_of(names: list[str], preferred: tuple[str, ...]) -> list[str]:
    return [name for name in preferred if name in names][:1] or names


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _features(schema: Any) -> dict[str, dict]:
    """What Hugging Face's `datasets` says of the columns, beside their types."""
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in told.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


class Images:
    """The images of an open Parquet file by row: of neighbours one row group is read once, a few rows at a time.

    Raises:
        InputError: as `members`.
    """

    def __init__(self, stream: BinaryIO):
        opened = _opened(stream)
        if isinstance(opened, str):
            raise InputError(f"expected a Parquet file, received one that {opened}; put the whole one back")
        self._file, self._column = opened, image_column(opened.schema_arrow)
        self._group, self._first, self._rows = -1, 0, list[Any]()
        self._batches: Iterator[Any] = iter(())

    def __getitem__(self, row: int) -> bytes:
        """The encoded image in a row; a ValueError where there is none."""
        group, start = self._group_of(row)
        if group != self._group or row < self._first:
            self._batches = self._file.iter_batches(AT_A_TIME, row_groups=[group], columns=[self._column])
            self._group, self._first, self._rows = group, start, []
        try:
            while row >= self._first + len(self._rows):
                self._first += len(self._rows)
                self._rows = next(self._batches)[self._column]
        except _damage() as error:
            if getattr(error, "errno", None):
                raise
            raise ValueError(f"it is damaged: {_first_line(error)}") from error
        return content(self._rows[row - self._first].as_py())

    def _group_of(self, row: int) -> tuple[int, int]:
        """The row group that a row is in, and its first row."""
        first, metadata = 0, self._file.metadata
        for group in range(metadata.num_row_groups):
            count = metadata.row_group(group).num_rows
            if first <= row < first + count:
                return group, first
            first += count
        raise ValueError(f"has {first} rows, and none of number {row}")


def _opened(stream: BinaryIO) -> Any:
    """The file, or in words why it is none."""
    import pyarrow.parquet

    stream.seek(0)
    try:
        opened = pyarrow.parquet.ParquetFile(stream)
        opened.schema_arrow.to_string(show_schema_metadata=False)  # fails where a damaged name is no UTF-8
        return opened
    except _damage() as error:
        if getattr(error, "errno", None):
            raise
        return f"is no Parquet file, or cut short ({_first_line(error)})"


def _damage() -> tuple[type[Exception], ...]:
    """What pyarrow raises for foreign bytes: an OSError without a number, too."""
    import pyarrow

    return pyarrow.ArrowException, OSError, UnicodeDecodeError


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
