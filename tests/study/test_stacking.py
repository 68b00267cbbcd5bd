"""Stacked trials: heads on features of several networks, and one file that says what the record says."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.study.test_crossfit import photographs
from tests.study.test_trial import trial
from tl_keras import records
from tl_keras.data import selection
from tl_keras.data.selection import Everything
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder
from tl_keras.study import runner
from tl_keras.study.crossfit import OUT_OF_FOLD
from tl_keras.study.trial import Stacked, Trial
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.block import Block

VIEW = View((32, 32))
DIGITS = Everything("digits", limit=150)


@pytest.fixture
def out(tmp_path):
    yield RunFolder.create(tmp_path / "run", {"experiment": "try", "settings": {}})
    selection.forget()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The file of a small network of three stages, whose features are no zeros."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("own") / "mine.keras"
    layers, images = keras.layers, keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 255)(images)
    for filters in (6, 8, 12):
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, activation="relu")(x))
    keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))).save(path)
    return str(path)


def stacked(network, name="S", head="kernel", images=DIGITS, **given):
    """A head on the features of that file and of a network of random weights at another size."""
    shared = {
        key: value for key, value in vars(trial(name)).items() if key not in ("images", "view", "network", "recipe")
    }
    blocks = (Block(network, "none", 32, stages=2), Block("mobilenet_0.25", "none", 64))
    made = Stacked(**shared, images=images, view=VIEW, network="stacked", recipe=Recipe(1, 32, 0.0), blocks=blocks)
    return replace(made, head=head, folds=3, **given)


HEADS = ["kernel", "logistic"]


@pytest.mark.parametrize("head", HEADS)
def test_training_images_are_judged_out_of_fold(out, network, head):
    record = runner.run_one(stacked(network, head=head), out)
    train = DIGITS.load(VIEW).train
    np.testing.assert_array_equal(record.test.ids, train.ids)
    np.testing.assert_array_equal(record.test.labels, train.labels)
    np.testing.assert_allclose(record.test.probabilities.sum(axis=1), 1, atol=1e-5)
    assert record.test.accuracy > 0.4 and record.train_accuracy > record.test.accuracy
    assert record.history["val_accuracy"] == [record.test.accuracy] and record.history["epoch"] == [1]
    again = records.read(out, "S")
    assert again.measured["blocks"] == ["mine at 32", "mobilenet_0.25 at 64"]
    model = keras.models.load_model(out.model("S"), safe_mode=True)
    said = model.predict(train.images[:], verbose=0)
    assert (said.argmax(axis=1) == train.labels).mean() == pytest.approx(record.train_accuracy, abs=0.04)
    assert again.parameters == model.count_params()
    assert runner.run_one(stacked(network, head=head), out).train_accuracy == record.train_accuracy


@pytest.mark.parametrize("head", HEADS)
def test_a_wrong_label_is_judged_by_what_the_others_say(out, network, tmp_path, head):
    """Two bright images stand among the dark ones: learned so, yet judged as the others say."""
    images = photographs(tmp_path / "set", count=40)
    moved = []
    for number in (3, 7):
        file = tmp_path / f"set/train/bee/{number:02}.png"
        moved.append(file.rename(tmp_path / f"set/train/ant/wrong{number}.png"))
    record = runner.run_one(stacked(network, head=head, images=images), out)
    wrong = np.isin(record.test.ids, [f"train/ant/{file.name}" for file in moved])
    assert wrong.sum() == 2
    assert (record.test.classes[wrong] == 1).all() and record.test.correct[~wrong].all()


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_the_file_says_what_the_record_says(out, network, tmp_path, head, mirror):
    images, view = photographs(tmp_path / "set", hidden=6), View((32, 32), mirror=mirror)
    made = replace(stacked(network, head=head, images=images), view=view)
    only = replace(made, name="only", blocks=made.blocks[:1])
    pixels = images.load(view).unlabelled.images[:]
    for each, close in ((only, 1e-4), (made, 0.02)):  # where Keras scales, some pixels are a level off
        record = runner.run_one(each, out)
        assert set(record.predictions) == {"test", "unlabelled"} and record.test.accuracy > 0.8
        said = keras.models.load_model(out.model(each.name), safe_mode=True).predict(pixels, verbose=0)
        np.testing.assert_allclose(said, record.predictions["unlabelled"].probabilities, atol=close)


def test_labelled_test_images_stay_aside(out, network, tmp_path):
    images = photographs(tmp_path / "set", ("train", "test"))
    record = runner.run_one(stacked(network, images=images), out)
    assert set(record.predictions) == {"test", OUT_OF_FOLD} and not record.data["out_of_fold"]
    assert {str(name).split("/")[0] for name in record.test.ids} == {"test"}
    assert record.history["val_accuracy"] == [record.predictions[OUT_OF_FOLD].accuracy]


def test_what_ran_before_in_the_process_changes_nothing(out, network, tmp_path):
    """Neither the precision of the trial before nor the state of random numbers."""
    made = stacked(network)
    first = runner.run_one(made, out)
    keras.config.set_dtype_policy("mixed_float16")
    keras.utils.set_random_seed(5)
    other = RunFolder.create(tmp_path / "other", {"experiment": "try", "settings": {}})
    again = runner.run_one(made, other)
    np.testing.assert_array_equal(again.test.probabilities, first.test.probabilities)
    assert other.model("S").read_bytes() == out.model("S").read_bytes()


def test_an_image_without_a_companion_is_learned_and_not_judged(out, network):
    record = runner.run_one(stacked(network, images=Everything("digits", limit=17)), out)
    assert (record.arrays["folds"] == -1).any()
    assert len(record.test.ids) == (record.arrays["folds"] >= 0).sum() < 17
    assert np.isfinite(record.test.probabilities).all()


def test_a_stacked_trial_is_a_value(network):
    made = stacked(network, balanced=True)
    again = Trial.from_json(made.to_json())
    assert again == made and isinstance(again, Stacked) and isinstance(again.blocks[0], Block)


def test_another_trial_of_that_name_is_refused(out, network):
    runner.run_one(stacked(network), out)
    with pytest.raises(InputError, match=r"S: expected the trial that was finished here, received .* another .*head"):
        runner.run_one(stacked(network, head="logistic"), out)
