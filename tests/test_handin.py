"""The hand-in of cifar_ab: where the library cannot be imported it gives the library's networks, or reads them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from experiments import cifar_ab
from tests.fresh import python
from tests.isolation import ROOT, isolate
from tl_keras import records
from tl_keras.evaluation.compare import accuracy_interval
from tl_keras.reporting import notebook
from tl_keras.run_folder import RunFolder
from tl_keras.study import runner

NAMES = ("A", "B_scratch", "B_last_two", "B_last")
GIVEN = {"data": "digits", "registration": "2020387490", "epochs": 2, "batch_size": 16, "limit": 120, "seed": 3}
# Runs the cells as a machine without the library would, and keeps what the tests look at.
BARE = """
import runpy, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tl_keras", "experiments"):
            raise ImportError(f"{name} is not on this machine")

sys.meta_path.insert(0, Refused())
cells = runpy.run_path(sys.argv[1])
assert not {name.split(".")[0] for name in sys.modules} & {"tl_keras", "experiments"}
import numpy as np
kept = {}
for part in "ab":
    for split in ("train", "test"):
        kept[f"{part}.{split}.images"], kept[f"{part}.{split}.labels"] = cells[f"{split}_{part}"]
for name, run in zip(sys.argv[3:], [cells["a"], *cells["firsts"]], strict=True):
    kept[f"{name}.probabilities"], kept[f"{name}.trained"] = run.probabilities, run.weights
    kept[f"{name}.layers"] = [layer.name for layer in run.network.layers]
    kept |= {f"{name}.weight.{weight.path}": weight.numpy() for weight in run.network.weights}
np.savez(sys.argv[2], **kept)
"""


class Bare:
    """What the cells of the hand-in printed, and left in their variables, when they ran in `folder`."""

    def __init__(self, folder, elsewhere, **given):
        script = (ROOT / "experiments/handin/cifar_ab.py").read_text(encoding="utf-8")
        cells = [cell.source for cell in notebook.build(script, GIVEN | given).cells if cell.cell_type == "code"]
        (elsewhere / "cells.py").write_text("\n\n".join(cells), encoding="utf-8")
        arguments = ("-c", BARE, elsewhere / "cells.py", elsewhere / "kept.npz", *NAMES)
        self.done = python(*arguments, folder=folder)
        assert self.done.returncode == 0, self.done.stdout + self.done.stderr
        with np.load(elsewhere / "kept.npz") as file:
            self.kept = dict(file)

    def weights(self, name):
        start = f"{name}.weight."
        return {key.removeprefix(start): value for key, value in self.kept.items() if key.startswith(start)}


class Library:
    """The library's own run of the same trials, without augmentation."""

    def __init__(self, folder):
        settings = cifar_ab.Settings(**GIVEN)
        self.trials = [replace(trial, augment=None) for trial in cifar_ab.trials(settings, cifar_ab.load(settings))]
        self.out = RunFolder.create(folder, {"experiment": "cifar_ab"})
        runner.run(self.trials, self.out)

    def network(self, name):
        import keras

        return keras.models.load_model(self.out.model(name), compile=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two empty folders, and nowhere a data set: the hand-in has the digits only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        isolate(patch, tmp_path_factory.mktemp("handin") / "nothing")
        yield tmp_path_factory.mktemp


@pytest.fixture(scope="module")
def library(place):
    return Library(place("library") / "run")


@pytest.fixture(scope="module")
def trained(place):
    return Bare(place("empty"), place("trained"), augment=False)


def test_it_trains_on_the_same_images(library, trained):
    for trial, part in zip(library.trials[:2], "ab", strict=True):
        images = trial.images.load(trial.view)
        for name in ("train", "test"):
            split = getattr(images, name)
            np.testing.assert_array_equal(trained.kept[f"{part}.{name}.images"], split.images[:])
            np.testing.assert_array_equal(trained.kept[f"{part}.{name}.labels"], split.labels)


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_the_same_network(library, trained, name):
    network = library.network(name)
    assert trained.kept[f"{name}.layers"].tolist() == [layer.name for layer in network.layers]
    assert trained.kept[f"{name}.trained"] == records.read(library.out, name).trainable_parameters
    expected = {weight.path: weight.numpy() for weight in network.weights}
    weights = trained.weights(name)
    assert list(weights) == list(expected)
    for path, values in expected.items():
        # They were equal to the last bit; the tolerance is for processors that sum in another order. Of what should
        # not differ, the decay of biases moved weights least, by 2e-4; another order of the images by 0.6.
        np.testing.assert_allclose(weights[path], values, rtol=1e-5, atol=1e-5, err_msg=path)


def test_beside_a_finished_run_it_reads_the_networks(library, place):
    def files():
        return {path: path.stat().st_mtime_ns for path in library.out.path.rglob("*")}

    before = files()
    read = Bare(library.out.path, place("read"))
    assert files() == before
    assert "Epoch" not in read.done.stdout
    for name in NAMES:
        assert f"{name}: read from models/{name}.keras, not trained" in read.done.stdout
        record = records.read(library.out, name)
        np.testing.assert_allclose(read.kept[f"{name}.probabilities"], record.test.probabilities, rtol=0, atol=1e-5)
        assert f"{record.seconds:.1f} s" in read.done.stdout, "the time is that of the run"


@pytest.mark.parametrize("seeds", [1, 3])
def test_its_intervals_are_those_of_the_library(capsys, seeds):
    correct = np.random.default_rng(0).random((seeds, 200)) < [[0.8], [0.9], [0.95]][:seeds]
    trained = {"train_accuracy": 0.9, "seconds": 1.0, "weights": 1, "history": {"val_accuracy": [0.5, 0.6]}}
    runs = {"a way": [SimpleNamespace(correct=row, **trained) for row in correct]}
    script = (ROOT / "experiments/handin/cifar_ab.py").read_text(encoding="utf-8")
    (cell,) = (cell.source for cell in notebook.build(script, GIVEN).cells if "table = {}" in cell.source)
    around = {"np": np, "stats": stats, "SimpleNamespace": SimpleNamespace, "runs": runs, "epochs": 2, "seeds": seeds}
    exec(cell, around | {"test_b": (correct[0],)})
    found = accuracy_interval(correct)
    assert f"{found.low:.2%} to {found.high:.2%}" in capsys.readouterr().out
