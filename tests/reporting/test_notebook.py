"""Notebooks run here as they would for a reader: real kernels, from top to bottom."""

import io
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode

import nbformat
import pytest
from PIL import Image

from tests.made_up_records import made_up_arms, write_run
from tl_keras.reporting import notebook, sections
from tl_keras.reporting.content import Report, Section, Table, Text
from tl_keras.run_folder import RunFolder

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


STAND_IN = """
from pathlib import Path
from tl_keras import records
from tl_keras.evaluation.arms import arms_of
from tl_keras.reporting import sections
from tl_keras.reporting.content import Report
from tl_keras.run_folder import RunFolder

def compose(path):
    arms = arms_of(records.read_all(RunFolder(Path(path))))
    results = sections.text_section("Results", "Only *text*, 5 $ and 6 $.", sections.results_table(arms))
    return Report("Which way?", "made up", ["A wins."], [results, sections.training_section(arms)])
"""


@pytest.fixture
def composed(tmp_path, monkeypatch):
    """A run with two records, and the report that a stand-in for the studies composes from them."""
    out = RunFolder.create(tmp_path / "run", {"experiment": "made_up"})
    write_run(made_up_arms(2), out)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        notebook,
        "COMPOSE",
        notebook.COMPOSE.replace("tl_keras.study import pages", "stand_in import compose").replace(
            "pages.compose", "compose"
        ),
    )
    import stand_in

    return out, stand_in.compose(out.path)


def test_a_report_becomes_a_notebook_that_reads_the_records(composed):
    out, report = composed
    built = notebook.of_report(report)
    built.cells.append(nbformat.v4.new_code_cell("import sys\nprint({'tensorflow', 'keras'} & set(sys.modules))"))
    executed = notebook.execute(built, out.path / "notebook.ipynb", out.path)
    nbformat.validate(executed)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code[1:-1]] == ['report["Table 1"]', 'report["Figure 1"]']
    table, figure = (cell.outputs[0].data for cell in code[1:-1])
    assert table["text/plain"] == report["Table 1"].text
    assert "<table>" in table["text/html"]
    assert b64decode(figure["image/png"]) == report["Figure 1"].png
    assert Image.open(io.BytesIO(b64decode(figure["image/png"]))).width == 1800
    assert code[-1].outputs[0].text == "set()\n"


def test_the_first_code_cell_and_the_texts_are_as_a_reader_expects_them():
    table = Table("c", ["a"], [[1]])
    report = Report("Which *way*?", "now", ["A wins.", "B_x loses."], [
        Section("One", [Text("First.\n\n5 $ < 6 $."), table, Text("Then.")]),
        sections.training_section(made_up_arms(2)),
    ])  # fmt: skip
    cells = notebook.of_report(report).cells
    caption = report["Figure 1"].caption
    assert [(cell.cell_type, cell.source) for cell in cells] == [
        ("markdown", "# Which \\*way\\*?\n\nnow\n\n- A wins.\n- B\\_x loses."),
        (
            "code",
            "from tl_keras.study import pages\n"
            'report = pages.compose(".")      # reads the records of this run; nothing is trained',
        ),
        ("markdown", "## One\n\nFirst.\n\n5 \\$ \\< 6 \\$."),
        ("code", 'report["Table 1"]'),
        ("markdown", "Then."),
        ("markdown", f"## Learning curves\n\n**Figure 1.** {caption}"),
        ("code", 'report["Figure 1"]'),
    ]


def test_an_interrupt_leaves_no_notebook_no_kernel_and_its_own_name(tmp_path):
    script = "# %%\nimport os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)"
    code = f"from tl_keras.reporting import notebook as n; n.execute(n.build({script!r}, {{}}), 'n.ipynb', '.')"
    running = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    told = tmp_path / "pid"
    while running.poll() is None and not (told.exists() and told.read_text()):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "nbclient" not in said and "zmq" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
