"""What is handed in: predictions, the report as PDF and a notebook with all of the code, under the roll number."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import experiments
from experiments.contest import candidates, pages
from tl_keras import values
from tl_keras.data import policies, selection, sources, splits
from tl_keras.data.image_data import ImageData
from tl_keras.data.selection import Everything
from tl_keras.data.splits import Split
from tl_keras.errors import InputError
from tl_keras.evaluation import interpret
from tl_keras.export import predictions_csv
from tl_keras.models import model_file
from tl_keras.reporting import notebook

SAMPLE = "sample_submission.csv"
HIDDEN = "unlabelled"
PLAIN = r"vgg16|vgg19|resnet50|mobilenet(_v2)?_[0-9.]+"  # networks that the notebook builds without this library
EXPLAINED, SHOWN = 9, 5  # right images that are explained, and as many wrong ones; images that are augmented


def check_sample(settings) -> Path | None:
    """The sample file that predictions follow, read once so that a wrong one is told at once; None without one.

    Raises:
        InputError: it is not there, or has other columns.
    """
    path = Path(settings.sample) if settings.sample else _found_sample(settings)
    if path is not None:
        predictions_csv.read_sample(path)
    return path


def _found_sample(settings) -> Path | None:
    place = sources.location(settings.data, settings.data_dir)
    path = place / SAMPLE if place and place.is_dir() else None
    return path if path and path.is_file() else None


def check_hidden(settings, images: ImageData) -> None:
    """Refuse images to predict of which none can be read.

    Raises:
        InputError: there are such.
    """
    asked = hidden_files(settings)
    if asked and not images.unlabelled:
        raise InputError(
            f"{settings.data}: expected test images that can be read, received {len(asked)} that cannot, first "
            f"{asked[0]}; replace them"
        )


def hidden_files(settings) -> list[str]:
    """The images to predict, readable or not, as ids of the data set."""
    place = sources.location(settings.data, settings.data_dir)
    if place is None or place.suffix.lower() == ".npz":
        return []
    return list(sources.files(settings.data, settings.data_dir).unlabelled)


def finish(run) -> dict:
    """Keep what the report shows of the winner beside its numbers: where it looked at right and wrong images."""
    best, settings = pages.best(run), run.settings
    record = best.first
    path = run.out.path / "explanations.npz"
    if path.is_file() or not run.out.model(best.name).is_file():
        return {}
    judged = record.test
    rng = np.random.default_rng(settings.seed)
    rows = np.concatenate([
        np.sort(rng.permutation(np.flatnonzero(right))[:EXPLAINED]) for right in (~judged.correct, judged.correct)
    ])  # fmt: skip
    network, view = model_file.load(run.out.model(best.name)), values.from_json(record.trial["view"])
    images = Everything(settings.data, settings.data_dir, settings.limit, settings.seed).load(view)
    place = {id: row for row, id in enumerate(images.test.ids.tolist())}
    pictures = images.test.images[np.array([place[id] for id in judged.ids[rows].tolist()])]
    print("looking where the network looks", flush=True)
    heat = interpret.grad_cam(network, pictures, judged.classes[rows].tolist())
    np.savez_compressed(path, rows=rows, images=pictures, heat=heat)
    _keep_examples(run, images.train)
    selection.forget()
    return {}


def _keep_examples(run, train: Split) -> None:
    shown = train.images[splits.drawn(len(train), SHOWN)]
    mirror = not run.settings.no_mirror
    size = (train.images.shape[1], train.images.shape[2])
    examples: dict[str, Any] = policies.examples(shown, size, mirror, run.settings.seed)
    np.savez_compressed(run.out.path / "examples.npz", **examples)


def hand_in(run) -> dict:
    """Write the three files, and say where they lie; of images that could not be read, too, there is a row."""
    roll, out = run.settings.roll, run.out.path
    found: dict[str, object] = {"ipynb": _notebook(run).name}
    rows = predicted_rows(run)  # behind the notebook, which writes its own
    if rows:
        path = out / f"{roll}_06.csv"
        predictions_csv.write(path, rows, check_sample(run.settings))
        found["csv"] = path.name
    shutil.copyfile(out / "report.pdf", out / f"{roll}_06.pdf")
    found["pdf"] = f"{roll}_06.pdf"
    print(f"handed in under {roll}: {', '.join(map(str, found.values()))} in {out}", flush=True)
    return {"hand_in": found}


def _notebook(run) -> Path:
    """ROLL_06.ipynb, executed: all code in plain Keras, which reads what this run computed; run alone it computes all.

    It reads folders that hold train/CLASS/; of other layouts the report is handed in as a notebook.
    """
    settings, path = run.settings, run.out.path / f"{run.settings.roll}_06.ipynb"
    place = sources.location(settings.data, settings.data_dir)
    stacked = candidates.asked(settings)
    plain = all(re.fullmatch(PLAIN, block.backbone) for block in stacked)
    if not (place and (place / "train").is_dir() and plain and "kernel" in {arm.name for arm in run.arms}):
        print("the notebook that is handed in is the report's: one with all code needs train/CLASS/ and networks of")
        print("keras.applications", flush=True)
        shutil.copyfile(run.out.path / "notebook.ipynb", path)
        return path
    sample = check_sample(settings)
    given = {
        "ROLL": settings.roll, "DATA": str(place.absolute()), "SAMPLE": str(sample.absolute()) if sample else None,
        "BLOCKS": [(block.backbone, block.weights, block.size, block.stages) for block in stacked],
        "LOADED": candidates.LOADED[0], "MIRROR": not settings.no_mirror, "SEED": settings.seed, "RUN": ".",
        "NETWORK": pages.best(run).name,
    }  # fmt: skip
    print("executing the notebook that is handed in", flush=True)
    script = (Path(experiments.__path__[0]) / "handin" / "competition.py").read_text(encoding="utf-8")
    notebook.execute(notebook.build(script, given), path, run.out.path)
    return path


def predicted_rows(run) -> list[tuple[str, str, float]]:
    """Image, class and probability of each hidden image, by the winner; unreadable ones get the most frequent class."""
    record = pages.best(run).first
    if HIDDEN not in record.predictions:
        return []
    said, names = record.predictions[HIDDEN], record.class_names
    rows = {id: (names[number], float(sure)) for id, number, sure in
            zip(said.ids.tolist(), said.classes, said.probabilities.max(axis=1), strict=True)}  # fmt: skip
    labels = record.test.labels
    usual = names[int(np.bincount(labels[labels >= 0]).argmax())]
    lacking = [id for id in hidden_files(run.settings) if id not in rows]
    for id in lacking:
        rows[id] = (usual, 1 / len(names))
    if lacking:
        print(f"warning: {len(lacking)} test images could not be read and were given class {usual}: {lacking[0]}, ...")
    return [(Path(id).name, *rows[id]) for id in sorted(rows)]
