"""Heads from rows that are read are those of all rows in memory, by `probe.solve` and by scikit-learn's `Ridge`."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tl_keras.data import splits
from tl_keras.errors import InputError
from tl_keras.transfer import moments, probe, streamed


@pytest.fixture(autouse=True)
def one_thread():
    """Of each BLAS: for problems this small threads on busy cores mostly wait for each other."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def small(monkeypatch):
    """Chunks and samples of few rows, so that few rows are many."""
    monkeypatch.setattr(moments, "CHUNK", 64)
    monkeypatch.setattr(streamed, "SAMPLE", 100)


class Read:
    """Rows that note what was read of them."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.parts = []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        self.parts.append((rows.start, rows.stop))
        return self.rows[rows]


def blobs(images=400, width=12, classes=3, offset=0.0, distance=0.5, seed=0):
    """Features of different means and scales that are correlated, in float32, with classes in no order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    inside = distance * rng.normal(size=(classes, width))[labels] + rng.normal(size=(images, width))
    mixed = inside @ rng.normal(size=(width, width)) + offset + rng.normal(size=width)
    return mixed.astype("float32"), labels


def logits(head, features):
    return features.astype("float64") @ head.weights.astype("float64") + head.bias


def chances(head, features):
    return softmax(logits(head, features), axis=1)


SHAPES = [(400, 12, 3), (300, 40, 2), (250, 30, 12)]


@pytest.mark.parametrize("penalty", [1e-2, 1.0])
@pytest.mark.parametrize("images, width, classes", SHAPES)
def test_softmax_is_the_head_of_all_rows_in_memory(small, images, width, classes, penalty):
    features, labels = blobs(images, width, classes)
    head = streamed.softmax(features, labels, classes, penalties=[penalty])
    known = probe.solve(features, labels, classes, penalties=[penalty])
    assert head.weights == pytest.approx(known.weights, abs=2e-5)
    assert head.bias == pytest.approx(known.bias, abs=2e-5)
    assert chances(head, features) == pytest.approx(chances(known, features), abs=1e-5)
    assert head.weights.dtype == head.bias.dtype == np.float32 and head.penalty == penalty


def test_the_penalty_is_chosen_on_the_sample(small):
    features, labels = blobs(600)
    head = streamed.softmax(features, labels, 3, seed=2)
    rows = streamed.drawn(labels, 100, seed=2)
    chosen = probe.solve(features[rows], labels[rows], 3, seed=2)
    assert (head.penalty, head.scores) == (chosen.penalty, chosen.scores)
    known = probe.solve(features, labels, 3, penalties=[head.penalty])
    assert chances(head, features) == pytest.approx(chances(known, features), abs=1e-5)


def test_few_rows_have_the_very_answer_of_the_probe():
    features, labels = blobs()
    groups = np.arange(400) // 2
    head, known = (solve(features, labels, 3, seed=1, groups=groups) for solve in (streamed.softmax, probe.solve))
    assert (head.weights == known.weights).all() and (head.bias == known.bias).all() and head.scores == known.scores


@pytest.mark.parametrize("solve", [streamed.ridge, streamed.softmax])
def test_large_means_cost_no_digits(small, solve):
    features, labels = blobs(offset=1e4)
    plain = features - np.float32(1e4)  # exact: what is taken off is larger than what is left
    moved, known = solve(features, labels, 3), solve(plain, labels, 3)
    assert moved.penalty == known.penalty
    assert moved.weights == pytest.approx(known.weights, abs=1e-4)
    # The bias is of the order of 1e4 times the weights, and in float32.
    assert chances(moved, features) == pytest.approx(chances(known, plain), abs=2e-3)


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 10.0])
@pytest.mark.parametrize("images, width, classes", [*SHAPES, (90, 200, 3)])
def test_ridge_is_scikit_learns(small, images, width, classes, penalty):
    features, labels = blobs(images, width, classes)
    head = streamed.ridge(features, labels, classes, penalties=[penalty])
    standard = StandardScaler().fit_transform(features.astype("float64"))
    known = Ridge(alpha=1 / penalty).fit(standard, np.eye(classes)[labels]).predict(standard)
    ours = logits(head, features)
    sharpness = np.vdot(ours, known) / np.vdot(known, known)
    assert ours == pytest.approx(sharpness * known, abs=2e-4 * sharpness)
    assert head.penalty == penalty == head.scores[0].penalty


def held_out(features, labels, classes, folds, penalty):
    """Scores out of fold, by scikit-learn."""
    standard, scores = StandardScaler().fit_transform(features.astype("float64")), np.empty((len(labels), classes))
    for fold in np.unique(folds):
        rest = folds != fold
        model = Ridge(alpha=1 / penalty).fit(standard[rest], np.eye(classes)[labels[rest]])
        scores[~rest] = model.predict(standard[~rest])
    return scores


def test_squared_errors_are_those_of_a_loop_over_folds_and_the_least_is_taken(small):
    features, labels = blobs(300, 60, 3, distance=0.15)
    folds = splits.folds(labels, np.arange(300), probe.FOLDS, seed=4)
    parts, _ = moments.gather(features, labels, 3, folds)
    penalties = [1e-4, 1e-3, 1e-2, 0.1, 1.0]
    factors = moments.total(parts.values()).factors
    errors = np.zeros(5)
    for fold, held in parts.items():
        rest = moments.total(part for other, part in parts.items() if other != fold)
        errors += streamed.LeastSquares.of(rest, factors).errors(held, penalties)
    known = [((held_out(features, labels, 3, folds, each) - np.eye(3)[labels]) ** 2).sum() for each in penalties]
    assert errors == pytest.approx(known, rel=1e-9)
    best = penalties[int(np.argmin(known))]
    assert best not in (penalties[0], penalties[-1])
    assert streamed.ridge(features, labels, 3, seed=4, penalties=penalties).penalty == best


@pytest.mark.parametrize("width", [20, 400])
def test_scores_of_ridge_are_sharpened_as_suits_rows_out_of_fold(width):
    features, labels = blobs(300, width, 4)
    head = streamed.ridge(features, labels, 4, seed=1)
    folds = splits.folds(labels, np.arange(300), probe.FOLDS, seed=1)
    scores = held_out(features, labels, 4, folds, head.penalty)
    standard = StandardScaler().fit_transform(features.astype("float64"))
    whole = Ridge(alpha=1 / head.penalty).fit(standard, np.eye(4)[labels]).predict(standard)
    sharpness = np.vdot(logits(head, features), whole) / np.vdot(whole, whole)
    losses = {factor: log_loss(labels, softmax(factor * sharpness * scores, axis=1)) for factor in (0.95, 1.0, 1.05)}
    assert min(losses, key=losses.get) == 1.0
    (score,) = head.scores
    assert score.log_loss == pytest.approx(losses[1.0], abs=1e-6)
    assert score.accuracy == (scores.argmax(axis=1) == labels).mean()


def test_ridge_reads_every_row_once_and_in_chunks(small):
    rows, labels = blobs(300)
    features = Read(rows)
    streamed.ridge(features, labels, 3)
    assert features.parts == [(0, 64), (64, 128), (128, 192), (192, 256), (256, 300)]


def test_every_step_of_softmax_reads_all_rows_in_chunks(small):
    rows, labels = blobs(300)
    features = Read(rows)
    streamed.softmax(features, labels, 3)
    once = [(0, 64), (64, 128), (128, 192), (192, 256), (256, 300)]
    assert features.parts == once * (len(features.parts) // 5) and len(features.parts) < 5 * 60


@pytest.mark.parametrize("solve", [streamed.ridge, streamed.softmax])
@pytest.mark.parametrize("constant", [0.0, 1 / 3, -1e6])
def test_a_constant_feature_gets_no_weight(small, solve, constant):
    features, labels = blobs()
    padded = np.insert(features, 2, np.float32(constant), axis=1)
    head, without = solve(padded, labels, 3, penalties=[0.1]), solve(features, labels, 3, penalties=[0.1])
    assert (head.weights[2] == 0).all()
    assert logits(head, padded) == pytest.approx(logits(without, features), abs=1e-4)


@pytest.mark.parametrize("solve", [streamed.ridge, streamed.softmax])
def test_features_repeated_share_the_weight(small, solve):
    features, labels = blobs(width=6)
    twice = solve(np.hstack([features, features]), labels, 3, penalties=[0.5])
    once = solve(features, labels, 3, penalties=[1.0])  # two weights of half the size are penalised half as much
    assert twice.weights[:6] == pytest.approx(twice.weights[6:], abs=1e-5)
    both = [logits(head, rows) for head, rows in ((twice, np.hstack([features, features])), (once, features))]
    if solve is streamed.ridge:
        assert both[0] / both[0].std() == pytest.approx(both[1] / both[1].std(), abs=1e-3)
    else:
        assert both[0] == pytest.approx(both[1], abs=1e-4)


@pytest.mark.parametrize("solve", [streamed.ridge, streamed.softmax])
def test_more_features_than_rows_are_no_trouble(small, solve):
    features, labels = blobs(150, 300, 3, distance=2.0)
    head = solve(features, labels, 3)
    assert (logits(head, features).argmax(axis=1) == labels).mean() > 0.95
    new, truth = blobs(150, 300, 3, distance=2.0)
    assert np.isfinite(head.weights).all() and (logits(head, new).argmax(axis=1) == truth).mean() > 0.95


@pytest.mark.parametrize("solve", [streamed.ridge, streamed.softmax])
def test_the_same_rows_give_the_same_bits(small, solve):
    features, labels = blobs()
    first, again, other = (solve(features, labels, 3, seed=seed) for seed in (1, 1, 2))
    assert (first.weights == again.weights).all() and (first.bias == again.bias).all()
    assert first.scores == again.scores != other.scores


def test_a_class_with_one_image_stays_in_training(small):
    features, labels = blobs()
    features, labels = np.vstack([features, features.max(axis=0) + 50]), np.append(labels, 3)
    head = streamed.ridge(features, labels, 4)
    assert logits(head, features[-1:]).argmax() == 3 and np.isfinite(head.scores[0].log_loss)
    alone = streamed.ridge(features[:1] + np.eye(5, 12, dtype="float32"), np.arange(5), 5)
    assert alone.scores == () and np.isfinite(alone.weights).all()


def test_drawn_rows_have_every_class_in_proportion():
    labels = np.repeat([0, 1, 2, 3], [600, 300, 99, 1])
    rows = streamed.drawn(labels, 100, seed=0)
    assert len(np.unique(rows)) == 100 and (np.diff(rows) > 0).all()
    assert np.abs(np.bincount(labels[rows]) - [60, 30, 10, 1]).max() <= 1
    assert (streamed.drawn(labels, 5000, seed=0) == np.arange(1000)).all()


FEATURES, LABELS = blobs(120)


@pytest.mark.parametrize("solve", [streamed.ridge, streamed.softmax])
@pytest.mark.parametrize(
    "given, message",
    [
        ({"features": FEATURES[0]}, r"features and labels: expected shapes \(N, D\) and \(N,\), received \(12,\)"),
        ({"labels": LABELS[:5]}, r"expected shapes .* received \(120, 12\) and \(5,\); give one row"),
        ({"features": np.where(FEATURES > 5, np.nan, FEATURES)}, "features: expected finite numbers, received .* NaN"),
        ({"features": np.where(FEATURES > 5, -np.inf, FEATURES)}, "features: expected finite numbers, received .* NaN"),
        ({"features": np.ones((120, 6))}, "features: expected values that differ between images"),
        ({"labels": np.zeros(120, int), "classes": 1}, "labels: expected at least 2 classes, received 1"),
        ({"labels": LABELS + 1}, "labels: expected integers from 0 to 2, received int64 from 1 to 3; number"),
        ({"labels": LABELS + 0.5}, "labels: expected integers from 0 to 2, received float64 from 0.5 to 2.5"),
        ({"classes": 4}, "labels: expected images of all 4 classes, received none of class 3; add"),
        ({"penalties": [1.0, 0.0]}, r"penalties: expected finite numbers above 0, received \[1.0, 0.0\]"),
        ({"groups": np.arange(11)}, r"groups: expected shape \(120,\), received \(11,\); give the group of each row"),
        ({"features": np.ones((120, 8193))}, "features: expected at most 8,192 of an image, .*, received 8,193; pool"),
    ],
)
def test_bad_input_is_explained_on_one_line(small, solve, given, message):
    arguments = {"features": FEATURES, "labels": LABELS, "classes": 3} | given
    with pytest.raises(InputError, match=message) as failure:
        solve(**arguments)
    assert "\n" not in str(failure.value)
