"""Extraction of frozen features into a store: planned once, done shard by shard on an engine, taken up when stopped."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import re
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tl_keras import config, tasks
from tl_keras.data import pipeline
from tl_keras.data.manifest import Manifest
from tl_keras.data.stored_set import DONE, QUARANTINE
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.files import alone, check_writable
from tl_keras.folders import Folder
from tl_keras.models import model_file
from tl_keras.quiet import keras
from tl_keras.transfer import engine, shards
from tl_keras.transfer.shards import Plan

# What a store consists of, and the files of a shard while they are written.
OWN = re.compile(
    r"(manifest|manifest/[^/]+)\.parquet|(extraction|done)\.json|quarantine\.csv|features/\d+\.(npy|json)|[^/]+\.(keras|onnx)"
)
BEGUN = re.compile(r"\.\d+\.\d+\.(npy|json)")
TRIED = 32  # images that ONNX Runtime and TensorFlow are compared on
LOG_SECONDS = 30.0  # between two lines of progress where nobody watches


def keep_alone(folder: Folder):
    """A block in which no other extraction of this machine writes into a store.

    In a URL nothing is locked: the same extraction, twice at a time, writes the same bytes twice.

    Raises:
        InputError: another one does; or it holds other files, or cannot be written.

    >>> with keep_alone(Folder("memory://store")):
    ...     pass
    """
    if folder.local is None:
        return nullcontext()
    try:
        with ExitStack() as stack:
            folder.local.mkdir(parents=True, exist_ok=True)
            stack.enter_context(alone(folder.local))
            check_writable(folder.local)
            _check_own(folder)
            return stack.pop_all()
    except BlockingIOError:
        raise InputError(
            f"--to: expected a folder that no other extraction writes into, received {folder.url}; wait for the end of "
            "that one, or name another folder"
        ) from None
    except OSError as error:
        raise InputError(
            f"--to: expected a folder that can be written, received {folder.url} ({error.strerror}); name another one"
        ) from error


def _check_own(folder: Folder) -> None:
    """Refuse a folder that holds other things: nothing of them would be safe."""
    others = [name for name in folder.names() if not OWN.fullmatch(name)]
    if others:
        raise InputError(
            f"--to: expected a new folder, or a store of features, received {folder.url} with {others[0]} in it; name "
            "another one"
        )


def planned(folder: Folder, manifest: Manifest, model: keras.Model, view: View, name: str, wanted: str) -> Plan:
    """The plan of a store, with the network beside it; the one that lies there, if it is of the same things.

    Args:
        model: the classifier whose last layer is new.
        name: of the backbone.
        wanted: who runs it: onnxruntime, tensorflow, or auto for the first where it gives what the second does.

    Raises:
        InputError: the store is of another network, view, data set or version; or no image can be read.
    """
    network = shards.to_features(model)
    layers, known = engine.fingerprint(network), shards.plan_of(folder)
    if known:
        _check_same(folder, known, manifest, layers, view, wanted)
        _check_whole(folder, known, manifest, network, view)
        return known
    content = None
    if wanted != engine.TENSORFLOW:
        content = engine.as_onnx(network, [_some(manifest, view)])
    runner = engine.ONNXRUNTIME if content else engine.TENSORFLOW
    kept = _kept(model, view)
    digest = hashlib.sha256(content or kept).hexdigest()
    folder.write(f"{name}.keras", kept)
    # Whoever converts it at the same time writes another file: names in it change.
    file = f"{name}-{digest[:8]}.onnx" if content else f"{name}.keras"
    if content:
        folder.write(file, content)
    plan = Plan(
        backbone=name, view=view, manifest=manifest.fingerprint, layers=layers, network=file, network_sha256=digest,
        versions=_versions(runner), **_counts(manifest, network, view),
    )  # fmt: skip
    plan.write(folder)
    return plan


def _counts(manifest: Manifest, network: keras.Model, view: View) -> dict[str, int]:
    """The numbers of a plan."""
    batch = pipeline.evaluation_batch_size(np.empty((1, *view.shape), "uint8"))
    return {
        "width": network.output_shape[1], "images": manifest.images, "shard_size": manifest.shard_size,
        "batch": batch, "piece": max(1, batch // engine.PIECES),
    }  # fmt: skip


def extract(folder: Folder, plan: Plan, manifest: Manifest, on: str) -> dict:
    """Compute the shards that are not there, and end the store; what `done.json` then says.

    Args:
        on: the engine (`tasks.each`).

    Raises:
        InputError: no room on the disk, images that are gone, or none that can be read.
    """
    if folder.local:
        for begun in (folder.local / "features").glob(".*"):
            if BEGUN.fullmatch(begun.name):  # by a process that was killed
                begun.unlink()
    markers = {shard: marker for shard in plan.shards if (marker := _marker(folder, shard)) is not None}
    lacking = [shard for shard in plan.shards if shard not in markers]
    _check_room(folder, plan, len(lacking))
    started, watched = time.monotonic(), sys.stderr.isatty()
    before = sum(_size(plan, shard) for shard in markers)
    with tqdm(
        total=plan.images, initial=before, desc="features", unit="image", mininterval=0.1 if watched else LOG_SECONDS
    ) as progress:
        within = on == "local" and not plan.runs_tensorflow
        work = functools.partial(
            shards.extract, folder, plan, manifest.root, advance=progress.update if within else None
        )
        # TensorFlow must not have begun in the process that runs the network: see `pieces.one_thread_each`.
        engine_used = "processes:1" if on == "local" and plan.runs_tensorflow else on
        if within:
            shards.prepare(False, tasks.own_cores())
        begin = functools.partial(shards.prepare, plan.runs_tensorflow)
        # On a cluster a shard takes one core, and finds one sooner; a process has its share of this machine's.
        cores = 1 if on.startswith("ray") else None
        found = tasks.each(engine_used, work, lacking, cores=cores, gpu=plan.runs_tensorflow, prepare=begin)
        for shard, marker in found:
            markers[shard] = marker
            if not within:
                progress.update(_size(plan, shard))
    return _ended(folder, plan, manifest, markers, on, time.monotonic() - started, plan.images - before)


def _check_same(folder: Folder, known: Plan, manifest: Manifest, layers: str, view: View, wanted: str) -> None:
    runner = engine.TENSORFLOW if known.runs_tensorflow else engine.ONNXRUNTIME
    for what, expected, received in (
        ("features of one network", known.layers, layers),
        ("one view", known.view, view),
        ("one list of images", known.manifest, manifest.fingerprint),
        ("one engine", runner, runner if wanted == engine.AUTO else wanted),
        ("one set of versions", known.versions, _versions(runner)),
    ):
        if expected != received:
            raise InputError(
                f"--to: expected a store of {what}, {_short(expected)}, received {_short(received)} for {folder.url}; "
                "name another folder"
            )


def _check_whole(folder: Folder, known: Plan, manifest: Manifest, network: keras.Model, view: View) -> None:
    if any(getattr(known, name) != count for name, count in _counts(manifest, network, view).items()):
        raise InputError(
            f"{folder.url}/{shards.PLAN}: expected a plan of this network and these images, received one with other "
            "counts; extract into another folder"
        )


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def _versions(runner: str) -> tuple[str, ...]:
    """Of what decides the bits: who decodes, and who runs the network."""
    return tuple(f"{package} {version(package)}" for package in ("pillow", "numpy", runner))


def _some(manifest: Manifest, view: View) -> np.ndarray:
    """The first images that can be read, as the network sees them."""
    for number in range(manifest.shards):
        _, contents = shards.readable(manifest.root, manifest.shard(number))
        found = (shards.seen(view, content) for content in contents)
        images = list(islice((each for each in found if not isinstance(each, str)), TRIED))
        if images:
            return np.stack(images)
    raise _none_readable(manifest)


def _none_readable(manifest: Manifest) -> InputError:
    return InputError(
        f"DATA: expected images that can be read, received {manifest.images} that cannot, in {manifest.root}; replace "
        "them"
    )


def _kept(model: keras.Model, view: View) -> bytes:
    """The classifier as the content of a .keras file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        model_file.save(model, path, view, ())
        return path.read_bytes()


def _marker(folder: Folder, shard: int) -> dict | None:
    """What a finished shard says; None where it is not there, or was cut short."""
    path, end = shards.names(shard)
    try:
        marker = json.loads(folder.read(end))
        return marker if folder.size(path) == marker["bytes"] else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _size(plan: Plan, shard: int) -> int:
    """Images that the manifest lists for a shard."""
    return min(plan.shard_size, plan.images - shard * plan.shard_size)


def _check_room(folder: Folder, plan: Plan, lacking: int) -> None:
    """Refuse before anything is computed what would not fit in the end."""
    needed = 4 * plan.width * min(plan.images, lacking * plan.shard_size)
    free = shutil.disk_usage(folder.local).free if folder.local else needed
    if needed > free:
        raise InputError(
            f"--to: expected at most {free / 1e9:.2f} GB, which the disk of {folder.url} has, received "
            f"{needed / 1e9:.2f} GB of features to store; make room or name another place"
        )


def _ended(
    folder: Folder, plan: Plan, manifest: Manifest, markers: dict[int, dict], on: str, seconds: float, computed: int
) -> dict:
    """Write the one quarantine table, and what was done."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("path", "reason"))
    for shard in plan.shards:
        if markers[shard]["left_out"]:
            listed = manifest.shard(shard)
            rows.writerows((listed.uri[row], reason) for row, reason in markers[shard]["left_out"])
    features = sum(marker["images"] for marker in markers.values())
    if not features:
        raise _none_readable(manifest)
    folder.write(QUARANTINE, table.getvalue().encode())
    done = {
        "plan": plan.fingerprint,
        "images": plan.images,
        "features": features,
        "left_out": plan.images - features,
        "width": plan.width,
        "bytes": sum(marker["bytes"] for marker in markers.values()),
        "shards": {shards.names(shard)[0]: markers[shard]["sha256"] for shard in plan.shards},
        "last_run": {
            "engine": on, "seconds": round(seconds, 1), "images": computed,
            "images_per_second": round(computed / seconds, 1) if computed else None,
        },
        **config.environment(),
    }  # fmt: skip
    folder.write(DONE, (json.dumps(done, indent=2) + "\n").encode())
    return done
