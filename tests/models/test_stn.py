"""The spatial transformer: its parts by hand-worked numbers, the layer in models, files and graphs, bad input."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tl_keras.errors import InputError
from tl_keras.models.stn import SpatialTransformer, affine_grid, grid_sample
from tl_keras.transfer.frozen import split_frozen

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 12, 10, 2)).astype("float32")
IDENTITY = np.eye(2, 3, dtype="float32")[None]
ROW = np.array([10.0, 20, 30, 40], "float32").reshape(1, 1, 4, 1)


def localization(**dense):
    return keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(8, activation="relu", **dense)])


def points(*xs):
    """A grid of points on the middle row."""
    return np.array([[[[x, 0] for x in xs]]], "float32")


def sampled(images, grid, *args, **kwargs):
    return keras.ops.convert_to_numpy(grid_sample(images, grid, *args, **kwargs)).ravel().tolist()


def test_points_worked_by_hand():
    assert sampled(ROW, points(-0.75, -0.5, 0.75)) == [10, 15, 40]  # pixel centres lie at -.75, -.25, .25, .75
    assert sampled(ROW, points(-1, 1, -1.25, -9)) == [5, 20, 0, 0]  # half of the outermost pixel is left at the edge
    assert sampled(ROW, points(-1, 1, -9), padding_mode="border") == [10, 40, 10]
    assert sampled(ROW, points(-1, -1.5, 1.75), padding_mode="reflection") == [10, 15, 30]
    assert sampled(ROW, points(-1, 0, 1), align_corners=True) == [10, 25, 40]


def test_nearest_breaks_ties_towards_even_pixels():
    assert sampled(ROW, points(-0.5, 0, 0.5), "nearest") == [10, 30, 30]
    assert sampled(ROW, points(-0.6, -0.4, 1.2, 1.3), "nearest") == [10, 20, 0, 0]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_identity_flips_and_shifts(mode, padding_mode, align_corners):
    def warped(theta):
        grid = affine_grid(np.repeat(np.array([theta], "float32"), 3, axis=0), (12, 10), align_corners)
        return grid_sample(IMAGES, grid, mode, padding_mode, align_corners).numpy()

    near = {"atol": 2e-5}
    np.testing.assert_allclose(warped(IDENTITY[0]), IMAGES, **near)
    np.testing.assert_allclose(warped([[-1, 0, 0], [0, 1, 0]]), IMAGES[:, :, ::-1], **near)
    np.testing.assert_allclose(warped([[1, 0, 0], [0, -1, 0]]), IMAGES[:, ::-1], **near)
    pixel = 2 / (9 if align_corners else 10)
    np.testing.assert_allclose(warped([[1, 0, pixel], [0, 1, 0]])[:, :, :-1], IMAGES[:, :, 1:], **near)


def test_gradients_of_a_shift_worked_by_hand():
    """One unit of x is two pixels of the row: a step to the right gains 10 per pixel."""
    grid = tf.constant(points(0.1))  # x = 1.7
    images = tf.constant(ROW)
    with tf.GradientTape() as tape:
        tape.watch([grid, images])
        value = grid_sample(images, grid, padding_mode="border")
    by_grid, by_images = tape.gradient(value, [grid, images])
    np.testing.assert_allclose(by_grid.numpy().ravel(), [20, 0], atol=1e-4)
    np.testing.assert_allclose(by_images.numpy().ravel(), [0, 0.3, 0.7, 0], atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float64"])
def test_dtypes(dtype):
    images = keras.ops.cast(np.arange(64).reshape(1, 8, 8, 1), dtype)
    same = grid_sample(images, affine_grid(IDENTITY, (8, 8)))
    assert keras.backend.standardize_dtype(same.dtype) == ("float32" if dtype == "uint8" else dtype)
    np.testing.assert_array_equal(keras.ops.cast(same, "float32"), keras.ops.cast(images, "float32"))


def test_empty_batches_pass():
    assert grid_sample(IMAGES[:0], affine_grid(IDENTITY[:0], (3, 4))).shape == (0, 3, 4, 2)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_inside_a_graph_nan_comes_out_where_it_went_in(mode, padding_mode):
    @tf.function
    def sample(images, grid):
        return grid_sample(images, grid, mode, padding_mode)

    grid = np.repeat(affine_grid(IDENTITY, (12, 10)).numpy(), 3, axis=0)
    grid[1, 3, 4, 0] = np.nan
    grid[2, 5, 6, 1] = np.nan
    wrong = np.isnan(sample(IMAGES, grid).numpy()).all(axis=-1)
    assert np.argwhere(wrong).tolist() == [[1, 3, 4], [2, 5, 6]]
    images = IMAGES.copy()
    images[1, 3, 4, 0] = np.nan
    wrong = np.isnan(sample(images, np.repeat(affine_grid(IDENTITY, (12, 10)), 3, axis=0)).numpy())
    assert wrong[1, 3, 4, 0] and not wrong[0].any() and not wrong[2].any() and not wrong[..., 1].any()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: affine_grid(np.zeros((2, 3)), (4, 4)), r"theta: expected shape \(B, 2, 3\), received \(2, 3\)"),
        (lambda: affine_grid(np.zeros((5, 6)), (4, 4)), r"theta: expected.*received \(5, 6\); give one 2x3 matrix"),
        (lambda: affine_grid(IDENTITY * np.nan, (4, 4)), "theta: expected numbers, received 6 NaN; "),
        (lambda: affine_grid(IDENTITY, (0, 4)), r"size: expected .* at least 1, received \(0, 4\); give"),
        (lambda: affine_grid(IDENTITY, (4, 2.5)), r"size: expected .* received \(4, 2.5\)"),
        (lambda: affine_grid(IDENTITY, (np.int64(0), 4)), "size: expected .* at least 1"),
        (lambda: grid_sample(keras.Input((4, 4, 1)), keras.Input((4, 4, 2))), "received a KerasTensor; call it inside"),
        (lambda: affine_grid(IDENTITY, 28), "size: expected .height, width.*received 28"),
        (
            lambda: grid_sample(ROW, points(0), mode="cubic"),
            "mode: expected one of bilinear, nearest, received 'cubic'",
        ),
        (
            lambda: grid_sample(ROW, points(0), padding_mode="wrap"),
            "padding_mode: expected one of zeros.*'wrap'; choose",
        ),
        (lambda: grid_sample(ROW[0], points(0)), r"images: expected shape \(B, H, W, C\), received \(1, 4, 1\)"),
        (lambda: grid_sample(ROW[:, :, :0], points(0)), r"images: expected.*received \(1, 1, 0, 1\)"),
        (
            lambda: grid_sample(ROW, np.zeros((1, 2, 2, 3))),
            r"grid: expected shape .*received \(1, 2, 2, 3\); give x and",
        ),
        (
            lambda: grid_sample(IMAGES, points(0)),
            r"grid: expected .*for images \(3, 12, 10, 2\), received \(1, 1, 1, 2\)",
        ),
        (lambda: grid_sample(ROW * np.nan, points(0)), "images: expected numbers, received 4 NaN"),
        (lambda: grid_sample(ROW, points(0, np.nan)), "grid: expected numbers, received 1 NaN"),
        (lambda: SpatialTransformer(localization(), (0, 3)), r"size: expected .* received \(0, 3\)"),
        (lambda: SpatialTransformer(localization())(IMAGES * np.nan), "expected numbers, received .* NaN"),
        (lambda: SpatialTransformer(layers.Conv2D(4, 3))(IMAGES), r"localization: expected features \(B, F\).*Flatten"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (3, 32, 17, 3), (1, 1, 1, 5), (1, 224, 299, 2)], ids=str)
def test_the_untrained_layer_returns_its_input(shape):
    images = RNG.normal(size=shape).astype("float32")
    layer = SpatialTransformer(localization())
    for training in (False, True):
        np.testing.assert_array_equal(layer(images, training=training), images)
    np.testing.assert_array_equal(layer.theta(images), np.repeat(IDENTITY, shape[0], axis=0))
    assert [weight.shape for weight in layer.weights] == [(shape[-1], 8), (8,), (8, 6), (6,)]


def turned(layer, seed=1):
    """The layer with a theta that is not the identity."""
    kernel = layer.head.kernel
    kernel.assign(0.3 * np.random.default_rng(seed).normal(size=kernel.shape))
    return layer


def test_theta_is_what_the_layer_applies():
    layer = SpatialTransformer(localization(bias_initializer="ones"), output_size=(5, 6))
    assert layer(IMAGES).shape == layer.compute_output_shape(IMAGES.shape) == (3, 5, 6, 2)
    theta = turned(layer).theta(IMAGES)
    assert theta.shape == (3, 2, 3) and np.abs(theta - IDENTITY).max() > 0.05
    expected = grid_sample(IMAGES, affine_grid(theta, (5, 6)))
    np.testing.assert_allclose(layer(IMAGES), expected, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_coordinates_in_float32(policy):
    images = RNG.uniform(size=(1, 300, 300, 1)).astype("float32")  # bfloat16 has no odd numbers beyond 256
    layer = SpatialTransformer(localization(), dtype=policy)
    moved = layer(images)
    assert moved.dtype == layer.compute_dtype and layer.theta(images).dtype == "float32"
    np.testing.assert_array_equal(moved, keras.ops.cast(images, layer.compute_dtype))
    assert {weight.dtype for weight in layer.weights} == {"float32"}


def network(side=12, **kwargs):
    inputs = keras.Input((side, side, 2))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(SpatialTransformer(localization(), **kwargs)(inputs))))


def test_sizes_may_be_unknown():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, SpatialTransformer(localization())(inputs))
    assert model.output_shape == (None, None, None, 2)
    for shape in [(2, 9, 7, 2), (5, 16, 16, 2)]:
        images = RNG.normal(size=shape).astype("float32")
        np.testing.assert_allclose(model.predict(images, verbose=0), images, atol=1e-5)
    model.compile("sgd", "mse")
    model.fit(IMAGES, IMAGES, verbose=0)


def test_fit_learns_to_undo_a_shift():
    x, y = np.meshgrid(np.arange(16), np.arange(16))
    centres = np.random.default_rng(2).uniform(5, 10, size=(64, 2, 1, 1))
    blobs = np.exp(-((x - centres[:, :1, ..., 0, None]) ** 2 + (y - centres[:, 1:, ..., 0, None]) ** 2) / 8)
    blobs = blobs.reshape(64, 16, 16, 1).astype("float32")
    shifted = np.roll(blobs, 2, axis=2)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1))
    layer = SpatialTransformer(localization())
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(shifted, blobs, epochs=60, batch_size=32, verbose=0)
    shift = layer.theta(shifted).numpy().mean(axis=0)[0, 2]
    assert shift == pytest.approx(2 * 2 / 16, abs=0.03)  # two pixels of sixteen, the side being two units long


def test_a_saved_model_loads_in_a_fresh_process(tmp_path):
    model = network(output_size=(9, 7))
    turned(model.layers[1])
    images = RNG.normal(size=(4, 12, 12, 2)).astype("float32")
    expected = model.predict(images, verbose=0)
    np.savez(tmp_path / "case.npz", images=images, expected=expected)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "exported", verbose=False)
    program = """
import sys, keras, numpy as np, tensorflow as tf
case = np.load("case.npz")
served = tf.saved_model.load("exported")
np.testing.assert_allclose(served.serve(case["images"]), case["expected"], atol=1e-5)
import tl_keras.models.stn
model = keras.models.load_model("model.keras", safe_mode=True)
np.testing.assert_allclose(model.predict(case["images"], verbose=0), case["expected"], atol=1e-5)
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}){program}"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_config_round_trip():
    layer = SpatialTransformer(localization(), output_size=[9, 7], name="stn")
    again = SpatialTransformer.from_config(layer.get_config())
    assert again.name == "stn" and again.output_size == (9, 7)
    assert again(IMAGES).shape == (3, 9, 7, 2)


@pytest.mark.parametrize("frozen", [False, True])
def test_split_frozen_cuts_before_or_behind_it(frozen):
    model = network()
    turned(model.layers[1]).trainable = not frozen
    prefix, suffix = split_frozen(model)
    assert any(isinstance(layer, SpatialTransformer) for layer in (prefix if frozen else suffix).layers)
    images = RNG.normal(size=(4, 12, 12, 2)).astype("float32")
    np.testing.assert_allclose(suffix(prefix(images)), model(images), atol=1e-5)
