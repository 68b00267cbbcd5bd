"""Stores that were damaged, images that changed, folders of other people: a clear line, and nothing is lost."""

import json
import shutil

import pytest
from PIL import Image

from tests.study.test_from_store import extracted, images, network, run, stored  # noqa: F401, fixtures
from tl_keras.commands.extract import Settings
from tl_keras.data import sources
from tl_keras.errors import InputError
from tl_keras.folders import Folder
from tl_keras.transfer import extraction, shards


@pytest.fixture
def mine(tmp_path, images, network):  # noqa: F811
    """Images and a store of them that a test may spoil."""
    shutil.copytree(images, tmp_path / "photos")
    return tmp_path / "photos", extracted(Folder(tmp_path / "store"), tmp_path / "photos", network)


def test_an_image_that_changed_is_not_trained_on(mine, tmp_path):
    photos, store = mine
    Image.new("RGB", (40, 40)).save(photos / "train/ant/3.jpg")
    with pytest.raises(InputError, match=r"expected train/ant/3.jpg as it was listed, received another content"):
        run(store.url, None, tmp_path / "run", "full")


def test_images_that_are_gone_are_missed_before_anything_is_computed(mine):
    photos, store = mine
    photos.rename(photos.with_name("elsewhere"))
    with pytest.raises(InputError, match="which it names, received none"):
        sources.load(store.url, size=(40, 40))


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("quarantine.csv", b"path,reason\n", "expected the table that done.json counts, received another .0 rows."),
        ("quarantine.csv", b"path,reason\n\xff,\xff\n", "expected the table that done.json counts"),
        ("features/000001.json", b"{}", "features/000001.npy: expected the features of a shard"),
        ("features/000001.npy", b"\x93NUMPY", "features/000001.npy: expected the features of a shard"),
        ("extraction.json", b"{}", "extraction.json: expected the plan of a store, received a damaged one"),
        ("manifest.parquet", b"PAR1", "expected a manifest, received a damaged file"),
    ],
)
def test_a_damaged_file_is_named(mine, tmp_path, name, content, match):
    (mine[1].local / name).write_bytes(content)
    with pytest.raises(InputError, match=match):
        run(mine[1].url, None, tmp_path / "run", "probe")


def test_a_store_without_its_plan_is_none(mine, tmp_path):
    mine[1].remove("extraction.json")
    with pytest.raises(InputError, match=r"expected a store of features, received one without extraction.json"):
        run(mine[1].url, None, tmp_path / "run", "probe")


@pytest.mark.parametrize("width", [4, "x", 0])
def test_a_plan_with_other_counts_is_refused(mine, network, width):  # noqa: F811
    photos, store = mine
    said = json.loads(store.read("extraction.json"))
    store.write("extraction.json", json.dumps(said | {"width": width}).encode())
    with pytest.raises(InputError, match=r"extraction.json: expected .*; extract into another folder"):
        extracted(store, photos, network)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    for name in ("features/.hidden", "features/holiday.npy", "manifest/thesis.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with pytest.raises(
        InputError, match=r"expected a new folder, or a store of features, received .*holiday.npy in it"
    ):
        extraction.keep_alone(Folder(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        ".hidden",
        "holiday.npy",
        "thesis.txt",
    ]


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/store"):
        with pytest.raises(InputError, match="--to: expected a folder that can be written"):
            extraction.keep_alone(Folder(tmp_path / place))


@pytest.mark.parametrize(("data", "to"), [("photos", "photos/store"), ("store/manifest", "store"), ("here", "here")])
def test_images_and_features_lie_apart(tmp_path, data, to):
    (tmp_path / data).mkdir(parents=True)
    with pytest.raises(InputError, match="--to: expected a folder apart from the images"):
        Settings(data=str(tmp_path / data), to=str(tmp_path / to))


def test_a_store_is_no_images_to_extract(mine):
    with pytest.raises(InputError, match="DATA: expected images, received a store of features"):
        Settings(data=mine[1].url, to="another")


def test_images_without_labels_are_no_data_set(network, tmp_path):  # noqa: F811
    import pyarrow
    import pyarrow.parquet

    content = []
    for grey in (10, 200):
        Image.new("RGB", (8, 8), (grey,) * 3).save(tmp_path / "one.png")
        content.append((tmp_path / "one.png").read_bytes())
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"image": content}), tmp_path / "data/a.parquet")
    store = extracted(Folder(tmp_path / "store"), tmp_path / "data", network)
    assert shards.plan_of(store).images == 2
    with pytest.raises(InputError, match="expected images with labels to train on, received none"):
        sources.load(store.url, size=(40, 40))
