"""What a training left: written, read back the same, by hand where numbers are concerned, and never half there."""

import csv
import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from tests.fresh import python
from tests.made_up_records import made_up_record
from tl_keras import records
from tl_keras.errors import InputError
from tl_keras.records import Predictions
from tl_keras.run_folder import RunFolder


@pytest.fixture
def out(tmp_path):
    return RunFolder.create(tmp_path / "run", {"experiment": "made up"})


def written(record, out):
    """The record in the run folder, with the history that training would have left there."""
    rows = zip(*record.history.values(), strict=True)
    out.write_rows(out.history(record.name), record.history, rows)
    records.write(record, out)
    return record


def full_record():
    made = made_up_record("mobilenet_0.25", 3, images=30, classes=("cat", "dog", "red fox"), channels=1,
                          splits=("test", "validation", "unlabelled"))  # fmt: skip
    hidden = replace(made.predictions["unlabelled"], labels=np.full(30, -1))
    return replace(
        made,
        predictions=made.predictions | {"unlabelled": hidden},
        measured={"learning_rate": 1e-3, "undone": {"rotation": [1.5, None], "é": "text"}},
        arrays={"undone.curve": np.arange(6.0).reshape(2, 3), "theta.maps": np.zeros((0, 2, 3), "float32")},
    )


def assert_same(one, other):
    plain = ("trial", "class_names", "data", "history", "seconds", "parameters", "trainable_parameters",
             "train_accuracy", "measured")  # fmt: skip
    for name in plain:
        assert getattr(one, name) == getattr(other, name), name
    assert list(one.predictions) == list(other.predictions) and set(one.arrays) == set(other.arrays)
    pairs = [(one.arrays[key], other.arrays[key]) for key in one.arrays]
    pairs += [(getattr(one.thumbnails, key), getattr(other.thumbnails, key)) for key in ("rows", "images")]
    pairs += [
        (getattr(one.predictions[split], key), getattr(other.predictions[split], key))
        for split in one.predictions
        for key in ("ids", "labels", "probabilities")
    ]
    for first, second in pairs:
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)


# ------------------------------------------------------------------------------------------------ predictions


def random_predictions(images=200, classes=5):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(classes, 0.3), images).astype("float32")
    return Predictions(np.arange(images).astype(str), rng.integers(0, classes, images), probabilities)


def test_accuracy_and_loss_are_those_of_scikit_learn():
    seen = random_predictions()
    assert seen.accuracy == accuracy_score(seen.labels, seen.probabilities.argmax(axis=1))
    exact = seen.probabilities.astype("float64")
    exact /= exact.sum(axis=1, keepdims=True)
    assert seen.loss == pytest.approx(log_loss(seen.labels, exact, labels=range(5)), rel=1e-12)
    assert seen.correct.sum() == round(seen.accuracy * 200)
    np.testing.assert_array_equal(seen.classes[seen.correct], seen.labels[seen.correct])


def test_the_loss_of_a_network_that_is_sure_and_wrong_is_that_of_scikit_learn():
    probabilities = np.float32([[1, 0], [1 - 1e-6, 1e-6], [0.5, 0.5]])
    seen = Predictions(np.array(["0", "1", "2"]), np.array([1, 1, 0]), probabilities)
    exact = probabilities.astype("float64")
    exact /= exact.sum(axis=1, keepdims=True)
    assert seen.loss == pytest.approx(log_loss([1, 1, 0], exact, labels=[0, 1]), rel=1e-12)
    assert np.isfinite(seen.loss)


# ------------------------------------------------------------------------------------------------ write, read


def test_what_is_written_is_read(out):
    record = written(full_record(), out)
    again = records.read(out, record.name)
    assert_same(record, again)
    assert (again.name, again.arm, again.title, again.seed) == ("mobilenet_0.25_seed3", "mobilenet_0.25",
                                                                "arm mobilenet_0.25", 3)  # fmt: skip
    assert again.test.accuracy == record.test.accuracy and again.test.loss == record.test.loss


def test_epochs_are_counted_and_all_else_is_measured(out):
    record = written(made_up_record("A", epochs=3), out)
    history = records.read(out, "A").history
    assert history["epoch"] == [1, 2, 3] and all(isinstance(epoch, int) for epoch in history["epoch"])
    assert all(isinstance(value, float) for value in history["val_accuracy"])
    assert history == record.history


def test_the_files_of_a_record_are_named_after_it(out):
    written(full_record(), out)
    name = "mobilenet_0.25_seed3"
    files = {path.relative_to(out.path).as_posix() for path in out.path.rglob("*") if path.is_file()}
    tables = {f"predictions/{name}{split}.{kind}" for split in ("", ".validation", ".unlabelled")
              for kind in ("csv", "npz")}  # fmt: skip
    assert files == {"config.json", f"records/{name}.json", f"records/{name}.npz", f"history/{name}.csv"} | tables
    content = json.loads(out.record(name).read_text(encoding="utf-8"))
    assert content["format"] == records.FORMAT
    assert (content["history"], content["model"]) == (f"history/{name}.csv", f"models/{name}.keras")


def test_the_table_names_image_label_prediction_and_probability(out):
    record = made_up_record("net", images=3, classes=("cat", 'say "dog"'))
    ids = np.array(["a,b/1.png", "é.png", "7"])
    probabilities = np.float32([[0.25, 0.75], [0.1234567, 0.8765433], [0.5, 0.5]])
    seen = Predictions(ids, np.array([1, 0, 1]), probabilities)
    written(replace(record, predictions={"test": seen}), out)
    dog = 'say "dog"'
    with open(out.predictions("net"), newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["id", "label", "prediction", "probability"],
            ["a,b/1.png", dog, dog, "0.75"],
            ["é.png", "cat", dog, "0.876543"],
            ["7", dog, "cat", "0.5"],
        ]
    np.testing.assert_array_equal(records.read(out, "net").test.probabilities, probabilities)


def test_a_hidden_label_is_empty_in_the_table(out):
    record = written(full_record(), out)
    with open(out.predictions(f"{record.name}.unlabelled"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {""} and {row["prediction"] for row in rows} <= set(record.class_names)
    assert [row["id"] for row in rows] == record.predictions["unlabelled"].ids.tolist()


def test_a_record_stands_only_when_all_of_it_does(out, monkeypatch):
    def full(path, content):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(records, "write_json", full)
        written(full_record(), out)
    assert not list(out.records.glob("*.json"))
    with pytest.raises(InputError, match="expected a run with finished trials in records/, received none"):
        records.read_all(out)


@pytest.mark.parametrize("measured", [{"count": np.int64(3)}, {"curve": np.zeros(2)}])
def test_what_json_cannot_hold_is_no_measurement(out, measured):
    with pytest.raises(TypeError):
        records.write(replace(made_up_record("A"), measured=measured), out)
    assert not out.record("A").exists()


# ------------------------------------------------------------------------------------------------------- all


def test_records_come_in_the_order_of_the_trials_and_then_by_name(out):
    for name in ("C", "A", "B", "D"):
        written(made_up_record(name, images=6), out)
    assert [record.name for record in records.read_all(out)] == ["A", "B", "C", "D"]
    out.update_config(trials=["B", "not run yet", "A"])
    assert [record.name for record in records.read_all(out)] == ["B", "A", "C", "D"]


def test_what_a_kill_left_half_written_is_no_record(out):
    written(made_up_record("A", images=6), out)
    (out.records / ".4711.B.json").write_text("{")
    assert [record.name for record in records.read_all(out)] == ["A"]


def test_reading_needs_numpy_alone(out):
    written(made_up_record("A", images=6), out)
    code = (
        "import sys, pathlib; from tl_keras import records; from tl_keras.run_folder import RunFolder\n"
        "(record,) = records.read_all(RunFolder(pathlib.Path(sys.argv[1])))\n"
        "print(record.test.accuracy, record.test.loss > 0)\n"
        "print('imported', *sorted({'tensorflow', 'keras', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = python("-c", code, out.path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported"


# --------------------------------------------------------------------------------------------------- damaged


def changed_json(**changes):
    def spoil(path):
        content = json.loads(path.read_text())
        kept = {key: value for key, value in (content | changes).items() if value is not None}
        path.write_text(json.dumps(kept))

    return spoil


def halved(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped(path):
    """The list of arrays is whole, an array is not."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.infolist()[-1]
    start = entry.header_offset + 30 + len(entry.filename) + 20
    content[start : start + entry.compress_size // 2] = bytes(entry.compress_size // 2)
    path.write_bytes(bytes(content))


def emptied(path):
    path.write_bytes(b"")


def without_rows(path):
    path.write_text(path.read_text().splitlines()[0] + "\n")


def pickled(path):
    np.savez(path, thumbnail_rows=np.array([None]), thumbnails=np.array([None]))


def without_arrays(path):
    np.savez(path, other=np.zeros(2))


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(2))


DAMAGE = [
    ("records/A.json", halved), ("records/A.json", emptied), ("records/A.json", changed_json(format=2)),
    ("records/A.json", changed_json(format=None)), ("records/A.json", changed_json(measured=None)),
    ("records/A.json", changed_json(splits=["test", "gone"])), ("records/A.json", changed_json(splits=3)),
    ("records/A.json", lambda path: path.write_text("[]")), ("records/A.json", lambda path: path.write_bytes(b"\xff")),
    ("records/A.npz", halved), ("records/A.npz", emptied), ("records/A.npz", flipped), ("records/A.npz", pickled),
    ("records/A.npz", without_arrays), ("records/A.npz", one_array), ("records/A.npz", lambda path: path.unlink()),
    ("predictions/A.npz", halved), ("predictions/A.npz", flipped), ("predictions/A.npz", without_arrays),
    ("predictions/A.npz", lambda path: path.unlink()),
    ("history/A.csv", emptied), ("history/A.csv", without_rows), ("history/A.csv", lambda path: path.unlink()),
    ("history/A.csv", lambda path: path.write_text("epoch,loss\n1,much\n")),
    ("history/A.csv", lambda path: path.write_text("epoch,loss\n1\n")),
    ("history/A.csv", lambda path: path.write_text("loss\n0.5\n")),
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = RunFolder.create(tmp_path_factory.mktemp("whole") / "run", {"experiment": "made up"})
    written(made_up_record("A"), out)
    return out


@pytest.mark.parametrize("file, spoil", DAMAGE, ids=lambda value: getattr(value, "__name__", str(value)))
def test_damaged_records_are_told(whole, tmp_path, file, spoil):
    shutil.copytree(whole.path, tmp_path / "run")
    spoil(tmp_path / "run" / file)
    for read in (lambda out: records.read(out, "A"), records.read_all):
        with pytest.raises(InputError, match=r"A\.json: expected a whole record of format 1, received ") as told:
            read(RunFolder(tmp_path / "run"))
        assert "\n" not in str(told.value)


def test_flipped_bytes_never_raise_anything_else(whole, tmp_path):
    rng = np.random.default_rng(0)
    files = [path for path in whole.path.rglob("A*") if path.suffix in (".json", ".npz")]
    shutil.copytree(whole.path, tmp_path / "run")
    for number in range(200):
        file = files[number % len(files)]
        content = bytearray(file.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        damaged = tmp_path / "run" / file.relative_to(whole.path)
        damaged.write_bytes(bytes(content))
        try:
            records.read(RunFolder(tmp_path / "run"), "A")
        except InputError as error:
            assert "\n" not in str(error)
        damaged.write_bytes(file.read_bytes())
