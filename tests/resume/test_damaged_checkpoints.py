"""Whatever becomes of a checkpoint's bytes: the very state that was saved, the one before, or a fresh start."""

import io
import json
import random
import struct
import zipfile
import zlib

import keras
import numpy as np
import pytest

from tl_keras.errors import InputError
from tl_keras.training.checkpoint import Checkpoint, Progress

IDENTITY = {"seed": 0, "é": [1.5, None]}
FRESH = -1.0


class State:
    """Two epochs of a training, saved: `path` holds 2 in every variable, the checkpoint before it 1."""

    def __init__(self, folder):
        shapes = (((3, 2), "float32"), ((), "int64"), ((5,), "bfloat16"), ((3, 2), "float32"))
        self.variables = [keras.Variable(np.zeros(shape), dtype=dtype) for shape, dtype in shapes]
        self.checkpoint = Checkpoint(folder / "a.npz", self.variables, IDENTITY)
        for epoch in (1, 2):
            self.set(epoch)
            rows = [{"epoch": number + 1, "loss": 0.1 * number} for number in range(epoch)]
            self.checkpoint.save(Progress(rows, float(epoch)))
        self.bytes = self.checkpoint.path.read_bytes()

    def set(self, value):
        for number, variable in enumerate(self.variables):
            variable.assign(np.full(variable.shape, value + (10 * number if value > 0 else 0)))

    def restored(self, content):
        """The epoch that comes back from these bytes; 0 for a fresh start. All else is a failure."""
        self.checkpoint.path.write_bytes(content)
        self.set(FRESH)
        try:
            progress = self.checkpoint.restore()
        except InputError as error:
            assert "resume with the settings of that run" in str(error)
            return "refused"
        expected = FRESH if progress.epoch == 0 else progress.epoch
        for number, variable in enumerate(self.variables):
            value = expected + (10 * number if expected > 0 else 0)
            np.testing.assert_array_equal(np.asarray(variable.numpy(), "float32"), np.full(variable.shape, value))
        assert (
            progress.seconds == progress.epoch and [row["epoch"] for row in progress.rows] == [1, 2][: progress.epoch]
        )
        return progress.epoch


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return State(tmp_path_factory.mktemp("state"))


def mutated(content, rng):
    """These bytes with some of them changed, taken out, put in or moved."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        end = min(end, start + rng.choice((1, 4, 64, len(content))))
        kind = rng.randrange(6)
        if kind == 0 and content:
            content[min(start, len(content) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[start:end] = bytes(end - start)
        elif kind == 2:
            content[start:end] = rng.randbytes(end - start)
        elif kind == 3:
            del content[start:end]
        elif kind == 4:
            content[start:start] = content[start:end]
        else:
            content[start : start + 8] = b"\xff" * 8  # sizes and offsets, as large as can be
    return bytes(content)


def test_bytes_changed_at_random(state):
    rng = random.Random(0)
    found = [state.restored(mutated(state.bytes, rng)) for _ in range(400)]
    assert set(found) == {1, 2}, "what is no whole state gives way to the one before"


def test_every_length_that_a_crash_may_leave(state):
    for length in range(0, len(state.bytes), 37):
        assert state.restored(state.bytes[:length]) == 1
    assert state.restored(state.bytes) == 2


def test_the_structures_of_the_archive_changed_one_by_one(state):
    """Flags, methods, sizes and offsets of the list at the end, which no checksum of the archive covers."""
    for place in range(state.bytes.index(b"PK\x01\x02"), len(state.bytes), 3):
        for value in (0, 0xFF, state.bytes[place] ^ 1):
            content = bytearray(state.bytes)
            content[place] = value
            assert state.restored(bytes(content)) in (1, 2)


def rewritten(content, change):
    """A whole archive again, after `change` has had a dictionary of its arrays."""
    with np.load(io.BytesIO(content)) as stored:
        arrays = dict(stored)
    change(arrays)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def told(arrays, **changes):
    said = json.loads(str(arrays["meta"])) | changes
    arrays["meta"] = np.array(json.dumps(said))


def exchanged(arrays):
    arrays["0"], arrays["3"] = arrays["3"], arrays["0"]


WHOLE_ARCHIVES = {
    "arrays exchanged": exchanged,
    "an array of another kind": lambda arrays: arrays.update({"0": arrays["0"].astype("float64")}),
    "an array of another size": lambda arrays: arrays.update({"0": arrays["0"][:-1]}),
    "an array that is empty": lambda arrays: arrays.update({"0": arrays["0"][:0]}),
    "an array of another shape": lambda arrays: arrays.update({"0": np.asfortranarray(arrays["0"].reshape(2, -1))}),
    "an array too few": lambda arrays: arrays.pop("3"),
    "an array too many": lambda arrays: arrays.update({"4": np.zeros(3)}),
    "an array of another name": lambda arrays: arrays.update({"x": arrays.pop("0")}),
    "nothing said": lambda arrays: arrays.pop("meta"),
    "bytes instead": lambda arrays: arrays.update(meta=np.zeros(3, "uint8")),
    "a list": lambda arrays: arrays.update(meta=np.array("[1]")),
    "a number": lambda arrays: arrays.update(meta=np.array("1")),
    "text": lambda arrays: arrays.update(meta=np.array('"text"')),
    "null": lambda arrays: arrays.update(meta=np.array("null")),
    "no JSON": lambda arrays: arrays.update(meta=np.array("{")),
    "deep": lambda arrays: arrays.update(meta=np.array("[" * 100_000)),
    "no checksum": lambda arrays: arrays.update(meta=np.array(json.dumps({"identity": IDENTITY, "rows": []}))),
    "another checksum": lambda arrays: told(arrays, checksum=1),
    "rows that are none": lambda arrays: told(arrays, rows=5),
    "other seconds": lambda arrays: told(arrays, seconds="long"),
    "another identity": lambda arrays: told(arrays, identity={"seed": 1}),
}


@pytest.mark.parametrize("kind", WHOLE_ARCHIVES)
def test_whole_archives_of_something_else(state, kind):
    assert state.restored(rewritten(state.bytes, WHOLE_ARCHIVES[kind])) == 1


def huge_array():
    """A header that declares a terabyte, with nothing behind it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)})
    return file.getvalue()


@pytest.mark.parametrize("inner", [huge_array(), b"", b"\x93NUMPY\x09\x09", b"\x93NUMPY\x01\x00\xff\xff{", b"text"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_members_that_are_no_arrays(state, inner, method):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(state.bytes)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, inner if entry.filename == "0.npy" else old.read(entry), method)
    assert state.restored(file.getvalue()) == 1


def test_a_member_that_declares_more_than_there_is(state):
    """Sizes of 2**64 - 1, in the extra field where zip64 has them."""
    content = bytearray(state.bytes)
    place = content.index(b"PK\x01\x02")
    struct.pack_into("<II", content, place + 20, 0xFFFFFFFF, 0xFFFFFFFF)
    assert state.restored(bytes(content)) in (1, 2)


def test_a_whole_checkpoint_of_another_training_is_refused(state):
    def change(arrays):
        said = json.loads(str(arrays["meta"])) | {"identity": {"seed": 1}}
        said.pop("checksum")
        found = zlib.crc32(json.dumps(said).encode())
        for number in range(len(arrays) - 1):
            found = zlib.crc32(arrays[str(number)].data, found)
        arrays["meta"] = np.array(json.dumps(said | {"checksum": found}))

    assert state.restored(rewritten(state.bytes, change)) == "refused"


def test_both_damaged_is_a_fresh_start(tmp_path, capsys):
    state = State(tmp_path)
    state.checkpoint.previous.write_bytes(b"PK")
    assert state.restored(b"PK") == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all("is damaged" in line for line in told)


def test_one_line_is_told_of_each(state, capsys):
    for kind in WHOLE_ARCHIVES:
        state.restored(rewritten(state.bytes, WHOLE_ARCHIVES[kind]))
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"checkpoint {state.checkpoint.path} is damaged (")
