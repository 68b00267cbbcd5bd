"""Which files a data set of any size consists of, cut into chunks that can be looked through one by one, anywhere."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from tl_keras.data import containers, remote
from tl_keras.data.layouts import IMAGE_SUFFIXES, UNREAD, Layout, read_folder, read_manifest, split_of
from tl_keras.data.members import distinct, printable
from tl_keras.errors import InputError
from tl_keras.folders import Folder

FORMAT = "manifest 1"  # of what is made of a chunk
FILES_A_CHUNK = 1000
FILES = "files"  # the kind of a chunk of image files; others are kinds of containers
TABLES = (".csv", ".tsv")
State = Callable[[str], str]  # from the name of a file to what tells that it is still the same


class Entry(NamedTuple):
    """A file: an image of a class, or, in a chunk of containers, a container of a split."""

    name: str
    label: str
    split: str
    reason: str = ""


@dataclass(frozen=True)
class Chunk:
    """Some files of a data set.

    Args:
        number: in the order of the data set.
        kind: `files`, or the kind of container.
        root: path or URL that names are relative to.
        entries: image files, or one container.
        class_names: of numbered classes, where files beside the container tell them.
        key: SHA-256 of all of it, with sizes and times of the files.
    """

    number: int
    kind: str
    root: str
    entries: tuple[Entry, ...]
    class_names: tuple[str, ...]
    key: str


class Inventory(NamedTuple):
    """What there is: where names are relative to, and the files in chunks."""

    root: str
    chunks: list[Chunk]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of names, labels, sizes and times of all files."""
        return hashlib.sha256("\n".join(chunk.key for chunk in self.chunks).encode()).hexdigest()


def take(data: str, data_dir: str | None, store: Folder) -> Inventory:
    """What there is of `data`: containers where it is a pattern, a container or a folder without image files, else
    class folders or a table; of sets on this machine all that `sources.files` knows.

    Args:
        store: where the manifest will lie; not among the data.

    Raises:
        InputError: nothing there, containers of several kinds or compressed ones, no data set of files.

    >>> len(take("pets", None, Folder("features")).chunks)  # doctest: +SKIP
    8
    """
    from tl_keras.data import sources  # late: it reads manifests, too

    if data.startswith("file://"):
        data = str(Folder(data).local)
    place = None if "://" in data else sources.location(data, data_dir)
    if place is None and ("://" in data or glob.has_magic(data)):
        return _elsewhere(data, store)
    folder, names = _on_disk(place, store) if place else (Folder("."), [])
    if _are_containers(names):
        return Inventory(folder.url, _of_containers(folder, names, _state_in(folder.url)))
    with _hint_at_containers(folder, names):
        layout = sources.files(data, data_dir)
    root = os.path.abspath(layout.root)
    outer = folder.url if place and place.is_dir() else root
    return _of_files(layout, root, outer, _state_in(root))


def _elsewhere(data: str, store: Folder) -> Inventory:
    """At a URL, or what a pattern means."""
    folder, states = remote.listing(data)
    whole = folder.url == data.rstrip("/")
    if whole:
        _refuse_inside(folder, store)
    if _are_containers(states):
        return Inventory(folder.url, _of_containers(folder, list(states), states.__getitem__))
    table = data.removeprefix(f"{folder.url}/")
    is_table = table in states and table.lower().endswith(TABLES)
    if not states or not (whole or is_table):
        raise InputError(
            f"DATA: expected *.tar, TFRecord files or *.parquet at {data}, or there class folders or a table, received "
            f"{len(states)} other files; check the address, or bring them to this machine"
        )
    if is_table:
        folder, states = remote.listing(folder.url)
    path = cast(Path, remote.RemotePath(folder, states))  # it answers what layouts ask of one
    with _hint_at_containers(folder, list(states)):
        layout = read_manifest(path / table) if is_table else read_folder(path)
    below = layout.root.relative_to(path).as_posix()
    return _of_files(
        layout, str(layout.root), folder.url,
        lambda name: states.get(posixpath.normpath(posixpath.join(below, name)), "gone"),
    )  # fmt: skip


@contextlib.contextmanager
def _hint_at_containers(folder: Folder, names: Sequence[str]) -> Iterator[None]:
    """Where files are no data set, name the containers that lie beside them."""
    try:
        yield
    except InputError as error:
        beside = {posixpath.splitext(name)[1] for name in names if containers.kind(name)}
        more = f"; or give the containers that lie there: '{folder.url}/**/*{min(beside)}'" if beside else ""
        raise InputError(f"{error}{more}") from error


def _on_disk(found: Path, store: Folder) -> tuple[Folder, list[str]]:
    if not found.is_dir():
        return Folder(os.path.abspath(found.parent)), [found.name]
    folder = Folder(os.path.abspath(found))
    _refuse_inside(folder, store)
    # A tenth of the time of `Folder.names`, which matters where there are millions.
    below = ((os.path.relpath(path, folder.url), files) for path, _, files in os.walk(folder.url))
    names = (posixpath.normpath(f"{path}/{file}") for path, files in below for file in files)
    return folder, sorted(name for name in names if not remote.is_hidden(name))


def _refuse_inside(folder: Folder, store: Folder) -> None:
    inner = f"{os.path.abspath(store.url) if store.local else store.url.rstrip('/')}/"
    outer = f"{folder.url.rstrip('/')}/"
    if inner.startswith(outer) or outer.startswith(inner):
        raise InputError(
            f"manifest: expected a folder apart from the data, received {store.url} for {folder.url}; name another one"
        )


def _are_containers(names: Collection[str]) -> bool:
    """Whether files are containers of images and not images, beside which there may be anything."""
    if any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        return False
    return any(containers.kind(name) or containers.is_compressed(name) for name in names)


def _of_containers(folder: Folder, names: Sequence[str], state: State) -> list[Chunk]:
    compressed = [name for name in names if containers.is_compressed(name)]
    if compressed:
        raise InputError(f"{folder.url}/{compressed[0]}: {containers.compressed(posixpath.splitext(compressed[0])[1])}")
    kinds = {name: kind for name in names if (kind := containers.kind(name))}
    if len(set(kinds.values())) > 1:
        found = ", ".join(sorted(set(kinds.values())))
        raise InputError(
            f"DATA: expected containers of one kind, received {found} in {folder.url}; give "
            f"those that are meant, such as '{folder.url}/*.tar'"
        )
    told = _class_names(folder, names)
    return [
        _chunk(number, kind, folder.url, [Entry(name, "", split(name))], state, told.get(posixpath.dirname(name), ()))
        for number, (name, kind) in enumerate(kinds.items())
    ]


def split(name: str) -> str:
    """The split of a container: what its name begins with, else the last split named in it, else the folder's.

    >>> split("val/000.tar"), split("pets-test.tfrecord-00000-of-00001"), split("000.tar")
    ('validation', 'test', 'train')
    """
    *folders, file = name.split("/")
    words = re.findall("[a-z]+", file.lower())
    candidates = [*words[:1], *reversed(words), *reversed(folders)]
    return next(filter(None, map(split_of, candidates)), "train")


def _class_names(folder: Folder, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names of numbered classes that TensorFlow Datasets lays beside its files, by folder."""
    found = [name for name in names if name.endswith(".labels.txt")]
    told: dict[str, tuple[str, ...]] = {}
    for name in sorted(found, key=lambda name: posixpath.basename(name) != "label.labels.txt"):
        text = folder.read(name).decode("utf-8", "replace")
        told.setdefault(posixpath.dirname(name), distinct(text.splitlines()))
    return told


def _of_files(layout: Layout, root: str, outer: str, state: State) -> Inventory:
    """Image files in the order in which `sources.load` has them; then those in no class, with the reason.

    Args:
        root: the layout's, by path or URL.
        outer: what `layout.unread` is relative to.
    """
    parts = {"train": layout.train, "test": layout.test, "validation": layout.validation}
    entries = [_entry(file, label, part) for part, items in parts.items() for file, label in items]
    entries += [_entry(file, "", "unlabelled") for file in layout.unlabelled]
    beside = (os.path.relpath(os.path.join(outer, file), root) for file in layout.unread)
    entries += [_entry(file, "", "unlabelled", UNREAD) for file in beside]
    cut = [entries[start : start + FILES_A_CHUNK] for start in range(0, len(entries), FILES_A_CHUNK)]
    return Inventory(root, [_chunk(number, FILES, root, part, state) for number, part in enumerate(cut)])


def _entry(file: str, label: str, part: str, reason: str = "") -> Entry:
    """An image file; its name as text, which a name that is no UTF-8 cannot be found by again."""
    name = printable(file)
    return Entry(name, printable(label), part, reason or ("" if name == file else "its name is no UTF-8; rename it"))


def _chunk(
    number: int,
    kind: str,
    root: str,
    entries: Sequence[Entry],
    state: State,
    names: tuple[str, ...] = (),
) -> Chunk:
    told = FORMAT, kind, root, names, [(*entry, state(entry.name)) for entry in entries]
    return Chunk(number, kind, root, tuple(entries), names, hashlib.sha256(repr(told).encode()).hexdigest())


def _state_in(root: str) -> State:
    """What tells whether a file of this machine is still the same."""

    def on_disk(name: str) -> str:
        try:
            state = os.stat(os.path.join(root, name))
            return f"{state.st_size} {state.st_mtime_ns}"
        except OSError:
            return "gone"

    return on_disk
