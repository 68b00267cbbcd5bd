"""A predictions file holds every convention that is checked, and each one that is broken is named with its line."""

import math

import pytest

from tl_keras.errors import InputError
from tl_keras.export import predictions_csv
from tl_keras.export.predictions_csv import check, check_roll, read_sample, write

IMAGES = tuple(f"{number:05}.jpg" for number in (3, 1, 2, 0))  # in an order of the sample's own
ROWS = [("00000.jpg", 1, 0.9821432), ("00001.jpg", 0, 0.75), ("00002.jpg", 1, 1.0), ("00003.jpg", 0, 1e-7)]


@pytest.fixture
def sample(tmp_path):
    return sample_of(tmp_path / "sample.csv")


def sample_of(path, header="image,label,probability", rows=tuple(f"{image},0,0.0" for image in IMAGES), end="\n"):
    path.write_bytes(end.join([header, *rows, ""]).encode())
    return path


@pytest.fixture
def written(tmp_path, sample):
    write(tmp_path / "mine.csv", ROWS, sample)
    return tmp_path / "mine.csv"


def refused(said, ask, *given):
    with pytest.raises(InputError, match=said) as caught:
        ask(*given)
    message = str(caught.value)
    assert "expected" in message and "received" in message and "; " in message and "\n" not in message
    return message


# ------------------------------------------------------------------------------------------------ written


def test_without_a_sample_the_rows_stay_as_they_are(tmp_path):
    write(tmp_path / "new/mine.csv", iter([*ROWS, ("füchse, rot.png", "", 0)]))
    assert (tmp_path / "new/mine.csv").read_bytes().decode() == (
        "image,label,probability\n00000.jpg,1,0.982143\n00001.jpg,0,0.75\n00002.jpg,1,1.0\n00003.jpg,0,0.0\n"
        '"füchse, rot.png",,0.0\n'
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine.csv"]


def test_the_sample_gives_the_order_and_the_header(tmp_path):
    sample = sample_of(tmp_path / "sample.csv", "ID,Score,Class", [f"{image},0.0,0" for image in IMAGES])
    write(tmp_path / "mine.csv", [(f"test/{image}", label, p) for image, label, p in ROWS], sample)
    assert (tmp_path / "mine.csv").read_text() == (
        "ID,Score,Class\n00003.jpg,0.0,0\n00001.jpg,0.75,0\n00002.jpg,1.0,1\n00000.jpg,0.982143,1\n"
    )
    assert check(tmp_path / "mine.csv", sample) == 4


def test_images_in_folders_are_told_by_their_paths(tmp_path):
    sample = sample_of(tmp_path / "sample.csv", rows=["b/1.jpg,0,0", "a/1.jpg,0,0"])
    write(tmp_path / "mine.csv", [("a/1.jpg", 0, 0.5), ("b/1.jpg", 1, 0.5)], sample)
    assert (tmp_path / "mine.csv").read_text().splitlines()[1:] == ["b/1.jpg,1,0.5", "a/1.jpg,0,0.5"]


def test_a_sample_of_another_system_is_read(tmp_path):
    sample = sample_of(tmp_path / "sample.csv", "\ufeffFileName,Category,Confidence", ["1.jpg,0,0", ""], end="\r\n")
    assert read_sample(sample) == predictions_csv.Sample(("FileName", "Category", "Confidence"), ("1.jpg",), ("0",), 1)


def test_a_probability_that_was_rounded_above_one_is_one(tmp_path):
    write(tmp_path / "mine.csv", [("1.jpg", 0, 1.0000001)])
    assert (tmp_path / "mine.csv").read_text().endswith("1.jpg,0,1.0\n")


@pytest.mark.parametrize(
    "rows, said",
    [
        ([], "mine.csv: expected predictions of images, received none"),
        ([*ROWS, ROWS[0]], "mine.csv: expected each image once, received '00000.jpg' twice"),
        ([*ROWS, ("test/00000.jpg", 1, 1.0)], "mine.csv: expected each image once, received '00000.jpg' twice"),
        (ROWS[1:], "sample.csv: expected images that were predicted, received 1 of 4 that were not: '00000.jpg'; "),
        ([*ROWS, *((f"x{n}.jpg", 0, 1.0) for n in range(4))],
         "received 4 of 8 that it lacks: 'x0.jpg', 'x1.jpg', 'x2.jpg', ...; "),
        ([("00000.jpg", 0, math.nan)], "00000.jpg: expected a probability from 0 to 1, received nan"),
        ([("00000.jpg", 0, 1.1)], "00000.jpg: expected a probability from 0 to 1, received 1.1"),
        ([("00000.jpg", 0, -0.1)], "00000.jpg: expected a probability from 0 to 1, received -0.1"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_leaves_the_file_before(tmp_path, sample, written, rows, said):
    before = written.read_bytes()
    refused(said, write, written, rows, sample)
    assert written.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "sample.csv"]


@pytest.mark.parametrize(
    "header, rows, said",
    [
        ("image,label", ["1.jpg,0"], "sample.csv, line 1: expected three columns, image .or id, .*received 'image,lab"),
        ("label,image,probability", ["0,1.jpg,0"], "line 1: expected three columns"),
        ("image,label,class", ["1.jpg,0,0"], "line 1: expected three columns"),
        ("image,label,probability,note", ["1.jpg,0,0,"], "line 1: expected three columns"),
        ("00000.jpg,0,0.0", [], "line 1: expected three columns"),
        ("image,label,probability", [], "expected a row for each test image, received a header alone"),
        ("image,label,probability", ["1.jpg,0,0", "1.jpg,0,0"], "expected each image once, received '1.jpg' twice"),
        ("image,label,probability", ["1.jpg,0,0", "2.jpg,0"], "line 3: expected 3 cells, received 2"),
        ("image,label,probability", [" ,0,0"], "line 2: expected no blank cell, received a blank image"),
        ("image,label,probability", ['"1.jpg,0,0'], "expected cells between commas, received a broken line"),
        ("", [], "expected a header and a row for each image, received an empty file"),
    ],
)
def test_a_sample_that_is_none(tmp_path, header, rows, said):
    refused(said, read_sample, sample_of(tmp_path / "sample.csv", header, rows))


# ------------------------------------------------------------------------------------------------ checked


def test_what_is_written_holds(sample, written):
    assert check(written, sample) == 4
    assert check(written, sample, labels=("0", "1")) == 4


def changed(old, new):
    return lambda text: text.replace(old, new)


CHANGES = {
    "header": (changed("image,", "Image,"), "line 1: expected the header image,label,probability, received 'Image,lab"),
    "no header": (lambda text: text.split("\n", 1)[1], "line 1: expected the header"),
    "a row less": (
        changed("00001.jpg,0,0.75\n", ""),
        "expected the 4 rows of the sample, received 3 that differ from line 3 on; there '00002.jpg' stands for '00001",
    ),
    "cut off": (changed("00000.jpg,1,0.982143\n", ""), "received 3 that differ from the end .*; add '00000.jpg'"),
    "a row more": (lambda text: text + "5.jpg,0,0.5\n", "received 5 that differ from line 6 on; take it and what"),
    "a blank line": (lambda text: text + "\n", "received 5 that differ from line 6 on"),
    "twice": (changed("00002", "00001"), "received 4 that differ from line 4 on; there '00001.jpg' a second time"),
    "unknown": (changed("00002", "5"), "line 4 on; there '5.jpg', which the sample lacks, stands for '00002.jpg'"),
    "sorted": (lambda text: "".join(sorted(text.splitlines(True), reverse=True)), "received 4 that differ from line 3"),
    "other cells": (changed(",0.75", ""), "line 3: expected 3 cells, received 2"),
    "blank": (changed("1,1.0", ",1.0"), "line 4: expected no blank cell, received a blank label"),
    "blank probability": (changed("1,1.0", "1, "), "line 4: expected no blank cell, received a blank probability"),
    "a name": (changed("1,1.0", "dog,1.0"), "line 4: expected a whole number as the label, .*received 'dog'"),
    "a fraction": (changed("1,1.0", "1.0,1.0"), "line 4: expected a whole number as the label, .*received '1.0'"),
    "below zero": (changed("1,1.0", "-1,1.0"), "line 4: expected a whole number as the label, .*received '-1'"),
    "nan": (changed("0.75", "nan"), "line 3: expected a probability from 0 to 1, received 'nan'"),
    "infinite": (changed("0.75", "1e999"), "line 3: expected a probability from 0 to 1, received '1e999'"),
    "percent": (changed("0.75", "75"), "line 3: expected a probability from 0 to 1, received '75'"),
    "comma": (changed("0.75", '"0,75"'), "line 3: expected a probability from 0 to 1, received '0,75'"),
    "underscore": (changed("0.75", "0.7_5"), "line 3: expected a probability from 0 to 1, received '0.7_5'"),
    "minus": (changed("0.75", "-0.75"), "line 3: expected a probability from 0 to 1, received '-0.75'"),
    "mark": (lambda text: "\ufeff" + text, "line 1: expected UTF-8 without a byte order mark"),
    "returns": (changed("0.75\n", "0.75\r\n"), "line 3: expected lines that end with .n alone, received a carriage"),
    "quote": (changed("00001.jpg", '"00001.jpg'), "expected cells between commas, received a broken line"),
    "empty": (lambda text: "", "expected a header and a row for each image, received an empty file"),
    "blank file": (lambda text: "\n \n", "expected a header and a row for each image, received an empty file"),
}


@pytest.mark.parametrize("change, said", CHANGES.values(), ids=CHANGES)
def test_a_broken_convention_is_named_with_its_line(sample, written, change, said):
    before = written.read_text()
    written.write_bytes(change(before).encode())
    assert written.read_bytes() != before.encode()
    refused(f"mine.csv.*{said}", check, written, sample)


def test_files_that_are_no_text(tmp_path, sample, written):
    written.write_bytes(written.read_bytes().replace(b"0.75", b"\xff"))
    refused("mine.csv, line 3: expected UTF-8, received the byte 0xff", check, written, sample)
    written.write_bytes("image,label,probability\n".encode("utf-16"))
    refused("mine.csv, line 1: expected UTF-8", check, written, sample)
    refused("gone.csv: expected a CSV file, received none that can be read", check, tmp_path / "gone.csv", sample)
    refused("expected a CSV file, received none that can be read .Is a dir", check, tmp_path, sample)
    refused("gone.csv: expected a CSV file", check, written, tmp_path / "gone.csv")


def test_labels_are_those_of_the_sample_or_those_given(tmp_path):
    mine = sample_of(tmp_path / "mine.csv", rows=["1.jpg,ant,0.5", "2.jpg,wasp,0.5"])
    names = sample_of(tmp_path / "names.csv", rows=["1.jpg,bee,0", "2.jpg,ant,0"])
    refused("mine.csv, line 3: expected a label among 'ant', 'bee', received 'wasp'", check, mine, names)
    refused("line 3: expected a label among 'ant', received 'wasp'", check, mine, names, ["ant"])
    assert check(mine, names, ["ant", "bee", "wasp"]) == 2
    for placeholder in ("ant", ""):
        one = sample_of(tmp_path / "one.csv", rows=[f"1.jpg,{placeholder},0", f"2.jpg,{placeholder},0"])
        assert check(mine, one) == 2, "one name in all rows is a placeholder"


# --------------------------------------------------------------------------------------------- roll number


@pytest.mark.parametrize("roll", ["7", "M25CS0042", "22-1042_b.v2", "a" * 40])
def test_roll_numbers(roll):
    assert check_roll(roll) is None


@pytest.mark.parametrize(
    "roll", ["", " ", "M25/42", "..", ".hidden", "M25.", "-v", "a" * 41, "M25 42", "M25\n", "ü12", "a\\b", "a\0"]
)
def test_roll_numbers_that_make_no_file_name(roll):
    refused("--roll: expected 1 to 40 letters and digits", check_roll, roll)
