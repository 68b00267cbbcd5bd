"""Numbers class by class, against scikit-learn's own and against numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from tl_keras.errors import InputError
from tl_keras.evaluation.classification import balance, calibration, class_report, confusions, roc
from tl_keras.records import Predictions


def of(labels, probabilities):
    labels = np.asarray(labels)
    return Predictions(np.arange(len(labels)), labels, np.asarray(probabilities, "float32"))


def answering(labels, answers, classes, sure=0.9):
    """Predictions that give each image its answer."""
    rest = (1 - sure) / (classes - 1)
    return of(labels, np.where(np.arange(classes) == np.asarray(answers)[:, None], sure, rest))


def drawn(classes, images, seed=0, strength=1.5):
    """As of a network that is often right: every class has images."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    scores = rng.normal(size=(images, classes))
    scores[np.arange(images), labels] += strength
    shares = np.exp(scores)
    return of(labels, shares / shares.sum(axis=1, keepdims=True))


def names(classes):
    return [f"class {number}" for number in range(classes)]


@pytest.mark.parametrize("classes", [2, 5, 59])
def test_the_report_is_scikit_learns(classes):
    predicted = drawn(classes, 400)
    report = class_report(predicted, names(classes))
    expected = metrics.classification_report(
        predicted.labels, predicted.classes, target_names=names(classes), output_dict=True, zero_division=0
    )
    rows = {each.name: each for each in report.classes}
    rows |= {"macro avg": report.macro, "weighted avg": report.weighted}
    assert set(rows) | {"accuracy"} == set(expected)
    for name, row in rows.items():
        numbers = [expected[name][key] for key in ("precision", "recall", "f1-score", "support")]
        assert list(row[1:]) == pytest.approx(numbers)
    assert report.accuracy == pytest.approx(expected["accuracy"])


def test_classes_are_sorted_by_f1_and_those_without_images_left_out():
    predicted = answering([0, 0, 1, 1, 3], [0, 3, 1, 1, 3], 5)
    report = class_report(predicted, names(5))
    assert report.classes[2] == ("class 2", None, None, None, 0)
    assert [each.name for each in report.by_f1] == ["class 0", "class 3", "class 1"], "0.67, 0.67, 1"
    assert report.macro.recall == pytest.approx((0.5 + 1 + 1) / 3), "over three classes, not five"
    assert report.weighted.recall == pytest.approx(report.accuracy) == pytest.approx(0.8)


def test_a_class_that_was_never_recognised_has_zeros():
    report = class_report(answering([0, 1], [0, 0], 2), names(2))
    assert report.classes[1] == ("class 1", 0.0, 0.0, 0.0, 1)


@pytest.mark.parametrize("classes", [3, 10, 59])
def test_areas_are_scikit_learns(classes):
    predicted = drawn(classes, 500)
    found = roc(predicted, names(classes))
    probabilities = predicted.probabilities.astype("float64")
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    by_class, macro, micro = (
        metrics.roc_auc_score(predicted.labels, probabilities, multi_class="ovr", average=average)
        for average in (None, "macro", "micro")
    )
    assert [curve.auc for curve in found.classes] == pytest.approx(by_class)
    assert found.macro.auc == pytest.approx(macro) == pytest.approx(np.mean(by_class))
    assert found.micro.auc == pytest.approx(micro, abs=1e-6)
    assert [curve.name for curve in found.by_auc] == [f"class {number}" for number in np.argsort(by_class)]


def test_the_mean_curve_by_hand():
    # Of class 0 the images score .9 and .4, the others .5 and .1: up to 1/2 at once, to 1 where half the others came.
    # Classes 1 and 2 come first of all, so their curves jump to 1 at once.
    predicted = of([0, 0, 1, 2], [[0.9, 0.05, 0.05], [0.4, 0.3, 0.3], [0.5, 0.5, 0], [0.1, 0.1, 0.8]])
    found = roc(predicted, names(3))
    assert [curve.auc for curve in found.classes] == pytest.approx([0.75, 1, 1])
    assert found.macro.false_positives.tolist() == pytest.approx([0, 0, 0.5, 0.5, 1, 1])
    assert found.macro.true_positives.tolist() == pytest.approx([0, 5 / 6, 5 / 6, 1, 1, 1])
    assert found.macro.auc == pytest.approx(11 / 12)


def test_two_classes_have_one_area():
    predicted = drawn(2, 80)
    found = roc(predicted, names(2))
    area = metrics.roc_auc_score(predicted.labels, predicted.probabilities[:, 1])
    assert [curve.auc for curve in (*found.classes, found.macro)] == pytest.approx([area] * 3)


def test_classes_without_images_have_no_curve():
    found = roc(drawn(3, 60), names(3))
    wider = of(drawn(3, 60).labels, np.pad(drawn(3, 60).probabilities, ((0, 0), (0, 2))))
    padded = roc(wider, names(5))
    assert [curve.name for curve in padded.classes] == names(3)
    assert padded.macro.auc == pytest.approx(found.macro.auc)


def test_equal_probabilities_tell_nothing_apart():
    predicted = of([0, 1, 2, 2], np.full((4, 3), 1 / 3))
    found = roc(predicted, names(3))
    assert [curve.auc for curve in (*found.classes, found.micro, found.macro)] == [0.5] * 5
    assert calibration(predicted).ece == pytest.approx(abs(1 / 4 - 1 / 3)), "class 0 is always the answer"


def test_images_of_one_class_have_no_curves_but_all_else():
    predicted = answering([1, 1, 1], [1, 1, 0], 2)
    assert roc(predicted, names(2)) is None
    assert class_report(predicted, names(2)).macro.recall == pytest.approx(2 / 3)
    assert calibration(predicted).counts.sum() == 3
    assert confusions(predicted, names(2)) == [("class 1", "class 0", 1, 1 / 3, 1)]
    assert balance(predicted).empty == 1


def test_all_right():
    predicted = answering([0, 1, 2, 0], [0, 1, 2, 0], 3, sure=1.0)
    report, found, sureness = class_report(predicted, names(3)), roc(predicted, names(3)), calibration(predicted)
    assert report.accuracy == report.macro.f1 == report.weighted.f1 == 1
    assert found.macro.auc == found.micro.auc == 1
    assert (sureness.ece, sureness.brier, sureness.surplus) == (0, 0, 0)
    assert sureness.log_loss == pytest.approx(0)
    assert confusions(predicted, names(3)) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.integers(2, 60), st.integers(0, 1000), st.integers(1, 3))
def test_curves_rise_from_corner_to_corner_with_the_mean_of_the_areas(classes, images, seed, digits):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=images)
    predicted = of(labels, rng.dirichlet(np.ones(classes), images).round(digits) + 1e-3)  # many ties
    found = roc(predicted, names(classes))
    assert (found is None) == (len(set(labels.tolist())) == 1)
    for curve in (*found.classes, found.micro, found.macro) if found else ():
        for rates in curve[1:3]:
            assert (rates[0], rates[-1]) == (0, pytest.approx(1))
            assert (np.diff(rates) >= -1e-12).all()
    if found:
        assert found.macro.auc == pytest.approx(np.mean([curve.auc for curve in found.classes]))


def test_calibration_of_four_images_by_hand():
    # Tops .95 and .97 share the last bin (14/15, 1], one right: gap .96 - .5; .62 in (.6, .667] is right, .7 is wrong.
    predicted = of([0, 1, 0, 1], [[0.95, 0.05], [0.97, 0.03], [0.62, 0.38], [0.7, 0.3]])
    found = calibration(predicted)
    assert found.counts.tolist() == [0] * 9 + [1, 1] + [0] * 3 + [2]
    assert found.confidence[[9, 10, 14]] == pytest.approx([0.62, 0.7, 0.96])
    assert found.accuracy[[9, 10, 14]].tolist() == [1, 0, 0.5]
    assert found.ece == pytest.approx((0.38 + 0.7 + 2 * 0.46) / 4)
    assert found.surplus == pytest.approx((0.95 + 0.97 + 0.62 + 0.7) / 4 - 0.5)
    assert found.brier == pytest.approx(2 * (0.05**2 + 0.97**2 + 0.38**2 + 0.7**2) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.95, 0.03, 0.62, 0.3]).mean())
    assert np.isnan(found.accuracy[0]) and np.isnan(found.low[0])
    assert (found.low[14], found.high[14]) == pytest.approx((0.0945, 0.9055), abs=5e-5)


@pytest.mark.parametrize("classes", [2, 10, 59])
def test_bins_and_losses_are_scikit_learns(classes):
    predicted = drawn(classes, 600)
    found, filled = calibration(predicted), calibration(predicted).counts > 0
    accuracy, confidence = calibration_curve(predicted.correct, predicted.probabilities.max(axis=1), n_bins=15)
    assert found.accuracy[filled] == pytest.approx(accuracy)
    assert found.confidence[filled] == pytest.approx(confidence, abs=1e-6)
    assert found.counts.sum() == 600
    probabilities = predicted.probabilities.astype("float64")
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    truth = np.eye(classes)[predicted.labels]
    assert found.brier == pytest.approx(((probabilities - truth) ** 2).sum(axis=1).mean())
    assert found.log_loss == pytest.approx(metrics.log_loss(predicted.labels, probabilities, labels=range(classes)))
    assert 0 <= abs(found.surplus) <= found.ece + 1e-12 <= 1


def test_the_pairs_most_often_confused_by_hand():
    labels = [0, 0, 0, 1, 1, 1, 1, 2]
    answers = [0, 1, 1, 0, 2, 2, 1, 0]
    found = confusions(answering(labels, answers, 3), ["ant", "bee", "cat"])
    assert found == [
        ("ant", "bee", 2, pytest.approx(2 / 3), 3),
        ("bee", "cat", 2, 0.5, 2),
        ("bee", "ant", 1, 0.25, 3),
        ("cat", "ant", 1, 1.0, 1),
    ]


def test_pairs_are_at_most_fifteen_in_the_order_of_the_classes():
    labels = np.arange(20)
    found = confusions(answering(labels, (labels + 1) % 20, 20), names(20))
    assert [each.true for each in found] == names(15)
    assert len(confusions(answering(labels, (labels + 1) % 20, 20), names(20), most=3)) == 3


def test_balance_by_hand():
    counts, ratio, empty = balance(answering([0, 0, 0, 0, 1, 1, 3], [0] * 7, 5))
    assert (counts.tolist(), ratio, empty) == ([4, 2, 0, 1, 0], 4.0, 2)


def test_probabilities_that_are_not_finite_leave_what_answers_tell():
    predicted = of([0, 1], [[np.nan, np.nan], [0.2, 0.8]])
    assert roc(predicted, names(2)) is None
    assert calibration(predicted) is None
    assert class_report(predicted, names(2)).accuracy == 1, "the first is taken for class 0"


@pytest.mark.parametrize("labels", [[], [0, -1], [-1, -1]])
def test_labels_must_be_known(labels):
    predicted = of(np.array(labels, int), np.full((len(labels), 2), 0.5))
    for judge in (lambda: calibration(predicted), lambda: balance(predicted), lambda: roc(predicted, names(2))):
        with pytest.raises(InputError, match=r"expected images with known labels, received [01] of \d; choose"):
            judge()


def test_every_class_needs_a_name():
    for judge in (class_report, roc, confusions):
        with pytest.raises(InputError, match="class names: expected 3, received 2; give one for each column"):
            judge(drawn(3, 9), names(2))
