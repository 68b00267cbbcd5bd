"""Which models and versions a folder holds, and how labels are written."""

import pytest

from tl_keras.errors import InputError
from tl_keras.serving import versions


def made(folder, *names):
    for name in names:
        path = folder / name
        path.mkdir(parents=True)
        (path / versions.GRAPH).write_bytes(b"graph")
    return folder


def test_a_folder_of_models(tmp_path):
    made(tmp_path, "cats/1", "cats/00000012", "dogs/7", "cats/.unfinished-3", "cats/notes", ".hidden/1", "a:b/1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    found = versions.found(tmp_path)
    assert found == {
        "cats": {1: tmp_path / "cats/1", 12: tmp_path / "cats/00000012"},
        "dogs": {7: tmp_path / "dogs/7"},
        "empty": {},
    }


def test_the_folder_of_one_model(tmp_path, monkeypatch):
    made(tmp_path / "cats", "1", "2")
    assert versions.found(tmp_path / "cats") == {"cats": {1: tmp_path / "cats/1", 2: tmp_path / "cats/2"}}
    monkeypatch.chdir(tmp_path / "cats")
    assert list(versions.found(versions.Path("."))) == ["cats"], "by its name, however it is spelt"


def test_models_may_be_called_by_numbers_and_versions_be_unfinished(tmp_path):
    made(tmp_path, "all/2024/1")
    assert list(versions.found(tmp_path / "all")) == ["2024"]
    (tmp_path / "one/1/variables").mkdir(parents=True)
    assert versions.found(tmp_path / "one") == {"one": {1: tmp_path / "one/1"}}


def test_a_version_without_a_graph_is_found_too_and_what_is_gone_is_none(tmp_path):
    made(tmp_path, "cats/1")
    (tmp_path / "cats/2").mkdir()
    assert list(versions.found(tmp_path)["cats"]) == [2, 1]
    assert versions.found(tmp_path / "nothing") == {}


def test_of_two_folders_with_one_number_the_first_counts(tmp_path):
    made(tmp_path, "cats/1", "cats/01", "cats/1x", "cats/²")
    assert versions.found(tmp_path)["cats"] == {1: tmp_path / "cats/01"}


def test_a_stamp_changes_with_every_file(tmp_path):
    version = made(tmp_path, "1") / "1"
    stamps = {versions.stamp(version)}
    assert versions.stamp(version) in stamps
    (version / "variables").mkdir()
    for size in (1, 2):
        (version / "variables/data").write_bytes(b"x" * size)
        stamps.add(versions.stamp(version))
    (version / "variables/data").unlink()
    stamps.add(versions.stamp(version))
    assert len(stamps) == 4 and versions.stamp(tmp_path / "nothing") == ()


def test_labels():
    assert versions.labels("a:stable=1, a:canary=2,b:stable=3") == {"a": {"stable": 1, "canary": 2}, "b": {"stable": 3}}


@pytest.mark.parametrize(
    "text", ["", "stable=1", "a:stable", "a:stable=x", "a:b:c=1", "a:s=1,a:s=2", "a:s=1,", "a/b:s=1"]
)
def test_labels_that_are_none(text):
    with pytest.raises(InputError, match="--labels: expected"):
        versions.labels(text)
