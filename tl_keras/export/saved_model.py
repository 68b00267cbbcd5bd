"""Models out: a SavedModel for TF Serving and everything else."""

from __future__ import annotations

import errno
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tl_keras.files import alone
from tl_keras.quiet import keras, tf

UNFINISHED = ".unfinished-"


def export(model: keras.Model, class_names: tuple[str, ...], folder: Path) -> Path:
    """Write `model` as a SavedModel in the next free version of `folder`, as TF Serving lays it out.

    The endpoint `serve` takes RGB images (B, H, W, 3) from 0 to 255 as float32 and gives what the model gives, in
    inference mode. The class names lie beside it in `assets.extra/labels.txt`, one a line.

    Returns:
        The folder of the version; `tf.saved_model.load` reads it.

    >>> export(model, ("deer", "truck"), Path("saved_models/cifar_ab-B_last"))
    PosixPath('saved_models/cifar_ab-B_last/1')
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        name="serve",
        fn=lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")],
    )
    with _unfinished(folder) as unfinished:
        archive.write_out(unfinished, verbose=False)
        labels = unfinished / "assets.extra" / "labels.txt"
        labels.parent.mkdir()
        labels.write_text("\n".join(class_names) + "\n", encoding="utf-8")
        return _numbered(unfinished)


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A new folder in `folder`, gone after an error; those that killed processes left there go too."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as kept:
        with suppress(OSError):  # a file system that cannot lock folders: what is left there may be another's work
            kept.enter_context(alone(folder, wait=True))
            for left in folder.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
        unfinished = folder / f"{UNFINISHED}{uuid.uuid4().hex}"
        kept.callback(shutil.rmtree, unfinished, ignore_errors=True)
        unfinished.mkdir()
        yield unfinished


def _numbered(unfinished: Path) -> Path:
    """Give the folder the number above all others, or the next one where another process was faster."""
    names = (entry.name for entry in unfinished.parent.iterdir())
    number = max((int(name) for name in names if re.fullmatch("[0-9]+", name)), default=0)
    while True:
        number += 1
        try:
            return unfinished.rename(unfinished.with_name(str(number)))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
