"""A run whose files were changed or damaged is told in one line, whatever was made of them."""

import json
import shutil

import numpy as np
import pytest

from tests.made_up_records import made_up_record, write_run
from tests.test_run import refused
from tl_keras import records
from tl_keras.errors import InputError
from tl_keras.evaluation.arms import arms_of
from tl_keras.run_folder import RunFolder
from tl_keras.study import pages

OTHERS = ("gone", None, 5, -1.5, "x", True, [], [1], {}, {"a": 1}, "half \udcff")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    settings = {"data": "digits", "backbone": "mobilenet_0.25", "weights": "none"}
    config = {"experiment": "finetune", "settings": settings, "data": {"name": "made up"}, "versions": {"python": "3"}}
    out = RunFolder.create(tmp_path_factory.mktemp("whole") / "run", config)
    write_run(arms_of([made_up_record(name, images=20) for name in ("full", "probe")]), out)
    out.update_config(trials=["full", "probe"])
    return out


@pytest.fixture
def out(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def places(content, above=()):
    """The keys to every part of a JSON value."""
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, part in parts:
        yield (*above, key)
        yield from places(part, (*above, key))


def changed(content, place, value):
    copied = json.loads(json.dumps(content))
    inner = copied
    for key in place[:-1]:
        inner = inner[key]
    if value == "gone":
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return copied


@pytest.mark.parametrize("file", ["config.json", "records/full.json"])
def test_other_kinds_of_values_are_told_or_do_no_harm(out, file):
    path, told = out.path / file, 0
    content = json.loads(path.read_text())
    for place in places(content):
        for value in OTHERS:
            path.write_text(json.dumps(changed(content, place, value)))
            try:
                (pages.read if file == "config.json" else pages.compose)(out.path)
            except InputError as error:
                assert "\n" not in str(error)
                told += 1
    assert told > 50


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 5000, "null", '"text"', "{}", '{"format": 2}', "\x00"])
def test_no_run_at_all(out, capfd, content):
    (out.path / "config.json").write_text(content)
    for command in (["finetune", "--resume", "--out", out.path], ["report", out.path]):
        refused(capfd, *command)
    assert (out.path / "config.json").read_text() == content


@pytest.mark.parametrize("settings", [{}, None, [], {"data": 5}, {"data": "digits", "epochs": None}])
def test_a_run_without_its_settings(out, capfd, settings):
    content = json.loads((out.path / "config.json").read_text())
    (out.path / "config.json").write_text(json.dumps(content | {"settings": settings}))
    refused(capfd, "finetune", "--resume", "--out", out.path)


def arrays(path):
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize(
    "file, name, other",
    [
        ("predictions/full.npz", "labels", np.zeros(3, int)), ("predictions/full.npz", "labels", np.full(20, 9)),
        ("predictions/full.npz", "labels", np.zeros(20)), ("predictions/full.npz", "ids", np.zeros(3)),
        ("predictions/full.npz", "probabilities", np.zeros((20, 7))),
        ("predictions/full.npz", "probabilities", np.zeros((20, 3), int)),
        ("records/full.npz", "thumbnail_rows", np.array([99])), ("records/full.npz", "thumbnails", np.zeros((1, 2, 2))),
    ],
)  # fmt: skip
def test_arrays_of_other_images(out, file, name, other):
    np.savez(out.path / file, **arrays(out.path / file) | {name: other})
    with pytest.raises(InputError, match=r"full\.json: expected a whole record"):
        records.read(out, "full")
