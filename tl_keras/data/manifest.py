"""A list of all images of a data set, however many: where each lies, its class, its split and the hash of its content.

It is made once, chunk by chunk, each a pure task; what is listed survives a kill. It lies in one Parquet file whose row
groups are the shards: to read one shard costs the same in a list of any length.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tl_keras import files, tasks
from tl_keras.data import inventory, manifest_parts
from tl_keras.data.inventory import Inventory
from tl_keras.data.layouts import ordered
from tl_keras.data.manifest_parts import COLUMNS, PARTS, Listed
from tl_keras.errors import InputError
from tl_keras.folders import Folder

NAME = "manifest.parquet"


class Manifest:
    """The manifest in a folder.

    Args:
        folder: that holds `manifest.parquet`.

    Raises:
        InputError: there is none, or it is damaged.

    >>> Manifest(Folder("features")).shard(0).uri[0]  # doctest: +SKIP
    'cats/1.jpg'
    """

    def __init__(self, folder: Folder):
        self.folder = folder
        with self._opened() as file:
            metadata = file.metadata
            try:
                told = json.loads(metadata.metadata[b"tl_keras"])
                self.root: str = told["root"]
                self.shard_size: int = told["shard_size"]
                self.class_names: tuple[str, ...] = tuple(told["class_names"])
                self.fingerprint: str = told["fingerprint"]
                self.listing: str = told["listing"]
                if tuple(file.schema_arrow.names) != COLUMNS:
                    raise ValueError("other columns")
            except (KeyError, TypeError, ValueError) as error:
                raise self._refusal(f"one of another kind ({error})") from error
            self.shards: int = metadata.num_row_groups
            self.images: int = metadata.num_rows

    def shard(self, number: int) -> Listed:
        """The rows of one shard; nothing else is read. An IndexError where there is no such shard."""
        if not 0 <= number < self.shards:
            raise IndexError(f"shard {number} of {self.shards}")
        with self._opened() as file:
            return Listed(*(column.to_pylist() for column in file.read_row_group(number).columns))

    def column(self, name: str) -> np.ndarray:
        """One column of all rows (N,): int64, or objects that are text."""
        with self._opened() as file:
            return file.read(columns=[name])[name].to_numpy()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        import pyarrow
        import pyarrow.parquet

        try:
            with self.folder.open(NAME) as stream, pyarrow.parquet.ParquetFile(stream) as file:
                yield file
        except FileNotFoundError:
            raise self._refusal("none") from None
        except (pyarrow.ArrowException, OSError) as error:
            if getattr(error, "errno", None):  # the disk's or the network's; what pyarrow raises for bytes has none
                raise
            raise self._refusal("a damaged file") from error

    def _refusal(self, received: str) -> InputError:
        return InputError(
            f"{self.folder.url}/{NAME}: expected a manifest, received {received}; extract into another folder"
        )


def make(data: str, data_dir: str | None, folder: Folder, shard_size: int, engine: str) -> Manifest:
    """List every image of a data set, in `manifest.parquet` of `folder`; found again if it is there.

    Images are read once, for their hashes. A kill loses the chunks at work: a thousand files each, or a container.

    Args:
        data: what `sources.files` knows (class folders, a .zip of them, a table); a folder or pattern of .tar
            (WebDataset), TFRecord files or Parquet; or the URL of any but a .zip. A container's split is told by
            its name.
        data_dir: the data directory.
        shard_size: rows of a shard.
        engine: who reads the images (`tasks.each`).

    Raises:
        InputError: no images, or a manifest of other data in `folder`.

    >>> make("pets", None, Folder("features"), 4096, "processes:2").images  # doctest: +SKIP
    7349
    """
    tasks.check(engine)
    if shard_size < 1:
        raise InputError(f"shard size: expected at least 1, received {shard_size}; give a positive number of images")
    listing = inventory.take(data, data_dir, folder)
    if folder.exists(NAME):
        _check_same(Manifest(folder), listing, shard_size)
    else:
        there = set(folder.names(PARTS))
        lacking = [chunk for chunk in listing.chunks if manifest_parts.path_of(chunk) not in there]
        with tqdm(
            total=len(listing.chunks), initial=len(listing.chunks) - len(lacking), desc="manifest", unit="chunk",
            disable=None, leave=False,
        ) as progress:  # fmt: skip
            for _ in tasks.each(engine, functools.partial(manifest_parts.write, folder), lacking, cores=1):
                progress.update()
        _join(folder, listing, shard_size)
    _remove_parts(folder)
    return Manifest(folder)


def _check_same(found: Manifest, listing: Inventory, shard_size: int) -> None:
    for what, expected, received in (
        ("the data that it lists, of", found.root, listing.root),
        ("the files that it lists, of", found.listing[:12], listing.fingerprint[:12]),
        ("shards of", str(found.shard_size), str(shard_size)),
    ):
        if expected != received:
            raise InputError(
                f"{found.folder.url}/{NAME}: expected {what} {expected}, received {received}; put back what was "
                "changed, or extract into another folder"
            )


def _join(folder: Folder, listing: Inventory, shard_size: int) -> None:
    """Write the rows of all parts, in order, shard by shard into one file that is whole or absent."""
    import pyarrow.parquet

    names, promoted = manifest_parts.agreed(folder, listing)
    labels, digest, reasons, readable = set[str](), hashlib.sha256(), list[str](), 0
    with (
        _to_write(folder) as path,
        pyarrow.parquet.ParquetWriter(
            path,
            manifest_parts.schema(),
            compression="zstd",
            write_statistics=False,
            use_dictionary=["label", "split", "reason"],
        ) as writer,
    ):
        for table in _in_shards((manifest_parts.read(folder, chunk, promoted) for chunk in listing.chunks), shard_size):
            listed = Listed(*(column.to_pylist() for column in table.columns))
            labels.update(listed.label)
            readable += listed.reason.count("")
            reasons = reasons or [reason for reason in listed.reason if reason][:1]
            for row in zip(*listed, strict=True):
                digest.update(repr(row).encode())
            writer.write_table(table, row_group_size=shard_size)
        if not readable:
            raise InputError(
                f"DATA: expected images, received none that can be read, in {listing.root} "
                f"({reasons[0] if reasons else 'nothing is in there'}); check what lies there"
            )
        told = {
            "root": listing.root, "class_names": names or ordered(labels - {""}), "fingerprint": digest.hexdigest(),
            "shard_size": shard_size, "listing": listing.fingerprint,
        }  # fmt: skip
        writer.add_key_value_metadata({"tl_keras": json.dumps(told)})


def _in_shards(tables: Iterable[Any], size: int) -> Iterator[Any]:
    """The same rows in tables of `size`, the last one shorter, with few of them in memory."""
    import pyarrow

    waiting = manifest_parts.schema().empty_table()
    for table in tables:
        waiting = pyarrow.concat_tables([waiting, table])
        whole = len(waiting) - len(waiting) % size
        for start in range(0, whole, size):
            # As one piece, so that the bytes of the file do not tell where parts ended.
            yield waiting.slice(start, size).combine_chunks()
        waiting = waiting.slice(whole).combine_chunks()
    if len(waiting):
        yield waiting


@contextlib.contextmanager
def _to_write(folder: Folder) -> Iterator[Path]:
    """A path to write the manifest at; it is there when the block ends well."""
    if folder.local:
        with files.atomic(folder.local / NAME) as path:
            yield path
        return
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / NAME
        yield path
        folder.write(NAME, path.read_bytes())


def _remove_parts(folder: Folder) -> None:
    """Take away the parts, those that killed processes began too, and nothing that somebody else put there."""
    if folder.local is None:
        for name in filter(manifest_parts.is_one, folder.names(PARTS)):
            folder.remove(name)
        return
    for path in (folder.local / PARTS).glob("*.parquet"):
        if manifest_parts.is_one(f"{PARTS}/{path.name}"):
            path.unlink()
    with contextlib.suppress(OSError):  # there is none, or other files lie there
        (folder.local / PARTS).rmdir()
