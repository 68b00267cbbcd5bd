"""Which images a trial has: the same wherever it runs, none of them on two sides."""

import json

import numpy as np
import pytest
from made_up import class_folders, paint

from tests.fresh import python
from tl_keras import values
from tl_keras.data import selection
from tl_keras.data.lazy import Part
from tl_keras.data.selection import ByClass, FewImages, Selection, asked, loaded
from tl_keras.data.view import View
from tl_keras.errors import InputError

VIEW = View((8, 8))
KINDS = {
    "some": Selection("digits", limit=200, seed=3, validation=25),
    "of classes": ByClass("digits", limit=400, validation=20, classes=(9, 4)),
    "few": FewImages("digits", limit=600, validation=4, per_class=3, draw=1, draws=2, largest=8, test_limit=100),
}


@pytest.fixture(autouse=True)
def nothing_kept():
    selection.forget()
    yield
    selection.forget()


def contents(split):
    return set(split.contents)


def counts(split):
    return np.bincount(split.labels, minlength=len(split.class_names)).tolist()


# -------------------------------------------------------------------------------------------------- cuts


def test_without_options_it_is_the_whole_set():
    images, whole = Selection("digits").load(VIEW), selection.whole("digits", None, (8, 8))
    assert (images.name, images.source, images.mirror) == ("digits", "digits", False)
    assert images.train.fingerprint() == whole.train.fingerprint()
    assert images.test.fingerprint() == whole.test.fingerprint()
    assert images.validation is images.unlabelled is None and images.watched == {}


def test_validation_images_are_cut_out_of_the_training_images_in_proportion():
    whole, images = Selection("digits").load(VIEW), Selection("digits", validation=20).load(VIEW)
    assert (len(images.train), len(images.validation)) == (1149, 288)
    share = np.array(counts(images.validation)) / counts(whole.train)
    assert np.all(np.abs(share - 0.2) < 0.01)
    assert not contents(images.train) & contents(images.validation)
    assert contents(images.train) | contents(images.validation) == contents(whole.train)
    assert images.test.fingerprint() == whole.test.fingerprint()
    other = Selection("digits", validation=20, seed=1).load(VIEW)
    assert other.validation.ids.tolist() != images.validation.ids.tolist(), "the seed decides"


def test_validation_images_of_the_sets_own_are_taken_as_they_are(tmp_path):
    for part, start in (("train", 0), ("val", 100), ("test", 200)):
        class_folders(tmp_path / part, count=6, start=start)
    images = Selection(str(tmp_path), validation=50).load(View((6, 6)))
    assert (len(images.train), len(images.validation), len(images.test)) == (12, 12, 12)
    assert all(name.startswith("val/") for name in images.validation.ids)


def test_a_limit_holds_for_every_split_whose_classes_are_known(tmp_path):
    for part, start in (("train", 0), ("val", 100), ("test", 200)):
        class_folders(tmp_path / part, count=6, start=start)
    images = Selection(str(tmp_path), limit=4).load(View((6, 6)))
    assert [counts(split) for split in images.splits.values()] == [[2, 2]] * 3


@pytest.mark.parametrize("kind", [Selection, ByClass, FewImages])
def test_images_without_labels_are_kept_whatever_is_selected(tmp_path, kind):
    class_folders(tmp_path / "train", count=8)
    class_folders(tmp_path / "val", count=8, start=100)
    for number in range(5):
        paint(tmp_path / "test" / f"{number}.png", 200 + number)
    options = {ByClass: {"classes": (1, 0)}, FewImages: {"per_class": 2, "largest": 2, "validation": 1}}.get(kind, {})
    images = kind(str(tmp_path), limit=12, **options).load(View((4, 4), scaled=(6, 6), channels=1))
    assert images.unlabelled.ids.tolist() == [f"test/{number}.png" for number in range(5)]
    assert images.unlabelled.labels.tolist() == [-1] * 5 and images.unlabelled.class_names == images.class_names
    assert images.unlabelled.images[:][:, 0, 0, 0].tolist() == [200, 201, 202, 203, 204]
    assert images.unlabelled.images.shape == (5, 4, 4, 1), "as the network sees them"


def test_classes_are_numbered_anew_in_the_order_asked_for():
    images, whole = ByClass("digits", classes=(9, 4), validation=10).load(VIEW), Selection("digits").load(VIEW)
    assert images.class_names == ("9", "4")
    for split in (images.train, images.validation, images.test):
        origin = whole.test if split is images.test else whole.train
        digit = dict(zip(origin.ids, origin.labels, strict=True))
        assert [(9, 4)[label] for label in split.labels] == [digit[name] for name in split.ids]
    assert len(images.test) == counts(whole.test)[9] + counts(whole.test)[4]
    assert not contents(images.train) & (contents(images.validation) | contents(images.test))


def few(per_class, draw=0, **options):
    return FewImages("digits", **{"draws": 3, "largest": 20, "validation": 5, **options}, per_class=per_class,
                     draw=draw).load(VIEW)  # fmt: skip


def test_few_images_of_each_class_are_drawn_and_none_of_them_is_watched():
    images = few(10)
    assert counts(images.train) == [10] * 10 and counts(images.watched["validation"]) == [5] * 10
    assert images.validation is None, "the test images are followed beside the watched ones"
    held_out = contents(images.watched["validation"]) | contents(images.test)
    for draw in range(3):
        assert not contents(few(20, draw).train) & held_out
        assert few(20, draw).watched["validation"].ids.tolist() == images.watched["validation"].ids.tolist()


def test_in_a_draw_a_smaller_set_is_part_of_a_larger_one_and_draws_differ():
    ids = {(count, draw): set(few(count, draw).train.ids) for count in (1, 5, 20) for draw in range(3)}
    for draw in range(3):
        assert ids[1, draw] < ids[5, draw] < ids[20, draw]
    assert len({frozenset(ids[5, draw]) for draw in range(3)}) == 3


def test_all_draws_and_sizes_are_parts_of_one_whole():
    parts = [few(count, draw).train.images for count in (1, 20) for draw in range(3)]
    assert all(isinstance(part, Part) for part in parts)
    whole = np.unique(np.concatenate([part.rows for part in parts]))
    for part in parts:
        np.testing.assert_array_equal(part.whole[:], parts[0].whole[:])
        np.testing.assert_array_equal(part[:], part.whole[part.rows])
    np.testing.assert_array_equal(whole, np.arange(len(parts[0].whole)), "no image of the whole is there for nothing")


def test_few_images_may_be_watched_by_nobody():
    images = few(3, validation=0)
    assert images.watched == {} and counts(images.train) == [3] * 10


def test_few_images_have_a_limit_of_their_own_for_the_test_images():
    assert len(few(3, test_limit=50).test) == 50
    assert len(few(3, limit=300).test) == 300


@pytest.mark.parametrize("options", [{"per_class": 21}, {"per_class": 3, "draw": 3}])
def test_what_is_no_part_of_the_whole_is_refused(options):
    with pytest.raises(InputError, match=r"few images: expected .* received"):
        few(**options)


def test_too_few_images_are_told():
    with pytest.raises(InputError, match="limit: expected at least 10, to have images of every class, received 5"):
        Selection("digits", limit=5).load(VIEW)
    with pytest.raises(InputError, match=r"images per class: expected 1 to .*, received 200"):
        few(200, largest=200)


# --------------------------------------------------------------------------------------------- as a view has it


@pytest.mark.parametrize("chosen", KINDS.values(), ids=KINDS)
def test_every_split_is_as_the_network_sees_it(chosen):
    view = View((20, 18), scaled=(24, 24), channels=1)
    images = chosen.load(view)
    for split in [*images.splits.values(), *images.watched.values()]:
        assert split.images.shape == (len(split), 20, 18, 1)
        assert split.images[:2].shape == (2, 20, 18, 1)
    wide = chosen.load(view.loading)
    assert wide.train.ids.tolist() == images.train.ids.tolist(), "the view decides how, not which"
    assert wide.train.images.shape[1:] == (24, 24, 1)
    np.testing.assert_array_equal(wide.train.images[:][:, 2:22, 3:21], images.train.images[:])


# ---------------------------------------------------------------------------------------------- anywhere the same

FRESH = """
import json, sys
from tl_keras import values
from tl_keras.data.view import View
for text in sys.argv[1:]:
    images = values.from_json(json.loads(text)).load(View((8, 8)))
    splits = images.splits | images.watched
    print(json.dumps({name: [split.fingerprint(), split.ids.tolist()] for name, split in splits.items()}))
print("imported", *sorted({"tensorflow", "keras"} & set(sys.modules)))
"""


def test_another_process_has_the_same_images_without_tensorflow():
    texts = [json.dumps(values.to_json(chosen)) for chosen in KINDS.values()]
    done = python("-c", FRESH, *texts)
    assert done.returncode == 0, done.stderr
    *told, imported = done.stdout.splitlines()
    assert imported == "imported"
    for chosen, line in zip(KINDS.values(), told, strict=True):
        images = chosen.load(VIEW)
        here = {name: [split.fingerprint(), split.ids.tolist()]
                for name, split in (images.splits | images.watched).items()}  # fmt: skip
        assert json.loads(line) == here


@pytest.mark.parametrize("chosen", KINDS.values(), ids=KINDS)
def test_a_selection_is_a_value(chosen):
    again = values.from_json(json.loads(json.dumps(values.to_json(chosen))))
    assert again == chosen and hash(again) == hash(chosen) and type(again) is type(chosen)
    assert loaded(again, VIEW) is loaded(chosen, VIEW), "trials of one selection share its images"
    selection.forget()
    assert loaded(again, VIEW) is loaded(chosen, VIEW)


# ------------------------------------------------------------------------------------------------- what is asked


def test_a_default_that_cannot_be_had_is_replaced_by_digits_loudly_and_once(capfd):
    images = asked(None, "mnist", None, (8, 8))
    out, err = capfd.readouterr()
    assert (images.name, images.source, len(images.train)) == ("digits", "digits", 1437)
    assert out == "" and err.count("\n") == 1 and "GOING ON WITH 'digits', NOT 'mnist'" in err
    Selection(images.source).load(VIEW)
    assert capfd.readouterr() == ("", ""), "the trials ask for what there is"


def test_a_set_asked_for_by_name_is_never_replaced(capfd):
    refusals = {
        "mnist": "mnist: expected mnist.npz, .* received neither",
        "tiny-imagenet-5": "received 'tiny-imagenet-5'",
        "cifar11": "received 'cifar11'",
    }
    for name, said in refusals.items():
        with pytest.raises(InputError, match=said):
            asked(name, "digits", None, None)
    assert capfd.readouterr() == ("", "")


def test_a_default_that_is_there_but_damaged_or_unknown_is_not_replaced(tmp_path, capfd):
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"mnist.npz: expected a whole .npz"):
        asked(None, "mnist", str(tmp_path), None)
    for name in ("cifar11", "no/such.npz", "a" * 5000, "a\0b"):
        with pytest.raises(InputError, match="expected cifar10, mnist, digits, tfds:NAME, a path"):
            asked(None, name, None, None)
    assert capfd.readouterr() == ("", "")


def test_a_set_that_a_course_hands_out_is_replaced_where_it_lacks(capfd):
    assert asked(None, "hymenoptera", None, (8, 8)).name == "digits"
    assert "NOT 'hymenoptera'" in capfd.readouterr().err


def test_what_chooses_images_is_imported_without_tensorflow_and_scikit_learn():
    done = python("-c", "import sys, tl_keras.data.selection; print(*sys.modules)")
    assert not {"tensorflow", "keras", "sklearn", "scipy", "matplotlib"} & set(done.stdout.split())
