"""Draw the pages of a finished run anew, from its records: report.html, report.pdf and notebook.ipynb.

    python -m tl_keras.run report runs/cifar_ab/2026-11-21_10-00-00

Nothing is trained and TensorFlow is not imported; what the run has measured stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tl_keras import study
from tl_keras.config import Options, option
from tl_keras.run_folder import RunFolder

KEEPS_RUN = NEEDS_TENSORFLOW = False


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    run: str = option(None, "the folder of a finished run", positional=True)

    def __post_init__(self):
        super().__post_init__()
        RunFolder.reopen(Path(self.run))  # a wrong path is answered before anything is imported


def run(settings: Settings) -> None:
    """Draw the pages, and print the findings."""
    out = RunFolder(Path(settings.run))
    with out.locked():
        out.remove_leftovers()
        report = study.pages.write(out)
    print("\n".join([*report.summary, "", f"report: {out.path / 'report.html'}"]))
