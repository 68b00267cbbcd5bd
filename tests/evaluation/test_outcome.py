"""From predictions to sentences: numbers by hand, and words that follow from them."""

import csv

import numpy as np
import pytest
from networks import network, predictions, right_on
from sklearn.metrics import accuracy_score, log_loss
from tl_keras.evaluation.outcome import Network
from tl_keras.evaluation.predictions import Predictions

from tests.conftest import made_up_split
from tl_keras.data.splits import Split
from tl_keras.evaluation import predictions as rows
from tl_keras.evaluation.transfer_effect import effect, leads
from tl_keras.models import cnn
from tl_keras.reporting import conclusion
from tl_keras.run_folder import RunFolder

# ------------------------------------------------------------------------------------------- predictions


def test_accuracy_and_loss_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(5), 200).astype("float32"), rng.integers(0, 5, 200)
    seen = Predictions(probabilities, labels)
    assert seen.accuracy == pytest.approx(accuracy_score(labels, probabilities.argmax(axis=1)))
    exact = probabilities.astype("float64")
    expected = log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=range(5))
    assert seen.loss == pytest.approx(expected, rel=1e-4)
    assert seen.correct.sum() == round(seen.accuracy * 200)


def test_a_network_is_asked_about_every_image_in_order():
    model, split = cnn.build(3, (16, 16, 3), filters=(4, 4, 4, 4), units=8), made_up_split(510, 3)
    seen = rows.predict(model, split)
    np.testing.assert_allclose(seen.probabilities, model.predict(split.images, verbose=0), atol=1e-6)
    np.testing.assert_array_equal(seen.labels, split.labels)


def test_the_file_names_image_label_prediction_and_probability(tmp_path):
    images, ids = np.zeros((3, 2, 2, 3), np.uint8), np.array(["a,b/1.png", "é.png", "7"])
    split = Split(images, [1, 0, 1], ("cat", 'say "dog"'), ids)
    seen = Predictions(np.float32([[0.25, 0.75], [0.1234567, 0.8765433], [0.5, 0.5]]), split.labels)
    out = RunFolder(tmp_path)
    rows.write(seen, split, out, "net")
    with open(tmp_path / "predictions/net.csv", newline="", encoding="utf-8") as file:
        written = list(csv.reader(file))
    dog = 'say "dog"'
    assert written == [
        ["id", "label", "prediction", "probability"],
        ["a,b/1.png", dog, dog, "0.75"],
        ["é.png", "cat", dog, "0.876543"],
        ["7", dog, "cat", "0.5"],
    ]


# ----------------------------------------------------------------------------------------------- networks


def test_one_seed_has_the_interval_of_the_test_set_and_several_that_of_the_seeds():
    one, three = network("one", [right_on(90)]), network("three", [right_on(90), right_on(92), right_on(94)])
    assert (one.interval().n, round(one.interval().low, 4)) == (100, 0.8256)
    assert (three.interval().n, round(three.interval().low, 4)) == (3, 0.8703)
    assert (one.accuracy, three.accuracy) == (pytest.approx(0.9), pytest.approx(0.92))
    assert three.correct.shape == (3, 100)


def test_the_curve_of_several_seeds_is_their_mean():
    first, second = (network("net", [right_on(50)], curve=curve).first for curve in ((0.2, 0.4), (0.4, 0.8)))
    np.testing.assert_allclose(Network("net", "net", (first, second)).mean_curve("val_accuracy"), [0.3, 0.6])


def test_effect_by_hand():
    base = network("base", [right_on(80)], curve=(0.5, 0.6, 0.65, 0.7, 0.74, 0.78, 0.8), seconds=20)
    reuse = network("reuse", [right_on(85)], curve=(0.7, 0.74, 0.8, 0.79, 0.82, 0.84, 0.85), seconds=3)
    seen = effect(reuse, base)
    assert (seen.start, seen.final, seen.seconds, seen.reaches_baseline) == (0.7, 0.85, 3, 3)
    assert seen.slope == pytest.approx((0.82 - 0.7) / 4)
    assert effect(base, reuse).reaches_baseline is None
    assert effect(base, base).reaches_baseline == 7


@pytest.mark.parametrize("curve, slope", [((0.6,), 0.0), ((0.6, 0.7), 0.1), ((0.6, 0.5, 0.9), 0.15)])
def test_short_trainings_have_a_slope(curve, slope):
    short = network("short", [right_on(80)], curve=curve)
    assert effect(short, short).slope == pytest.approx(slope)


def test_leads_by_hand():
    best, second, third = (network(title, [right_on(count)]) for title, count in (("a", 90), ("b", 88), ("c", 70)))
    winner, gaps = leads([third, best, second])
    assert winner is best and [lead.other for lead in gaps] == [second, third]
    assert [lead.points for lead in gaps] == pytest.approx([2, 20])
    assert [lead.p_value for lead in gaps] == pytest.approx([0.5, 2 * 2 / 2**20])  # Holm: .5 * 1, 2 ** -19 * 2
    assert [lead.is_real for lead in gaps] == [False, True]


# ---------------------------------------------------------------------------------------------- sentences


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_verdict_names_the_winner_and_says_what_is_noise(order):
    made = [network("Alpha", [right_on(90)]), network("Beta", [right_on(88)]), network("Gamma", [right_on(70)])]
    first, *others = conclusion.verdict([made[number] for number in order])
    assert first == "Alpha reached the best test accuracy: 90.00% [82.6, 94.5] on 100 test images."
    beta, gamma = others
    assert beta.startswith("It is 2.00 percentage points ahead of Beta (88.00% ")
    assert "not to be told from noise" in beta and "p = 0.500" in beta
    assert gamma.startswith("It is 20.00 percentage points ahead of Gamma (70.00% ")
    assert "more than noise" in gamma and "p < 0.001" in gamma


def test_of_two_networks_one_is_better():
    made = [network("Alpha", [right_on(90)]), network("Beta", [right_on(70)])]
    assert conclusion.verdict(made)[0].startswith("Alpha reached the better test accuracy: 90.00% ")


def test_equal_networks_are_called_equal():
    alike = [network("Alpha", [right_on(90)]), network("Beta", [right_on(10, 100)])]
    said = "Alpha and Beta reached the same test accuracy: 90.00% [82.6, 94.5] on 100 test images."
    assert conclusion.verdict(alike) == [said]


def test_seeds_in_another_order_are_equal_too():
    masks = [right_on(number, count=10) for number in (1, 2, 3)]
    alike = [network("Alpha", masks), network("Beta", masks[::-1])]
    (said,) = conclusion.verdict(alike)
    assert said.startswith("Alpha and Beta reached the same test accuracy: 20.00% ")


def reuse_sentence(curve, base_curve, **options):
    base = network("Scratch", [right_on(80)], base_curve, seconds=20, parameters=1000, trained=1000)
    reuse = network("Reuse", [right_on(80)], curve, seconds=2.5, parameters=1000, **options)
    (sentence,) = conclusion.transfer_effects([reuse], base)
    return sentence


def test_the_effect_of_transfer_in_words():
    base = (0.5, 0.6, 0.65, 0.7, 0.74, 0.8)
    sentence = reuse_sentence((0.7, 0.75, 0.8, 0.8, 0.78, 0.85), base, trained=50)
    assert sentence.startswith("Reuse: start +20.00 points after the first epoch (0.700 against 0.500), ")
    assert "slope +2.00 points per epoch over the first 5 epochs (against +6.00), final level +5.00 points" in sentence
    assert "it reached the final accuracy of Scratch in epoch 3" in sentence
    assert "2.5 s against 20.0 s of training, 50 parameters trained against 1,000." in sentence
    worse = reuse_sentence((0.4, 0.5, 0.6, 0.6, 0.6, 0.6), base, trained=50)
    assert "start -10.00 points" in worse and "final level -20.00 points" in worse
    assert "it never reached the final accuracy of Scratch" in worse


def test_two_epochs_are_not_called_five():
    assert "5 epochs" not in reuse_sentence((0.7, 0.8), (0.5, 0.6), trained=50)


@pytest.mark.parametrize("p_value, text", [(0.0009, "p < 0.001"), (0.001, "p = 0.001"), (1.0, "p = 1.000")])
def test_p_values_in_words(p_value, text):
    assert conclusion.p_text(p_value) == text


def test_made_up_predictions_are_right_where_they_say():
    np.testing.assert_array_equal(predictions(right_on(3, 7, count=10)).correct, right_on(3, 7, count=10))
