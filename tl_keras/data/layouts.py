"""Which files make up a data set: class folders, Tiny-ImageNet's folders, manifests. Nothing is decoded here."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from tl_keras.errors import InputError

TEST_PARTS = ("test", "validation", "val")
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
    """

    root: Path
    train: Items
    test: Items
    validation: Items = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)

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


def read_folder(root: Path) -> Layout:
    """Class folders under `train/` and `test/`, `validation/` or `val/`, or under `root`.

    Of several labelled parts the first is the one to measure on, and the next to choose by; a `test/` without class
    folders holds images whose classes are hidden. Tiny-ImageNet's `train/CLASS/images/` and `val/images/` with
    `val_annotations.txt` are read too. Hidden files are not; a single outer folder, as archives have one, is stepped
    into.

    Raises:
        InputError: no images, an empty class folder, one class only, other classes to test on than to train on.
    """
    root = _without_outer_folders(root)
    if not (root / "train").is_dir():
        return Layout(root, _class_folders(root, root), [])
    train = _class_folders(root, root / "train")
    classes = {label for _, label in train}
    parts = {part: _held_out(root, root / part, classes) for part in TEST_PARTS if (root / part).is_dir()}
    labelled = [items for items in parts.values() if items]
    hidden = [file for part, items in parts.items() if not items for file in _images(root, root / part)]
    test, validation = [*labelled, [], []][:2]
    return Layout(root, train, test, validation, hidden)


def _without_outer_folders(root: Path) -> Path:
    inside = _subfolders(root)
    while len(inside) == 1 and inside[0].name != "train" and _subfolders(inside[0]):
        root = inside[0]
        inside = _subfolders(root)
    return root


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "." and entry.name != "__MACOSX"
    )


def _class_folders(root: Path, folder: Path) -> Items:
    items = []
    for one in _subfolders(folder):
        images = one / "images" if (one / "images").is_dir() else one
        files = _images(root, images)
        if not files:
            raise InputError(f"{one}: expected images in the class folder, received none; add some or remove it")
        items += [(file, one.name) for file in files]
    if not items:
        raise InputError(f"{folder}: expected folders of images, one per class, received none; add them")
    return items


def _images(root: Path, folder: Path) -> list[str]:
    """The files below `folder`, hidden ones left out, relative to `root`."""
    files = sorted(path.relative_to(root) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in files if not any(part.startswith(".") for part in path.parts)]


def _held_out(root: Path, folder: Path, classes: set[str]) -> Items:
    """The labelled images in `folder`; none where it lacks or, as in competitions, has no labels."""
    annotations = folder / f"{folder.name}_annotations.txt"
    if annotations.is_file():
        rows = [line.split("\t") for line in _lines(annotations) if line.strip()]
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
    """A .csv or .tsv of path,label and optionally split (train, or test, validation, val); the header is optional.

    Paths are relative to the manifest.

    Raises:
        InputError: missing columns or files, an unknown split, one class only.
    """
    try:
        rows = list(csv.reader(_lines(path), delimiter="\t" if path.suffix == ".tsv" else ",", strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: expected path,label lines, received a broken one ({error}); mend it") from error
    numbered = [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, 1) if any(row)]
    columns = ["path", "label", "split"]
    header = [cell.lower() for cell in numbered[0][1]] if numbered else []
    if {"path", "label"} & set(header):
        columns, numbered = header, numbered[1:]
    if not {"path", "label"} <= set(columns):
        raise InputError(f"{path}: expected the columns path and label, received {', '.join(header)}; rename them")
    parts: dict[str, Items] = {part: [] for part in ("train", *TEST_PARTS)}
    for number, row in numbered:
        cells = dict(zip(columns, row, strict=False))
        part = cells.get("split") or "train"
        if not cells.get("path") or not cells.get("label") or part not in ("train", *TEST_PARTS):
            raise InputError(
                f"{path}, line {number}: expected path,label and optionally train, test or val, received "
                f"{','.join(row)!r}; mend the line"
            )
        parts[part].append((cells["path"], cells["label"]))
    _check_files(path, path.parent, [item for items in parts.values() for item in items])
    test, validation = [*filter(None, (parts[part] for part in TEST_PARTS)), [], []][:2]
    return Layout(path.parent, parts["train"], test, validation)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
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
