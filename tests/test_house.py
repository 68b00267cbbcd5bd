"""The house rules: imports point downwards, files and functions stay short, public names are explained."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("data", "models", "transfer", "training", "evaluation", "reporting", "export", "study", "serving")
LIBRARY = sorted((ROOT / "tl_keras").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.py"))
CODE = [*LIBRARY, *EXPERIMENTS, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
TEXTS = [*CODE, *(path for path in ROOT.glob("*") if path.is_file() and not path.name.startswith(".")),
         *ROOT.glob("benchmarks/*.md"), *ROOT.glob(".ci/*"), *ROOT.glob("tl_keras/**/*.html")]  # fmt: skip


def shown(path):
    return path.relative_to(ROOT).as_posix()


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """Every module that a file imports, wherever in it: `from tl_keras import data` imports tl_keras.data."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name):
    """The floor of a module in the library, or None outside its rooms."""
    parts = name.split(".")
    return ROOMS.index(parts[1]) if parts[0] == "tl_keras" and len(parts) > 1 and parts[1] in ROOMS else None


FRONT_DOOR = [ROOT / f"tl_keras/{name}.py" for name in ("run", "command_line", "running")]

# What all rooms use knows no room, and of each other these know no more than this.
ALL_USE = {
    "errors": set(), "files": set(), "quiet": set(), "processes": set(), "config": {"errors"}, "values": {"errors"},
    "run_folder": {"errors", "files"}, "records": {"errors", "files", "run_folder"}, "stopping": set(),
    "folders": {"errors", "files"}, "tasks": {"clusters", "errors", "processes"},
    "clusters": {"clusters", "config", "errors", "stopping"},
    "scratch": {"files"},
}  # fmt: skip


@pytest.mark.parametrize("path", LIBRARY, ids=shown)
def test_imports_point_downwards(path):
    own = room(shown(path).removesuffix(".py").replace("/", "."))
    front_door, command = path in FRONT_DOOR, path.parent == ROOT / "tl_keras/commands"
    reads_runs = path == ROOT / "tl_keras/study/pages.py"  # a run says by its name which study reads it
    for name in imports(path):
        other = room(name)
        assert own is None or other is None or other <= own, f"imports {name}, which stands above it"
        assert own is not None or other is None or front_door or command, (
            f"imports {name}: what all rooms use knows no room"
        )
        assert name != "tl_keras.run" and (front_door or name not in ("tl_keras.command_line", "tl_keras.running"))
        assert front_door or reads_runs or name.split(".")[0] != "experiments"
        assert front_door or command or name.split(".")[:2] != ["tl_keras", "commands"]


@pytest.mark.parametrize("name", ALL_USE)
def test_what_all_rooms_use_knows_little(name):
    known = {imported.split(".")[1] for imported in imports(ROOT / f"tl_keras/{name}.py") if "tl_keras." in imported}
    assert known - {"__version__"} <= ALL_USE[name]


def test_what_all_rooms_use_is_listed():
    found = {path.stem for path in LIBRARY if path.parent == ROOT / "tl_keras"} - {
        "__init__",
        *(path.stem for path in FRONT_DOOR),
    }
    assert found == set(ALL_USE)


FRAMEWORKS = ("keras", "tensorflow")
LOOKS_INTO_NETWORKS = ROOT / "tl_keras/evaluation/interpret.py"
DISPLAYS = [path for path in LIBRARY if path.parent.name in ("reporting", "evaluation") or path.stem == "records"]
DISPLAYS.remove(LOOKS_INTO_NETWORKS)


@pytest.mark.parametrize("path", DISPLAYS, ids=shown)
def test_pages_are_drawn_and_numbers_compared_without_keras(path):
    late = {"tl_keras.quiet.keras", "tl_keras.quiet.tf"}
    assert [name for name in imports(path) if name.split(".")[0] in FRAMEWORKS or name in late] == []


DEFINE_SUBCLASSES = {"tl_keras/models/stn.py", "tl_keras/training/callbacks.py", "tl_keras/training/lr_range.py"}


@pytest.mark.parametrize("path", [*LIBRARY, *EXPERIMENTS], ids=shown)
def test_keras_is_imported_when_it_is_needed(path):
    """By `from tl_keras.quiet import keras, tf`, but where a class is made of one of its classes."""
    at_once = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            at_once |= {name.split(".")[0] for name in names} & set(FRAMEWORKS)
    assert not at_once or shown(path) in DEFINE_SUBCLASSES or path.parent.name == "handin"


@pytest.mark.parametrize("path", [*EXPERIMENTS, *(path for path in CODE if "benchmarks" in path.parts)], ids=shown)
def test_nobody_imports_the_front_door(path):
    assert not {"tl_keras.run", "tl_keras.command_line", "tl_keras.running", "tl_keras.commands"} & set(imports(path))


def test_every_room_has_its_place():
    found = {path.parent.name for path in LIBRARY if path.name == "__init__.py" and path.parent.name != "tl_keras"}
    assert found <= {*ROOMS, "commands"}


@pytest.mark.parametrize("path", CODE, ids=shown)
def test_files_are_short(path):
    # A hand-in is one notebook with all of its code, and half of it is text.
    most = {"experiments": 200, "handin": 400}.get(path.parent.name, 300)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= most
    assert path.stem not in ("utils", "misc", "helpers", "common")


def functions(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function):
    """Lines from the first statement to the last, the docstring left out."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


@pytest.mark.parametrize("path", CODE, ids=shown)
def test_functions_are_short(path):
    assert [function.name for function in functions(path) if body_lines(function) > 40] == []


@pytest.mark.parametrize("path", LIBRARY, ids=shown)
def test_public_names_are_explained(path):
    module = tree(path)
    assert ast.get_docstring(module), "the module says what it is for"
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public = [node for node in module.body if isinstance(node, kinds) and not node.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", TEXTS, ids=shown)
def test_nothing_names_the_machine_it_was_written_on(path):
    text = path.read_text(encoding="utf-8")
    assert [folder for folder in ("root", "work") if f"/{folder}/" in text] == []
