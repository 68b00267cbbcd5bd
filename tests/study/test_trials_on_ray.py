"""Trials on a Ray cluster of two machines: the bits of a run on this one, though a machine is lost on the way."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tests import ray_cluster
from tests.study.test_runner import small
from tl_keras.data import selection
from tl_keras.data.selection import Selection
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder
from tl_keras.study import away, runner
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster.running() as found:
        yield found


def begun(folder):
    return RunFolder.create(folder, {"experiment": "try", "settings": {}})


def left(out):
    """What a run consists of, but for what a trial would be resumed from."""
    found = (path.relative_to(out.path) for path in out.path.rglob("*") if path.is_file())
    return sorted(path.parent if "tfevents" in path.name else path for path in found if path.parts[0] != "checkpoints")


def test_a_lost_machine_costs_its_trial_alone_and_no_bit_is_another(cluster, tmp_path):
    told = tmp_path / "stuck"
    once, last = Recipe(1, 16, 1e-3), strategies.find("last_layer")
    trials = [
        replace(small("A"), recipe=once),
        replace(small("B", start="A", strategy=last, measures=(ray_cluster.Stuck(str(told)),)), recipe=once),
        replace(small("C", start="A", strategy=last), recipe=once, seed=1),
    ]

    def lose():
        while not told.exists() or not told.read_text():
            time.sleep(0.05)
        ray_cluster.lose(cluster, told.read_text())

    losing = threading.Thread(target=lose, daemon=True)
    losing.start()
    out, here = begun(tmp_path / "ray"), begun(tmp_path / "here")
    found = runner.run(trials, out, f"ray:{cluster.address}")
    losing.join()
    for one, two in zip(runner.run(trials, here), found, strict=True):
        assert two.trial == one.trial and two.data == one.data
        assert {name: column for name, column in two.history.items() if name != "seconds"} == {
            name: column for name, column in one.history.items() if name != "seconds"
        }
        for split, said in one.predictions.items():
            np.testing.assert_array_equal(two.predictions[split].probabilities, said.probabilities)
            np.testing.assert_array_equal(two.predictions[split].ids, said.ids)
        weights = [keras.models.load_model(run.model(one.name)).get_weights() for run in (here, out)]
        for mine, other in zip(*weights, strict=True):
            np.testing.assert_array_equal(mine, other)
    assert left(out) == left(here)
    check_that_nothing_is_done_again(trials, out, cluster)


def check_that_nothing_is_done_again(trials, out, cluster):
    stamps = {path: path.stat().st_mtime_ns for path in out.records.iterdir()}
    for engine in ("local", f"ray:{cluster.address}"):
        runner.run(trials, out, engine)
    assert {path: path.stat().st_mtime_ns for path in out.records.iterdir()} == stamps


def test_a_machine_without_the_data_says_so(tmp_path):
    data, out = tmp_path / "set", begun(tmp_path / "run")
    data.mkdir()
    parcel = away.packed(replace(small(), images=Selection(str(data))), out)
    data.rmdir()  # here it was, there it is not
    with pytest.raises(InputError) as told:
        away.trained(parcel, "test", runner.run_one)
    assert str(told.value) == (
        f"A: expected {data} at the same place on every machine, received one without it; put it on storage that all "
        f"of them share (on {os.uname().nodename})"
    )


def test_what_goes_with_a_trial_is_what_it_starts_from(tmp_path):
    out = begun(tmp_path / "run")
    for name in (
        "records/A.json",
        "records/AB.json",
        "models/A.keras",
        "predictions/A.test.npz",
        "history/B.csv",
    ):
        path = out.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    parcel = away.packed(replace(small("B", start="A"), images=Selection("digits", data_dir=str(tmp_path))), out)
    assert sorted(parcel.needed) == ["models/A.keras", "predictions/A.test.npz", "records/A.json"]
    assert parcel.places == (), "a data directory may be another one there"
    other = begun(tmp_path / "other")
    away.keep(parcel.needed, small("A"), other)
    assert Path(other.path / "models/A.keras").read_text() == "models/A.keras"
    selection.forget()
