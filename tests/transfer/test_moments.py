"""Sums over rows that are read in chunks, against numpy's over all of them."""

import numpy as np
import pytest

from tl_keras.errors import InputError
from tl_keras.transfer import moments


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Chunks of few rows, so that few rows are many."""
    monkeypatch.setattr(moments, "CHUNK", 64)


def rows(offset=0.0):
    """Features of different scales that are correlated, in float32, and their classes."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12)) + offset
    return mixed.astype("float32"), rng.integers(0, 3, 400)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e6])
def test_moments_are_numpys_whatever_the_means(offset):
    features, labels = rows(offset)
    found, kept = moments.gather(features, labels, 3, keep=np.array([3, 64, 399]))
    known = features.astype("float64")
    assert found[0].mean == pytest.approx(known.mean(axis=0), rel=1e-13)
    assert found[0].covariance == pytest.approx(np.cov(known.T, bias=True), rel=1e-9)
    assert found[0].factors == pytest.approx(1 / known.std(axis=0), rel=1e-9)
    assert (found[0].counts == np.bincount(labels)).all() and found[0].count == 400
    assert (found[0].lowest == known.min(axis=0)).all() and (found[0].highest == known.max(axis=0)).all()
    sums = [(known[labels == number] - found[0].origin).sum(axis=0) for number in range(3)]
    assert found[0].sums == pytest.approx(np.array(sums), abs=1e-6)
    assert (kept == features[[3, 64, 399]]).all() and kept.dtype == np.float32


def test_the_sums_of_folds_add_up():
    features, labels = rows()
    folds = np.random.default_rng(0).integers(-1, 3, 400)
    parts, _ = moments.gather(features, labels, 3, folds)
    (whole,) = moments.gather(features, labels, 3)[0].values()
    assert sorted(parts) == [-1, 0, 1, 2]
    assert [parts[fold].count for fold in parts] == [(folds == fold).sum() for fold in parts]
    assert moments.total(parts.values()).covariance == pytest.approx(whole.covariance, rel=1e-10)


def test_sums_about_other_means_are_those_of_rows_and_one_hot_classes():
    features, labels = rows(offset=30.0)
    (found,) = moments.gather(features, labels, 3)[0].values()
    mean, shares = np.linspace(20, 40, 12), np.array([0.5, 0.2, 0.3])
    away, classes = features.astype("float64") - mean, np.eye(3)[labels] - shares
    about = found.centred(mean, shares)
    assert about.squares == pytest.approx(away.T @ away, rel=1e-10)
    assert about.crossed == pytest.approx(away.T @ classes, abs=1e-7)
    assert about.length == pytest.approx((classes**2).sum(), rel=1e-12)


def test_what_does_not_vary_but_for_rounding_has_the_factor_0():
    features, labels = rows()
    features[:, 0], features[:, 1], features[::2, 2] = 1 / 3, 0, np.float32(1e6)
    features[1::2, 2] = np.nextafter(np.float32(1e6), np.float32(2e6))
    (found,) = moments.gather(features, labels, 3)[0].values()
    assert (found.factors[:3] == 0).all() and (found.factors[3:] > 0).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_wherever_it_stands(wrong):
    features, labels = rows()
    features[399, 11] = wrong
    with pytest.raises(InputError, match="features: expected finite numbers, received 1 NaN or infinite"):
        moments.gather(features, labels, 3)
