"""`explain` on made-up images and a small network: what it says, what it draws, whom it refuses."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.test_run import refused
from tl_keras import run
from tl_keras.commands import explain
from tl_keras.data.view import View
from tl_keras.reporting.explanations import Explained, sheet
from tl_keras.reporting.figures import png
from tl_keras.run_folder import RunFolder

NAMES = ("dark", "light")
SIDE = 16


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with a network that tells dark images from light ones."""
    import keras

    from tl_keras.models import heads, model_file

    folder = tmp_path_factory.mktemp("runs") / "run"
    out = RunFolder.create(folder, {"experiment": "finetune"})
    images = keras.Input((SIDE, SIDE, 3), name="images")
    brightness = keras.layers.Conv2D(1, 3, padding="same", name="conv")
    pooled = keras.layers.GlobalAveragePooling2D()(brightness(keras.layers.Rescaling(1 / 255, -0.5)(images)))
    model = heads.with_softmax(keras.Model(images, heads.logits(pooled, 2)))
    brightness.set_weights([np.full((3, 3, 3, 1), 1 / 27), np.zeros(1)])
    model.get_layer("logits").set_weights([np.array([[-8.0, 8.0]]), np.zeros(2)])
    model_file.save(model, out.model("full"), View((SIDE, SIDE)), NAMES)
    return folder


def paint(path, value, kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(value)
    pixels = np.clip(value + rng.integers(-20, 20, (20, 30, 3)), 0, 255).astype("uint8")
    Image.fromarray(pixels).save(path, kind)
    return path


def explained(capfd, *arguments):
    assert run.main(["explain", *map(str, arguments)]) == 0
    return capfd.readouterr()


def test_answers_are_judged_where_folders_are_called_as_classes(capfd, tmp_path, trained):
    for number in range(3):
        paint(tmp_path / f"dark/{number}.png", 30)
        paint(tmp_path / f"light/{number}.png", 220)
    paint(tmp_path / "light/night.png", 40)
    (tmp_path / "light/notes.txt").write_text("no image")
    loose = paint(tmp_path / "loose/any.jpg", 200, "JPEG")
    sheets = tmp_path / "new/sheet.png"
    out, err = explained(capfd, trained, tmp_path / "dark", tmp_path / "light", loose, "--out", sheets)
    assert out == f"{sheets}: 8 of 8 images, 6 of 7 right\n" and "left out" not in err
    drawn = Image.open(sheets)
    assert drawn.format == "PNG" and drawn.width == 1800
    (tmp_path / "other").mkdir()
    file = trained / "models/full.keras"
    out, _ = explained(capfd, file, loose, "--out", tmp_path / "other/sheet.png")
    assert out.endswith("sheet.png: 1 of 1 images\n")


def test_broken_images_are_named_and_left_out(capfd, tmp_path, trained):
    good = paint(tmp_path / "a/good.png", 30)
    (tmp_path / "a/broken.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "a/empty.jpg").touch()
    out, err = explained(capfd, trained, tmp_path / "a", "--out", tmp_path / "x.png")
    assert out == f"{tmp_path / 'x.png'}: 1 of 3 images\n"
    assert "a/broken.png: left out: expected a whole image" in err and "a/empty.jpg: left out: expected an im" in err
    good.unlink()
    code = run.main(["explain", str(trained), str(tmp_path / "a"), "--out", str(tmp_path / "y.png")])
    err = capfd.readouterr().err.splitlines()
    assert code == 2 and "error: IMAGES: expected one that can be read, received 2 that cannot" in err[-1]
    assert len(err) == 3 and not (tmp_path / "y.png").exists()


def test_of_many_images_some_are_drawn_and_broken_ones_replaced(capfd, tmp_path, trained):
    for number in range(12):
        paint(tmp_path / f"{number}.png", 30 if number % 2 else 220)
    for number in range(4):
        (tmp_path / f"broken{number}.png").touch()
    out, _ = explained(capfd, trained, tmp_path, "--limit", 12, "--out", tmp_path / "sheet/s.png")
    assert out.endswith("s.png: 12 of 16 images\n")
    settings = explain.Settings(run=str(trained), images=(str(tmp_path),))
    names = [path.name for path in settings.files]
    assert names == [f"{number}.png" for number in range(12)] + [f"broken{number}.png" for number in range(4)]


def test_a_file_of_another_program_says_its_size_and_may_end_in_logits(capfd, tmp_path):
    import keras

    images = keras.Input((12, 12, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(images)))
    keras.Model(images, keras.layers.Dense(3)(pooled)).save(tmp_path / "theirs.keras")
    photo = paint(tmp_path / "1.png", 100)
    out, _ = explained(capfd, tmp_path / "theirs.keras", photo, "--out", tmp_path / "sheet.png")
    assert out.endswith("sheet.png: 1 of 1 images\n")


def test_wrong_arguments_are_refused_at_once(capfd, tmp_path, trained):
    photo = paint(tmp_path / "1.png", 100)
    (tmp_path / "nothing").mkdir()
    assert "IMAGES: expected image files or folders of them, received nothing" in refused(capfd, "explain", trained)
    assert "received nothing" in refused(capfd, "explain")
    assert "received absent.png; check" in refused(capfd, "explain", trained, "absent.png")
    assert "without any" in refused(capfd, "explain", trained, tmp_path / "nothing")
    assert "expected one of full, received ful;" in refused(capfd, "explain", trained, photo, "--model", "ful")
    assert "expected the folder of a run or a .keras file" in refused(capfd, "explain", tmp_path / "no", photo)
    assert "name of a .png file" in refused(capfd, "explain", trained, photo, "--out", "sheet.jpg")
    assert "at least 1, received 0" in refused(capfd, "explain", trained, photo, "--limit", "0")


def test_a_sheet_has_a_bank_for_each_kind_of_answer():
    rng = np.random.default_rng(0)

    def one(name, truth, side=(16, 24), channels=3, hot=1.0):
        image = rng.integers(0, 256, (*side, channels), dtype="uint8")
        return Explained(name, image, hot * rng.random((3, 4)), "a $5 note", 0.934, truth)

    shown = [one("1.png", "a $5 note"), one("2.png", "bee"), one("3.png", None, hot=0), one("4", None, (9, 3), 1)]
    figure = sheet(shown, "the network")
    texts = [text.get_text() for text in figure.axes[0].texts]
    heads = [text for text in texts if text.startswith(("Wrong", "Right", "True"))]
    assert heads == ["Wrong: 1 of 2", "Right: 1 of 2", "True class not known: 2"]
    assert texts.count("predicted: a $5 note, 93%") == 4 and "true: bee" in texts and "3.png" in texts
    taller = sheet([one(str(number), "bee") for number in range(7)], "the network")
    assert taller.get_figheight() > 3 * 2.08
    for drawn in (figure, taller):
        pixels = np.asarray(Image.open(io.BytesIO(png(drawn))).convert("RGB"))
        edge = np.concatenate([pixels[:, :3].ravel(), pixels[:, -3:].ravel(), pixels[-3:].ravel()])
        assert edge.min() == 255, "nothing is cut off"
