"""Blocks by hand: what is stored, what the network to save says, and that both are the same after it is read back."""

import keras
import numpy as np
import pytest

from tl_keras.data.lazy import Resized
from tl_keras.data.splits import Split
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import backbones, model_file
from tl_keras.transfer import blocks
from tl_keras.transfer.activations import Storage
from tl_keras.transfer.block import Block, parse, sizes

NAME = "mobilenet_0.25"


def photographs(count=6, side=64, seed=0):
    """Smooth images with edges, no two sides alike."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    waves = [
        np.sin(rng.uniform(2, 9) * across + rng.uniform(2, 9) * down**2) > rng.normal(0, 0.3) for _ in range(3 * count)
    ]
    shades = np.stack(waves).reshape(count, 3, side, side).transpose(0, 2, 3, 1) * 150
    return (shades + 80 * across[..., None] + rng.integers(0, 20, shades.shape)).astype("uint8")


IMAGES = photographs()
SPLIT = Split(IMAGES, np.arange(6) % 2, ("ant", "bee"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights under which features are neither 0 nor all alike: normalised by these images."""
    keras.utils.set_random_seed(0)
    body = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(64, 64, 3))
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    body(IMAGES / 127.5 - 1, training=True)
    path = tmp_path_factory.mktemp("weights") / "lively.weights.h5"
    body.save_weights(path)
    return str(path)


@pytest.fixture
def small(weights):
    return Block(NAME, weights, 32)


@pytest.fixture
def large(weights):
    return Block(NAME, weights, 64, stages=2)


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "activations")


def said_by(block, images):
    return np.asarray(blocks.network(block)(images.astype("float32"), training=False))


def close(given, expected, share=1e-5):
    np.testing.assert_allclose(given, expected, rtol=0, atol=share * np.abs(expected).max())
    assert expected.std(axis=0).max() > 0.01, "images differ"


@pytest.mark.parametrize("stages", [0, 1, 3, 99])
def test_a_block_reads_the_last_features_and_the_averages_of_middle_stages(weights, stages):
    whole = backbones.build(NAME, 2, weights, size=64)
    ends = ["conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu"][-stages:] if stages else []
    maps = keras.Model(whole.input, [whole.get_layer(name).output for name in [*ends, "pooled"]])
    *middle, read = (np.asarray(found) for found in keras.tree.flatten(maps(IMAGES.astype("float32"), training=False)))
    expected = np.hstack([*[found.mean(axis=(1, 2)) for found in middle], read])
    close(said_by(Block(NAME, weights, 64, stages), IMAGES), expected)


@pytest.mark.parametrize("size", [32, 64])
def test_what_is_stored_is_what_the_network_says_of_scaled_images(storage, weights, size):
    block = Block(NAME, weights, size)
    scaled = Resized(IMAGES, (size, size))[:] if size != 64 else IMAGES
    plain = said_by(block, scaled)
    close(blocks.features(block, SPLIT, False, storage), plain)
    both = (plain + said_by(block, scaled[:, :, ::-1])) / 2
    found = blocks.features(block, SPLIT, True, storage)
    assert found.dtype == np.float32
    close(found, both)
    assert np.abs(both - plain).max() > 0.1, "mirror images say something else"


def test_what_is_stored_is_found_again_by_images_and_by_parts_of_them(storage, small, large):
    first = blocks.stacked([small, large], SPLIT, True, storage)
    stored = {path: path.stat().st_mtime_ns for path in storage.folder.glob("*.npy")}
    widths = [blocks.network(block).output_shape[1] for block in (small, large)]
    assert len(stored) == 4 and first.shape == (6, sum(widths))
    np.testing.assert_array_equal(blocks.stacked([small, large], SPLIT, True, storage), first)
    of_part = blocks.features(large, SPLIT.part([4, 1]), False, storage)
    np.testing.assert_array_equal(of_part, blocks.features(large, SPLIT, False, storage)[[4, 1]])
    assert {path: path.stat().st_mtime_ns for path in storage.folder.glob("*.npy")} == stored


def test_features_in_half_precision_are_averaged_in_full(tmp_path, small):
    half = Storage(tmp_path, dtype="float16")
    found = blocks.features(small, SPLIT, True, half)
    assert found.dtype == np.float32
    close(found, blocks.features(small, SPLIT, True, Storage(tmp_path / "whole")), share=2e-3)
    mirrored = Split(IMAGES[:, :, ::-1], SPLIT.labels, SPLIT.class_names)
    one, other = (blocks.features(small, split, False, half) for split in (SPLIT, mirrored))
    close(found, (one.astype("float64") + other) / 2, share=1e-6)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("sides", [[64], [32], [64, 32], [32, 64]], ids=str)
def test_the_network_to_save_gives_the_stored_features(storage, weights, tmp_path, sides, mirror):
    view, taken = View((64, 64), mirror=mirror), [Block(NAME, weights, size, stages=2) for size in sides]
    stored = blocks.stacked(taken, SPLIT, mirror, storage)
    network = keras.Model(*blocks.model(taken, view), name="stacked_features")
    said = network.predict(IMAGES, verbose=0)
    close(said, stored, share=1e-4)
    model_file.save(network, tmp_path / "saved.keras", view, SPLIT.class_names)
    again = keras.models.load_model(tmp_path / "saved.keras", safe_mode=True)
    close(again.predict(IMAGES, verbose=0), said, share=1e-6)


def test_images_that_are_not_square_are_cut_as_the_stored_ones(storage, small):
    wide = np.concatenate([IMAGES, photographs(seed=1)], axis=2)[:, :48]
    split = Split(wide, SPLIT.labels, SPLIT.class_names)
    stored = blocks.features(small, split, False, storage)
    network = keras.Model(*blocks.model([small], View((48, 128), mirror=False)))
    squeezed = said_by(small, np.asarray(keras.ops.image.resize(wide.astype("float32"), (32, 32), antialias=True)))
    said = network.predict(wide, verbose=0)
    assert np.abs(said - stored).mean() < np.abs(squeezed - stored).mean() / 4


def test_random_networks_are_drawn_alike_each_time():
    drawn = Block(NAME, "none", 32)
    one, other = said_by(drawn, IMAGES[:, ::2, ::2]), said_by(drawn, IMAGES[:, ::2, ::2])
    assert one.any()
    np.testing.assert_array_equal(one, other)


def own(path, *layers, shape=(64, 64, 3)):
    images = keras.Input(shape)
    x = images
    for layer in layers:
        x = layer(x)
    path.parent.mkdir(exist_ok=True)
    keras.Model(images, keras.layers.Dense(3)(x)).save(path)
    return str(path)


def test_files_of_one_name_stand_side_by_side(tmp_path, storage):
    conv, pool, flat = keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.GlobalAveragePooling2D
    files = [own(tmp_path / folder / "mine.keras", conv(4, 3), pool(), conv(6, 3), flat()) for folder in ("a", "b")]
    taken = [Block(file, "none", 64) for file in files]
    assert [block.title for block in taken] == ["mine at 64"] * 2
    stored = blocks.stacked(taken, SPLIT, True, storage)
    assert stored.shape == (6, 20) and np.abs(stored[:, :10] - stored[:, 10:]).max() > 1e-3
    said = keras.Model(*blocks.model(taken, View((64, 64)))).predict(IMAGES, verbose=0)
    np.testing.assert_allclose(said, stored, rtol=1e-4, atol=1e-3)


def test_a_network_without_stages(tmp_path):
    file = own(tmp_path / "flat.keras", keras.layers.Flatten())
    with pytest.raises(InputError, match="flat: expected a network with layers that see images, convolutions for"):
        blocks.network(Block(file, "none", 64))


def test_a_network_whose_stages_all_are_passed_by(tmp_path):
    images = keras.Input((64, 64, 3))
    pooled = [keras.layers.GlobalAveragePooling2D()(each) for each in (images, keras.layers.Conv2D(4, 3)(images))]
    keras.Model(images, keras.layers.Dense(3)(keras.layers.Concatenate()(pooled))).save(tmp_path / "by.keras")
    said = said_by(Block(str(tmp_path / "by.keras"), "none", 64), IMAGES)
    np.testing.assert_allclose(said[:, :3], IMAGES.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("name", ["über.keras", "_x.keras", "a b+c.keras"])
def test_any_name_of_a_file(tmp_path, name, storage):
    conv, flat = keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()
    block = Block(own(tmp_path / name, conv, flat), "none", 64)
    said = keras.Model(*blocks.model([block], View((64, 64)))).predict(IMAGES, verbose=0)
    np.testing.assert_allclose(said, blocks.features(block, SPLIT, True, storage), rtol=1e-4, atol=1e-3)


def test_lists_of_blocks():
    assert parse("vgg16@224") == [("vgg16", 224)]
    assert parse(" a/b@c.keras@64 ,vgg16@224,vgg16@96") == [("a/b@c.keras", 64), ("vgg16", 224), ("vgg16", 96)]


@pytest.mark.parametrize("text", ["", "vgg16", "vgg16@", "@224", "vgg16@0", "vgg16@-1", "vgg16@22.4", "vgg16@99999",
                                  "vgg16@224,", "vgg16@224,,vgg16@96", "vgg16@96, vgg16@96", "vgg16@²"])  # fmt: skip
def test_lists_that_are_none(text):
    with pytest.raises(InputError, match=r"--blocks: expected different entries NAME@SIZE, .* received") as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [16, 32, 47, 64, 100, 128, 200, 256, 500])
def test_sizes_suit_the_images(side):
    found = sizes(side)
    assert found and len(set(found)) == len(found) and all(size % 32 == 0 for size in found)
    assert max(found) <= max(side, 32)
