"""`compare` and `report` read finished runs: what they print, whom they refuse, and that they train nothing."""

import json

import numpy as np
import pytest

from tests.fresh import python
from tests.made_up_records import made_up_record, with_correct, write_run
from tests.test_run import refused
from tl_keras import run
from tl_keras.commands import compare
from tl_keras.evaluation.arms import arms_of
from tl_keras.run_folder import RunFolder


@pytest.fixture(autouse=True)
def nothing_to_be_had(isolated_place):
    return isolated_place


def finished(folder, arms, experiment="finetune"):
    """A run of made-up networks, as `finetune` leaves it."""
    settings = {"data": "digits", "backbone": "mobilenet_0.25", "weights": "none"}
    config = {"experiment": experiment, "settings": settings, "data": {"name": "made up"}}
    out = RunFolder.create(folder, config)
    write_run(arms, out)
    return folder


def right_on(count, images=200):
    return [np.arange(images) < count]


def test_arms_of_several_runs_are_compared_on_the_images_they_share(capfd, tmp_path):
    first = finished(tmp_path / "runs/monday", [with_correct("full", right_on(190), title="full fine-tuning")])
    second = finished(tmp_path / "runs/tuesday", [with_correct("probe", right_on(120), title="linear probe")])
    assert run.main(["compare", str(first), str(second)]) == 0
    out, err = capfd.readouterr()
    assert "200 shared test images of made up" in out and err == ""
    assert "full fine-tuning (monday)" in out and "linear probe (tuesday)" in out
    assert "0.9500" in out and "0.6000" in out
    assert "full fine-tuning (monday) came out ahead: 95.0% of 200 test images" in out and "p < 0.001" in out


def test_images_that_one_run_did_not_see_do_not_count(capfd, tmp_path):
    first = finished(tmp_path / "a", [with_correct("full", right_on(150))])
    second = finished(tmp_path / "b", [with_correct("full", right_on(100, images=100))])
    assert run.main(["compare", str(first), str(second)]) == 0
    out = capfd.readouterr().out
    assert "100 shared test images of made up" in out and "came out alike: 100.0%" in out


def test_runs_that_share_no_image_are_not_compared(capfd, tmp_path):
    folders = [
        finished(tmp_path / name, arms_of([made_up_record("A", test_set=number)])) for number, name in enumerate("ab")
    ]
    line = refused(capfd, "compare", *folders)
    assert "compare: expected runs that share test images, received none shared by made up, made up" in line


def test_runs_are_called_by_as_much_of_their_path_as_tells_them_apart(tmp_path):
    for paths, names in (
        (["x/cifar_ab/1", "x/cifar_ab/2"], ["1", "2"]),
        (["monday/run", "tuesday/run"], ["monday/run", "tuesday/run"]),
        (["a/b/run", "c/b/run"], ["a/b/run", "c/b/run"]),
    ):
        assert compare._names([str(tmp_path / path) for path in paths]) == names


def test_a_report_is_drawn_from_the_records_alone(capfd, tmp_path):
    arms = arms_of([made_up_record("probe", accuracy=0.7), made_up_record("full", accuracy=0.9)])
    folder = finished(tmp_path / "run", arms)
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code = (
        "import sys\nfrom tl_keras.run import main\ncode = main(sys.argv[1:])\n"
        "print('imported', *sorted({'tensorflow', 'keras'} & set(sys.modules)))\nsys.exit(code)"
    )
    done = python("-c", code, "report", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported"
    assert "arm full came out ahead" in done.stdout and f"report: {folder / 'report.html'}" in done.stdout
    for name in ("report.html", "report.pdf", "notebook.ipynb"):
        assert (folder / name).stat().st_size > 1000
    for path, content in kept.items():
        assert path.read_bytes() == content, "what was measured stays"


def test_pages_of_a_run_that_finished_nothing_or_is_of_no_study(capfd, tmp_path):
    folder = finished(tmp_path / "run", [])
    assert "expected a run with finished trials in records/, received none" in refused(capfd, "report", folder)
    line = refused(capfd, "report", finished(tmp_path / "other", [], experiment="advise"))
    assert "expected a run of ants_bees, cifar_ab," in line and "received one of 'advise'" in line
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_pages_of_a_run_with_a_damaged_record(capfd, tmp_path):
    folder = finished(tmp_path / "run", arms_of([made_up_record("A")]))
    content = json.loads((folder / "records/A.json").read_text())
    (folder / "records/A.json").write_text(json.dumps(content | {"format": 99}))
    for command in (["report", folder], ["compare", folder, finished(tmp_path / "b", arms_of([made_up_record("A")]))]):
        assert "A.json: expected a whole record of format 1" in refused(capfd, *command)
