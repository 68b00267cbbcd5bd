"""Which folders are splits and which are classes; that no image of a folder goes unseen."""

import pytest
from made_up import class_folders, fails, paint, values

from tl_keras.data.layouts import ordered, split_of
from tl_keras.data.sources import files, load


def parts_of(path):
    return {name: (values(split), split.labels.tolist()) for name, split in load(path).splits.items()}


@pytest.fixture
def three(tmp_path):
    """A set of train, val and test in class folders; the images tell where they are from."""
    for part, start in (("train", 0), ("val", 100), ("test", 200)):
        class_folders(tmp_path / "set" / part, count=3, start=start)
    return tmp_path / "set"


# ---------------------------------------------------------------------------------------- names of splits


@pytest.mark.parametrize(
    "train, test, validation",
    [
        ("Train", "Test", "Val"),
        ("TRAIN", "TEST", "VALIDATION"),
        ("training", "testing", "valid"),
        ("training_set", "test_set", "validation set"),
        ("trainset", "testset", "valset"),
    ],
)
def test_splits_are_known_whatever_their_case_and_by_their_synonyms(three, train, test, validation):
    expected = parts_of(three)
    for part, name in (("train", train), ("test", test), ("val", validation)):
        (three / part).rename(three / name)
    assert parts_of(three) == expected
    assert {label for _, label in files(three).train} == {"cat", "dog"}


def test_other_names_are_those_of_classes():
    for name in ("cat", "trainer", "tests", "set", "_set", "", "test tube", "value", "dev", "train station"):
        assert split_of(name) is None


def test_annotations_are_found_by_the_name_of_their_folder(tmp_path):
    class_folders(tmp_path / "Training", count=3)
    for number in range(2):
        paint(tmp_path / f"Val/images/{number}.png", 100 + number)
    (tmp_path / "Val/val_annotations.txt").write_text("0.png\tdog\n1.png\tcat\n")
    assert parts_of(tmp_path)["test"] == ([100, 101], [1, 0])


@pytest.mark.parametrize("made", [["val", "test"], ["Test"], ["TESTING", "Valid"]])
def test_held_out_folders_alone_are_no_classes(tmp_path, made):
    for number, part in enumerate(made):
        class_folders(tmp_path / part, count=5, start=100 * number)
    fails("expected class folders, or train/ with class folders in it, received .*; add train/CLASS/", tmp_path)


@pytest.mark.parametrize("name", ["test", "Train", "valid"])
def test_of_a_class_called_as_a_split_it_is_asked_what_is_meant(tmp_path, name):
    class_folders(tmp_path, classes=("cat", "dog", name), count=5)
    fails(f"or train/ with class folders in it, received .*{name}.*give a class that is called as a split", tmp_path)


def test_within_a_split_a_class_may_be_called_as_one(tmp_path):
    class_folders(tmp_path / "train", classes=("bus", "train"), count=3)
    class_folders(tmp_path / "test", classes=("bus", "train"), count=3, start=100)
    assert load(tmp_path).class_names == ("bus", "train")


def test_splits_within_a_split_are_no_classes(tmp_path):
    for part, start in (("train", 0), ("val", 100)):
        class_folders(tmp_path / "training" / part, count=5, start=start)
    fails("expected folders of images, one per class, received 'train', 'val'", tmp_path)


def test_two_folders_of_one_split_are_refused(three):
    class_folders(three / "Valid", count=3, start=150)
    fails("expected one folder of validation images, received 'Valid' and 'val'; put them together", three)


@pytest.mark.parametrize("held_out", [["test"], ["val"], ["test", "val"]])
def test_a_table_and_folders_give_the_same_parts(three, held_out):
    rows = []
    for part in ("train", "test", "val"):
        for file in sorted((three / part).rglob("*.png")) if part in ["train", *held_out] else ():
            rows.append(f"set/{file.relative_to(three).as_posix()},{file.parent.name},{part.upper()}")
    (three.parent / "list.csv").write_text("\n".join(rows))
    for part in {"test", "val"} - set(held_out):
        (three / part).rename(three.parent / part)
    parts = parts_of(three)
    assert parts_of(three.parent / "list.csv") == parts
    assert list(parts) == ["train", "test", "validation"][: 1 + len(held_out)]


# --------------------------------------------------------------------------------------- nothing goes unseen


@pytest.mark.parametrize(
    "loose",
    ["train/loose.PNG", "loose.jpeg", "train/cat/loose.png", "train/dog/masks/1.png", "val/images/loose.png",
     "others/ant/1.png"],
)  # fmt: skip
def test_images_beside_those_that_are_read_are_named(tmp_path, loose):
    root = tmp_path / "outer/set"
    for number, name in enumerate(("cat", "dog")):
        for index in range(3):
            paint(root / f"train/{name}/images/{index}.png", 20 * number + index)
        paint(root / f"val/images/{name}.png", 100 + number)
        (root / f"train/{name}/boxes.txt").write_text("no image")
    (root / "val/val_annotations.txt").write_text("cat.png\tcat\ndog.png\tdog\n")
    assert load(root).quarantine == ()
    paint(root / loose, 250)
    data = load(root)
    assert [image.id for image in data.quarantine] == [loose] and "lies in no class folder" in data.quarantine[0].reason
    assert values(data.train) == [0, 1, 2, 20, 21, 22] and values(data.test) == [100, 101]
    assert [image.id for image in load(tmp_path / "outer").quarantine] == [f"set/{loose}"]


def test_an_image_beside_an_outer_folder_is_named(tmp_path):
    class_folders(tmp_path / "pets", count=5)
    paint(tmp_path / "loose.png", 250)
    data = load(tmp_path)
    assert [image.id for image in data.quarantine] == ["loose.png"] and data.class_names == ("cat", "dog")


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_class_that_is_broken_wherever_it_is_held_out_is_an_error(three, part):
    for file in (three / part / "dog").iterdir():
        file.write_bytes(b"")
    kind = {"test": "test", "val": "validation"}[part]
    fails(
        f"expected {kind} images of every class, received none of 'dog' .3 are left out, the first: "
        f"{part}/dog/00.png: .*an empty file",
        three,
    )


@pytest.mark.parametrize("made", ["runs/finetune/2024-01-01_00-00-00/config.json", "runs/try/config.json",
                                  "saved_models/finetune-probe/1/saved_model.pb"])  # fmt: skip
def test_what_the_program_itself_wrote_is_no_class(tmp_path, made):
    class_folders(tmp_path, count=5)
    (tmp_path / made).parent.mkdir(parents=True)
    (tmp_path / made).write_bytes(b"{}")
    paint((tmp_path / made).parent / "plots/curves.png", 200)
    fails(f"{made.split('/')[0]}: expected images of a class, received '{made}'.*; move that folder away", tmp_path)


# ------------------------------------------------------------------------------------------ names of classes


def test_classes_that_are_numbers_are_in_the_order_of_their_values(tmp_path):
    names = tuple(str(number) for number in (10, 9, 0, 100, 11))
    class_folders(tmp_path / "set", classes=names, count=5)
    assert load(tmp_path / "set").class_names == ("0", "9", "10", "11", "100")
    rows = [f"set/{name}/{index:02}.png,{name}" for name in names for index in range(5)]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    data = load(tmp_path / "list.csv")
    assert data.class_names == ("0", "9", "10", "11", "100")
    named = [data.class_names[label] for label in data.train.labels]
    assert named == [id.split("/")[1] for id in data.train.ids], "labels follow"


def test_other_classes_are_in_the_order_of_their_text():
    assert ordered({"10", "9", "x"}) == ("10", "9", "x") and ordered({"01", "1", "0"}) == ("0", "01", "1")
    assert ordered({"1.5", "10"}) == ("1.5", "10") and ordered(["²", "1"]) == ("1", "²")


@pytest.mark.parametrize("name", ["two\nlines", "a\tb", "a\rb", "a\x00b", "next\x85line", "a\u2028b", "\x1b[31mred"])
def test_class_names_that_would_break_tables_are_refused(tmp_path, name):
    said = "expected class names of one line without control characters, received"
    rows = []
    for number, label in enumerate((name, "b") * 6):
        paint(tmp_path / f"{number}.png", number)
        rows.append(f'{number}.png,"{label}"')
    (tmp_path / "list.csv").write_bytes("\n".join(rows).encode())
    fails(said, tmp_path / "list.csv")
    if "\0" not in name:
        class_folders(tmp_path / "set", classes=(name, "b"))
        fails(said, tmp_path / "set")
