"""Which models and versions lie in a folder: `saved_models/NAME/N`, or the folder of one model itself."""

from __future__ import annotations

import re
from pathlib import Path

from tl_keras.errors import InputError

GRAPH = "saved_model.pb"
NUMBER = re.compile("[0-9]{1,18}")

Labels = dict[str, dict[str, int]]  # by model and label: the number of the version
Stamp = tuple[tuple[str, int, int, int], ...]


def found(folder: Path) -> dict[str, dict[int, Path]]:
    """The models in `folder`, and of each the folders of its versions by their number.

    A folder that has a version in it is that of one model. Hidden and unfinished ones, whose names begin with a dot,
    are passed over, and names with a colon, which no address can have.

    >>> found(Path("saved_models"))  # doctest: +SKIP
    {'flowers': {1: PosixPath('saved_models/flowers/1')}}
    """
    if is_model(folder):
        return {folder.resolve().name: _versions(folder)}
    return {path.name: _versions(path) for path in _folders(folder) if ":" not in path.name}


def is_model(folder: Path) -> bool:
    """Whether a folder is that of one model: it has a version, whole or not, and no model called by a number."""
    return any(not _versions(path) for path in _versions(folder).values())


def stamp(version: Path) -> Stamp:
    """What changes when a file of a version does: names, sizes, times and numbers of its files.

    >>> stamp(Path("saved_models/flowers/1")) == stamp(Path("saved_models/flowers/1"))
    True
    """
    files = []
    for path in sorted(version.rglob("*")):
        try:
            known = path.stat()
        except OSError:  # gone meanwhile
            continue
        files.append((path.relative_to(version).as_posix(), known.st_size, known.st_mtime_ns, known.st_ino))
    return tuple(files)


def labels(text: str) -> Labels:
    """The labels of `--labels`, by model.

    Raises:
        InputError: it is not written so.

    >>> labels("flowers:stable=1,flowers:canary=2")
    {'flowers': {'stable': 1, 'canary': 2}}
    """
    named: Labels = {}
    for entry in text.split(","):
        match = re.fullmatch("([^:/=]+):([^:/=]+)=([0-9]{1,18})", entry.strip())
        if not match:
            raise InputError(
                f"--labels: expected NAME:LABEL=VERSION with commas between, received {entry!r}; write for example "
                "flowers:stable=1"
            )
        name, label, number = match.groups()
        if label in named.get(name, {}):
            raise InputError(f"--labels: expected each label of a model once, received {name}:{label} twice; drop one")
        named.setdefault(name, {})[label] = int(number)
    return named


def _versions(model: Path) -> dict[int, Path]:
    numbered = [path for path in _folders(model) if NUMBER.fullmatch(path.name)]
    return {int(path.name): path for path in reversed(numbered)}  # of 1 and 01 the first


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_dir())
    except OSError:  # gone, or not to be read: nothing is found there
        return []
