"""Grade a CS5304 submission as its grader does, in PyTorch, and compare the logits with Keras'.

    python -m tl_keras.run grade DIR --data tiny-imagenet-5

Exits with 0 only when every convention is kept and the Keras network with the same weights gives the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tl_keras import data, export
from tl_keras.config import Options, option
from tl_keras.errors import InputError

KEEPS_RUN = False


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    folder: str = option(None, "the folder with model.txt, model_ft, model_cnn and assign3.py", positional=True)
    data: str = option("tiny-imagenet-5", "set of image files whose val/ or test/ is graded: a name or a path")
    data_dir: str | None = option(None, "where named sets lie (default $TL_KERAS_DATA, then the Keras cache)")
    limit: int | None = option(None, "images that are graded, for a quick try", minimum=1)


def run(settings: Settings) -> None:
    """Print what the grader finds.

    Raises:
        InputError: a convention is broken, or Keras and torchvision disagree.
    """
    files = data.sources.files(settings.data, settings.data_dir)
    grades = export.grading.grade(Path(settings.folder), files, settings.limit)
    print(f"pixels: torchvision's transforms and Keras' differ by {grades[0].levels} of 255 levels at most")
    for grade in grades:
        print(
            f"{grade.name}: {grade.correct}/{grade.count} right ({grade.accuracy:.2%}) in torchvision; largest logit "
            f"{grade.largest:.3g}, largest difference from Keras {grade.difference:.1e}, other answers in Keras: "
            f"{grade.disagreements}"
        )
    for grade in grades:
        if not grade.agrees:
            raise InputError(
                f"{grade.name}: expected the logits of Keras to {export.grading.TOLERANCE:.0e}, received "
                f"{grade.difference:.1e} and {grade.disagreements} other answers, pixels {grade.levels} levels apart; "
                "save the weights that were trained, and grade square images"
            )
    print("all conventions hold")
