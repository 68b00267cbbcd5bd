"""A trial on another machine: what is sent with it, the folder that it is trained in there, and what comes back."""

from __future__ import annotations

import glob
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_keras import files, scratch
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder
from tl_keras.study.trial import Trial


@dataclass(frozen=True)
class Parcel:
    """A trial on its way.

    Args:
        trial: what is to be trained.
        needed: what the trials that it starts from have left, by path in the run folder.
        places: what it names by absolute path, which has to lie there on every machine.
    """

    trial: Trial
    needed: dict[str, bytes]
    places: tuple[str, ...]


def packed(trial: Trial, out: RunFolder) -> Parcel:
    """`trial` with all that it starts from, as that lies in the run folder by now.

    >>> packed(Trial(...), out).needed  # doctest: +SKIP
    {'records/A.json': b'...', 'models/A.keras': b'...'}
    """
    needed = {
        out.relative(path): path.read_bytes()
        for name in trial.needs
        for folder in (out.records, out.history(name).parent, out.predictions(name).parent, out.model(name).parent)
        for path in folder.glob(f"{glob.escape(name)}.*")
    }
    return Parcel(trial, needed, tuple(sorted(set(_places(trial.to_json())))))


def trained(parcel: Parcel, run: str, train: Callable[[Trial, RunFolder], object]) -> dict[str, bytes]:
    """Train on this machine; give what that left, by path in the run folder.

    Activations of frozen layers are shared by the trials of a run that come to one machine.

    Args:
        run: a name of the run that no other has.
        train: leaves the record of a trial in a run folder.

    Raises:
        InputError: what the trial asks for cannot be had here; the message names the machine.
    """
    trial, shared = parcel.trial, scratch.shared(run)
    folder = shared / "trials" / trial.name
    # What another process began here before it was lost is taken up; it may not have ended yet.
    with files.locked(shared / "trials" / f"{trial.name}.lock"):
        try:
            out = RunFolder(folder)
            _check_places(parcel)
            for name, content in parcel.needed.items():
                files.write_bytes(folder / name, content)
            _link(out.activations, shared / "activations")
            train(trial, out)
            return {name: (folder / name).read_bytes() for name in _left(out) if name not in parcel.needed}
        except InputError as error:
            raise InputError(f"{error} (on {socket.gethostname()})") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def keep(left: dict[str, bytes], trial: Trial, out: RunFolder) -> None:
    """Write what a trial left into its run folder, the record last."""
    record = out.relative(out.record(trial.name))
    for name in sorted(left, key=lambda name: name == record):
        files.write_bytes(out.path / name, left[name])


def _places(content: Any) -> Iterator[str]:
    """Absolute paths in the JSON of a trial; a named set need not lie in the same data directory everywhere."""
    if isinstance(content, dict):
        content = [part for key, part in content.items() if key != "data_dir"]
    if isinstance(content, list):
        for part in content:
            yield from _places(part)
    elif isinstance(content, str) and os.path.isabs(content) and os.path.exists(content):
        yield content


def _check_places(parcel: Parcel) -> None:
    for place in parcel.places:
        if not os.path.exists(place):
            raise InputError(
                f"{parcel.trial.name}: expected {place} at the same place on every machine, received one without it; "
                "put it on storage that all of them share"
            )


def _link(path: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # taken up
        path.symlink_to(folder)


def _left(out: RunFolder) -> Iterator[str]:
    """The files of a trial that is finished; what it would have been resumed from is none of them."""
    kept = out.activations.parent
    return (out.relative(path) for path in out.path.rglob("[!.]*") if path.is_file() and kept not in path.parents)
