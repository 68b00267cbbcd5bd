"""Notebooks run here as they would for a reader: real kernels, from top to bottom."""

import os
import sys

import nbformat
import pytest

from tl_keras.config import Settings
from tl_keras.reporting import notebook

SCRIPT = '''"""Docstring."""

# %% [markdown]
# # A study
#
# With *text*.

# %% parameters
epochs = 1
name = "none"

# %%
print(name, epochs * 2)
# %%
import os, sys
[sys.executable, os.getcwd()]
'''


def text_outputs(executed):
    return [
        output.get("text") or output["data"]["text/plain"]
        for cell in executed.cells
        for output in cell.get("outputs", [])
    ]


def test_cells_of_the_script_become_cells_of_the_notebook():
    built = notebook.build(SCRIPT, {"epochs": 21, "name": "it's"})
    assert [cell.cell_type for cell in built.cells] == ["code", "markdown", "code", "code", "code", "code"]
    assert built.cells[1].source == "# A study\n\nWith *text*."
    assert built.cells[2].metadata.tags == ["parameters"]
    assert built.cells[3].source == '# Parameters\nepochs = 21\nname = "it\'s"'
    assert built.cells[4].source == "print(name, epochs * 2)"
    assert built.metadata.kernelspec.name == "python3"
    nbformat.validate(built)


def test_a_study_hands_over_what_the_parameters_cell_asks_for(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "letters.py").write_text(
        "# %% parameters\nseed = 0  # fixed\nepochs = 1\nbackbone = None"
    )
    settings = Settings(epochs=3, seed=7, batch_size=9)
    built = notebook.of_study(tmp_path / "letters.py", settings, backbone="vgg16")
    assert built.cells[1].source == "# Parameters\nseed = 7\nepochs = 3\nbackbone = 'vgg16'"


def test_the_same_script_gives_the_same_file():
    files = {nbformat.writes(notebook.build(SCRIPT, {"epochs": 2})) for _ in range(2)}
    assert len(files) == 1


def test_executed_notebook_holds_outputs_of_the_parameters_this_interpreter_and_the_folder(tmp_path):
    built = notebook.build(SCRIPT, {"epochs": 21, "name": "vgg"})
    path = tmp_path / "run" / "notebook.ipynb"
    notebook.execute(built, path, tmp_path)
    executed = nbformat.read(path, as_version=4)
    nbformat.validate(executed)
    printed, where = text_outputs(executed)[-2:]
    assert printed == "vgg 42\n"
    assert eval(where) == [sys.executable, str(tmp_path)]
    assert [file.name for file in path.parent.iterdir()] == ["notebook.ipynb"]
    assert not any(cell.get("outputs") for cell in built.cells), "the notebook handed in stays as it was"

    again = notebook.execute(executed, tmp_path / "again.ipynb", tmp_path)
    assert text_outputs(again) == text_outputs(executed)


def test_modules_of_this_process_can_be_imported_and_figures_show(tmp_path, monkeypatch):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "only_here.py").write_text("value = 'found'")
    monkeypatch.syspath_prepend(str(tmp_path / "hidden"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    found = "# %%\nimport only_here, tl_keras\nprint(only_here.value)\n"
    script = found + "# %%\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    executed = notebook.execute(notebook.build(script, {}), tmp_path / "n.ipynb", tmp_path)
    assert executed.cells[0].outputs[0].text == "found\n"
    assert any("image/png" in output.get("data", {}) for output in executed.cells[1].outputs)


def test_an_installed_kernel_of_another_python_is_not_used(tmp_path, monkeypatch):
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = '{"argv": ["/bin/false", "{connection_file}"], "display_name": "Other", "language": "python"}'
    (folder / "kernel.json").write_text(spec)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    script = "import sys\nprint(sys.executable)"
    executed = notebook.execute(notebook.build(script, {}), tmp_path / "n.ipynb", tmp_path)
    assert text_outputs(executed) == [f"{sys.executable}\n"]


def test_a_failing_cell_is_named_with_its_line_and_what_ran_is_kept(tmp_path):
    script = "# %%\ndef half(x):\n    return 1 / x\n# %%\nprint('before')\n\nhalf(0)  # here\n# %%\nprint('never')"
    path = tmp_path / "n.ipynb"
    with pytest.raises(notebook.NotebookError) as caught:
        notebook.execute(notebook.build(script, {}), path, tmp_path)
    place = "cell 2, line 3, `half(0)  # here`: ZeroDivisionError: division by zero"
    assert str(caught.value) == f"{path}: {place}"
    kept = nbformat.read(path, as_version=4)
    assert kept.cells[1].outputs[0].text == "before\n"
    assert kept.cells[1].outputs[1].ename == "ZeroDivisionError"
    assert kept.cells[2].outputs == []


def test_a_cell_that_is_not_python_is_named(tmp_path):
    with pytest.raises(notebook.NotebookError, match=r"cell 1, line 2, `b = = 3`: SyntaxError"):
        notebook.execute(notebook.build("# %%\na = 1\nb = = 3", {}), tmp_path / "n.ipynb", tmp_path)


def test_a_cell_that_takes_too_long_is_stopped(tmp_path):
    script = "# %%\nimport os\nprint(os.getpid(), flush=True)\n# %%\nimport time\ntime.sleep(60)"
    with pytest.raises(TimeoutError):
        notebook.execute(notebook.build(script, {}), tmp_path / "n.ipynb", tmp_path, timeout=1)
    process = int(nbformat.read(tmp_path / "n.ipynb", as_version=4).cells[0].outputs[0].text)
    assert process != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize(
    ("script", "parameters", "message"),
    [
        ("# %%\nx = 1", {"x": 2}, "expected a cell marked `# %% parameters`"),
        ("# %% parameters\nx = 1", {"x": object()}, "parameter x: expected a Python literal"),
        ("# %% parameters\nx = 1", {"x y": 1}, "expected a Python name, received 'x y'"),
    ],
)
def test_parameters_that_could_not_arrive_are_refused(script, parameters, message):
    with pytest.raises(ValueError, match=message):
        notebook.build(script, parameters)
