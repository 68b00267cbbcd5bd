"""Compare the arms of several runs on the test images that they share.

    python -m tl_keras.run compare runs/cifar_ab/monday runs/cifar_ab/tuesday

Comparisons are paired: the same images, answered by both. Nothing is trained and TensorFlow is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tl_keras import evaluation, reporting, study
from tl_keras.config import Options, option
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder

KEEPS_RUN = NEEDS_TENSORFLOW = False


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    runs: tuple[str, ...] = option((), "the folders of finished runs, two at least", positional=True, several=True)

    def __post_init__(self):
        super().__post_init__()
        if len({os.path.realpath(path) for path in self.runs}) < 2:
            raise InputError(
                f"RUNS: expected the folders of two runs or more, received {len(self.runs)}; name different ones"
            )
        for path in self.runs:  # a wrong path is answered before anything is imported
            RunFolder.reopen(Path(path))


def run(settings: Settings) -> None:
    """Print a table for each group of arms that share test images, and who is ahead."""
    runs = [study.pages.read(path) for path in settings.runs]
    arms, origin = [], {}
    for name, read in zip(_names(settings.runs), runs, strict=True):
        for arm in read.arms:
            titled = replace(arm, title=f"{arm.title} ({name})")
            arms.append(titled)
            origin[titled.title] = name
    compared = [group for group in evaluation.shared.groups(arms) if len({origin[arm.title] for arm in group}) > 1]
    if not compared:
        sets = [read.records[0].data["name"] for read in runs]
        raise InputError(
            f"compare: expected runs that share test images, received none shared by {', '.join(sets)}; compare runs "
            "on one data set, with the same --limit and --seed"
        )
    for group in compared:
        print(f"\n{len(group[0].first.test.labels):,} shared test images of {group[0].first.data['name']}")
        print(reporting.sections.results_table(group).text)
        print("\n".join(["", *reporting.conclusion.verdict(group)]))


def _names(paths: Sequence[str]) -> list[str]:
    """The runs' folders as short as they can be told apart."""
    parts = [Path(os.path.realpath(path)).parts for path in paths]
    for depth in range(1, max(map(len, parts))):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
