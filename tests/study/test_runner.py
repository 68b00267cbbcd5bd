"""Running trials: what a record holds, what is never done twice, and that an engine changes nothing but the time."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import keras
import numpy as np
import pytest

from tests.study.test_trial import trial
from tl_keras import records
from tl_keras.data import selection
from tl_keras.data.augment import FlipShift, RandomResizedCrop
from tl_keras.data.selection import ByClass, FewImages, Selection
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import model_file
from tl_keras.run_folder import RunFolder
from tl_keras.study import runner, single
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies


@pytest.fixture
def out(tmp_path):
    yield RunFolder.create(tmp_path / "run", {"experiment": "try", "settings": {}})
    selection.forget()


def small(name="A", **given):
    """Two classes of digits, some 60 training images of 16 by 16 pixels."""
    images = ByClass("digits", limit=300, classes=(1, 7))
    return replace(trial(name), images=images, view=View((16, 16)), recipe=Recipe(2, 16, 1e-3), **given)


def answers(record):
    return record.test.probabilities


@dataclass(frozen=True)
class Brightness:
    """What the runner is asked to measure beside."""

    name: ClassVar[str] = "brightness"
    scale: float = 1.0

    def __call__(self, model, images):
        means = self.scale * images.test.images[:].mean(axis=(1, 2, 3))
        return {"mean": float(means.mean())}, {"each": means}


def test_the_record_says_what_the_network_says(out):
    record = runner.run_one(small(augment=FlipShift(flip=False), measures=(Brightness(),)), out)
    images = small().images.load(View((16, 16)))
    model = keras.models.load_model(out.model("A"), safe_mode=True)
    expected = model.predict(images.test.images, verbose=0)
    np.testing.assert_allclose(answers(record), expected, atol=1e-6)
    np.testing.assert_array_equal(record.test.ids, images.test.ids)
    np.testing.assert_array_equal(record.test.labels, images.test.labels)
    on_train = model.predict(images.train.images, verbose=0).argmax(axis=1) == images.train.labels
    assert record.train_accuracy == pytest.approx(on_train.mean())
    assert record.history["val_accuracy"][-1] == pytest.approx(record.test.accuracy)
    means = images.test.images.mean(axis=(1, 2, 3))
    assert record.measured["brightness"]["mean"] == pytest.approx(means.mean())
    np.testing.assert_allclose(records.read(out, "A").arrays["brightness.each"], means)
    shown = record.thumbnails
    np.testing.assert_array_equal(shown.images, images.test.images[shown.rows])
    wrong = np.flatnonzero(~record.test.correct)
    assert len(set(shown.rows) & set(wrong)) >= min(len(wrong), single.WRONG)
    assert model_file.view(out.model("A")) == View((16, 16))


def test_a_finished_trial_is_never_trained_again(out, monkeypatch, capsys):
    record = runner.run_one(small(), out)
    stamps = {path: path.stat().st_mtime_ns for path in out.path.rglob("*") if path.is_file()}
    monkeypatch.setattr(keras.Model, "fit", None)
    again = runner.run_one(small(), out)
    np.testing.assert_array_equal(answers(again), answers(record))
    assert {path: path.stat().st_mtime_ns for path in out.path.rglob("*") if path.is_file()} == stamps
    assert "A: finished before" in capsys.readouterr().out


def test_the_record_of_another_trial_is_refused(out):
    runner.run_one(small(), out)
    with pytest.raises(
        InputError, match="A: expected the trial that was finished here, received one with another reci"
    ):
        runner.run_one(replace(small(), recipe=Recipe(3, 16, 1e-3)), out)


def test_a_trial_starts_from_the_weights_of_another(out):
    second = small("B", start="A", strategy=strategies.find("last_layer"))
    with pytest.raises(
        InputError, match=r"B: expected the network of A in .*A\.keras, received none; train that first"
    ):
        runner.run_one(second, out)
    first, last = runner.run([second, small("A")], out)[::-1]
    assert [first.name, last.name] == ["A", "B"], "records come in the order of the trials"
    a, b = (keras.models.load_model(out.model(name)) for name in "AB")
    for layer in a.layers[:-1]:
        for old, new in zip(layer.get_weights(), b.get_layer(layer.name).get_weights(), strict=True):
            if "seed" not in layer.name and old.dtype == np.float32:
                np.testing.assert_array_equal(old, new, layer.name)


def test_from_scratch_a_file_gives_its_layers_alone(out, tmp_path):
    keras.utils.set_random_seed(3)
    fitted = keras.layers.Normalization(name="fitted")
    fitted.adapt(np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype("float32"))
    own = keras.Sequential([keras.Input((16, 16, 3)), fitted, keras.layers.Conv2D(4, 3, name="conv"),
                            keras.layers.Flatten(), keras.layers.Dense(5)])  # fmt: skip
    own.save(tmp_path / "mine.keras")
    still = Recipe(1, 16, 1e-12)
    for name in ("scratch", "full"):
        runner.run_one(replace(small(name, strategy=strategies.find(name), network=str(tmp_path / "mine.keras")),
                               recipe=still), out)  # fmt: skip
        trained = keras.models.load_model(out.model(name))
        is_old = np.allclose(trained.get_layer("conv").kernel, own.get_layer("conv").kernel, atol=1e-6)
        assert is_old == (name == "full")
        np.testing.assert_array_equal(trained.get_layer("fitted").mean, fitted.mean)


def test_two_processes_give_the_bits_that_one_gives(tmp_path):
    """With one thread each: how sums are split over threads decides their last bits."""
    trials = [small("A"), small("B", start="A", strategy=strategies.find("last_two"))]
    found = {}
    for engine in ("processes:2", "processes:3"):  # on two cores both give each process one thread
        out = RunFolder.create(tmp_path / engine[-1], {"experiment": "try", "settings": {}})
        found[engine] = [answers(record) for record in runner.run(trials, out, engine)]
        assert json.loads((out.path / "config.json").read_text())["trials"] == ["A", "B"]
    for first, second in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_no_such_engine(out):
    with pytest.raises(InputError, match="--engine: expected local, processes:N or ray"):
        runner.run([small()], out, "here")


def test_few_images_share_their_features_and_watch_two_splits(out):
    few = FewImages("digits", limit=400, validation=2, per_class=2, draws=2, largest=4, test_limit=40)
    made = replace(
        trial(), images=few, view=View((32, 32)), network="mobilenet_0.25", strategy=strategies.find("last_layer")
    )
    trials = [
        replace(made, name=f"few_{size}_{draw}", images=replace(few, per_class=size, draw=draw))
        for size in (2, 4) for draw in (0, 1)
    ]  # fmt: skip
    found = runner.run(trials, out)
    assert [record.data["train_images"] for record in found] == [20, 20, 40, 40]
    assert all(len(record.history["accuracy_validation"]) == 2 for record in found)
    stored = list(out.activations.glob("*.0.npy"))
    assert len(stored) == 3, "all that is drawn, validation and test images: each once"
    # What was read from storage is what the whole network says.
    images = trials[0].images.load(View((32, 32)))
    model = keras.models.load_model(out.model("few_2_0"))
    np.testing.assert_allclose(model.predict(images.test.images[:], verbose=0), answers(found[0]), atol=1e-5)


def test_crops_are_drawn_from_more_than_the_centre_that_is_measured(out, monkeypatch):
    seen = []
    original = RandomResizedCrop.__call__
    monkeypatch.setattr(
        RandomResizedCrop,
        "__call__",
        lambda self, images, n: (seen.append(images.shape[1:]), original(self, images, n))[1],
    )
    view = View((16, 16), scaled=(20, 20))
    runner.run_one(replace(small(), view=view, augment=RandomResizedCrop((16, 16), flip=False)), out)
    assert {tuple(shape) for shape in seen} == {(20, 20, 3)}
    assert keras.models.load_model(out.model("A")).input_shape == (None, 16, 16, 3)


def test_images_whose_classes_are_hidden_are_predicted(out, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for number, name in enumerate(("ant", "bee")):
        (tmp_path / f"set/train/{name}").mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 90, (16, 16, 3), "uint8") + np.uint8(150 * number)
            Image.fromarray(pixels).save(tmp_path / f"set/train/{name}/{index}.png")
    (tmp_path / "set/test").mkdir()
    for index in range(3):
        Image.fromarray(rng.integers(0, 90, (20, 16, 3), "uint8")).save(tmp_path / f"set/test/hidden{index}.png")
    made = replace(small(), images=Selection(str(tmp_path / "set"), validation=25))
    record = runner.run_one(made, out)
    assert set(record.predictions) == {"test", "validation", "unlabelled"}
    hidden = record.predictions["unlabelled"]
    assert hidden.labels.tolist() == [-1] * 3 and hidden.ids.tolist() == [f"test/hidden{n}.png" for n in range(3)]
    lines = (out.path / "predictions/A.unlabelled.csv").read_text().splitlines()
    assert len(lines) == 4 and all(
        line.split(",")[1] == "" and line.split(",")[2] in ("ant", "bee") for line in lines[1:]
    )
    assert record.data["watched"] == "validation"
    assert record.history["val_accuracy"][-1] == pytest.approx(record.predictions["validation"].accuracy)


def test_a_stopped_trial_goes_on_to_the_same_weights(out, tmp_path, monkeypatch):
    made = small(augment=FlipShift(flip=False))
    whole = runner.run_one(made, out)
    other = RunFolder.create(tmp_path / "other", {"experiment": "try", "settings": {}})

    def stop(*given):
        raise KeyboardInterrupt

    from tl_keras.training import callbacks

    monkeypatch.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(callbacks, "write_history", stop)
    with pytest.raises(KeyboardInterrupt):
        runner.run_one(made, other)
    assert not other.record("A").exists()
    monkeypatch.undo()
    np.testing.assert_array_equal(answers(runner.run_one(made, other)), answers(whole))


@pytest.mark.parametrize("strategy", ["probe", "last_layer"])
def test_the_engine_of_the_frozen_layers_is_recorded_and_changes_no_answer(out, strategy):
    """All that runs a network here runs on it: stored features and the predictions of all images."""
    learned = {}
    for wanted in ("tensorflow", "onnxruntime"):
        made = small(wanted, strategy=strategies.find(strategy), prefix_engine=wanted)
        learned[wanted] = runner.run([made], out)[0]
        assert learned[wanted].measured["prefix_engine"].startswith(f"{wanted} ")
    one, other = (answers(record) for record in learned.values())
    np.testing.assert_allclose(other, one, atol=1e-4)
    np.testing.assert_array_equal(other.argmax(axis=1), one.argmax(axis=1))


def test_a_network_without_frozen_layers_predicts_on_the_engine_asked_for(out, capsys):
    record = runner.run([small(prefix_engine="onnxruntime")], out)[0]
    assert record.measured["prefix_engine"] is None and "onnxruntime" in capsys.readouterr().out
    network = model_file.load(out.model("A"))
    images = small().images.load(View((16, 16))).test.images[:]
    np.testing.assert_allclose(answers(record), network.predict(images, verbose=0), atol=1e-5)
