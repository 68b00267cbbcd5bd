"""A run read back from its folder, and its pages drawn from that alone: no TensorFlow, no training.

>>> report = compose("runs/cifar_ab/2026-11-21_10-00-00")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import experiments
from tl_keras import records
from tl_keras.errors import InputError
from tl_keras.evaluation.arms import Arm, arms_of
from tl_keras.records import Record
from tl_keras.reporting import notebook
from tl_keras.reporting import report as report_files
from tl_keras.reporting.content import Report
from tl_keras.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """A finished run: what it was asked, and what its trials left.

    Args:
        study: the module in `experiments`.
        settings: an instance of its `Settings`.
    """

    out: RunFolder
    study: ModuleType
    config: Mapping[str, Any]
    settings: Any
    records: tuple[Record, ...]

    @cached_property
    def arms(self) -> list[Arm]:
        """Every arm, in the order of the trials."""
        return arms_of(self.records)

    def arm(self, name: str) -> Arm:
        """The arm called `name`."""
        return next(arm for arm in self.arms if arm.name == name)


def read(path: str | Path) -> Run:
    """The run in a folder.

    Raises:
        InputError: no run, one of a study or version that is not known, or one that did not finish a trial.
    """
    out = RunFolder.reopen(Path(path))
    config = out.config()
    study = study_module(config.get("experiment"), out)
    settings = study.Settings.from_dict(config.get("settings", {}))
    return Run(out, study, config, settings, tuple(records.read_all(out)))


def study_module(name: object, out: RunFolder) -> ModuleType:
    """The module of a study; an InputError where there is none of that name."""
    known = [file.stem for file in Path(experiments.__path__[0]).glob("[!_]*.py")]
    if name not in known:
        raise InputError(f"{out.path}: expected a run of {', '.join(sorted(known))}, received one of {name!r}; name it")
    return importlib.import_module(f"experiments.{name}")


def compose(path: str | Path) -> Report:
    """The report of a run, from its records."""
    run = read(path)
    return run.study.report(run)


def write(out: RunFolder) -> Report:
    """Draw report.html, report.pdf and notebook.ipynb anew, and give the report."""
    composed = compose(out.path)
    report_files.write(composed, out)
    notebook.execute(notebook.of_report(composed), out.path / "notebook.ipynb", out.path)
    return composed
