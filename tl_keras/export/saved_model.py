"""Models out: a SavedModel for TF Serving and everything else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tl_keras.quiet import keras, tf


def export(model: keras.Model, class_names: tuple[str, ...], folder: Path) -> Path:
    """Write `model` as a SavedModel in the next free version of `folder`, as TF Serving lays it out.

    The endpoint `serve` takes RGB images (B, H, W, 3) from 0 to 255 as float32 and gives what the model gives, in
    inference mode. The class names lie beside it in `assets.extra/labels.txt`, one a line.

    Returns:
        The folder of the version; `tf.saved_model.load` reads it.

    >>> export(model, ("deer", "truck"), Path("saved_models/cifar_ab-B_last"))
    PosixPath('saved_models/cifar_ab-B_last/1')
    """
    versions = [int(entry.name) for entry in folder.glob("[0-9]*") if entry.name.isdigit()]
    version = folder / str(max(versions, default=0) + 1)
    unfinished = folder / f".{os.getpid()}.{version.name}"
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        name="serve",
        fn=lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")],
    )
    try:
        archive.write_out(unfinished, verbose=False)
        labels = unfinished / "assets.extra" / "labels.txt"
        labels.parent.mkdir()
        labels.write_text("\n".join(class_names) + "\n", encoding="utf-8")
        unfinished.rename(version)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return version
