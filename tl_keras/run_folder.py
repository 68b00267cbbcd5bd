"""The one place that knows run folders: `runs/<experiment>/<time>/` and what belongs where in it."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_keras.errors import InputError
from tl_keras.files import atomic, write_json

FORMAT = 2  # of the folder: what it holds, and where


@dataclass(frozen=True)
class RunFolder:
    """A run's files; every one of them is whole or absent.

    >>> folder = RunFolder.create(Path("runs/try"), {"experiment": "try"})
    >>> folder.history("A").name
    'A.csv'
    """

    path: Path

    @classmethod
    def create(cls, path: Path | None, config: dict[str, Any]) -> RunFolder:
        """Start a run in `path` (default `runs/<experiment>/<time>`), which must be new or empty.

        Raises:
            InputError: the folder holds files already, or cannot be written.
        """
        path = Path(path or Path("runs") / config["experiment"] / time.strftime("%Y-%m-%d_%H-%M-%S"))
        try:
            if path.is_dir() and any(path.iterdir()):
                raise InputError(
                    f"--out: expected a new or empty folder, received {path} with files in it; "
                    "choose another one, or add --resume to go on with that run"
                )
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / "config.json", {"format": FORMAT} | config)
        except OSError as error:
            raise InputError(
                f"--out: expected a folder that can be written, received {path} ({error.strerror}); choose another one"
            ) from error
        return cls(path)

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
        if not (out.path / "config.json").is_file():
            raise InputError(f"run folder: expected one of an earlier run, with config.json, received {path}; name it")
        if out.config().get("format") != FORMAT:
            raise InputError(
                f"{path}: expected a run of this version, received one of another, which kept other files; "
                "start a new run"
            )
        return out

    def discard_if_unused(self) -> None:
        """Remove the folder of a run that never began, so that its name is free again."""
        if [entry.name for entry in self.path.iterdir()] == ["config.json"]:
            shutil.rmtree(self.path)

    def config(self) -> dict[str, Any]:
        """The settings and surroundings of the run."""
        try:
            content = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"{type(content).__name__} instead of an object")
            return content
        except (OSError, ValueError) as error:
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
