"""Compute what a network makes of any number of images, once, in shards, on one machine or on many.

    python -m tl_keras.run extract DATA --backbone mobilenet_v2_1.0 --to features/
    python -m tl_keras.run extract s3://bucket/images --backbone resnet50 --to s3://bucket/features --engine ray

DATA is a folder, .zip or table of images, a folder or pattern of .tar, TFRecord or Parquet files, or the URL of any but
a .zip. The features lie in --to, in shards. An extraction that was stopped goes on when it is asked for again, with any
engine, and the bytes are those of one that was not. `finetune` and `competition` read such a folder in the place of
images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tl_keras import quiet, tasks
from tl_keras.config import ENGINES, Options, option
from tl_keras.data import sources, stored_set
from tl_keras.errors import InputError
from tl_keras.folders import Folder

KEEPS_RUN = NEEDS_TENSORFLOW = False  # it is imported once the images have been listed


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    data: str = option(None, "images: a folder, .zip, table, pattern or URL, or a named set of files", positional=True)
    data_dir: str | None = option(None, "where named sets lie (default $TL_KERAS_DATA, then the Keras cache)")
    to: str = option(None, "the folder, or the URL (s3://, gs://), that features are stored in")
    backbone: str | None = option(None, "NAME or NAME=FILE (default: the one whose weights lie on this machine)")
    weights: str | None = option(None, "its weights: imagenet, none or a file (default imagenet; a model file's own)")
    engine: str = option("local", "who computes: local, processes:N, or ray[:ADDRESS]")
    shard_size: int = option(10_000, "images of a shard", minimum=1)
    prefix_engine: str = option("auto", "who runs the network; auto: ONNX Runtime where it is equal", choices=ENGINES)

    def __post_init__(self):
        super().__post_init__()
        tasks.check(self.engine)
        if not self.to:
            raise InputError("--to: expected the folder or URL that features are stored in, received nothing; name it")
        if sources.store(self.data, self.data_dir):
            raise InputError(f"DATA: expected images, received a store of features, {self.data}; name what it is of")
        _check_apart(Folder(self.to), sources.location(self.data, self.data_dir) if "://" not in self.data else None)


def _check_apart(folder: Folder, images: Path | None) -> None:
    if images is None or folder.local is None:
        return
    place, images = folder.local.resolve(), images.resolve()
    if (images.is_dir() and place.is_relative_to(images)) or images.is_relative_to(place):
        raise InputError(
            f"--to: expected a folder apart from the images, received {folder.url} for {images}; name another one"
        )


def run(settings: Settings) -> None:
    """List the images, plan, extract, and say what was done.

    Raises:
        InputError: no such images, a store of something else, or one that another extraction writes into.
    """
    from tl_keras.data import manifest
    from tl_keras.study import backbone_choice
    from tl_keras.transfer import extraction

    candidates = backbone_choice.parse(settings.backbone, settings.weights)
    if settings.backbone and candidates[1:]:
        raise InputError(
            f"--backbone: expected one, received {settings.backbone}; extract each into a folder of its own"
        )
    folder = Folder(settings.to)
    with extraction.keep_alone(folder):
        listed = manifest.make(settings.data, settings.data_dir, folder, settings.shard_size, settings.engine)
        print(f"{listed.images:,} images in {listed.shards:,} shards, {len(listed.class_names):,} classes", flush=True)
        quiet.import_tensorflow()
        plan = _planned(settings, folder, listed, candidates[0])
        print(f"{plan.backbone}: {plan.width:,} features of each image, by {plan.versions[-1]}", flush=True)
        done = extraction.extract(folder, plan, listed, settings.engine)
    left_out = f"; {done['left_out']:,} left out, see {stored_set.QUARANTINE}" if done["left_out"] else ""
    rate = done["last_run"]["images_per_second"]
    print(f"{folder.url}: {done['features']:,} x {done['width']:,} features{left_out}", flush=True)
    print(f"{rate:,} images/s" if rate else "all of it was there", flush=True)


def _planned(settings: Settings, folder: Folder, listed, candidate):
    from tl_keras.models import networks
    from tl_keras.training import runtime
    from tl_keras.transfer import extraction

    view = networks.view(candidate.name, mirror=True)
    runtime.prepare(seed=0)  # random weights are drawn alike each time
    model = networks.build(candidate.name, max(2, len(listed.class_names)), view, candidate.weights)
    name = Path(candidate.name).stem if candidate.is_own else candidate.name
    return extraction.planned(folder, listed, model, view, name, settings.prefix_engine)
