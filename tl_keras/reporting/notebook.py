"""A study as a notebook: built from a percent-format script, executed from top to bottom by this interpreter.

>>> notebook = build("# %% parameters\\nepochs = 1\\n# %%\\nprint(epochs)", {"epochs": 50})
>>> execute(notebook, "notebook.ipynb", folder="runs/vgg16")
"""

from __future__ import annotations

import ast
import copy
import os
import re
import sys
from pathlib import Path

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode, v4

from tl_keras.config import Options
from tl_keras.files import write_bytes

MARKER = re.compile(r"^#\s*%%(.*)$", re.MULTILINE)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookError(RuntimeError):
    """A cell of a notebook failed; the message names the cell, the line and the error."""


def build(script: str, parameters: dict[str, object]) -> NotebookNode:
    """Turn a percent-format script into a notebook that any Jupyter opens.

    `# %%` starts a code cell, `# %% [markdown]` a text cell of `# ` lines. The cell marked `# %% parameters` holds
    the defaults; a cell that assigns `parameters` is put right after it.

    Args:
        script: the source of the script.
        parameters: values under their names; each value's repr must be a Python literal.

    Raises:
        ValueError: a name or value cannot be written as Python, or no cell is marked for the parameters.

    >>> [cell.source for cell in build("# %% parameters\\nepochs = 1", {"epochs": 50}).cells]
    ['epochs = 1', '# Parameters\\nepochs = 50']
    """
    before, *parts = MARKER.split(script)
    cells = [_cell("", before)] if before.strip() else []
    cells += [_cell(mark.strip(), body) for mark, body in zip(parts[::2], parts[1::2], strict=True)]
    if parameters:
        tagged = [place for place, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
        if not tagged:
            raise ValueError("notebook: expected a cell marked `# %% parameters`, received a script without one")
        cells.insert(tagged[0] + 1, _assignments(parameters))
    for number, cell in enumerate(cells, 1):
        cell.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def of_study(study: str | Path, settings: Options, **instead: object) -> NotebookNode:
    """The notebook of a study: the script of the study's name in `notebooks` beside it, with the study's settings.

    Args:
        study: the study's file.
        settings: answers for every name that the script's parameters cell assigns.
        instead: values that count rather than those of `settings`.

    >>> of_study("experiments/cifar_ab.py", CifarSettings(epochs=1)).cells[2].source.splitlines()[4]  # doctest: +SKIP
    'epochs = 1'
    """
    study = Path(study)
    script = (study.parent / "notebooks" / study.name).read_text(encoding="utf-8")
    defaults = next(cell for cell in build(script, {}).cells if "parameters" in cell.metadata.get("tags", []))
    names = [target.id for line in ast.parse(defaults.source).body for target in line.targets]
    return build(script, {name: getattr(settings, name) for name in names} | instead)


def execute(notebook: NotebookNode, path: str | Path, folder: str | Path, timeout: float | None = None) -> NotebookNode:
    """Run `notebook` from top to bottom and write it, with its outputs, to `path`.

    The cells run in a process of this very interpreter, whatever kernels are installed, with this process' import
    path. The notebook is written also when a cell fails, as far as it came. `notebook` itself is left as it is.

    Args:
        notebook: as answered by `build` or `nbformat.read`.
        path: the .ipynb file; never half written.
        folder: the working directory of the cells.
        timeout: seconds for each cell; None waits for ever.

    Raises:
        NotebookError: a cell failed.
        nbclient.exceptions.CellTimeoutError: a cell took longer than `timeout`.
        nbclient.exceptions.DeadKernelError: the process of the cells died.
    """
    executed = copy.deepcopy(notebook)
    client = NotebookClient(
        executed,
        kernel_manager_class=_ThisInterpreter,
        timeout=timeout,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=_environment())
    except CellExecutionError as error:
        raise NotebookError(f"{path}: {_place(executed)}: {error.ename}: {error.evalue}") from error
    finally:
        _write(executed, Path(path))
    return executed


class _ThisInterpreter(AsyncKernelManager):
    """Starts ipykernel with `sys.executable`, never an installed kernelspec, which may name another Python."""

    @property
    def kernel_spec(self) -> KernelSpec:
        # Without its remark that loopback is not encrypted.
        return KernelSpec(**get_kernel_dict(extra_arguments=["--log-level=ERROR"]))


def _environment() -> dict[str, str]:
    # A backend chosen for this process (say, Agg) would keep the figures out of the notebook.
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return kept | {"PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path)}


def _cell(mark: str, body: str) -> NotebookNode:
    source = body.strip("\n")
    if mark.startswith(("[markdown]", "[md]")):
        return v4.new_markdown_cell(re.sub(r"^# ?", "", source, flags=re.MULTILINE))
    metadata = {"tags": ["parameters"]} if mark == "parameters" else {}
    return v4.new_code_cell(source, metadata=metadata)


def _assignments(parameters: dict[str, object]) -> NotebookNode:
    for name, value in parameters.items():
        if not name.isidentifier():
            raise ValueError(f"notebook parameters: expected a Python name, received {name!r}")
        try:
            ast.literal_eval(repr(value))
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"notebook parameter {name}: expected a Python literal, received {value!r}") from error
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    return v4.new_code_cell("\n".join(["# Parameters", *lines]), metadata={"tags": ["injected-parameters"]})


def _place(notebook: NotebookNode) -> str:
    """Where the execution stopped: `cell 3, line 2, `x = 1 / 0``, read from the traceback in the failed cell."""
    outputs = (
        (number, cell, output) for number, cell in enumerate(notebook.cells, 1) for output in cell.get("outputs", [])
    )
    number, cell, output = next(found for found in outputs if found[2].output_type == "error")
    line = re.search(r"Cell In\[\d+\],? line (\d+)", ANSI.sub("", "\n".join(output.traceback)))
    if not line:
        return f"cell {number}"
    return f"cell {number}, line {line[1]}, `{cell.source.splitlines()[int(line[1]) - 1].strip()}`"


def _write(notebook: NotebookNode, path: Path) -> None:
    write_bytes(path, nbformat.writes(notebook).encode())
