"""Parts of a manifest: the rows of one chunk each, made by a pure task, kept until all of them are joined."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tl_keras.data import containers, inventory
from tl_keras.data.inventory import Chunk, Inventory
from tl_keras.errors import InputError
from tl_keras.folders import Folder

PARTS = "manifest"  # the folder that they lie in


class Listed(NamedTuple):
    """Rows of a manifest, column by column.

    Args:
        uri: relative to the manifest's root: `cats/1.jpg`, `train-0.tar#0001.jpg`, `train-0.parquet#17`. What is listed
            twice in a table is here twice.
        start: where an image begins in a container: its first byte (of a TFRecord file: that of its record), or in
            Parquet its row; else 0.
        length: of what lies there, in bytes; -1 for a file and in Parquet.
        label: the class; "" where it is hidden.
        split: `train`, `test`, `validation`, or `unlabelled` where no class is told.
        sha256: of the encoded image, in hex.
        reason: why it cannot be read; "" where it can be.
    """

    uri: list[str]
    start: list[int]
    length: list[int]
    label: list[str]
    split: list[str]
    sha256: list[str]
    reason: list[str]


COLUMNS = Listed._fields
SPLIT, REASON = COLUMNS.index("split"), COLUMNS.index("reason")


def schema() -> Any:
    """The columns of a manifest and their types, as pyarrow knows them."""
    import pyarrow

    numbers = ("start", "length")
    return pyarrow.schema([(name, pyarrow.int64() if name in numbers else pyarrow.string()) for name in COLUMNS])


def path_of(chunk: Chunk) -> str:
    """The part of a chunk, in the folder of the manifest.

    >>> path_of(Chunk(3, "tar", "pets", (), (), "0123456789abcdef..."))
    'manifest/000003-0123456789abcdef.parquet'
    """
    return f"{PARTS}/{chunk.number:06}-{chunk.key[:16]}.parquet"


def is_one(name: str) -> bool:
    """Whether a file of this name is a part, or was to become one.

    >>> is_one("manifest/000003-0123456789abcdef.parquet"), is_one("manifest/thesis.parquet")
    (True, False)
    """
    return re.fullmatch(rf"{PARTS}/(\.\d+\.)?\d{{6,}}-[0-9a-f]{{16}}\.parquet", name) is not None


def write(folder: Folder, chunk: Chunk) -> None:
    """Read the images of a chunk and write its rows into a part that is whole or absent."""
    import pyarrow
    import pyarrow.parquet

    if chunk.kind == inventory.FILES:
        class_names, rows = chunk.class_names, list(_file_rows(chunk))
    else:
        data, (container, _, split, _) = Folder(chunk.root), chunk.entries[0]
        class_names = containers.class_names(data, container) or chunk.class_names
        rows = list(_container_rows(data, container, split, class_names))
    told = {"class_names": class_names, "splits": sorted({row[SPLIT] for row in rows if not row[REASON]})}
    columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema(), strict=True)]
    table = pyarrow.Table.from_arrays(arrays, schema=schema().with_metadata({"tl_keras": json.dumps(told)}))
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, compression="zstd")
    folder.write(path_of(chunk), file.getvalue())


def _file_rows(chunk: Chunk) -> Iterator[tuple]:
    folder, entries = Folder(chunk.root), iter(chunk.entries)
    while part := list(itertools.islice(entries, containers.AT_ONCE)):
        contents = iter(folder.read_all([entry.name for entry in part if not entry.reason]))
        for name, label, split, reason in part:
            digest = ""
            if not reason:
                content = next(contents)
                if isinstance(content, OSError):
                    reason = f"cannot be read ({content.strerror or content})"
                else:
                    digest = _sha256(content)
            yield name, 0, -1, label, split, digest, reason


def _container_rows(folder: Folder, container: str, split: str, class_names: Sequence[str]) -> Iterator[tuple]:
    for name, start, length, label, content, reason in containers.members(folder, container, class_names):
        uri = f"{container}#{name}" if name else container
        part = split if label else "unlabelled"
        yield uri, start, length, label, part, "" if reason else _sha256(content), reason


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def agreed(folder: Folder, listing: Inventory) -> tuple[tuple[str, ...], bool]:
    """The names of numbered classes that all parts have; and whether validation images are those to measure on.

    They are where there are no others, as in `layouts`.

    Raises:
        InputError: the parts have different names.
    """
    import pyarrow.parquet

    names, splits = set[tuple[str, ...]](), set[str]()
    for chunk in listing.chunks:
        with folder.open(path_of(chunk)) as stream:
            told = json.loads(pyarrow.parquet.read_schema(stream).metadata[b"tl_keras"])
        if told["splits"]:  # else nothing in it can be read
            names.add(tuple(told["class_names"]))
            splits.update(told["splits"])
    if len(names) > 1:
        few = " and ".join(", ".join(each[:5]) or "none" for each in sorted(names)[:2])
        raise InputError(
            f"DATA: expected the same class names, in one order, in all containers of {listing.root}, received {few}; "
            "list them apart"
        )
    return names.pop() if names else (), "validation" in splits and "test" not in splits


def read(folder: Folder, chunk: Chunk, promoted: bool) -> Any:
    """The rows of a chunk as a table; validation images as those to measure on, where they are."""
    import pyarrow.compute
    import pyarrow.parquet

    with folder.open(path_of(chunk)) as stream:
        table = pyarrow.parquet.read_table(stream).replace_schema_metadata()
    if promoted:
        split = pyarrow.compute.replace_substring(table["split"], "validation", "test")
        table = table.set_column(SPLIT, "split", split)
    return table
