"""Deformations taken apart and measured: against matrices worked by hand and transformers of known skill."""

import keras
import numpy as np
import pytest
from scipy import ndimage, stats

from experiments.stn import affine, deformations
from experiments.stn.affine import PARTS
from experiments.stn.deformations import DEFORMATIONS, Deformation, Response
from tests.conftest import made_up_split
from tl_keras.errors import InputError
from tl_keras.models import cnn

ALL = pytest.mark.parametrize("applied", DEFORMATIONS, ids=lambda applied: applied.name)


def some_parts(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.uniform(-180, 180, count),
            rng.uniform(0.2, 3, count),
            rng.uniform(-3, 3, count),
            rng.normal(size=(count, 3)),
        ]
    )


# ------------------------------------------------------------------------------------------ theta taken apart


@pytest.mark.parametrize(
    "theta, parts",
    [
        ([[1, 0, 0], [0, 1, 0]], (0, 1, 1, 0, 0, 0)),
        ([[0, -1, 0], [1, 0, 0]], (90, 1, 1, 0, 0, 0)),
        ([[2, 0, 0.5], [0, 4, -0.25]], (0, 2, 4, 0, 0.5, -0.25)),
        ([[1, 0.5, 0], [0, 1, 0]], (0, 1, 1, 0.5, 0, 0)),
        ([[2, 2, 0], [0, 4, 0]], (0, 2, 4, 0.5, 0, 0)),  # R = I; k s_y = 2
        ([[0, -4, 0], [2, 2, 0]], (90, 2, 4, 0.5, 0, 0)),  # the same, turned
        ([[1, 0, 0], [0, -1, 0]], (0, 1, -1, 0, 0, 0)),  # upside down
        ([[-1, 0, 0], [0, -1, 0]], (180, 1, 1, 0, 0, 0)),
    ],
)
def test_parts_worked_by_hand(theta, parts):
    np.testing.assert_allclose(affine.decompose([theta])[0], parts, atol=1e-12)
    np.testing.assert_allclose(affine.compose([parts])[0], theta, atol=1e-12)


def test_parts_and_maps_are_each_others_inverse():
    parts = some_parts(200)
    np.testing.assert_allclose(affine.decompose(affine.compose(parts)), parts, rtol=1e-9, atol=1e-9)
    maps = np.random.default_rng(1).normal(size=(200, 2, 3))
    np.testing.assert_allclose(affine.compose(affine.decompose(maps)), maps, rtol=1e-9, atol=1e-9)


def test_a_chain_applies_the_inner_map_first_and_the_inverse_takes_it_back():
    outer, inner, points = *(affine.compose(some_parts(9, seed)) for seed in (1, 2)), np.random.rand(9, 2, 5)

    def moved(maps, points):
        return maps[:, :, :2] @ points + maps[:, :, 2:]

    chained = affine.chain(outer, inner)
    np.testing.assert_allclose(moved(chained, points), moved(outer, moved(inner, points)))
    np.testing.assert_allclose(moved(affine.inverse(outer), moved(outer, points)), points)


@pytest.mark.parametrize(
    "call, value, said",
    [
        ("decompose", np.zeros((3, 2)), r"theta: expected shape \(N, 2, 3\), received \(3, 2\)"),
        ("decompose", np.full((1, 2, 3), np.nan), "theta: expected finite numbers, received 6 NaN or infinite values"),
        ("decompose", np.zeros((2, 2, 3)), "theta: expected maps of the plane onto itself, received 2 onto a line"),
        ("inverse", np.ones((1, 2, 3)), "theta: expected maps of the plane onto itself, received 1 onto a line"),
    ],
)
def test_refusals(call, value, said):
    with pytest.raises(InputError, match=said):
        getattr(affine, call)(value)


# --------------------------------------------------------------------------------------------------- images


def blobs(count, side=48, seed=0, angles=(0.35, 0.65)):
    """Smooth longish spots, each with its place, size and slant: their moments tell how they were deformed."""
    rng = np.random.default_rng(seed)
    axis = (np.arange(side) + 0.5) * 2 / side - 1
    points = np.stack(np.meshgrid(axis, axis), axis=-1)
    images = []
    for angle, place in zip(rng.uniform(*angles, count), rng.uniform(-0.05, 0.05, (count, 2)), strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        covariance = turn @ np.diag([0.12, 0.05]) ** 2 @ turn.T
        apart = points - place
        images.append(255 * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", apart, np.linalg.inv(covariance), apart)))
    return np.array(images)[..., None]


def test_images_are_read_where_the_map_points():
    images = blobs(3)
    theta = affine.compose([(25, 1.3, 0.8, 0.2, 0.1, -0.05)])[0]
    side = images.shape[1]
    swap = np.array([[0, 1], [1, 0]])  # scipy's coordinates are row, column, in pixels from the first one's centre
    matrix = swap @ theta[:, :2] @ swap
    middle = (side - 1) / 2
    offset = middle + side / 2 * theta[::-1, 2] - matrix @ [middle, middle]
    expected = [ndimage.affine_transform(image[..., 0], matrix, offset, order=1) for image in images]
    np.testing.assert_allclose(affine.deform(images, theta)[..., 0], expected, atol=1e-2)


def test_each_image_has_its_own_map_however_many_there_are():
    images = np.repeat(blobs(3), 200, axis=0).astype("uint8")
    maps = affine.compose(np.tile([(0, 1, 1, 0, 0.25, 0), (0, 1, 1, 0, -0.25, 0)], (300, 1)))
    made = affine.deform(images, maps)
    assert made.shape == images.shape and made.dtype == "float32"
    np.testing.assert_allclose(made[-2, :, :-6], images[-2, :, 6:], atol=1e-3)
    np.testing.assert_allclose(made[-1, :, 6:], images[-1, :, :-6], atol=1e-3)


# ----------------------------------------------------------------------------------------------- what is undone


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2)


class Normaliser:
    """A transformer with a skill: it brings the spot in an image to one place, size and slant, or part of the way."""

    def __init__(self, part, share):
        self.part, self.share = part, share

    def __call__(self, images):
        side = images.shape[1]
        axis = (np.arange(side) + 0.5) * 2 / side - 1
        weights = images[..., 0] / images[..., 0].sum(axis=(1, 2), keepdims=True)
        place = np.stack([(weights * axis).sum(axis=(1, 2)), (weights * axis[:, None]).sum(axis=(1, 2))], axis=1)
        apart = [axis - place[:, 0, None, None], axis[:, None] - place[:, 1, None, None]]
        second = np.array([[(weights * a * b).sum(axis=(1, 2)) for a in apart] for b in apart]).transpose(2, 0, 1)
        parts = np.tile(affine.IDENTITY, (len(images), 1))
        if self.part == "rotation":
            parts[:, 0] = np.degrees(0.5 * np.arctan2(2 * second[:, 0, 1], second[:, 0, 0] - second[:, 1, 1]))
            parts[:, 0] *= self.share
        elif self.part == "scale":
            parts[:, 1:3] = (np.linalg.det(second) ** 0.25 / 0.08)[:, None] ** self.share
        elif self.part == "shear":
            parts[:, 3] = second[:, 0, 1] / second[:, 1, 1] * self.share
        else:
            parts[:, 4:] = place * self.share
        return affine.compose(parts)


@ALL
@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_the_slope_is_the_share_that_a_transformer_undoes(applied, share):
    part = applied.name.split()[0]
    skilled = Normaliser(part, share)
    found = deformations.undone(skilled, blobs(12), small(applied))
    assert found.slope.mean == pytest.approx(share, abs=0.02)
    assert found.slope.low <= found.slope.mean <= found.slope.high and found.slope.n == 12
    assert found.slope.high - found.slope.low < 0.05


def small(applied):
    """The deformation within what the spots stand without leaving their image, or turning past their axis."""
    amounts = {"rotation": (-30.0, 0.0, 30.0), "scale": (0.8, 1.0, 1.25)}
    return Deformation(applied.name, applied.parts, amounts.get(applied.name, (-0.3, 0.0, 0.3)))


@ALL
def test_what_a_transformer_always_does_is_no_response(applied):
    constant = affine.compose([(40, 0.7, 1.4, -0.3, 0.2, 0.1)])
    found = deformations.undone(lambda images: np.repeat(constant, len(images), axis=0), blobs(3), applied)
    np.testing.assert_allclose(found.undone, 0, atol=1e-9)


@ALL
def test_a_habit_beside_the_response_changes_no_slope(applied):
    """The perfect transformer of an image also turns and zooms it: what counts is what differs when it is deformed."""
    perfect, habit = Normaliser(applied.name.split()[0], 1.0), affine.compose([(20, 0.8, 0.9, 0.1, 0.1, -0.1)])
    found = deformations.undone(lambda images: affine.chain(perfect(images), habit), blobs(6), small(applied))
    assert found.slope.mean == pytest.approx(1, abs=0.02)


def test_the_slope_is_the_regression_over_all_images_and_its_interval_over_images():
    rng = np.random.default_rng(0)
    shear = Deformation("shear", ("shear",), (-2.0, -1.0, 0.5, 2.0))
    applied, skill = np.array(shear.amounts), rng.normal(0.6, 0.2, 30)
    found = Response(shear, applied[:, None] * skill + rng.normal(0, 0.1, (4, 30)), None)
    pooled = stats.linregress(np.repeat(applied, 30), found.undone.ravel()).slope
    assert found.slope.mean == pytest.approx(pooled)
    slopes = [stats.linregress(applied, values).slope for values in found.undone.T]
    expected = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    assert (found.slope.low, found.slope.high) == pytest.approx((expected.low, expected.high))
    assert found.curve().shape == (4, 3) and np.allclose(found.curve()[:, 0], found.undone.mean(axis=1))


def test_displacement_is_the_distance_of_points():
    points = np.random.default_rng(0).uniform(-1, 1, (2, 400_000))
    maps = affine.compose(some_parts(5))
    moved = maps[:, :, :2] @ points + maps[:, :, 2:] - points
    expected = np.sqrt((moved**2).sum(axis=1).mean(axis=1))
    np.testing.assert_allclose(affine.displacement(maps), expected, rtol=5e-3)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_the_displacement_that_is_taken_back(share):
    shifts = Deformation("shift x", ("shift_x",), (-0.3, 0.0, 0.3))
    found = deformations.undone(Normaliser("shift", share), blobs(6), shifts).displacement
    assert found.mean == pytest.approx(share, abs=0.02) and found.n == 6


def test_a_rotation_answered_by_a_shear_is_not_undone_but_eased():
    class Straightener(Normaliser):
        def __call__(self, images):
            rotation = affine.decompose(super().__call__(images))[:, 0]
            parts = np.tile(affine.IDENTITY, (len(images), 1))
            parts[:, 3] = -np.tan(np.radians(rotation))
            return affine.compose(parts)

    found = deformations.undone(Straightener("rotation", 1.0), blobs(8, angles=(-0.02, 0.02)), small(DEFORMATIONS[0]))
    assert found.slope.mean == pytest.approx(0, abs=0.02)
    # [[c - 1, -s], [s, c - 1]] becomes [[c - 1, 0], [s, 1 / c - 1]].
    cos, sin = np.cos(np.pi / 6), 0.5
    expected = 1 - np.sqrt(((cos - 1) ** 2 + sin**2 + (1 / cos - 1) ** 2) / (2 * (cos - 1) ** 2 + 2 * sin**2))
    assert found.displacement.mean == pytest.approx(expected, abs=0.02)


def test_scales_are_measured_in_octaves():
    zoom = Deformation("zoom", ("scale_x", "scale_y"), (1.0, 4.0))
    np.testing.assert_allclose(zoom.theta(4.0), [[4, 0, 0], [0, 4, 0]])
    assert zoom.size(zoom.theta(4.0)[None]).item() == pytest.approx(2)
    found = deformations.undone(Normaliser("scale", 1.0), np.repeat(blobs(2, 96), 2, axis=0), zoom)
    assert zoom.applied.tolist() == [0, 2] and found.slope.mean == pytest.approx(1, abs=0.05)


def test_one_image_gives_no_interval():
    with pytest.raises(InputError, match="images: expected two at least, received 1"):
        deformations.undone(Normaliser("scale", 1.0), blobs(1), DEFORMATIONS[0])


# ------------------------------------------------------------------------------------------------- accuracy


def test_what_is_recognised_is_counted_on_the_deformed_images():
    split = made_up_split(30)
    keras.utils.set_random_seed(1)
    model = cnn.build(2, (16, 16, 3), filters=(4, 4, 4, 4), units=8)
    kept, gone = deformations.recognised(model, split, Deformation("shift x", ("shift_x",), (0.0, 2.0)))
    assert kept == (model.predict(split.images, verbose=0).argmax(axis=1) == split.labels).sum()
    black = model.predict(np.zeros((1, 16, 16, 3)), verbose=0).argmax()
    assert gone == (split.labels == black).sum()


def test_the_parts_are_named_in_order():
    for number, name in enumerate(PARTS):
        parts = np.array(affine.IDENTITY)
        parts[number] = 1.5
        assert Deformation(name, (name,), (0.0, 1.5)).theta(1.5) == pytest.approx(affine.compose([parts])[0])
