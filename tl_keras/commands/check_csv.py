"""Check a predictions file against the sample file of a competition, before it is handed in.

    python -m tl_keras.run check-csv predictions.csv --sample sample_submission.csv

Exits with 0 only when every convention is kept; otherwise one line says which is not, and where.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tl_keras.config import Options, option
from tl_keras.errors import InputError
from tl_keras.export import predictions_csv

KEEPS_RUN = NEEDS_TENSORFLOW = False


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    file: str = option(None, "the predictions file", positional=True)
    sample: str | None = option(None, "the sample file, whose header and order of images are asked for")

    def __post_init__(self):
        super().__post_init__()
        if self.sample is None:
            raise InputError("--sample: expected the sample file of the competition, received nothing; name it")


def run(settings: Settings) -> None:
    """Print how many rows there are.

    Raises:
        InputError: a convention is broken.
    """
    assert settings.sample is not None
    count = predictions_csv.check(Path(settings.file), Path(settings.sample))
    print(f"{count:,} rows, all conventions hold")
