"""What every study leaves behind its records: SavedModels, results.json, the report, the notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tl_keras.evaluation.arms import Arm
from tl_keras.reporting import sections
from tl_keras.run_folder import RunFolder
from tl_keras.study import pages
from tl_keras.study.pages import Run

SAVED_MODELS = Path("saved_models")


def publish(out: RunFolder) -> None:
    """Write everything that a reader, a program or a server takes up, and print the table and the conclusion."""
    run = pages.read(out.path)
    finish = getattr(run.study, "finish", None)
    more = finish(run) if finish else {}
    kept = [arm for arm in run.arms if arm.first.trial["keep"]]
    exported = {arm.name: _saved_model(run, arm) for arm in kept}
    print("drawing the report", flush=True)
    report = pages.write(out)
    models = {arm.name: entry(arm, out) for arm in kept}
    for name, folder in exported.items():
        models[name] |= {"class_names": list(run.arm(name).first.class_names), "saved_model": str(folder)}
    entries = getattr(run.study, "entries", None)
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

    results = run.out.path / "results.json"
    if results.exists():  # a finished run that is resumed
        before = json.loads(results.read_text(encoding="utf-8"))["models"].get(arm.name, {}).get("saved_model")
        if before and Path(before).is_dir():
            return Path(before)
    folder = SAVED_MODELS / f"{run.config['experiment']}-{arm.name}"
    model = model_file.load(run.out.model(arm.first.name))
    return saved_model.export(model, arm.first.class_names, folder)
