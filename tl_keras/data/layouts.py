"""Which files make up a data set: class folders, Tiny-ImageNet's folders, manifests. Nothing is decoded here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tl_keras.errors import InputError

# What a split may be called, in any case, and with "set" behind it.
SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "validation", "valid": "validation", "validation": "validation",
}  # fmt: skip
HELD_OUT = ("test", "validation")  # the first that there is is measured on, the next chosen by
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MADE_HERE = ("config.json", "saved_model.pb")  # a run and a SavedModel are told by these
UNREAD = "lies in no class folder, or beside its images/, or is not listed; move it or list it"
Items = list[tuple[str, str]]


@dataclass(frozen=True)
class Layout:
    """The files of a data set.

    Args:
        root: the folder that file names are relative to.
        train: (file, class name) of the images to learn from.
        test: the same for the images to measure on; empty if the set does not come with any.
        validation: the same for images to choose by, where there are such beside those to measure on.
        unlabelled: files whose classes are hidden, as in competitions.
        unread: image files that lie beside these, where no class is told, relative to the folder that was given.
    """

    root: Path
    train: Items
    test: Items
    validation: Items = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def __post_init__(self):
        if not self.train:
            raise InputError(f"{self.root}: expected training images, received none; add some")
        train, validation, test = ({label for _, label in items} for items in (self.train, self.validation, self.test))
        if len(train) < 2:
            raise InputError(
                f"{self.root}: expected two classes or more, received one, {min(train)!r}; give one folder per class"
            )
        for part, classes in (("validation", validation), ("test", test)):
            if classes and train != classes:
                raise InputError(
                    f"{self.root}: expected the same classes to train and in {part}, received "
                    f"{_few(train - classes) or 'no class'} only in train and {_few(classes - train) or 'no class'} "
                    f"only in {part}; add what is missing"
                )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their numbers."""
        return ordered({label for _, label in self.train})


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in the order in which they are numbered: by value where all are whole numbers, else as text.

    >>> ordered(["10", "9", "0"]), ordered(["10", "9", "a"])
    (('0', '9', '10'), ('10', '9', 'a'))
    """
    as_text = sorted(names)
    return tuple(sorted(as_text, key=int) if all(name.isdecimal() for name in as_text) else as_text)


def split_of(name: str) -> str | None:
    """The split that a folder or a cell of this name is, `train`, `test` or `validation`; None where it is none.

    >>> split_of("Training_Set"), split_of("VAL"), split_of("cat")
    ('train', 'validation', None)
    """
    return SPLITS.get(re.sub("[ _-]?set$", "", name.lower()))


def read_folder(root: Path) -> Layout:
    """Class folders under the splits train, test and validation (`SPLITS` has their names), or under `root`.

    Of several labelled parts the first is the one to measure on, and the next to choose by; a `test/` without class
    folders holds images whose classes are hidden. Tiny-ImageNet's `train/CLASS/images/` and `val/images/` with
    `val_annotations.txt` are read too. Hidden files are not; a single outer folder, as archives have one, is stepped
    into. Of a class called as a split is, such as `test`, beside others it is asked what is meant.

    Raises:
        InputError: no images, an empty class folder, one class only, other classes to test on than to train on, test
            or validation images alone, the output of a run among the classes.
    """
    given, root = root, _without_outer_folders(root)
    folders = _split_folders(root)
    train = _class_folders(root, folders.get("train", root))
    classes = {label for _, label in train}
    parts = {part: _held_out(root, folders[part], classes) for part in HELD_OUT if part in folders}
    hidden = [file for part, items in parts.items() if not items for file in _files(root, folders[part])]
    test, validation = [*filter(None, parts.values()), [], []][:2]
    read = {root / file for file in [*(file for file, _ in [*train, *test, *validation]), *hidden]}
    images = [file for file in _files(given, given) if file.lower().endswith(IMAGE_SUFFIXES)]
    unread = [file for file in images if given / file not in read]
    return Layout(root, train, test, validation, hidden, unread)


def _without_outer_folders(root: Path) -> Path:
    inside = _subfolders(root)
    while len(inside) == 1 and not split_of(inside[0].name) and _subfolders(inside[0]):
        root = inside[0]
        inside = _subfolders(root)
    return root


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "." and entry.name != "__MACOSX"
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders in `root` that are splits; none where all of its folders are classes."""
    found: dict[str, Path] = {}
    for folder in _subfolders(root):
        part = split_of(folder.name)
        if part in found:
            raise InputError(
                f"{root}: expected one folder of {part} images, received {found[part].name!r} and {folder.name!r}; "
                "put them together or take one away"
            )
        if part:
            found[part] = folder
    if found and not ("train" in found and _subfolders(found["train"])):
        raise InputError(
            f"{root}: expected class folders, or train/ with class folders in it, received "
            f"{_few({folder.name for folder in _subfolders(root)})}; add train/CLASS/, or give a class that is called "
            "as a split is another name"
        )
    return found


def _class_folders(root: Path, folder: Path) -> Items:
    items: Items = []
    for one in _subfolders(folder):
        files = _files(root, one / "images" if (one / "images").is_dir() else one)
        if not files:
            raise InputError(f"{one}: expected images in the class folder, received none; add some or remove it")
        made_here = [file for file in files if PurePosixPath(file).name in MADE_HERE]
        if made_here:
            raise InputError(
                f"{one}: expected images of a class, received {made_here[0]!r}, which is of a run or of a saved model; "
                "move that folder away"
            )
        items += [(file, one.name) for file in files]
    if all(split_of(label) for _, label in items):
        raise InputError(
            f"{folder}: expected folders of images, one per class, received "
            f"{_few({label for _, label in items}) or 'none'}; add them"
        )
    return items


def _files(root: Path, folder: Path) -> list[str]:
    """The files below `folder`, hidden ones left out, relative to `root`."""
    files = sorted(path.relative_to(root) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in files if not any(part.startswith(".") for part in path.parts)]


def _held_out(root: Path, folder: Path, classes: set[str]) -> Items:
    """The labelled images in `folder`; none where it lacks or, as in competitions, has no labels."""
    annotations = next(folder.glob("*_annotations.txt"), None)
    if annotations:
        rows = [line.split("\t") for line in _text(annotations).split("\n") if line.strip()]
        if any(len(row) < 2 for row in rows):
            raise InputError(f"{annotations}: expected lines of file, tab, class, received others; mend them")
        images = (folder / "images").relative_to(root)
        items = [((images / row[0]).as_posix(), row[1].strip()) for row in rows]
        _check_files(annotations, root, items)
        return items
    names = [entry.name for entry in _subfolders(folder)] if folder.is_dir() else []
    unlabelled = not names or (len(names) == 1 and names[0] not in classes)
    return [] if unlabelled else _class_folders(root, folder)


def read_manifest(path: Path) -> Layout:
    """A .csv or .tsv of path,label and optionally split (`SPLITS` has their names); the header is optional.

    Paths are relative to the manifest.

    Raises:
        InputError: missing columns or files, an unknown split, one class only.
    """
    try:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        rows = list(csv.reader(io.StringIO(_text(path)), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: expected path,label lines, received a broken one ({error}); mend it") from error
    numbered = [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, 1) if any(row)]
    columns = ["path", "label", "split"]
    header = [cell.lower() for cell in numbered[0][1]] if numbered else []
    if {"path", "label"} & set(header):
        columns, numbered = header, numbered[1:]
    if not {"path", "label"} <= set(columns):
        raise InputError(f"{path}: expected the columns path and label, received {', '.join(header)}; rename them")
    parts: dict[str | None, Items] = {part: [] for part in ("train", *HELD_OUT)}
    for number, row in numbered:
        cells = dict(zip(columns, row, strict=False))
        part = split_of(cells.get("split") or "train")
        if not cells.get("path") or not cells.get("label") or part not in parts:
            raise InputError(
                f"{path}, line {number}: expected path,label and optionally train, test or val, received "
                f"{','.join(row)!r}; mend the line"
            )
        parts[part].append((cells["path"], cells["label"]))
    _check_files(path, path.parent, [item for items in parts.values() for item in items])
    test, validation = [*filter(None, (parts[part] for part in HELD_OUT)), [], []][:2]
    return Layout(path.parent, parts["train"], test, validation)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file in UTF-8, received {error}; save it anew") from error


def _check_files(listed_in: Path, root: Path, items: Items) -> None:
    missing = [file for file, _ in items if not (root / file).is_file()]
    if missing:
        raise InputError(
            f"{listed_in}: expected every file it names beside it, received {len(missing)} of {len(items)} missing, "
            f"first {missing[0]!r}; add them or remove the lines"
        )


def _few(names: set[str]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:5])
    return f"{shown}, ..." if len(names) > 5 else shown
