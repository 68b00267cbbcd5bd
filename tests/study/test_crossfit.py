"""Cross-fitted trials: no image is judged by a network that saw it, and the network that is kept has seen all."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from tests.study.test_runner import Brightness
from tests.study.test_trial import trial
from tl_keras import records
from tl_keras.data import selection
from tl_keras.data.augment import FlipShift, RandomResizedCrop
from tl_keras.data.selection import Everything
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import model_file
from tl_keras.records import Predictions
from tl_keras.run_folder import RunFolder
from tl_keras.study import crossfit, runner, single
from tl_keras.study.crossfit import OUT_OF_FOLD
from tl_keras.training import callbacks
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies

VIEW = View((16, 16), mirror=False)


@pytest.fixture
def out(tmp_path):
    yield RunFolder.create(tmp_path / "run", {"experiment": "try", "settings": {}})
    selection.forget()


def folded(name="A", images=None, **given):
    """A network of digits, in two folds."""
    made = replace(trial(name), images=images or Everything("digits", limit=60), view=VIEW, recipe=Recipe(2, 16, 1e-3))
    return replace(made, folds=2, **given)


def paint(folder, count, shade, seed, noise=60):
    """PNGs of noise around a shade."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = shade + rng.integers(0, noise, (16, 16, 3))
        Image.fromarray(pixels.astype("uint8")).save(folder / f"{index:02}.png")


def photographs(root, parts=("train",), hidden=0, count=10, noise=60):
    """Two classes that their brightness tells, in folders; and images whose class is hidden."""
    for seed, part in enumerate(parts):
        for number, name in enumerate(("ant", "bee")):
            paint(root / part / name, count, 110 * number, 10 * seed + number, noise)
    if hidden:
        paint(root / "test", hidden, 60, 99)
    return Everything(str(root))


def test_no_image_is_judged_by_a_network_that_saw_it(out, monkeypatch):
    """Of digits, some of which stand there several times."""
    whole, fit, seen = selection.whole, single.fit, []

    def with_copies(*given):
        images = whole(*given)
        rows = np.r_[np.arange(len(images.train)), np.repeat([0, 1, 2], 3)]
        return replace(images, train=replace(images.train.take(rows), ids=np.arange(len(rows)).astype(str)))

    def spied(trial, model, train, images, recipe, out, held=None):
        seen.append((train, held))
        return fit(trial, model, train, images, recipe, out, held)

    monkeypatch.setattr(selection, "whole", with_copies)
    monkeypatch.setattr(single, "fit", spied)
    selection.everything.cache_clear()
    record = runner.run_one(folded(images=Everything("digits")), out)
    monkeypatch.undo()
    *judging, (everyone, _) = seen
    assert len(judging) == 2 and len(everyone) == 1797 + 9 == record.data["train_images"]
    for learned, held in judging:
        assert not np.isin(held.contents, learned.contents).any()
        assert len(learned) + len(held) == len(everyone)
    contents, folds = everyone.contents, record.arrays["folds"]
    assert all(len(set(folds[contents == content])) == 1 for content in np.unique(contents))


def test_labels_of_noise_are_learned_and_not_guessed_out_of_fold(out, tmp_path):
    images = photographs(tmp_path / "noise", count=24, noise=250)
    for number, file in enumerate(sorted((tmp_path / "noise/train/bee").glob("*.png"))):
        paint(tmp_path / f"again{number}", 1, 0, 1000 + number, noise=250)
        file.write_bytes((tmp_path / f"again{number}/00.png").read_bytes())
    made = replace(folded(images=images), recipe=Recipe(25, 16, 2e-3))
    record = runner.run_one(made, out)
    assert record.train_accuracy > 0.9
    assert 0.2 < record.test.accuracy < 0.8


def test_the_record_judges_all_training_images_and_says_so(out):
    record = runner.run_one(folded(augment=FlipShift(flip=False)), out)
    train = folded().images.load(VIEW).train
    assert len(train) == 60 and set(record.predictions) == {"test"}
    np.testing.assert_array_equal(record.test.ids, train.ids)
    np.testing.assert_array_equal(record.test.labels, train.labels)
    np.testing.assert_allclose(record.test.probabilities.sum(axis=1), 1, atol=1e-5)
    assert record.data["out_of_fold"] and record.data["train_images"] == record.data["test_images"] == 60
    np.testing.assert_array_equal(record.thumbnails.images, train.images[record.thumbnails.rows])
    again = records.read(out, "A")
    np.testing.assert_array_equal(again.arrays["folds"], crossfit.folds_of(train, 2, 0))
    folds = [out.history(f"A_fold{number}").read_text().splitlines() for number in (1, 2)]
    last = [float(lines[2].split(",")[4]) for lines in folds]
    assert again.history["val_accuracy"][1] == pytest.approx(np.mean(last)) and again.history["epoch"] == [1, 2]
    of_fold = [record.test.correct[again.arrays["folds"] == fold].mean() for fold in (0, 1)]
    assert last == pytest.approx(of_fold)
    model = keras.models.load_model(out.model("A"), safe_mode=True)
    right = model.predict(train.images[:], verbose=0).argmax(axis=1) == train.labels
    assert record.train_accuracy == pytest.approx(right.mean())


def test_of_a_class_with_one_image_it_is_learned_and_not_judged(out):
    images = Everything("digits", limit=17)
    record = runner.run_one(folded(images=images, strategy=strategies.find("scratch")), out)
    train = images.load(VIEW).train
    alone = np.isin(train.labels, np.flatnonzero(np.bincount(train.labels) == 1))
    assert 0 < alone.sum() < 10
    np.testing.assert_array_equal(record.test.ids, train.ids[~alone])
    np.testing.assert_array_equal(record.arrays["folds"] == -1, alone)
    np.testing.assert_array_equal(record.thumbnails.images, train.take(~alone).images[record.thumbnails.rows])


def test_more_folds_than_images_of_a_class(out, tmp_path):
    images = photographs(tmp_path / "few", ("train", "test"), count=2)
    record = runner.run_one(replace(folded(images=images), folds=5), out)
    assert len(record.predictions[OUT_OF_FOLD].ids) == 4 and sorted(record.arrays["folds"]) == [0, 1, 2, 3]


def test_one_image_of_each_class_is_too_few(out):
    with pytest.raises(InputError, match="folds: expected two different images of a class or more, received 10 images"):
        runner.run_one(folded(images=Everything("digits", limit=10)), out)


def test_labelled_test_images_stay_aside_and_validation_images_are_learned(out, tmp_path):
    images = photographs(tmp_path / "set", ("train", "val", "test"))
    record = runner.run_one(folded(images=images, augment=FlipShift()), out)
    loaded = images.load(VIEW)
    assert set(record.predictions) == {"test", OUT_OF_FOLD} and not record.data["out_of_fold"]
    assert (record.data["train_images"], record.data["test_images"], record.data["watched"]) == (40, 20, "test")
    assert {str(name).split("/")[0] for name in record.test.ids} == {"test"}
    assert {str(name).split("/")[0] for name in record.predictions[OUT_OF_FOLD].ids} == {"train", "val"}
    model = keras.models.load_model(out.model("A"), safe_mode=True)
    expected = model.predict(loaded.test.images[:], verbose=0)
    np.testing.assert_allclose(record.test.probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(record.thumbnails.images, loaded.test.images[record.thumbnails.rows])
    assert isinstance(records.read(out, "A").predictions[OUT_OF_FOLD], Predictions)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_network_that_is_kept_predicts_the_hidden_images(out, tmp_path, mirror):
    images, view = photographs(tmp_path / "set", hidden=5), View((16, 16), scaled=(20, 20), mirror=mirror)
    record = runner.run_one(replace(folded(images=images, augment=RandomResizedCrop((16, 16))), view=view), out)
    assert set(record.predictions) == {"test", "unlabelled"}
    hidden = record.predictions["unlabelled"]
    assert hidden.ids.tolist() == [f"test/{number:02}.png" for number in range(5)] and (hidden.labels == -1).all()
    pixels = images.load(view).unlabelled.images[:]
    model = keras.models.load_model(out.model("A"), safe_mode=True)
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(hidden.probabilities, expected, atol=1e-5)
    assert model_file.view(out.model("A")) == view
    turned = np.abs(model.predict(pixels[:, :, ::-1], verbose=0) - expected).max()
    assert turned < 1e-5 if mirror else turned > 1e-5


def test_early_features_and_a_rate_to_be_found_are_chosen_by_each_training(out, tmp_path):
    images = photographs(tmp_path / "set")
    record = runner.run_one(folded(images=images, strategy=strategies.find("early_probe")), out)
    assert {"epoch", "val_accuracy"} <= set(record.history) and np.isfinite(record.test.probabilities).all()
    found = replace(folded("B", images=images), recipe=Recipe(1, 16, None))
    assert runner.run_one(found, out).measured["learning_rate"] > 0


@pytest.mark.parametrize("given, said", [({"start": "B"}, "B"), ({"measures": (Brightness(),)}, "brightness")])
def test_what_would_leak_or_go_unheard_is_refused(out, given, said):
    with pytest.raises(InputError, match=f"A: expected a trial that starts from no other .* received {said}; leave"):
        runner.run_one(folded(**given), out)


@pytest.mark.parametrize("calls", [1, 3, 5], ids=["first fold", "second fold", "all"])
def test_a_trial_killed_in_a_fold_goes_on_to_the_same_record(out, tmp_path, monkeypatch, calls, undisturbed):
    seen, write = [], callbacks.write_history

    def killed(*given):
        seen.append(given)
        if len(seen) == calls:
            raise KeyboardInterrupt
        return write(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(callbacks, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(callbacks, "write_history", killed)
        runner.run_one(folded(augment=FlipShift()), out)
    assert not out.record("A").exists()
    again, whole = runner.run_one(folded(augment=FlipShift()), out), records.read(undisturbed, "A")
    np.testing.assert_array_equal(again.test.probabilities, whole.test.probabilities)
    np.testing.assert_array_equal(again.arrays["folds"], whole.arrays["folds"])
    assert (again.history, again.train_accuracy) == (whole.history, whole.train_accuracy)
    assert out.model("A").read_bytes() == undisturbed.model("A").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = RunFolder.create(tmp_path_factory.mktemp("whole") / "run", {"experiment": "try", "settings": {}})
    runner.run_one(folded(augment=FlipShift()), out)
    return out
