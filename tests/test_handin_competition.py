"""The hand-in of competition: without the library it gives the library's predictions; beside a run it reads them."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.fresh import python
from tests.isolation import ROOT, isolate
from tl_keras import records
from tl_keras.data.selection import Everything
from tl_keras.data.view import View
from tl_keras.export import predictions_csv
from tl_keras.reporting import notebook
from tl_keras.run_folder import RunFolder
from tl_keras.study import runner
from tl_keras.study.trial import Stacked
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.block import Block

CLASSES, EACH, HIDDEN, SIZES = ("0", "2", "10"), 12, 7, (96, 64)
# Runs the cells as a machine without the library would, and keeps what the tests look at.
BARE = """
import runpy, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tl_keras", "experiments"):
            raise ImportError(f"{name} is not on this machine")

sys.meta_path.insert(0, Refused())
cells = runpy.run_path(sys.argv[1])
import numpy as np
np.savez(sys.argv[2], **{name: cells[name] for name in ("judged", "true", "chances", "read_tests", "answers")})
"""


def painted(number: int, rng: np.random.Generator) -> Image.Image:
    """Soft clouds in any colours, finer ones in each class; some are named wrongly."""
    grain = rng.integers(0, 256, (3 + number, 4 + number, 3)).astype("uint8")
    return Image.fromarray(grain).resize((120, 100), Image.Resampling.BICUBIC)


class Contest:
    """A made-up data set with a copy and an unreadable image, and weights of a network without top."""

    def __init__(self, folder):
        from tl_keras.quiet import keras

        rng = np.random.default_rng(0)
        self.data, self.sample, self.weights = folder / "data", folder / "sample.csv", folder / "mobile.weights.h5"
        for number, name in enumerate(CLASSES):
            (self.data / "train" / name).mkdir(parents=True)
            for index in range(EACH):
                painted(number, rng).save(self.data / "train" / name / f"{name}_{index}.jpg")
        copied = (self.data / "train/2/2_0.jpg").read_bytes()
        (self.data / "train/2/copy.jpg").write_bytes(copied)
        (self.data / "test").mkdir()
        for index in range(HIDDEN):
            painted(index % len(CLASSES), rng).save(self.data / "test" / f"{index}.jpg")
        (self.data / "test" / "broken.jpg").write_bytes(copied[:100])
        names = ["broken", *reversed(range(HIDDEN))]
        lines = ["Id,Probability,Category", *(f"{name}.jpg,0,0" for name in names)]
        self.sample.write_text("\n".join(lines) + "\n", encoding="utf-8")
        keras.utils.set_random_seed(0)
        network = keras.applications.MobileNet((96, 96, 3), 0.25, include_top=False, weights=None)
        for layer in network.layers:  # what random layers see shrinks to nothing where nothing normalises it
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        pixels = np.stack([painted(index % 3, rng).resize((96, 96)) for index in range(12)])
        network(pixels / 127.5 - 1, training=True)
        network.save_weights(self.weights)

    def run(self, folder) -> RunFolder:
        """The library's own run of the kernel head."""
        blocks = tuple(Block("mobilenet_0.25", str(self.weights), size) for size in SIZES)
        trial = Stacked("kernel", "kernel", "kernel head on stacked features", Everything(str(self.data)),
                        View((SIZES[0], SIZES[0])), "stacked", Recipe(1, 32, 0.0), blocks=blocks, folds=5)  # fmt: skip
        out = RunFolder.create(folder, {"experiment": "competition"})
        runner.run([trial], out)
        return out


class Bare:
    """What the cells of the hand-in printed, and left in their variables, when they ran in `folder`."""

    def __init__(self, contest, folder, elsewhere, **given):
        given |= {"ROLL": "M25-042", "DATA": str(contest.data), "SAMPLE": str(contest.sample)}
        script = (ROOT / "experiments/handin/competition.py").read_text(encoding="utf-8")
        cells = [cell.source for cell in notebook.build(script, given).cells if cell.cell_type == "code"]
        (elsewhere / "cells.py").write_text("\n\n".join(cells), encoding="utf-8")
        done = python("-c", BARE, elsewhere / "cells.py", elsewhere / "kept.npz", folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        self.printed, self.csv = done.stdout, folder / "M25-042_06.csv"
        with np.load(elsewhere / "kept.npz") as file:
            self.kept = dict(file)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        isolate(patch, tmp_path_factory.mktemp("handin") / "nothing")
        yield tmp_path_factory.mktemp


@pytest.fixture(scope="module")
def contest(place):
    return Contest(place("contest"))


@pytest.fixture(scope="module")
def library(contest, place):
    return contest.run(place("library") / "run")


@pytest.fixture(scope="module")
def computed(contest, place):
    blocks = [("mobilenet_0.25", str(contest.weights), size, 1) for size in SIZES]
    return Bare(contest, place("empty"), place("computed"), BLOCKS=blocks, LOADED=SIZES[0])


def check_predictions(kept, record):
    """They are those of the record; what differs is what another order of sums makes of them."""
    hidden = record.predictions["unlabelled"]
    assert kept["judged"].tolist() == record.test.ids.tolist()
    assert kept["read_tests"].tolist() == hidden.ids.tolist()
    np.testing.assert_array_equal(kept["true"], record.test.labels)
    np.testing.assert_allclose(kept["chances"], record.test.probabilities, rtol=0, atol=1e-3)
    np.testing.assert_allclose(kept["answers"], hidden.probabilities, rtol=0, atol=1e-3)


def test_it_gives_the_predictions_of_the_library(library, computed):
    record = records.read(library, "kernel")
    assert 0.4 < record.test.accuracy < 1, "the images tell something, and not everything"
    check_predictions(computed.kept, record)
    assert f"accuracy {record.test.accuracy:.2%} of {len(CLASSES) * EACH + 1} images" in computed.printed
    assert record.measured["chosen"].rsplit(",", 1)[0] in computed.printed


def test_its_file_is_as_the_sample_asks(contest, computed):
    rows = predictions_csv.check(computed.csv, contest.sample, CLASSES)
    assert rows == HIDDEN + 1
    text = computed.csv.read_text(encoding="utf-8").splitlines()
    assert text[:2] == ["Id,Probability,Category", "broken.jpg,0.333333,2"], "class 2 has one image more"
    assert "WARNING: test/broken.jpg cannot be read" in computed.printed


def test_beside_a_run_it_reads(contest, library, place):
    handed_in = library.path / "M25-042_06.csv"
    handed_in.write_text("of a vote\n", encoding="utf-8")

    def files():
        return {path: path.stat().st_mtime_ns for path in library.path.rglob("*")}

    before = files()
    read = Bare(contest, library.path, place("read"), RUN=".")
    assert files() == before
    assert f"{handed_in.name} lies there already" in read.printed
    assert "read from the run: kernel head on stacked features; width" in read.printed
    assert "taken:" not in read.printed, "nothing was solved"
    check_predictions(read.kept, records.read(library, "kernel"))
    # Its network scales images within TensorFlow, here and there a level apart from Pillow, of which random layers make
    # much.
    said = re.search(rf"asked about {HIDDEN} test images: (\d) answers as read, .* at most (\S+) apart", read.printed)
    assert int(said[1]) >= HIDDEN - 1 and float(said[2]) < 0.2
