"""What a record keeps of features: those of its network, of few images, in few numbers."""

import keras
import numpy as np
import pytest

from tests.conftest import made_up_split
from tests.study.test_runner import out, small  # noqa: F401, a fixture
from tl_keras import records
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.study import projection, runner
from tl_keras.transfer import strategies


def distances(rows):
    return np.linalg.norm(rows[:, None] - rows[None], axis=2)


@pytest.mark.parametrize("strategy", ["scratch", "last_layer", "probe"])
def test_a_record_keeps_what_the_last_layer_reads(out, strategy):  # noqa: F811
    runner.run_one(small(strategy=strategies.find(strategy)), out)
    record = records.read(out, "A")
    images = small().images.load(View((16, 16))).test.images
    model = keras.models.load_model(out.model("A"))
    reads = keras.Model(model.input, last(model).input)
    expected = reads.predict(images, verbose=0)
    rows = record.arrays["projector.rows"]
    assert len(rows) == len(set(rows)) == min(len(images), projection.DRAWN)
    # As many components as images keep all distances.
    assert len(rows) <= projection.WIDEST and record.measured["projector"] == {
        "width": expected.shape[1],
        "variance": 1.0,
    }
    np.testing.assert_allclose(
        distances(record.arrays["projector.features"]), distances(expected[rows]), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(record.arrays["projector.images"], images[rows])


def last(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-1]


def test_principal_components_are_those_of_the_covariance():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(300, 90)) * np.geomspace(10, 0.01, 90)).astype("float32")
    kept, share = projection.reduced(features)
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    np.testing.assert_allclose(np.var(kept, axis=0, ddof=1), values[: projection.WIDEST], rtol=1e-3)
    assert kept.dtype == "float32" and share == pytest.approx(values[: projection.WIDEST].sum() / values.sum())
    np.testing.assert_allclose(np.corrcoef(kept[:, :20].T), np.eye(20), atol=1e-3)


def test_narrow_features_stay_as_they_are():
    features = np.random.default_rng(0).normal(size=(5, projection.WIDEST)).astype("float32")
    kept, share = projection.reduced(features)
    np.testing.assert_array_equal(kept, features)
    assert share == 1


def test_equal_features_have_no_components_to_choose_from():
    kept, share = projection.reduced(np.ones((4, 80), "float32"))
    assert share == 1 and not kept.any()


def test_of_many_large_images_few_small_ones_are_kept():
    test = made_up_split(620, side=40)
    measured, arrays = projection.of(test, lambda split, rows: split.labels[rows, None].astype("float32"))
    rows = arrays["projector.rows"]
    assert len(rows) == projection.DRAWN and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(arrays["projector.features"][:, 0], test.labels[rows])
    assert arrays["projector.images"].shape == (projection.DRAWN, projection.SIDE, projection.SIDE, 3)
    means = [arrays["projector.images"].mean(axis=(1, 2, 3)), test.images[rows].mean(axis=(1, 2, 3))]
    np.testing.assert_allclose(*means, atol=2)
    assert measured == {"projector": {"width": 1, "variance": 1.0}}


def test_a_network_without_a_dense_last_layer_leaves_none(split):
    def refusing(split, rows):
        raise InputError("expected a dense last layer, received another")

    assert projection.of(split, refusing) == ({}, {})


def test_a_diverged_network_leaves_none(split):
    assert projection.of(split, lambda _, rows: np.full((len(rows), 70), np.nan)) == ({}, {})
