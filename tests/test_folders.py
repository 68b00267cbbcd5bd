"""Folders by path and by URL behave alike: what is written is whole, and found again from another process."""

import pickle

import pytest

from tl_keras.errors import InputError
from tl_keras.folders import Folder


@pytest.fixture(params=["path", "file", "memory"])
def folder(request, tmp_path):
    urls = {"path": tmp_path / "store", "file": f"file://{tmp_path}/store", "memory": f"memory://{tmp_path}/store"}
    return Folder(urls[request.param])


def test_what_is_written_is_read(folder):
    assert folder.names() == [] and not folder.exists("features/1.npy")
    folder.write("features/1.npy", b"one")
    folder.write("features/0.npy", b"nought")
    folder.write("plan.json", b"{}")
    assert folder.names() == ["features/0.npy", "features/1.npy", "plan.json"]
    assert folder.names("features") == ["features/0.npy", "features/1.npy"]
    assert (folder.read("features/1.npy"), folder.size("features/0.npy")) == (b"one", 6)
    folder.write("plan.json", b"another")
    assert folder.read("plan.json") == b"another"
    folder.remove("features/0.npy")
    assert folder.names() == ["features/1.npy", "plan.json"]


def test_a_folder_is_no_file(folder):
    folder.write("features/1.npy", b"one")
    assert folder.exists("features/1.npy") and not folder.exists("features")


def test_a_file_is_read_from_anywhere_in_it(folder):
    folder.write("images.tar", bytes(range(100)))
    with folder.open("images.tar") as stream:
        stream.seek(40)
        assert stream.read(3) == bytes([40, 41, 42])


def test_what_is_not_there_is_said(folder):
    for look in (folder.read, folder.size, folder.open):
        with pytest.raises(FileNotFoundError):
            look("nothing")


def test_a_folder_can_be_sent_to_another_process(folder):
    folder.write("plan.json", b"{}")
    sent = pickle.loads(pickle.dumps(folder))
    assert sent == folder and hash(sent) == hash(folder) and sent.read("plan.json") == b"{}"


def test_only_paths_lie_on_this_machine(tmp_path):
    assert Folder(f"file://{tmp_path}").local == tmp_path and Folder(tmp_path) == Folder(f"file://{tmp_path}")
    assert Folder("memory://anywhere").local is None


def test_an_unknown_kind_of_url_is_refused():
    with pytest.raises(InputError, match="expected a path or a URL"):
        Folder("nowhere://bucket/folder")
