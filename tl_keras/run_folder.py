"""The one place that knows run folders: `runs/<experiment>/<time>/` and what belongs where in it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_keras.errors import InputError
from tl_keras.files import alone, atomic, write_json

FORMAT = 2  # of the folder: what it holds, and where
SAVED_MODELS = Path("saved_models")  # beside `runs`: the trained networks of all runs, as servers want them


@dataclass(frozen=True)
class RunFolder:
    """A run's files; every one of them is whole or absent.

    Args:
        path: of the folder.
        made: the folders that `create` made, the outermost first; None where it was not called.

    >>> folder = RunFolder.create(Path("runs/try"), {"experiment": "try"})
    >>> folder.history("A").name
    'A.csv'
    """

    path: Path
    made: tuple[Path, ...] | None = field(default=None, compare=False)

    @classmethod
    def create(cls, path: Path | None, config: dict[str, Any]) -> RunFolder:
        """Start a run in `path`, which must be new or empty; by default in a new folder `runs/<experiment>/<time>`.

        Raises:
            InputError: the folder holds files already, or cannot be written.
        """
        try:
            out = cls._made(path) if path else cls._made_for(config["experiment"])
            try:
                with out.locked():
                    out._begin(config)
            except BaseException:
                out._remove_made()
                raise
        except OSError as error:
            raise InputError(
                f"--out: expected a folder that can be written, received {path or Path('runs')} ({error.strerror}); "
                "choose another one"
            ) from error
        return out

    @classmethod
    def _made(cls, path: Path) -> RunFolder:
        missing = _missing(path)
        path.mkdir(parents=True, exist_ok=True)
        return cls(path, missing)

    @classmethod
    def _made_for(cls, experiment: str) -> RunFolder:
        above = cls._made(Path("runs") / experiment)
        now, number = time.strftime("%Y-%m-%d_%H-%M-%S"), 1
        while True:
            path = above.path / (f"{now}-{number}" if number > 1 else now)
            with suppress(FileExistsError):  # of a run that started in the same second
                path.mkdir()
                return cls(path, (*(above.made or ()), path))
            number += 1

    def _begin(self, config: dict[str, Any]) -> None:
        if any(self.path.iterdir()):
            raise InputError(
                f"--out: expected a new or empty folder, received {self.path} with files in it; "
                "choose another one, or add --resume to go on with that run"
            )
        write_json(self.path / "config.json", {"format": FORMAT} | config)

    @classmethod
    def reopen(cls, path: Path | None) -> RunFolder:
        """Take up a run that was stopped, or read a finished one.

        Raises:
            InputError: there is no run in `path`, or one of an earlier version.
        """
        if path is None:
            raise InputError(
                "--resume: expected --out with the folder of an earlier run, received None; name it, or start anew "
                "without --resume"
            )
        out = cls(Path(path))
        if not os.path.isfile(out.path / "config.json"):
            raise InputError(f"run folder: expected one of an earlier run, with config.json, received {path}; name it")
        if out.config().get("format") != FORMAT:
            raise InputError(
                f"{path}: expected a run of this version, received one of another, which kept other files; "
                "start a new run"
            )
        return out

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the run for this process and its workers; the system frees it whatever ends the process.

        Raises:
            InputError: another process keeps it.
        """
        with ExitStack() as kept:
            try:
                kept.enter_context(alone(self.path))
            except BlockingIOError:
                raise InputError(
                    f"{self.path}: expected a run that no other process works on, received one that is already "
                    "running; wait for its end, or stop it"
                ) from None
            except OSError:
                pass  # a file system that cannot lock folders (NFS): who starts runs there keeps them apart
            yield

    def discard_if_unused(self) -> None:
        """Take back what `create` made of a run that never began, so that its name is free again.

        Nothing else is touched: neither a folder that was there before, nor anything that lies in it.
        """
        with suppress(OSError):
            if self.made is not None and [entry.name for entry in self.path.iterdir()] == ["config.json"]:
                (self.path / "config.json").unlink()
                self._remove_made()

    def _remove_made(self) -> None:
        with suppress(OSError):  # another run may have begun in one of them
            for folder in reversed(self.made or ()):
                folder.rmdir()

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half-written. The caller has `locked` the run: nobody else writes here."""
        for path in self.path.rglob(".*"):
            with suppress(OSError):
                if re.match(r"\.\d+\.", path.name):  # as `files.atomic` calls them
                    path.unlink()

    def config(self) -> dict[str, Any]:
        """The settings and surroundings of the run."""
        try:
            content = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            _check(content)
            return content
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{self.path / 'config.json'}: expected JSON, received a damaged file ({error}); start a new run"
            ) from error

    def update_config(self, **entries: Any) -> None:
        """Add what became known after the start, such as the data's fingerprint."""
        write_json(self.path / "config.json", self.config() | entries)

    def remove_activations(self) -> None:
        """Free the disk that stored activations take; they are made again when needed."""
        shutil.rmtree(self.activations, ignore_errors=True)

    def write_quarantine(self, images: Iterable[Any]) -> None:
        """Write `quarantine.csv`: the id of each image that was left out, and why; no file where there is none."""
        rows = [(image.id, image.reason) for image in images]
        if rows:
            print(f"{len(rows)} images were left out: see {self.path / 'quarantine.csv'}", flush=True)
            self.write_rows(self.path / "quarantine.csv", ("id", "reason"), rows)

    def write_results(self, results: dict[str, Any]) -> None:
        """Write `results.json`."""
        write_json(self.path / "results.json", results)

    def write_rows(self, path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
        """Write a CSV file."""
        with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)

    def relative(self, path: Path) -> str:
        """`path` as results.json and the report name it."""
        return path.relative_to(self.path).as_posix()

    def history(self, name: str) -> Path:
        """The CSV with the training history of network `name`."""
        return self.path / "history" / f"{name}.csv"

    def predictions(self, name: str) -> Path:
        """The CSV with the test predictions of network `name`."""
        return self.path / "predictions" / f"{name}.csv"

    @property
    def records(self) -> Path:
        """The folder with one record for each finished trial."""
        return self.path / "records"

    def record(self, name: str) -> Path:
        """What trial `name` left, as JSON."""
        return self.records / f"{name}.json"

    def model(self, name: str) -> Path:
        """The trained network `name` as a .keras file."""
        return self.path / "models" / f"{name}.keras"

    def plot(self, name: str) -> Path:
        """The figure `name`."""
        return self.path / "plots" / f"{name}.png"

    def checkpoint(self, name: str) -> Path:
        """What network `name` resumes from."""
        return self.path / "checkpoints" / f"{name}.npz"

    @property
    def activations(self) -> Path:
        """Stored activations of frozen layers; removed when the run is done."""
        return self.path / "checkpoints" / "activations"

    @property
    def tensorboard(self) -> Path:
        """The log folder for `tensorboard --logdir`."""
        return self.path / "tensorboard"


def _missing(path: Path) -> tuple[Path, ...]:
    """Those of `path` and the folders above it that are not there, the outermost first."""
    return tuple(folder for folder in reversed((path, *path.parents)) if not os.path.lexists(folder))


def _check(content: Any) -> None:
    """Raise ValueError unless the parts of a config.json are what they were when it was written."""
    if not isinstance(content, dict):
        raise ValueError(f"{type(content).__name__} instead of an object")
    kinds = dict.fromkeys(("settings", "data", "versions", "hardware"), dict) | {"trials": list}
    for key, kind in kinds.items():
        if not isinstance(content.get(key, kind()), kind):
            raise ValueError(f"{key} is a {type(content[key]).__name__}")
    if not all(isinstance(name, str) for name in content.get("trials", ())):
        raise ValueError("trials have no names")
    json.dumps(content, ensure_ascii=False).encode()  # it is written again, with more in it
