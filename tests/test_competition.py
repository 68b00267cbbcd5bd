"""The competition: images in, everything chosen out of fold, predictions, a report and a network out."""

import csv
import json
import time

import numpy as np
import pytest

from experiments import competition
from experiments.contest import plan
from tests.isolation import isolate
from tests.test_finetune import own_images
from tests.test_transfer_studies import refused
from tl_keras import records
from tl_keras.data.selection import Everything
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.export import predictions_csv
from tl_keras.models import model_file
from tl_keras.run import main
from tl_keras.run_folder import RunFolder
from tl_keras.transfer.activations import Storage
from tl_keras.transfer.block import Block

SMALL = ["--backbone", "mobilenet_0.25=none", "--blocks", "mobilenet_0.25@32,mobilenet_0.25@64"]


@pytest.fixture
def place(isolated_place):
    return isolated_place


@pytest.fixture
def folder(isolated_place):
    made = own_images(isolated_place / "images", classes=("2", "10", "0"))
    (made / "test/broken.jpg").write_bytes(b"no image")
    return made


def competes(folder, out, *options):
    assert main(["competition", str(folder), "--out", str(out), "--roll", "A1", *SMALL, *options]) == 0
    return RunFolder.reopen(out)


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """A run that solves heads and trains none, after a sample file; and this file."""
    place = tmp_path_factory.mktemp("solved")
    images = own_images(place / "images", classes=("2", "10", "0"))
    sample = place / "sample.csv"
    sample.write_text("Id,Category,Confidence\n" + "".join(f"{number}.jpg,0,0\n" for number in (3, 1, 0, 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        isolate(patch, place / "nothing")
        options = ("--strategies", "none", "--heads", "kernel,logistic", "--sample", str(sample))
        yield competes(images, place / "run", *options), sample


def test_from_a_folder_to_what_is_handed_in(place, folder, capsys):
    out = competes(folder, place / "run", "--epochs", "2")
    assert "1 test images could not be read" in capsys.readouterr().out
    results = json.loads((out.path / "results.json").read_text())
    assert set(results["models"]) == {"kernel", "lp_ft", "vote"} and results["winner"] in results["models"]
    with open(out.path / "A1_06.csv", newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "broken.jpg"]
    assert {row["label"] for row in rows.values()} <= {"0", "2", "10"}
    assert float(rows["broken.jpg"]["probability"]) == pytest.approx(1 / 3, abs=1e-6)
    assert (out.path / "A1_06.pdf").read_bytes()[:4] == b"%PDF"
    notebook = json.loads((out.path / "A1_06.ipynb").read_text())
    assert all(cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    kernel = records.read(out, "kernel")
    assert len(kernel.test.labels) == 36 and kernel.class_names == ("0", "2", "10")
    assert kernel.test.accuracy > 0.9  # told apart by colour, by images that were not learned
    path = out.model(results["winner"])
    said = records.read(out, results["winner"]).predictions["unlabelled"]
    seen = Everything(str(folder)).load(model_file.view(path)).unlabelled
    given = model_file.load(path).predict(seen.images[:], verbose=0)
    np.testing.assert_allclose(given, said.probabilities, atol=2e-3)
    assert float(rows["0.jpg"]["probability"]) == pytest.approx(said.probabilities[0].max(), abs=1e-5)


def test_a_sample_file_decides_header_and_order(solved):
    out, sample = solved
    assert predictions_csv.check(out.path / "A1_06.csv", sample, labels=("0", "2", "10")) == 4
    assert (out.path / "A1_06.csv").read_text().splitlines()[0] == "Id,Category,Confidence"


def test_a_run_that_is_taken_up_ends_as_it_would_have(solved):
    out, _ = solved
    before = records.read(out, "vote").test.probabilities
    first = (out.path / "A1_06.csv").read_bytes()
    out.record("vote").unlink()
    (out.path / "A1_06.csv").unlink()
    assert main(["competition", "--resume", "--out", str(out.path)]) == 0
    np.testing.assert_array_equal(records.read(out, "vote").test.probabilities, before)
    assert (out.path / "A1_06.csv").read_bytes() == first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--roll", "12/34"], "--roll"),
        (["--heads", "svm"], "--heads"),
        (["--augment", "magic"], "magic"),
        (["--blocks", "vgg16"], "NAME@SIZE"),
        (["--blocks", "vgg16@64"], "name it there too"),
        (["--budget", "0"], "at least 1"),
    ],
)
def test_wrong_options_are_one_line(place, folder, capsys, options, says):
    given = ["competition", str(folder), "--backbone", "mobilenet_0.25=none", *options]
    assert says in refused(capsys, *given)


def test_a_sample_with_other_columns_is_refused_before_anything_is_decoded(place, folder, capsys):
    sample = place / "sample.csv"
    sample.write_text("a,b\n1,2\n")
    said = refused(capsys, "competition", folder, *SMALL, "--sample", sample, "--out", place / "run")
    assert "sample" in said and not (place / "run").exists()


def test_hidden_images_of_which_none_can_be_read_are_refused(place, folder, capsys):
    for path in (folder / "test").iterdir():
        path.write_bytes(b"")
    assert "test images that can be read" in refused(capsys, "competition", folder, *SMALL)


def test_a_budget_that_is_too_small_for_anything_says_how_much_it_takes(place, folder):
    images = Everything(str(folder)).load(View(competition.candidates.LOADED))
    spent = plan.Clock(1, time.monotonic() - 100)
    with pytest.raises(InputError, match=r"at least [0-9]+ minutes"):
        plan.extracted([Block("mobilenet_0.25", "none", 32)], images, Storage(place / "a"), spent, plan.Plan())


def test_what_does_not_fit_the_time_is_left_out_and_told(place, folder):
    images = Everything(str(folder)).load(View(competition.candidates.LOADED))
    found, wanted = plan.Plan(), [Block("mobilenet_0.25", "none", 32), Block("mobilenet_0.25", "none", 2048)]
    enough = plan.Clock(2, time.monotonic())
    rows = plan.extracted(wanted, images, Storage(place / "a"), enough, found)
    assert list(rows) == wanted[:1] and rows[wanted[0]].shape == (36, 384)
    assert [text for text in found.left_out if "mobilenet_0.25 at 2048" in text]


def test_a_class_with_one_image_is_refused_in_one_line(place, folder, capsys):
    for path in sorted((folder / "train/10").iterdir())[1:]:
        path.unlink()
    assert "give more images" in refused(capsys, "competition", folder, *SMALL)
