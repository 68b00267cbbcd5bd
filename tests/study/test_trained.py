"""Which network of a run is meant: the winner, the one that is named, or a clear refusal."""

import json
from pathlib import Path

import pytest

from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder
from tl_keras.study.trained import find


def made(path, networks, results=None):
    out = RunFolder.create(path, {"experiment": "finetune"})
    for name in networks:
        out.model(name).parent.mkdir(exist_ok=True)
        out.model(name).touch()
    if results is not None:
        (path / "results.json").write_text(results if isinstance(results, str) else json.dumps(results))
    return path


def results(accuracies, **more):
    models = {
        arm: {"model": f"models/{arm}_seed3.keras", "mean_test_accuracy": value} for arm, value in accuracies.items()
    }
    return {"models": models, **more}


NETWORKS = ("full_seed3", "full_seed4", "probe_seed3")


def test_the_winner_is_taken_or_who_is_named(tmp_path):
    run = made(tmp_path / "run", NETWORKS, results({"full": 0.8, "probe": 0.9}, winner="full"))
    assert find(run) == run / "models/full_seed3.keras"
    assert find(run, "probe") == run / "models/probe_seed3.keras"
    assert find(run, "full_seed4") == run / "models/full_seed4.keras"
    file = run / "models/full_seed4.keras"
    assert find(file) == file


def test_without_a_winner_the_most_accurate_is_taken(tmp_path):
    run = made(tmp_path / "run", NETWORKS, results({"full": 0.9, "probe": 0.9}))
    assert find(run) == run / "models/full_seed3.keras"
    run = made(tmp_path / "other", NETWORKS, results({"full": 0.8, "probe": 0.9}))
    assert find(run) == run / "models/probe_seed3.keras"


def test_a_run_that_has_not_finished(tmp_path):
    run = made(tmp_path / "run", ["A"])
    (run / "models/.123.B.keras").touch()  # half-written
    assert find(run) == run / "models/A.keras"
    run = made(tmp_path / "two", ["A", "B"])
    assert find(run, "B") == run / "models/B.keras"
    with pytest.raises(InputError, match=r"--model: expected one of A, B, since .*two has no results yet"):
        find(run)


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '{"models": {"A": {}}}', '{"models": {"A": 3}}', '{"models": [1]}', '{"models": null}']
)
def test_damaged_results_are_refused(damaged, tmp_path):
    with pytest.raises(InputError, match=r"results.json: expected the results of a run, received a damaged file"):
        find(made(tmp_path / "run", ["A"], damaged))


def test_names_are_listed_where_one_is_wrong(tmp_path):
    run = made(tmp_path / "run", NETWORKS, results({"full": 0.8, "gone": 0.9}, winner="gone"))
    for name, said in (("fulll", "fulll"), ("../models/full_seed3", r"\.\./models/full_seed3"), (None, "gone")):
        with pytest.raises(InputError, match=f"one of full, full_seed3, full_seed4, probe_seed3, received {said};"):
            find(run, name)


def test_no_run_and_no_network(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").touch()
    (tmp_path / "own.keras").touch()
    with pytest.raises(InputError, match=r"run folder: expected one of an earlier run, with config\.json"):
        find(tmp_path / "empty")
    for path in (tmp_path / "absent", tmp_path / "text.txt", Path("absent.keras")):
        with pytest.raises(InputError, match=r"run: expected the folder of a run or a \.keras file"):
            find(path)
    with pytest.raises(InputError, match="expected a run that keeps its networks, in models/, received none"):
        find(made(tmp_path / "run", []))
    with pytest.raises(InputError, match="--model: expected a name with a run folder, received full"):
        find(tmp_path / "own.keras", "full")
