"""`affine_grid` and `grid_sample` against PyTorch's: values and gradients, inside, on and outside the border."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tl_keras.models.stn import MODES, PADDING_MODES, affine_grid, grid_sample

torch = pytest.importorskip("torch", reason="torch, the reference, is not installed")
functional = torch.nn.functional

WAYS = list(itertools.product(MODES, PADDING_MODES, [False, True]))
# Sides that are powers of two, so that these points lie exactly on pixels, halves and borders in float32.
LATTICE = np.array([-9, -3, -2.5, -2, -1.5, -1.25, -1, -0.875, -0.75, -0.5, 0, 0.25, 0.625, 0.75, 1, 1.125, 1.5, 2, 3])


def channels_first(array):
    return torch.tensor(np.ascontiguousarray(np.moveaxis(array, -1, 1)), requires_grad=True)


def channels_last(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def both_ways(images, grid, weights, way, sample=grid_sample):
    """[values, gradient of the images, gradient of the grid] of PyTorch and ours, for the sum weighted by `weights`."""
    mode, padding_mode, align_corners = way
    their_images, their_grid = channels_first(images), torch.tensor(grid, requires_grad=True)
    values = functional.grid_sample(their_images, their_grid, mode, padding_mode, align_corners)
    (values * channels_first(weights)).sum().backward()
    theirs = [channels_last(values), channels_last(their_images.grad), their_grid.grad.numpy()]

    images, grid = tf.constant(images), tf.constant(grid)
    with tf.GradientTape() as tape:
        tape.watch([images, grid])
        values = sample(images, grid, mode, padding_mode, align_corners)
    gradients = tape.gradient(values, [images, grid], weights, unconnected_gradients="zero")
    return theirs, [values.numpy(), *(gradient.numpy() for gradient in gradients)]


def assert_same(theirs, ours, tolerance=1e-5):
    for expected, received in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(received, expected, rtol=tolerance, atol=tolerance)


def drawn(seed, image_shape, size, points=None):
    rng = np.random.default_rng(seed)
    shape = (image_shape[0], *size, 2)
    grid = rng.uniform(-3, 3, shape) if points is None else rng.choice(points, shape)
    arrays = rng.normal(size=image_shape), grid, rng.normal(size=(image_shape[0], *size, image_shape[-1]))
    return [array.astype("float32") for array in arrays]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("image_shape", [(3, 5, 7, 2), (2, 1, 6, 1), (2, 4, 1, 3), (1, 1, 1, 2)], ids=str)
def test_random_points(image_shape, way):
    assert_same(*both_ways(*drawn(0, image_shape, (6, 9)), way))


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("side", [2, 8])
def test_points_on_pixels_and_borders(side, way):
    assert_same(*both_ways(*drawn(side, (2, side, side, 2), (12, 12), LATTICE), way))


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
def test_corners_of_the_identity(padding_mode):
    """Aligned, the outermost points of the identity lie on the border itself, where gradients are cut off."""
    images, _, weights = drawn(1, (2, 5, 5, 1), (5, 5))
    grid = functional.affine_grid(torch.eye(2, 3).repeat(2, 1, 1), (2, 1, 5, 5), align_corners=True).numpy()
    assert_same(*both_ways(images, grid, weights, ("bilinear", padding_mode, True)))


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("way", [WAYS[0], WAYS[5], WAYS[8]], ids=str)
def test_inside_graphs_of_unknown_shape(way, compiled):
    free = [tf.TensorSpec((None, None, None, channels)) for channels in (3, 2)]
    sample = tf.function(lambda a, b: grid_sample(a, b, *way), None if compiled else free, jit_compile=compiled)
    for image_shape in [(3, 5, 7, 3), (2, 8, 4, 3)]:
        assert_same(*both_ways(*drawn(2, image_shape, (6, 5)), way, lambda a, b, *_: sample(a, b)))


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid behavior has changed:UserWarning")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(28, 28), (5, 7), (1, 4), (3, 1), (1, 1)], ids=str)
def test_affine_grid(size, align_corners):
    rng = np.random.default_rng(3)
    theta, weights = (rng.normal(size=shape).astype("float32") for shape in [(4, 2, 3), (4, *size, 2)])
    their_theta = torch.tensor(theta, requires_grad=True)
    expected = functional.affine_grid(their_theta, (4, 1, *size), align_corners)
    (expected * torch.tensor(weights)).sum().backward()
    our_theta = tf.constant(theta)
    with tf.GradientTape() as tape:
        tape.watch(our_theta)
        received = affine_grid(our_theta, size, align_corners)
    gradient = tape.gradient(received, our_theta, weights)
    assert_same([expected.detach().numpy(), their_theta.grad.numpy()], [received.numpy(), gradient.numpy()])


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
@pytest.mark.parametrize("align_corners", [False, True])
def test_gradient_of_theta(padding_mode, align_corners):
    rng = np.random.default_rng(4)
    images = rng.normal(size=(3, 9, 8, 2)).astype("float32")
    weights = rng.normal(size=(3, 6, 7, 2)).astype("float32")
    theta = (np.eye(2, 3) + 0.4 * rng.normal(size=(3, 2, 3))).astype("float32")
    their_theta = torch.tensor(theta, requires_grad=True)
    grid = functional.affine_grid(their_theta, (3, 2, 6, 7), align_corners)
    values = functional.grid_sample(channels_first(images), grid, "bilinear", padding_mode, align_corners)
    (values * channels_first(weights)).sum().backward()
    our_theta = tf.constant(theta)
    with tf.GradientTape() as tape:
        tape.watch(our_theta)
        grid = affine_grid(our_theta, (6, 7), align_corners)
        ours = grid_sample(images, grid, padding_mode=padding_mode, align_corners=align_corners)
    gradient = tape.gradient(ours, our_theta, weights)
    assert_same([channels_last(values), their_theta.grad.numpy()], [ours.numpy(), gradient.numpy()])


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
@pytest.mark.parametrize("align_corners", [False, True])
def test_every_one_of_many_points_reads_the_same_pixels(padding_mode, align_corners):
    """The gradient of the grid jumps where a point passes a pixel: one rounding too many, and some points differ."""
    rng = np.random.default_rng(7)
    grid = np.stack([rng.uniform(-2, 2, 1_000_000), np.zeros(1_000_000)], axis=-1)[None, None].astype("float32")
    images = rng.normal(size=(1, 1, 224, 1)).astype("float32")
    way = "bilinear", padding_mode, align_corners
    theirs, ours = both_ways(images, grid, np.ones((1, 1, 1_000_000, 1), "float32"), way)
    np.testing.assert_allclose(ours[2][..., 0], theirs[2][..., 0], rtol=1e-5, atol=1e-5)


def test_double_precision_is_kept():
    images, grid, weights = (array.astype("float64") for array in drawn(5, (2, 5, 7, 2), (6, 9)))
    assert_same(*both_ways(images, grid, weights, WAYS[0]), tolerance=1e-12)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_far_points(way):
    """Coordinates beyond any integer: what they read is theirs to say, but it is in the image, or zero."""
    images, _, weights = drawn(6, (1, 4, 4, 1), (2, 2))
    grid = np.array([[[[1e9, 0], [-1e9, 0]], [[0, 1e30], [0, -1e30]]]], "float32")
    theirs, ours = both_ways(images, grid, weights, way)
    if way[1] == "reflection":  # no pixel is right any more: floats this large have no neighbours
        assert np.isfinite(ours[0]).all() and np.abs(ours[0]).max() <= np.abs(images).max()
    else:
        assert_same(theirs, ours)
