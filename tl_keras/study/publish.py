"""What every study leaves behind its records: SavedModels, results.json, the report, the notebook."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tl_keras.evaluation.arms import Arm
from tl_keras.reporting import sections, tensorboard
from tl_keras.run_folder import SAVED_MODELS, RunFolder
from tl_keras.study import outgoing, pages
from tl_keras.study.pages import Run


def publish(out: RunFolder) -> None:
    """Write everything that a reader, a program or a server takes up, and print the table and the conclusion."""
    run = pages.read(out.path)
    finish = getattr(run.study, "finish", None)
    more = finish(run) if finish else {}
    kept = [arm for arm in run.arms if arm.first.trial["keep"]]
    print("drawing the report", flush=True)
    report = pages.write(out)
    tensorboard.write(out, run.records)
    models = {arm.name: entry(arm, out) for arm in kept}
    for arm in kept:  # last, so that few runs are stopped between a new version and the results that name it
        models[arm.name] |= {"class_names": list(arm.first.class_names), "saved_model": str(_saved_model(run, arm))}
    entries, hand_in = (getattr(run.study, name, None) for name in ("entries", "hand_in"))
    if hand_in:  # what is made of the pages
        more |= hand_in(run)
    out.write_results(
        {
            "experiment": run.config["experiment"],
            "data": run.config["data"]["name"],
            "models": models,
            "conclusion": list(report.summary),
            **(entries(run) if entries else {}),
            **more,
        }
    )
    out.remove_activations()
    table = sections.results_table(kept).text
    print("\n".join(["", table, "", *report.summary, "", f"report: {out.path / 'report.html'}"]))


def entry(arm: Arm, out: RunFolder) -> dict[str, Any]:
    """The arm's part of results.json."""
    first, interval = arm.first, arm.interval()
    return {
        "title": arm.title,
        "test_accuracy": first.test.accuracy,
        "train_accuracy": first.train_accuracy,
        "test_loss": first.test.loss,
        "test_images": len(first.test.labels),
        "epochs": len(first.history["epoch"]),
        "seconds": round(first.seconds, 2),
        "parameters": first.parameters,
        "trainable_parameters": first.trainable_parameters,
        "history": out.relative(out.history(first.name)),
        "predictions": out.relative(out.predictions(first.name)),
        "model": out.relative(out.model(first.name)),
        "mean_test_accuracy": arm.accuracy,
        "interval_95": {"low": interval.low, "high": interval.high, "kind": interval.kind},
        "seeds": [
            {
                "seed": record.seed,
                "test_accuracy": record.test.accuracy,
                "seconds": round(record.seconds, 2),
                "predictions": out.relative(out.predictions(record.name)),
            }
            for record in arm.records
        ],
    }


def _saved_model(run: Run, arm: Arm) -> Path:
    """The SavedModel of the arm's first network: the one that is there already, or a new version."""
    from tl_keras.export import saved_model
    from tl_keras.models import model_file

    before = _exported_before(run, arm)
    if before and os.path.isfile(before / "saved_model.pb"):
        return before
    path, going = run.out.model(arm.first.name), outgoing.of_arm(run, arm)
    view, class_names = model_file.said_of(path)
    return saved_model.export(model_file.load(path), view, class_names, SAVED_MODELS / going.name, going.card)


def _exported_before(run: Run, arm: Arm) -> Path | None:
    """What the results of a finished run that is resumed name; None where they are not there, or damaged."""
    try:
        results = json.loads((run.out.path / "results.json").read_text(encoding="utf-8"))
        return Path(results["models"][arm.name]["saved_model"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
