"""Notebooks: the report of a run, or a percent-format script; executed from top to bottom by this interpreter.

>>> execute(of_report(report), "runs/vgg16/notebook.ipynb", folder="runs/vgg16")
>>> notebook = build("# %% parameters\\nepochs = 1\\n# %%\\nprint(epochs)", {"epochs": 50})
"""

from __future__ import annotations

import ast
import atexit
import copy
import logging
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode, v4

from tl_keras.files import write_bytes
from tl_keras.reporting.content import Figure, Report, Text, labelled

MARKER = re.compile(r"^#\s*%%(.*)$", re.MULTILINE)
COMPOSE = """\
from tl_keras.study import pages
report = pages.compose(".")      # reads the records of this run; nothing is trained"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")
SILENT = logging.Logger("notebook", logging.CRITICAL + 1)  # what nbclient has to say, its exceptions say too


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
    return _notebook(cells)


def of_report(report: Report) -> NotebookNode:
    """The notebook that shows `report` in its run folder: its first code cell reads the records, nothing is trained.

    >>> [cell.source for cell in of_report(Report("Ants or bees?", "", [], [])).cells][:1]
    ['# Ants or bees?']
    """
    findings = "\n".join(f"- {_markdown(finding)}" for finding in report.summary)
    told = [f"# {_markdown(report.title)}", _markdown(report.subtitle), findings]
    cells = [_text_cell(told), v4.new_code_cell(COMPOSE)]
    for section, blocks in labelled(report):
        told = [f"## {_markdown(section.title)}"]
        for block, label in blocks:
            if isinstance(block, Text):
                told += map(_markdown, block.paragraphs)
                continue
            if isinstance(block, Figure):
                told.append(f"**{label}.** {_markdown(block.caption)}")
            cells += [_text_cell(told)] * bool(told) + [v4.new_code_cell(f'report["{label}"]')]
            told = []
        cells += [_text_cell(told)] * bool(told)
    return _notebook(cells)


def execute(notebook: NotebookNode, path: str | Path, folder: str | Path) -> NotebookNode:
    """Run `notebook` from top to bottom and write it, with its outputs, to `path`.

    The cells run in a process of this very interpreter, whatever kernels are installed, with this process' import
    path. The notebook is written also when a cell fails, as far as it came, but not when a person interrupts it.
    `notebook` itself is left as it is.

    Args:
        notebook: as answered by `build` or `nbformat.read`.
        path: the .ipynb file; never half written.
        folder: the working directory of the cells.

    Raises:
        NotebookError: a cell failed.
        nbclient.exceptions.DeadKernelError: the process of the cells died.
    """
    executed = copy.deepcopy(notebook)
    client = NotebookClient(
        executed,
        kernel_manager_class=_ThisInterpreter,
        timeout=None,
        record_timing=False,
        log=SILENT,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        _run(client)
    except Exception as error:
        _write(executed, Path(path))
        if isinstance(error, CellExecutionError):
            raise NotebookError(f"{path}: {_place(executed)}: {error.ename}: {error.evalue}") from None
        raise
    _write(executed, Path(path))
    return executed


def _run(client: NotebookClient) -> None:
    """Execute in a thread: in the main one nbclient takes Ctrl-C for itself, and then speaks of a dead kernel."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        running = thread.submit(client.execute, env=_environment())
        try:
            running.result()
        finally:
            while not wait([running], timeout=0.1).done:  # interrupted, perhaps before the kernel has begun
                process = getattr(getattr(client.km, "provisioner", None), "process", None)
                if process:
                    process.kill()
            atexit.unregister(client._cleanup_kernel)  # it fails where the kernel never began


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


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    for number, cell in enumerate(cells, 1):
        cell.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def _text_cell(paragraphs: list[str]) -> NotebookNode:
    return v4.new_markdown_cell("\n\n".join(filter(None, paragraphs)))


def _markdown(text: str) -> str:
    """Plain text for a Markdown cell: nothing in it is a mark or a formula."""
    return re.sub(r"([\\`*_\[\]<>#$|~])", r"\\\1", text)


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


def rename(path: str | Path, old: str, new: str) -> None:
    """Write `new` instead of `old` wherever it stands as a literal in the cells of an executed notebook."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(repr(old), repr(new))
    _write(notebook, Path(path))


def _write(notebook: NotebookNode, path: Path) -> None:
    write_bytes(path, nbformat.writes(notebook).encode())
