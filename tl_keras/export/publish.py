"""What every study leaves behind: SavedModels, results.json, the report and the executed notebook."""

from __future__ import annotations

from pathlib import Path

import keras
from nbformat import NotebookNode

from tl_keras.evaluation.outcome import Network
from tl_keras.export import saved_model
from tl_keras.reporting import notebook as notebooks
from tl_keras.reporting import sections
from tl_keras.reporting.content import Report
from tl_keras.run_folder import RunFolder
from tl_keras.training import runtime

SAVED_MODELS = Path("saved_models")


def publish(
    out: RunFolder,
    networks: list[Network],
    models: dict[str, tuple[keras.Model, tuple[str, ...]]],
    report: Report,
    notebook: NotebookNode,
    **more: object,
) -> None:
    """Write everything that a reader, a program or a server takes up, and print the table and the conclusion.

    Args:
        models: model and class names of each network, under its name, that becomes a SavedModel.
        report: its summary is the conclusion in results.json.
        notebook: executed in the run folder.
        more: further entries of results.json.
    """
    config, entries = out.config(), {}
    for network in networks:
        entries[network.name] = network.entry(out)
        if network.name in models:
            model, class_names = models[network.name]
            folder = SAVED_MODELS / f"{config['experiment']}-{network.name}"
            version = saved_model.export(model, class_names, folder)
            entries[network.name] |= {"class_names": class_names, "saved_model": str(version)}
    conclusion = list(report.summary)
    results = {"experiment": config["experiment"], "data": config["data"]["name"], "models": entries}
    out.write_results(results | {"conclusion": conclusion} | more)
    sections.publish(report, out)
    runtime.release_memory()
    print("executing the notebook", flush=True)
    notebooks.execute(notebook, out.path / "notebook.ipynb", out.path)
    out.remove_activations()
    table = sections.results_table(networks).text
    print("\n".join(["", table, "", *conclusion, "", f"report: {out.path / 'report.html'}"]))
