"""Images and labels in Parquet files, as Hugging Face's datasets and others write them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_containers import listed, reasons, table, told

from tl_keras.data import containers
from tl_keras.errors import InputError
from tl_keras.folders import Folder


def test_parquet_of_hugging_face_has_the_names_of_its_classes(tmp_path):
    path = table(
        tmp_path / "test-00000-of-00001.parquet", [b"one", b"two", b"3", None, b"5"], [1, 0, -1, 1, None],
        label={"_type": "ClassLabel", "names": ["dog", "cat"]},
    )  # fmt: skip
    assert containers.class_names(Folder(tmp_path), path.name) == ("dog", "cat")
    assert told(path) == [("0", "cat", b"one"), ("1", "dog", b"two"), ("2", "", b"3"), ("4", "", b"5")]
    assert [member.start for member in listed(path) if not member.reason] == [0, 1, 2, 4]
    assert list(reasons(path)) == ["3"]


def test_columns_of_plain_bytes_and_text_will_do(tmp_path):
    path = tmp_path / "train.parquet"
    for kind in (pa.binary(), pa.large_binary()):
        pq.write_table(pa.table({"jpg": pa.array([b"1", b"2"], kind), "class": ["a", "b"], "x": [1, 2]}), path)
        assert told(path) == [("0", "a", b"1"), ("1", "b", b"2")]
    for columns, match in (
        ({"x": [b"1"], "y": [b"1"]}, "expected one column of encoded images, .* received x, y"),
        ({"label": [1]}, "expected one column of encoded images, .* received none among label"),
    ):
        pq.write_table(pa.table(columns), path)
        with pytest.raises(InputError, match=f"train.parquet: {match}"):
            listed(path)


def test_a_parquet_file_that_is_cut_short_is_told(tmp_path):
    path = table(tmp_path / "a.parquet", [b"1" * 50] * 10, [1] * 10)
    path.write_bytes(path.read_bytes()[:-20])
    assert told(path) == [] and list(reasons(path)) == [""] and "cut short" in reasons(path)[""]


def test_labels_that_are_no_class_and_names_that_are_not_distinct(tmp_path):
    path = tmp_path / "train.parquet"
    images = [b"1", b"2", b"3", b"4"]
    for labels, found in (
        ([1.0, 2.5, None, float("nan")], {"0": "1", "2": "", "3": ""}),
        ([[1], [2], [], None], {"3": ""}),
        ([True, False, None, True], {"2": ""}),
        ([" a ", "", None, "b"], {"0": "a", "1": "", "2": "", "3": "b"}),
    ):
        pq.write_table(pa.table({"image": pa.array(images), "label": labels}), path)
        assert {name: label for name, label, _ in told(path)} == found
    table(path, images, [0, 1, 2, 3], label={"_type": "ClassLabel", "names": ["crane", "crane", "cat"]})
    assert containers.class_names(Folder(tmp_path), path.name) == () and told(path)[1][1] == "1"
    table(path, images, [0, 1, 2, 3], label={"_type": "ClassLabel", "names": ["a", "b", "c"]})
    assert reasons(path) == {"3": "has the label 3, of which the data set names 3"}
