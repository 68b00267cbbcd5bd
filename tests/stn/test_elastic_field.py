"""What affine maps and transformers leave of elastic fields: against numpy's least squares, and against pixels."""

import elasticdeform
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from experiments.stn import affine, elastic_field
from experiments.stn.elastic_field import best_affine, measure, remaining
from tl_keras.data.deform import Elastic, field
from tl_keras.errors import InputError

STAYS = np.eye(2, 3)


def fields(count=12, size=(28, 28), seed=0):
    return np.stack([field(Elastic(seed=seed).displacement(index, size), size) for index in range(count)])


def maps(count=12, spread=0.2, seed=0):
    return STAYS + np.random.default_rng(seed).normal(size=(count, 2, 3)) * spread


def field_of(theta, size):
    """The field that moves every pixel as `theta` does."""
    return -remaining(np.zeros((len(theta), *size, 2)), theta)


@pytest.mark.parametrize("size", [(28, 28), (9, 20)])
def test_the_best_affine_map_is_that_of_numpy(size):
    rng, moved = np.random.default_rng(1), fields(5, size)
    weights = rng.random((5, *size))
    rows, columns = np.indices(size)
    for found, each, weight in zip(best_affine(moved, weights), moved, weights, strict=True):
        root = np.sqrt(weight.ravel())[:, None]
        pixels = np.stack([rows.ravel(), columns.ravel(), np.ones(rows.size)], axis=1)
        target = pixels[:, :2] + each.reshape(-1, 2)
        solution, *_ = np.linalg.lstsq(pixels * root, target * root)
        fitted = (pixels @ solution - target).reshape(*size, 2)
        np.testing.assert_allclose(-remaining(each[None], found[None])[0], fitted, atol=1e-9)


def test_by_hand():
    # Two pixels apart by one: the left one moves down by 1, the right one up by 1.
    moved = np.array([[[[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]]])
    tilted = np.array([[[1.0, 0.0, 0.0], [-2.0, 1.0, 0.0]]])  # y - 2x: at x = -1/2 by 1 half of the height, a pixel
    np.testing.assert_allclose(best_affine(moved), tilted, atol=1e-12)
    np.testing.assert_allclose(remaining(moved, tilted), 0, atol=1e-12)
    found = measure(np.stack([STAYS] * 3), np.stack([STAYS] * 3), np.repeat(moved, 3, 0) * [3.0, 1.0])
    np.testing.assert_allclose(found.before, 3)
    np.testing.assert_allclose(found.left, 3)
    assert found.undone.mean == 0 and found.possible.mean == pytest.approx(1)


def test_a_transformer_that_undoes_an_affine_field_leaves_nothing():
    wanted, at_first = maps(), maps(seed=1)
    # G = theta_0 theta^-1 is `wanted` where theta is wanted^-1 theta_0.
    answer = affine.chain(affine.inverse(wanted), at_first)
    found = measure(at_first, answer, field_of(wanted, (28, 20)))
    np.testing.assert_allclose(found.wanted, wanted, atol=1e-9)
    np.testing.assert_allclose(found.done, wanted, atol=1e-9)
    assert found.before.min() > 1 and max(found.left.max(), found.best.max()) < 1e-9
    assert found.possible.mean == pytest.approx(1) and found.undone.mean == pytest.approx(1)
    for part in affine.PARTS:
        assert found.slope(part).mean == pytest.approx(1)


def test_a_transformer_that_does_the_same_to_both_undoes_nothing():
    found = measure(maps(), maps(), fields())
    np.testing.assert_allclose(found.left, found.before, rtol=1e-9)
    assert found.undone.mean == pytest.approx(0, abs=1e-9)
    assert all(abs(found.slope(part).mean) < 1e-9 for part in affine.PARTS)


def test_nothing_leaves_less_than_the_best_affine_map():
    weights = np.random.default_rng(2).random((12, 28, 28)) ** 4
    for seed in range(5):
        found = measure(maps(seed=seed), maps(seed=seed + 50), fields(seed=seed), weights)
        assert (found.best <= found.before).all() and (found.best <= found.left).all()
        assert (found.best > 0.1).all(), "an elastic field is not affine"
    assert found.undone.mean < 0 < found.possible.mean < 1


def test_the_pixels_agree():
    """An elastic copy shown through the inverse of the best affine map is nearer to the image, as far as foretold."""
    image = np.zeros((28, 28))
    image[8:20, 10:12] = image[8:10, 10:20] = 1
    image = gaussian_filter(image, 1)
    moved = fields(40)
    places = np.moveaxis(moved, -1, 1) + np.indices((28, 28))
    elastic = np.stack([map_coordinates(image, place, order=1) for place in places])[..., None]
    wanted = best_affine(moved, elastic[..., 0])
    straightened = affine.deform(elastic, affine.inverse(wanted))
    away = affine.deform(elastic, wanted)
    errors = [((images[..., 0] - image) ** 2).mean(axis=(1, 2)) for images in (straightened, elastic, away)]
    assert np.mean(errors[0]) < 0.4 * np.mean(errors[1]) < 0.4 * np.mean(errors[2])
    found = measure(np.stack([STAYS] * 40), affine.inverse(wanted), moved, elastic[..., 0])
    np.testing.assert_allclose(found.left, found.best, rtol=1e-6)


def test_weights_say_where_it_counts():
    moved, weights = fields(4), np.zeros((4, 28, 28))
    weights[:, 10:14, 10:14] = 1
    everywhere, inside = (measure(maps(4, 0), maps(4, 0), moved, each) for each in (None, weights))
    assert (inside.best < 0.3 * everywhere.best).all(), "a small window of a smooth field is nearly affine"
    window = moved[:, 10:14, 10:14]
    np.testing.assert_allclose(inside.before, np.sqrt((window**2).sum(-1).mean((1, 2))))


def test_the_intervals_hold_the_truth():
    rng, truths = np.random.default_rng(0), []
    for _ in range(60):
        before = rng.gamma(4, size=80)
        left = before * np.sqrt(rng.uniform(0.2, 0.8, 80))  # half of the mean square goes, on average
        found = elastic_field.Residuals(before, left, left, maps(80), maps(80)).undone
        truths.append(found.low < 0.5 < found.high)
    assert np.mean(truths) > 0.85


def test_a_network_that_ended_in_nothing_is_named():
    with pytest.raises(InputError, match="theta: expected finite numbers"):
        measure(maps(3), np.full((3, 2, 3), np.nan), fields(3))


# ------------------------------------------------------------------------------------------- the zoom-out


@pytest.mark.parametrize("side, factor", [(28, 4), (28, 2), (9, 3)])
def test_the_field_of_the_zoom_is_what_the_zoom_reads(side, factor):
    image = gaussian_filter(np.random.default_rng(0).random((side, side)), side / 12)
    places = np.moveaxis(elastic_field.zoom_field(factor, (side, side)), -1, 0) + np.indices((side, side))
    zoomed = elasticdeform.deform_grid(image, np.zeros((2, 3, 3)), order=1, zoom=1 / factor)
    np.testing.assert_allclose(map_coordinates(image, places, order=1), zoomed, atol=1e-9)


@pytest.mark.parametrize("magnified, share, left", [(1, 0, 1), (2, 0.5, 2 / 3), (4, 1, 0), (0.5, -0.5, 3.5 / 3)])
def test_what_a_transformer_undoes_of_a_zoom(magnified, share, left):
    at_first = maps(5, spread=0.05)
    # A window `magnified` times as small shows the zoomed-out image so many times larger.
    answer = affine.chain(np.array([[[1 / magnified, 0, 0], [0, 1 / magnified, 0]]]), at_first)
    np.testing.assert_allclose(elastic_field.scale_undone(at_first, answer, 4), share, atol=1e-9)
    zoom = np.broadcast_to(elastic_field.zoom_field(4, (28, 28)), (5, 28, 28, 2))
    found = measure(at_first, answer, zoom)
    # Pixel p of the zoomed-out image is 4 p of the image and would be taken for `magnified` p.
    np.testing.assert_allclose(found.left / found.before, left, atol=1e-9)
    np.testing.assert_allclose(found.best, 0, atol=1e-9)


def test_the_spread_is_the_deviation_of_where_pixels_go():
    theta, size = maps(30, spread=0.1), (28, 20)
    rows, columns = np.indices(size).reshape(2, -1)
    points = np.stack([(2 * columns + 1) / 20 - 1, (2 * rows + 1) / 28 - 1, np.ones(rows.size)])
    put = (theta @ points) * np.array([[10], [14]])
    expected = np.sqrt(((put - put.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert elastic_field.spread(theta, size) == pytest.approx(expected)
    assert elastic_field.spread(theta[:1].repeat(4, 0), size) < 1e-12


def test_centring_undoes_a_shift_and_nothing_else():
    ink = np.zeros((4, 28, 28))
    ink[:, 10:15, 8:13] = np.random.default_rng(0).uniform(0.5, 1, (4, 5, 5))
    moved = np.roll(ink, (2, -3), axis=(1, 2))  # what was at p is at p + (2, -3) now: read at p - (2, -3)
    field = np.broadcast_to(np.array([-2.0, 3.0]), (4, 28, 28, 2))
    found = elastic_field.measure(*map(elastic_field.centring, (ink, moved)), field, moved)
    assert found.undone.mean == pytest.approx(1)
    turned = np.rot90(ink, axes=(1, 2))
    maps = elastic_field.centring(turned)
    np.testing.assert_allclose(maps[:, :, :2], np.tile(np.eye(2), (4, 1, 1)))
    rows, columns = np.indices((28, 28))
    for image, shift in zip(turned, maps[:, :, 2], strict=True):
        expected = [(each * image).sum() / image.sum() for each in (columns, rows)]
        np.testing.assert_allclose((shift + 1) * 14 - 0.5, expected)
