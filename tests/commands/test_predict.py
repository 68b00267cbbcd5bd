"""`predict`: every image has a row, and its answer is that of the network in the run."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from tests.fresh import python, table
from tests.test_finetune import own_images, own_network
from tests.test_run import refused
from tl_keras import run
from tl_keras.commands import predict
from tl_keras.data.decode import decode
from tl_keras.data.view import View
from tl_keras.models import cnn, model_file

NAMES = ("ant", "Łódź, red")
VIEW = View((16, 16), scaled=(20, 18))


def image(path, seed=0, size=(40, 30), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, "uint8")).save(path)
    return path


def network(path, view=VIEW, names=NAMES, model=None):
    keras.utils.set_random_seed(1)
    model = model or cnn.build(len(names), view.shape, filters=(4, 4, 4, 4), units=8)
    model_file.save(model, path, view, names)
    return model


@pytest.fixture
def place(isolated_place):
    """A network, and a folder with images of it and other files."""
    network(isolated_place / "net.keras")
    folder = isolated_place / "photos"
    for seed, name in enumerate(["10.jpg", "2.jpg", "b/1.PNG", "a/x.bmp"]):
        image(folder / name, seed, size=(30 + seed, 50))
    image(folder / ".hidden.jpg")
    image(folder / ".cache/1.jpg")
    (folder / "notes.txt").write_text("no image")
    return isolated_place


def by_hand(model, view, paths):
    """The answers, without anything of the command."""
    probabilities = model.predict(np.stack([view.of(decode(path)) for path in paths]).astype("float32"), verbose=0)
    return probabilities.argmax(axis=1), probabilities.max(axis=1)


def is_that_of(rows, model, view, paths, names=NAMES):
    classes, probabilities = by_hand(model, view, paths)
    assert [row["label"] for row in rows] == [names[number] for number in classes]
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities, atol=2e-6)


def test_a_folder_is_predicted_as_the_network_does_by_hand(capfd, place):
    assert run.main(["predict", "net.keras", "--out", "new/mine.csv", "photos"]) == 0
    assert capfd.readouterr().out == "4 rows: new/mine.csv\n"
    rows = table(place / "new/mine.csv")
    assert [row["image"] for row in rows] == ["2.jpg", "10.jpg", "a/x.bmp", "b/1.PNG"], "by number; hidden ones not"
    is_that_of(rows, keras.models.load_model("net.keras"), VIEW, [place / "photos" / row["image"] for row in rows])


def test_several_batches_of_large_grey_images(place):
    view = View((512, 512), channels=1)
    inputs = keras.Input(view.shape)
    x = keras.layers.Conv2D(4, 9, strides=4)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalMaxPooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    network(place / "grey.keras", view, ("0", "1", "2"), model)
    for number in range(41):
        image(place / f"grey/{number}.png", number, size=(64 + number, 80), mode="L")
    (place / "grey/40.png").write_bytes(b"")
    (place / "grey/17.png").write_bytes(b"no image")
    assert run.main(["predict", "grey.keras", "grey", "--out", "mine.csv"]) == 0
    rows = table(place / "mine.csv")
    assert [row["image"] for row in rows] == [f"{number}.png" for number in range(41)]
    assert [(row["label"], row["probability"]) for row in (rows[17], rows[40])] == [("", "0.0")] * 2
    readable = [row for number, row in enumerate(rows) if number not in (17, 40)]
    is_that_of(readable, model, view, [place / "grey" / row["image"] for row in readable], ("0", "1", "2"))


def test_files_and_folders_together(capfd, place):
    image(place / "other/2.jpg", 7)
    assert run.main(["predict", "net.keras", "photos/2.jpg", "photos/b", "./photos/2.jpg", "--out", "mine.csv"]) == 0
    assert [row["image"] for row in table("mine.csv")] == ["2.jpg", "1.PNG"], "each image once"
    assert run.main(["predict", "net.keras", "photos/2.jpg", "other", "--out", "mine.csv"]) == 0
    assert [row["image"] for row in table("mine.csv")] == ["photos/2.jpg", "other/2.jpg"], "told apart"


def test_an_unreadable_image_is_named_and_has_a_row(capfd, place):
    (place / "photos/2.jpg").write_bytes(b"no image")
    assert run.main(["predict", "net.keras", "photos", "--out", "mine.csv"]) == 0
    err = capfd.readouterr().err.splitlines()
    assert err[0] == "warning: 1 of 4 images cannot be read:"
    assert err[1].startswith("  2.jpg: expected a readable JPEG") and len(err) == 2
    rows = table("mine.csv")
    assert rows[0] == {"image": "2.jpg", "label": "", "probability": "0.0"}
    assert all(row["label"] in NAMES for row in rows[1:])


def test_of_many_unreadable_ones_some_are_named(capfd, place):
    for number in range(25):
        (place / f"photos/{number}.gif").write_bytes(b"")
    assert run.main(["predict", "net.keras", "photos", "--out", "mine.csv"]) == 0
    err = capfd.readouterr().err.splitlines()
    assert err[0].startswith("warning: 25 of 29") and err[-1].endswith("and 5 more, without a label in their rows")
    assert len(err) == 22 and sum(row["label"] == "" for row in table("mine.csv")) == 25


def test_where_nothing_can_be_read_there_is_no_file(capfd, place):
    (place / "broken").mkdir()
    (place / "broken/1.jpg").write_bytes(b"no image")
    line = refused(capfd, "predict", "net.keras", "broken", "--out", "mine.csv")
    assert "IMAGES: expected one that can be read, received 1 that cannot; broken/1.jpg: " in line
    assert not (place / "mine.csv").exists()


def test_without_out_the_first_rows_are_printed(capfd, place):
    assert run.main(["predict", "net.keras", "photos"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[0].split() == ["image", "label", "probability"] and lines[1].startswith("2.jpg ")
    for number in range(20):
        image(place / f"photos/{number}.jpg", number)
    assert run.main(["predict", "net.keras", "photos"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 22 and lines[-1] == "... and 2 more; --out FILE.csv writes all"


def test_a_name_that_is_no_utf_8(place):
    image(place / "odd/1.jpg").rename(b"odd/\xff.jpg".decode(errors="surrogateescape"))
    assert [name for name, _ in predict.find(["odd"])] == ["\\udcff.jpg"]
    assert run.main(["predict", "net.keras", "odd", "--out", "mine.csv"]) == 0
    assert table("mine.csv")[0]["image"] == "\\udcff.jpg"


# ----------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "RUN: expected the folder of a finished run, or the .keras file of a network, received nothing"),
        (["net.keras"], "IMAGES: expected image files or folders of such, received nothing"),
        (["gone", "photos"], "run: expected the folder of a run or a .keras file, received gone"),
        (["photos/2.jpg", "photos"], "run: expected the folder of a run or a .keras file, received photos/2.jpg"),
        (["net.keras", "gone"], "IMAGES: expected image files or folders, received gone, which is not there"),
        (["net.keras", "empty"], "IMAGES: expected a folder with image files (.jpg, "),
        (["net.keras", "photos", "--model", "full"], "--model: expected a name with a run folder, received full"),
        (["net.keras", "photos", "--out", "photos"], "--out: expected a file whose name ends in .csv, received"),
        (["net.keras", "photos", "--out", "full.csv"], "--out: expected a file whose name ends in .csv, received a fo"),
        (["net.keras", "photos", "--out", "net.keras"], "--out: expected a file whose name ends in .csv, received"),
        (["net.keras", "photos", "--out", ""], "--out: expected a file"),
        (["net.keras", "photos", "--out", "/proc/x.csv"], "--out: expected a file that can be written, received /proc"),
        (["net.keras", "photos", "--out", "net.keras/x.csv"], "--out: expected a file that can be written, received"),
        (["net.keras", "photos", "--batch", "3"], "--batch"),
        (["plain.keras", "photos"], "RUN: expected a model file that a run wrote, with a view and class names, recei"),
        (["text.keras", "photos"], "RUN: expected a model file that a run wrote, with a view and class names, recei"),
        (["empty", "photos"], "received empty"),
    ],
)
def test_what_cannot_be_answered(capfd, place, arguments, said):
    (place / "empty").mkdir()
    (place / "full.csv").mkdir()
    own_network(place / "plain.keras")
    (place / "text.keras").write_text("no model")
    before = sorted(place.rglob("*"))
    assert said in refused(capfd, "predict", *arguments)
    assert sorted(place.rglob("*")) == before


REFUSED = ["predict net.keras photos --out photos", "predict gone photos", "predict net.keras gone",
           "predict net.keras", "predict plain.keras photos", "predict net.keras photos --out /proc/x.csv"]  # fmt: skip
WITHOUT = """
import sys
from tl_keras.run import main
print([main(line.split()) for line in sys.argv[1:]], "tensorflow" in sys.modules)
"""


def test_what_cannot_be_answered_is_said_before_tensorflow_starts(place):
    own_network(place / "plain.keras")
    done = python("-c", WITHOUT, *REFUSED, folder=place)
    assert done.stdout == f"{[2] * len(REFUSED)} False\n", done.stderr
    assert done.stderr.count("\n") == len(REFUSED)


def test_a_network_that_is_not_what_its_file_says(capfd, place):
    network(place / "other.keras", names=("a", "b", "c"), model=model_file.load(place / "net.keras"))
    line = refused(capfd, "predict", "other.keras", "photos")
    assert "RUN: expected a network of images (16, 16, 3) and 3 classes, as other.keras says of it, received" in line


def test_a_network_that_diverged(capfd, place):
    model = model_file.load(place / "net.keras")
    model.layers[-1].set_weights([weight * np.nan for weight in model.layers[-1].get_weights()])
    network(place / "nan.keras", model=model)
    for out in (["--out", "mine.csv"], []):
        line = refused(capfd, "predict", "nan.keras", "photos", *out)
        assert "RUN: expected a network that gives probabilities, received nan of nan.keras" in line
    assert not (place / "mine.csv").exists()


# ---------------------------------------------------------------------------------------------- of a run


def test_a_run_answers_as_its_own_predictions_say(capfd, place):
    keras.utils.set_random_seed(0)
    own_network(place / "mine.keras")
    own_images(place / "own")
    trained = python("-m", "tl_keras.run", "finetune", "own", "--backbone", "mine.keras", "--epochs", 2,
                     "--strategies", "probe,full", "--batch-size", 8, "--out", "run", folder=place)  # fmt: skip
    assert trained.returncode == 0, trained.stdout + trained.stderr
    winner = json.loads((place / "run/results.json").read_text())["winner"]
    capfd.readouterr()
    for name, asked in [(winner, []), ("probe", ["--model", "probe"]), ("full", ["--model", "full"])]:
        assert run.main(["predict", "run", *asked, "--out", "mine.csv", "own/test"]) == 0
        assert capfd.readouterr() == ("4 rows: mine.csv\n", "")
        said, ours = table(place / f"run/predictions/{name}.unlabelled.csv"), table(place / "mine.csv")
        assert [f"test/{row['image']}" for row in ours] == [row["id"] for row in said]
        assert [row["label"] for row in ours] == [row["prediction"] for row in said]
        probabilities = [[float(row["probability"]) for row in rows] for rows in (ours, said)]
        np.testing.assert_allclose(*probabilities, atol=2e-6)
    line = refused(capfd, "predict", "run", "own/test", "--model", "nosuch")
    assert "--model: expected" in line and "nosuch" in line
