"""Frozen features in shards: each a pure task that gives the same bytes whoever does it, however often it was begun.

A store is a folder or a URL. It holds `manifest.parquet` (which images), `extraction.json` (the plan: which network,
how it sees them), the network, and for each shard `features/N.npy` with, written last, its marker `features/N.json`. A
shard without a marker was not computed. `done.json` and `quarantine.csv` end the whole (`transfer.extraction`).
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from tl_keras import quiet, values
from tl_keras.data import containers
from tl_keras.data.decode import decode
from tl_keras.data.listed import check
from tl_keras.data.manifest import Listed, Manifest
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.folders import Folder
from tl_keras.models import model_file
from tl_keras.transfer import frozen, pieces, strategies

PLAN = "extraction.json"
_cores = 1


@dataclass(frozen=True)
class Plan:
    """What decides the bytes of every shard.

    Args:
        backbone: its name, for people.
        view: how it sees an image.
        width: features of an image, float32.
        images: how many the manifest lists, readable or not; `shard_size` of them make a shard.
        batch: images that are read and decoded together; `piece` of them are run together, by one thread.
        manifest: its fingerprint.
        layers: the fingerprint of the network up to its features (`engine.fingerprint`).
        network: the file in the store that is run, .onnx or .keras, and the SHA-256 of it.
        versions: of what reads images and runs the network.
    """

    backbone: str
    view: View
    width: int
    images: int
    shard_size: int
    batch: int
    piece: int
    manifest: str
    layers: str
    network: str
    network_sha256: str
    versions: tuple[str, ...]

    def __post_init__(self):
        counts = (self.width, self.images, self.shard_size, self.batch, self.piece)
        if not all(isinstance(count, int) and count > 0 for count in counts):
            raise ValueError(f"counts {counts}")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the bytes; the network's file, in which names change, is told by its layers."""
        said = values.to_json(replace(self, network=self.versions[-1], network_sha256=""))
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def shards(self) -> range:
        """The numbers of the shards."""
        return range(-(-self.images // self.shard_size))

    @property
    def runs_tensorflow(self) -> bool:
        """Whether TensorFlow runs the network, and not ONNX Runtime."""
        return self.network.endswith(".keras")

    def write(self, folder: Folder) -> None:
        """Keep it in a store."""
        folder.write(PLAN, (json.dumps(values.to_json(self), indent=2) + "\n").encode())


def plan_of(folder: Folder) -> Plan | None:
    """The plan of a store; None where there is none.

    Raises:
        InputError: it is damaged, or of another version.

    >>> plan_of(Folder("nowhere")) is None
    True
    """
    try:
        plan = values.from_json(json.loads(folder.read(PLAN)))
        if not isinstance(plan, Plan):
            raise ValueError(f"{type(plan).__name__}")
    except FileNotFoundError:
        return None
    except (ValueError, InputError) as error:
        raise InputError(
            f"{folder.url}/{PLAN}: expected the plan of a store, received a damaged one ({error}); extract into "
            "another folder"
        ) from error
    return plan


def names(shard: int) -> tuple[str, str]:
    """The file of the features of a shard, and that of its marker.

    >>> names(3)
    ('features/000003.npy', 'features/000003.json')
    """
    return f"features/{shard:06}.npy", f"features/{shard:06}.json"


def prepare(runs_tensorflow: bool, cores: int) -> None:
    """Get a worker process ready: it may use so many cores.

    >>> prepare(False, 1)
    """
    global _cores
    _cores = cores
    if runs_tensorflow:
        quiet.import_tensorflow()
        pieces.one_thread_each(cores)


def extract(folder: Folder, plan: Plan, root: str, shard: int, advance: Callable[[int], object] | None = None) -> dict:
    """Compute one shard and write it; its marker, which is the answer.

    Args:
        root: where the images of the manifest lie.
        advance: called with the number of images that were looked at, again and again.

    Raises:
        InputError: images that are gone, or not those that the manifest lists.
        OSError: they cannot be read, or the shard cannot be written.
    """
    listed = Manifest(folder).shard(shard)
    left_out = [[row, reason] for row, reason in enumerate(listed.reason) if reason]
    features = np.empty((len(listed.uri) - len(left_out), plan.width), "float32")
    filled, run = 0, _network(folder, plan)
    with ThreadPoolExecutor(_cores) as pool, ThreadPoolExecutor(1) as reader:
        for rows, contents in _read_ahead(root, listed, plan.batch, reader):
            starts = range(0, len(rows), plan.piece)
            decoded = pool.map(lambda at, c=contents: [seen(plan.view, e) for e in c[at : at + plan.piece]], starts)
            found = [each for piece in decoded for each in piece]
            left_out += [[row, each] for row, each in zip(rows, found, strict=True) if isinstance(each, str)]
            images = [each for each in found if not isinstance(each, str)]
            if images:
                features[filled : filled + len(images)] = run([np.stack(images)])[0]
                filled += len(images)
            if advance:
                advance(len(rows))
    return _written(folder, shard, features[:filled], sorted(left_out))


def readable(root: str, listed: Listed) -> tuple[list[int], Iterator[bytes]]:
    """The rows of a shard that can be read, and what these hold, one after the other."""
    rows = [row for row, reason in enumerate(listed.reason) if not reason]
    uris = [listed.uri[row] for row in rows]
    starts, lengths = ([column[row] for row in rows] for column in (listed.start, listed.length))
    return rows, containers.read(root, uris, starts, lengths)


def _read_ahead(root: str, listed: Listed, size: int, reader) -> Iterator[tuple[list[int], list[bytes]]]:
    """Rows that can be read and what they hold, `size` at a time; the next ones are read while these are worked on."""
    rows, contents = readable(root, listed)
    coming = reader.submit(lambda: list(islice(contents, size)))
    for start in range(0, len(rows), size):
        part, found = rows[start : start + size], coming.result()
        coming = reader.submit(lambda: list(islice(contents, size)))
        for row, content in zip(part, found, strict=True):
            check(listed.uri[row], content, listed.sha256[row])
        yield part, found


def seen(view: View, content: bytes) -> np.ndarray | str:
    """What the network sees of an encoded image, or why it sees nothing."""
    try:
        return view.of(decode(content))
    except InputError as error:
        return str(error)


@functools.lru_cache(maxsize=1)
def _network(folder: Folder, plan: Plan) -> pieces.Run:
    """The network of a store as a function, kept for the next shard."""
    content = folder.read(plan.network)
    if hashlib.sha256(content).hexdigest() != plan.network_sha256:
        raise InputError(
            f"{folder.url}/{plan.network}: expected the network of the plan, received another; extract into another "
            "folder"
        )
    if not plan.runs_tensorflow:
        return pieces.in_onnxruntime(content, plan.piece, _cores)
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:
        file.write(content)
        file.flush()
        return pieces.in_tensorflow(to_features(model_file.load(Path(file.name))), plan.piece, _cores)


def to_features(model):
    """The part of a classifier, its last layer new, that gives what this layer reads: images in, (B, F) out.

    The same layers as those that a training of the last layer finds frozen.
    """
    strategies.set_trainable(model, strategies.Phase(last_layers=1))
    return frozen.split_frozen(model)[0]


def _written(folder: Folder, shard: int, features: np.ndarray, left_out: list) -> dict:
    file = io.BytesIO()
    np.save(file, features)
    content = file.getvalue()
    marker = {
        "images": len(features),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "left_out": left_out,
    }
    path, end = names(shard)
    folder.write(path, content)
    folder.write(end, json.dumps(marker).encode())
    return marker
