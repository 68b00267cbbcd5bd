"""WebDataset's samples in a .tar, checked against Python's tarfile."""

import subprocess
import tarfile

import pytest
from made_up_containers import SAMPLES, listed, packed, reasons, told


def test_offsets_in_a_tar_are_those_of_tarfile(tmp_path):
    long = "d" * 120 + "/4.jpg"  # a name that needs a header of its own
    path = packed(tmp_path / "train.tar", [*SAMPLES, (long, b"four" * 200)])
    assert told(path) == [
        ("a/1.jpg", "3", b"one"),
        ("2.PNG", "dog", b"two"),
        ("3.webp", "", b"3"),
        (long, "", b"four" * 200),
    ]
    with tarfile.open(path) as tar:
        expected = {info.name: (info.offset_data, info.size) for info in tar}
    for member in listed(path):
        assert (member.start, member.length) == expected[member.name]


def test_only_whole_samples_of_regular_files_count(tmp_path):
    files = [
        ("._1.jpg", b"macOS"), ("README", b"no key"), ("notes.txt", b"no image"), ("1.jpg", b"one"),
        ("1.mask.png", b"mask"), ("link.jpg", "1.jpg"), ("2.cls", b"4"), ("3.jpg", b"3"), ("3.json", b"{broken"),
        ("4.json", b'{"label": [1, 2]}'), ("4.jpg", b"4"), ("1.jpg", b"again"),
        ("5.json", b'{"cls": 2, "text": "x"}'), ("5.jpg", b"5"),
        ("6.cls", b"\xff"), ("6.jpg", b"6"),
    ]  # fmt: skip
    path = packed(tmp_path / "train.tar", files)
    assert told(path) == [("1.jpg", "", b"one"), ("5.jpg", "2", b"5")]
    found = reasons(path)
    assert {name: reason.split(" (")[0] for name, reason in found.items() if "@" not in name} == {
        "1.mask.png": "is not the first image of its key", "2.cls": "no image has its key",
        "3.jpg": "its label cannot be read", "4.jpg": "its label cannot be read", "6.jpg": "its label cannot be read",
    }  # fmt: skip
    again = [(name, reason) for name, reason in found.items() if name.startswith("1.jpg@")]
    assert len(again) == 1 and again[0][1] == "has the name of another one in this container"


@pytest.mark.parametrize(
    "kept, whole", [(0, 0), (100, 0), (3000, 0), (5600, 0), (6000, 0), (6300, 1), (10_000, 1), (20_000, 3)]
)
def test_of_a_tar_that_is_cut_short_what_is_whole_is_listed(tmp_path, kept, whole):
    sample = (("jpg", b"x" * 5000), ("cls", b"4"))
    files = [(f"{number}.{suffix}", content) for number in range(3) for suffix, content in sample]
    path = packed(tmp_path / "train.tar", files)
    assert reasons(path) == {} and path.stat().st_size > 20_000
    path.write_bytes(path.read_bytes()[:kept])
    assert told(path) == [(f"{number}.jpg", "4", b"x" * 5000) for number in range(whole)]
    assert "cut short" in reasons(path)[""] or "no .tar" in reasons(path)[""]
    assert kept not in (5600, 6000) or reasons(path)["0.jpg"] == "its container ends before a label"


def test_a_tar_without_its_end_and_a_damaged_header_are_told(tmp_path):
    path = packed(tmp_path / "train.tar", [("1.jpg", b"1" * 512), ("1.cls", b"1"), ("2.jpg", b"2")])
    content = path.read_bytes()
    for damaged in (content[:2048], content[:2048] + b"\x99" * 512 + content[2560:]):
        path.write_bytes(damaged)
        assert told(path) == [("1.jpg", "1", b"1" * 512)] and "damaged at byte 2048" in reasons(path)[""]


def test_a_sparse_file_is_left_out_and_what_follows_is_not(tmp_path):
    with open(tmp_path / "1.jpg", "wb") as file:
        file.truncate(10_000_000)
    (tmp_path / "2.jpg").write_bytes(b"two")
    subprocess.run(["tar", "--sparse", "-cf", "train.tar", "1.jpg", "2.jpg"], cwd=tmp_path, check=True)
    path = tmp_path / "train.tar"
    assert path.stat().st_size < 100_000 and told(path) == [("2.jpg", "", b"two")]
    assert reasons(path) == {"1.jpg": "is a sparse file, or too large"}
