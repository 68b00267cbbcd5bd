"""Class folders, Tiny-ImageNet folders, archives of them and manifests, read as a user gives them: by path."""

import os
import zipfile

import numpy as np
import pytest
from made_up import class_folders, fails, paint, values
from PIL import Image

from tl_keras.data.sources import load

# ----------------------------------------------------------------------------------------------- folders


def test_class_folders_with_train_and_val(tmp_path):
    class_folders(tmp_path / "pets/train", count=3)
    class_folders(tmp_path / "pets/val", count=2, start=100)
    (tmp_path / "pets/train/dog/.DS_Store").write_bytes(b"hidden")
    data = load(tmp_path / "pets", size=(4, 5))
    assert data.name == "pets" and data.class_names == ("cat", "dog")
    assert data.train.images.shape == (6, 4, 5, 3) and data.train.images.dtype == np.uint8
    assert values(data.train) == [20, 21, 22, 0, 1, 2] and data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert values(data.test) == [120, 121, 100, 101] and data.test.labels.tolist() == [0, 0, 1, 1]
    assert data.train.ids[3] == "train/dog/00.png" and data.test.ids[0] == "val/cat/00.png"
    assert data.quarantine == ()


@pytest.mark.parametrize("inside", ["", "train"])
def test_folders_without_a_test_set_are_cut_80_20(tmp_path, inside):
    class_folders(tmp_path / "pets" / inside)
    if inside:
        paint(tmp_path / "pets/test/000.png", 200)  # a competition's test images: no labels
    data = load(tmp_path / "pets")
    assert (data.unlabelled is not None) == bool(inside) and data.validation is None
    assert np.bincount(data.train.labels).tolist() == [8, 8] and np.bincount(data.test.labels).tolist() == [2, 2]
    assert sorted(values(data.train) + values(data.test)) == [*range(10), *range(20, 30)]
    assert load(tmp_path / "pets").test.ids.tolist() == data.test.ids.tolist()
    assert all((value >= 20) == (label == 0) for value, label in zip(values(data.test), data.test.labels, strict=True))


def test_a_test_folder_is_measured_on_and_a_validation_folder_is_to_choose_by(tmp_path):
    for part, start in (("train", 0), ("val", 100), ("test", 200)):
        class_folders(tmp_path / part, count=2, start=start)
    paint(tmp_path / "train/cat/copy.png", 101)  # of a dog to choose by
    data = load(tmp_path)
    assert values(data.test) == [220, 221, 200, 201] and data.unlabelled is None
    assert values(data.validation) == [120, 121, 100, 101] and data.validation.labels.tolist() == [0, 0, 1, 1]
    assert values(data.train) == [20, 21, 0, 1], "nothing is chosen by an image that was learned"
    assert [(image.id, image.reason) for image in data.quarantine] == [
        ("train/cat/copy.png", "also in the validation images")
    ]
    for path in (tmp_path / "val/cat").iterdir():
        path.unlink()
    (tmp_path / "val/cat").rmdir()
    fails("the same classes to train and in validation, received 'cat' only in train and no class only in", tmp_path)


@pytest.mark.parametrize("inside", ["test", "test/all of them", "test/images"])
def test_images_without_labels_are_kept_apart(tmp_path, inside):
    class_folders(tmp_path / "train", count=5)
    class_folders(tmp_path / "val", count=2, start=100)
    for number in (7, 3):
        paint(tmp_path / inside / f"{number}.png", 200 + number)
    (tmp_path / inside / "5.png").write_bytes(b"no image")
    data = load(tmp_path)
    assert values(data.test) == [120, 121, 100, 101] and data.validation is None
    assert values(data.unlabelled) == [203, 207] and data.unlabelled.class_names == ("cat", "dog")
    assert data.unlabelled.ids.tolist() == [f"{inside}/3.png", f"{inside}/7.png"]
    assert data.unlabelled.labels.tolist() == [-1, -1] and not data.unlabelled.labelled
    assert [image.id for image in data.quarantine] == [f"{inside}/5.png"]
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 10, "test": 4, "unlabelled": 2}
    assert data.described()["unlabelled_images"] == 2
    for path in (tmp_path / inside).iterdir():
        path.write_bytes(b"no image")
    assert load(tmp_path).unlabelled is None, "there is nothing left to predict"


def test_tiny_imagenet_folders(tmp_path):
    for number, name in enumerate(("n02", "n01")):
        for index in range(3):
            paint(tmp_path / f"tiny/train/{name}/images/{name}_{index}.JPEG", 10 * number + index)
        (tmp_path / f"tiny/train/{name}/{name}_boxes.txt").write_text("no image")
    lines = []
    for index, name in enumerate(("n01", "n02", "n01")):
        paint(tmp_path / f"tiny/val/images/val_{index}.JPEG", 50 + index)
        lines.append(f"val_{index}.JPEG\t{name}\t0\t0\t62\t62\n")
    (tmp_path / "tiny/val/val_annotations.txt").write_text("".join(lines))
    paint(tmp_path / "tiny/test/images/test_0.JPEG", 99)
    data = load(tmp_path / "tiny")
    assert data.class_names == ("n01", "n02") and values(data.train) == [10, 11, 12, 0, 1, 2]
    assert values(data.test) == [50, 51, 52] and data.test.labels.tolist() == [0, 1, 0]
    assert values(data.unlabelled) == [99] and data.unlabelled.ids.tolist() == ["test/images/test_0.JPEG"]
    (tmp_path / "tiny/val/images/val_1.JPEG").unlink()
    fails("val_annotations.txt: expected every file.*received 1 of 3 missing, first 'val/images/val_1.JPEG'", tmp_path)


def test_a_zip_with_an_outer_folder(tmp_path, own_home):
    class_folders(tmp_path / "made/pets/train", count=3)
    class_folders(tmp_path / "made/pets/val", count=2, start=100)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for path in sorted((tmp_path / "made").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "made"))
        archive.writestr("__MACOSX/pets/train/dog/._00.png", b"resource fork")
    data = load(tmp_path / "pets.zip")
    folder = load(tmp_path / "made/pets")
    assert data.name == "pets" and data.train.ids.tolist() == folder.train.ids.tolist()
    assert data.train.fingerprint() == folder.train.fingerprint()
    assert data.test.fingerprint() == folder.test.fingerprint()
    assert list(own_home.iterdir()) == [own_home / ".cache"]


def test_broken_images_are_named_and_left_out(tmp_path):
    class_folders(tmp_path / "train", count=4)
    class_folders(tmp_path / "val", count=2, start=100)
    (tmp_path / "train/cat/01.png").write_bytes(b"")
    (tmp_path / "train/cat/notes.txt").write_text("buy milk")
    whole = (tmp_path / "val/dog/00.png").read_bytes()
    (tmp_path / "val/dog/00.png").write_bytes(whole[: len(whole) // 2])
    data = load(tmp_path)
    assert [image.id for image in data.quarantine] == ["train/cat/01.png", "train/cat/notes.txt", "val/dog/00.png"]
    assert all("received" in image.reason for image in data.quarantine)
    assert values(data.train) == [20, 22, 23, 0, 1, 2, 3] and values(data.test) == [120, 121, 101]
    assert data.test.labels.tolist() == [0, 0, 1]


def test_every_odd_kind_of_image_is_shown_as_a_viewer_does_or_named(tmp_path):
    class_folders(tmp_path, count=6, start=200)
    dog, rgb = tmp_path / "dog", Image.new("RGB", (6, 6), (9, 9, 9))
    turned = Image.fromarray(np.repeat(np.uint8([[50] * 6, *[[60] * 6] * 5])[..., None], 3, -1))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the top row becomes the right column
    Image.new("CMYK", (6, 6), (0, 0, 0, 155)).save(dog / "cmyk.jpg", quality=100)
    Image.fromarray(np.full((6, 6), 90 * 256 + 7, np.uint16)).save(dog / "deep.png")
    rgb.quantize(4).save(dog / "palette.png")
    Image.new("RGBA", (6, 6), (0, 0, 0, 0)).save(dog / "clear.png")
    rgb.save(dog / "moving.gif", save_all=True, append_images=[Image.new("RGB", (6, 6), "white")])
    turned.save(dog / "turned.png", exif=exif)
    rgb.save(dog / "wrong.jpg", "PNG")
    rgb.save(dog / "photo.tiff")
    Image.new("1", (8001, 8001)).save(dog / "bomb.png")
    data = load(tmp_path)
    named = {image.id: image.reason for image in data.quarantine}
    assert set(named) == {"dog/bomb.png", "dog/photo.tiff"}
    assert "at most 64000000 pixels, received 8001x8001" in named["dog/bomb.png"]
    assert "expected a readable JPEG, PNG, BMP, GIF or WebP file" in named["dog/photo.tiff"]
    shown = {id: image for split in (data.train, data.test) for id, image in zip(split.ids, split.images, strict=True)}
    expected = {"deep.png": 90, "palette.png": 9, "clear.png": 255, "moving.gif": 9, "wrong.jpg": 9}
    assert {name: shown[f"dog/{name}"].mean() for name in expected} == expected
    assert abs(shown["dog/cmyk.jpg"].mean() - 100) <= 2
    assert shown["dog/turned.png"][:, :, 0].tolist() == [[60] * 5 + [50]] * 6


def test_names_in_any_script_and_in_none(tmp_path):
    class_folders(tmp_path, classes=("Ämeise", "蜜蜂 🐝"), count=5)
    os.rename(os.fsencode(tmp_path / "Ämeise/00.png"), os.fsencode(tmp_path / "Ämeise") + b"/old\xe4.png")  # Latin-1
    (tmp_path / "蜜蜂 🐝/01.png").write_bytes(b"")
    data = load(tmp_path)
    assert data.class_names == ("Ämeise", "蜜蜂 🐝") and data.quarantine[0].id == "蜜蜂 🐝/01.png"
    ids = [*data.train.ids, *data.test.ids]
    assert "Ämeise/old\\udce4.png" in ids, "a name that no text file could hold is written in ASCII"
    assert "\n".join(ids).encode("utf-8") and len(ids) == 9


def test_a_test_image_is_not_learned(tmp_path, capfd):
    class_folders(tmp_path / "train", count=4)
    class_folders(tmp_path / "val", count=2, start=100)
    paint(tmp_path / "val/dog/copy.png", 22)  # of a cat
    paint(tmp_path / "val/dog/again.png", 22)
    paint(tmp_path / "train/cat/again.bmp", 22)
    data = load(tmp_path)
    assert [image.id for image in data.quarantine] == ["train/cat/02.png", "train/cat/again.bmp"]
    assert {image.reason for image in data.quarantine} == {"also in the test images"}
    assert values(data.train) == [20, 21, 23, 0, 1, 2, 3] and data.train.labels.tolist() == [0] * 3 + [1] * 4
    assert len(data.test) == 6, "what is measured on stays whole"
    out, err = capfd.readouterr()
    assert (
        out == ""
        and err.count("\n") == 1
        and "WARNING" in err
        and " 2 images of the train split are also in the test images" in err
    )
    class_folders(tmp_path / "val", count=4)
    fails("expected training images of every class, received none of 'cat'", tmp_path)


def test_images_that_differ_in_size_need_a_size(tmp_path):
    class_folders(tmp_path / "train", count=2)
    class_folders(tmp_path / "val", count=2, start=100)
    paint(tmp_path / "val/cat/01.png", 7, size=(9, 6))
    fails("expected one size, received 6x6 and 9x6.*give a size", tmp_path)
    assert load(tmp_path, size=(6, 6)).test.images.shape == (4, 6, 6, 3)


def test_folders_that_cannot_be_learnt_from(tmp_path):
    fails("expected folders of images, one per class, received none", tmp_path)
    class_folders(tmp_path / "one", classes=("cat",))
    fails("expected two classes or more, received one, 'cat'", tmp_path / "one")
    class_folders(tmp_path / "empty")
    (tmp_path / "empty/zebra").mkdir()
    fails("zebra: expected images in the class folder, received none", tmp_path / "empty")
    class_folders(tmp_path / "differ/train")
    class_folders(tmp_path / "differ/val", classes=("cat", "horse"))
    fails("expected the same classes.*received 'dog' only in train and 'horse' only in test", tmp_path / "differ")
    class_folders(tmp_path / "broken")
    for path in (tmp_path / "broken/cat").iterdir():
        path.write_bytes(b"no image")
    fails("expected training images of every class, received none of 'cat'", tmp_path / "broken")
    for path in (tmp_path / "broken/dog").iterdir():
        path.write_bytes(b"no image")
    fails("expected one that can be decoded, received 20 that cannot", tmp_path / "broken")


# --------------------------------------------------------------------------------------------- manifests


@pytest.mark.parametrize("kind, header", [("csv", "path,label,split\n"), ("csv", ""), ("tsv", "Path\tLabel\tSplit\n")])
def test_a_manifest_with_splits(tmp_path, kind, header):
    lines = []
    for index in range(8):
        paint(tmp_path / f"images/{index}, a.png", index)
        row = (f'"images/{index}, a.png"', "ab"[index % 2], ["train", "train", "val", "test"][index // 2])
        lines.append({"csv": ",", "tsv": "\t"}[kind].join(row))
    (tmp_path / f"list.{kind}").write_text("\ufeff" + header + "\r\n".join(lines) + "\n\n")
    data = load(tmp_path / f"list.{kind}")
    assert data.name == "list" and data.class_names == ("a", "b")
    assert values(data.train) == [0, 1, 2, 3] and data.train.labels.tolist() == [0, 1, 0, 1]
    assert values(data.test) == [6, 7] and data.test.ids[0] == "images/6, a.png"
    assert values(data.validation) == [4, 5] and data.validation.labels.tolist() == [0, 1]
    assert data.unlabelled is None


@pytest.mark.parametrize("part", ["test", "val", "validation"])
def test_a_manifest_with_one_held_out_split_is_measured_on_it(tmp_path, part):
    for index in range(6):
        paint(tmp_path / f"{index}.png", index)
    rows = "".join(f"{index}.png,{'ab'[index % 2]},{'train' if index < 4 else part}\n" for index in range(6))
    (tmp_path / "list.csv").write_text(rows)
    data = load(tmp_path / "list.csv")
    assert values(data.train) == [0, 1, 2, 3] and values(data.test) == [4, 5] and data.validation is None


def test_a_manifest_without_splits_is_cut_80_20(tmp_path):
    for index in range(20):
        paint(tmp_path / f"{index}.png", index)
    rows = "".join(f"{'ab'[index % 2]},{index}.png\n" for index in range(20))
    (tmp_path / "list.csv").write_text("label,path\n" + rows)
    data = load(tmp_path / "list.csv")
    assert len(data.train) == 16 and len(data.test) == 4
    assert [value % 2 for value in values(data.test)] == data.test.labels.tolist()


@pytest.mark.parametrize(
    "text, match",
    [
        ("path,label\n0.png,a\ngone.png,b\n", "received 1 of 2 missing, first 'gone.png'"),
        ("path,class\n0.png,a\n", "expected the columns path and label, received path, class"),
        ("0.png,a\n1.png\n", "line 2: expected path,label.*received '1.png'"),
        ("0.png,a,train\n1.png,b,holdout\n", "line 2: expected path,label and optionally train.*holdout"),
        ("0.png,a\n1.png,a\n", "expected two classes or more, received one, 'a'"),
        ("", "expected training images, received none"),
        ("0.png,a\n1.png,b,test\n0.png,b\n", "received 'a' only in train"),
        ("0.png,a\n1.png,b\n0.png,,test\n", "line 3: expected path,label"),
        ('0.png,"a\n', "expected path,label lines, received a broken one"),
        (b"\xff\xfe\x00", "expected a text file in UTF-8"),
    ],
)
def test_manifests_that_cannot_be_read(tmp_path, text, match):
    paint(tmp_path / "0.png", 0)
    paint(tmp_path / "1.png", 1)
    (tmp_path / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    fails(match, tmp_path / "list.csv")
