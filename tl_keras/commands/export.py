"""Write a trained network in a form that others load: SavedModel, ONNX, TensorFlow Lite or Keras.

    python -m tl_keras.run export runs/finetune/monday --format onnx

A SavedModel becomes a new version in `saved_models/<experiment>-<model>/`, which servers take up; it reads image files
by itself. The others become `saved_models/<experiment>-<model>.<format>`. ONNX and TFLite read pixels as the network
sees them, and are checked: on test images of the run they answer as the network does, to 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tl_keras import export, study
from tl_keras.config import Options, option
from tl_keras.errors import InputError
from tl_keras.files import check_writable
from tl_keras.run_folder import SAVED_MODELS
from tl_keras.study import trained

KEEPS_RUN = False
FORMATS = ("savedmodel", "onnx", "tflite", "keras")


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    run: str = option(None, "the folder of a run, or the .keras file of a network", positional=True)
    format: str = option("savedmodel", "what is written", choices=FORMATS)
    model: str | None = option(None, "which network of the run (default: the winner)")
    to: str = option(str(SAVED_MODELS), "the folder that it is written to")

    def __post_init__(self):
        super().__post_init__()
        trained.find(Path(self.run), self.model)  # a wrong path is answered before TensorFlow is imported
        try:
            check_writable(Path(self.to))
        except OSError as error:
            raise InputError(
                f"--to: expected a folder that can be written, received {self.to} ({error.strerror}); choose another"
            ) from error


def run(settings: Settings) -> None:
    """Write the network, and say where.

    Raises:
        InputError: it cannot be converted, or answers otherwise then.
    """
    path = trained.find(Path(settings.run), settings.model)
    going = study.outgoing.of(path)
    written = export.formats.write(
        path, settings.format, Path(settings.to), going.name, going.card, study.outgoing.samples(path, going.arm)
    )
    print(f"{going.name} as {settings.format}: {written}")
