"""TFRecord files and tf.train.Example, read without TensorFlow and checked against it."""

import struct

from made_up_containers import listed, reasons, recorded, told

from tl_keras.data import tfrecords


def test_examples_that_tensorflow_wrote_are_read_without_it(tmp_path):
    path = recorded(tmp_path / "train-00000-of-00001", [
        {"image/encoded": b"one", "image/class/label": [7], "image/height": [3]},
        {"image/encoded": b"two", "image/class/label": [7], "image/class/text": b"crane"},
        {"image/encoded": b"3", "image/class/text": b"crane", "image/class/synset": b"n02012849"},
        {"image/encoded": b"four", "image/class/label": [-1], "image/class/text": b""},
        {"image": b"five", "label": [1]},
        {"image/encoded": b"six", "image/class/label": [1, 2]},
        {"label": [1]},
        b"\xff\xff no message",
    ])  # fmt: skip
    assert told(path, ("cat", "dog"))[-1] == ("4", "dog", b"five")
    assert [label for _, label, _ in told(path)] == ["7", "crane", "n02012849", "", "1"]
    found = reasons(path)
    assert sorted(found) == ["5", "6", "7"] and found["5"] == "has 2 classes" and "Example" in found["7"]
    content = path.read_bytes()
    for member in listed(path)[:5]:
        assert tfrecords.image(content[member.start : member.start + member.length]) == member.content
    assert listed(path, ("cat", "dog"))[0].reason == "has the label 7, of which the data set names 2"


def test_checksums_of_lengths_are_those_of_tensorflow(tmp_path):
    path = recorded(tmp_path / "lengths.tfrecord", [bytes(size) for size in (0, 1, 255, 70_000)])
    content, at = path.read_bytes(), 0
    while at < len(content):
        length, checksum = struct.unpack("<QI", content[at : at + 12])
        assert tfrecords.masked_crc(content[at : at + 8]) == checksum
        at += length + 16


def test_of_a_tfrecord_file_that_is_cut_short_or_damaged_what_is_whole_is_listed(tmp_path):
    path = recorded(tmp_path / "train.tfrecord", [{"image": bytes([65 + n]) * 100, "label": [n]} for n in range(3)])
    content = path.read_bytes()
    size = len(content) // 3
    for damaged, whole in ((content[: 2 * size + 5], 2), (content[:-1], 2), (b"\1" + content[1:], 0), (content[:3], 0)):
        path.write_bytes(damaged)
        assert len(told(path)) == whole and list(reasons(path)) == [""]
    path.write_bytes(content[:size] + struct.pack("<Q", 2**62) + content[size + 8 :])
    assert len(told(path)) == 1 and "damaged" in reasons(path)[""]
