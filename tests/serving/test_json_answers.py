"""Answers: the cases of TensorFlow Serving's util/json_tensor_test.cc by their names, and what it leaves open."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tl_keras.errors import InputError
from tl_keras.serving.json_answers import classify_answer, error_answer, predict_answer, regress_answer

BLOCKS = np.arange(12, dtype=np.int32).reshape(2, 3, 2)
WORDS = np.array([[b"a", b"b"], [b"c", b"d"]], object)
HALVES = np.array([[0.5], [1.5]], np.float32)
DECIMALS = np.array([[9000000, 999999, 0.5], [0.0003, 0.00003, 555557.5]], np.float32)
INFINITE = np.array([[math.nan, math.inf], [3, -math.inf]], np.float32)
ENCODED = [[{"b64": "YQ=="}, {"b64": "Yg=="}], [{"b64": "Yw=="}, {"b64": "ZA=="}]]
SEVERAL = {"n": BLOCKS, "text": WORDS, "single": HALVES, "double": np.array([8.0, 9.0]), "r_bytes": WORDS}

WRITTEN = [
    ("FromJsonSingleTensor", {"n": BLOCKS}, True, BLOCKS.tolist()),
    ("FromJsonSingleTensor", {"n": BLOCKS}, False, BLOCKS.tolist()),
    ("FromJsonSingleScalarTensor", {"n": np.array([5, 6, 7], np.int32)}, True, [5, 6, 7]),
    ("FromJsonSingleScalarTensor", {"n": np.array([5, 6, 7], np.int32)}, False, [5, 6, 7]),
    ("FromJsonSingleBytesTensor", {"text_bytes": WORDS}, True, ENCODED),
    (
        "FromJsonMultipleNamedTensors",
        SEVERAL,
        True,
        [
            {"n": [[0, 1], [2, 3], [4, 5]], "text": ["a", "b"], "single": [0.5], "double": 8.0, "r_bytes": ENCODED[0]},
            {"n": [[6, 7], [8, 9], [10, 11]], "text": ["c", "d"], "single": [1.5], "double": 9, "r_bytes": ENCODED[1]},
        ],
    ),
    (
        "FromJsonMultipleNamedTensors",
        SEVERAL,
        False,
        {"n": BLOCKS.tolist(), "text": [["a", "b"], ["c", "d"]], "single": [[0.5], [1.5]], "double": [8, 9]}
        | {"r_bytes": ENCODED},
    ),
    ("FromJsonSingleZeroBatchTensor", {"n": np.zeros((0, 2), np.int32)}, True, []),
    ("FromJsonMultipleZeroBatchTensors", {"a": np.empty((0, 1, 2), object), "b": np.zeros((0, 3, 4))}, True, []),
    ("rows of no values", {"x": np.zeros((2, 0, 3), np.float32)}, True, [[], []]),
    ("a scalar in columns", {"x": np.array(2.5)}, False, 2.5),
    ("a scalar string in columns", {"x": b"cat"}, False, "cat"),
    ("booleans", {"x": np.array([[True], [False]])}, True, [[True], [False]]),
    ("limits", {"x": np.array([0, 2**64 - 1], np.uint64)}, True, [0, 2**64 - 1]),
    ("text beyond ASCII", {'a "name"': np.array(["é😀\n\0".encode(), b""], object)}, True, ["é😀\n\0", ""]),
    ("numpy's strings", {"x": np.array(["é", "b"])}, True, ["é", "b"]),
    ("binary values", {"x_bytes": np.array([b"\xff\0"], object)}, True, [{"b64": "/wA="}]),
]  # fmt: skip


@pytest.mark.parametrize(("outputs", "rows", "expected"), [row[1:] for row in WRITTEN], ids=[row[0] for row in WRITTEN])
def test_answers_are_written(outputs, rows, expected):
    assert json.loads(predict_answer(outputs, rows)) == {"predictions" if rows else "outputs": expected}


EXACTLY = [
    ("FromJsonSingleFloatTensorSixDigitPrecision", DECIMALS, "[[9e+06, 999999.0, 0.5], [0.0003, 3e-05, 555557.5]]"),
    ("FromJsonSingleFloatTensorNonFinite", INFINITE, "[[NaN, Infinity], [3.0, -Infinity]]"),
    ("seventh digits", np.array([16777216, 0.1, 1 / 3, -0.0], np.float32), "[16777216.0, 0.1, 0.333333343, -0.0]"),
    ("seventeen digits", np.array([0.1, 1 / 3, 1e300]), "[0.1, 0.33333333333333331, 1e+300]"),
]


@pytest.mark.parametrize(("values", "expected"), [row[1:] for row in EXACTLY], ids=[row[0] for row in EXACTLY])
def test_numbers_are_written_in_so_many_digits(values, expected):
    assert predict_answer({"x": values}, rows=True).decode() == f'{{"predictions": {expected}}}'


REFUSED = [
    ("FromJsonSingleTensorErrors", {}, "empty tensor map"),
    ("FromJsonSingleTensorErrors", {"x": np.array([1j], np.complex64)}, "tensor type: complex64"),
    ("FromJsonSingleTensorErrors", {"x": np.array(1, np.int32)}, "no shape information"),
    ("FromJsonMultipleNamedTensorsErrors", {"n": BLOCKS, "text": WORDS[:1]}, "inconsistent batch size: 1"),
    ("FromJsonMultipleZeroBatchTensorsErrors", {"n": BLOCKS[:0], "text": WORDS[:1]}, "inconsistent batch size: 1"),
    ("half precision", {"x": np.zeros(2, np.float16)}, "tensor type: float16"),
    ("other objects", {"x": np.array([b"a", None], object)}, "tensor type: object"),
    ("text that is none", {"x": np.array([b"\xff"], object)}, "call the output x_bytes"),
]


@pytest.mark.parametrize(("outputs", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_answers_that_cannot_be_written_are_refused(outputs, message):
    with pytest.raises(InputError, match=f"^\\w+: expected .*{message}"):
        predict_answer(outputs, rows=True)


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), hnp.array_shapes(max_dims=3)))
def test_every_float_is_read_as_what_was_written(values):
    read = np.array(json.loads(predict_answer({"x": values}, rows=True))["predictions"], values.dtype)
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(np.signbit(read[~np.isnan(read)]), np.signbit(values[~np.isnan(values)]))


LABELS = np.array([[b"car", b"bike", b"bus"]] * 2, object)
SCORES = np.array([[0.2, 0.7, 0.1], [0.5, math.nan, math.inf]], np.float32)


def test_classes_and_scores_are_paired():
    """JsonFromClassificationResult"""
    said = '[[["car", 0.2], ["bike", 0.7], ["bus", 0.1]], [["car", 0.5], ["bike", NaN], ["bus", Infinity]]]'
    assert classify_answer(LABELS, SCORES).decode() == f'{{"results": {said}}}'


def test_either_of_classes_and_scores_may_be_missing():
    assert json.loads(classify_answer(LABELS[:1], None)) == {"results": [[["car", 0], ["bike", 0], ["bus", 0]]]}
    assert json.loads(classify_answer(None, SCORES[:1])) == {"results": [[["", 0.2], ["", 0.7], ["", 0.1]]]}


@pytest.mark.parametrize("values", [np.array([0.25, 0.9, 1], np.float32), np.array([[0.25], [0.9], [1]], np.float32)])
def test_regressed_values_are_listed(values):
    """JsonFromRegressionResult"""
    assert regress_answer(values) == b'{"results": [0.25, 0.9, 1.0]}'


def test_regressed_values_need_not_be_finite():
    """JsonFromRegressionResultWithNonFinite"""
    values = np.array([0.2, math.inf, 1, -math.inf, math.nan], np.float32)
    assert regress_answer(values) == b'{"results": [0.2, Infinity, 1.0, -Infinity, NaN]}'


WRONG_RESULTS = [
    ("JsonFromResultErrors", lambda: classify_answer(LABELS[:0], SCORES[:0]), "empty ClassificationResults"),
    ("JsonFromResultErrors", lambda: regress_answer(np.zeros(0, np.float32)), "empty RegressionResults"),
    ("neither classes nor scores", lambda: classify_answer(None, None), "received none"),
    ("other batches", lambda: classify_answer(LABELS[:1], SCORES), r"classes \[1, 3\], scores \[2, 3\]"),
    ("one dimension", lambda: classify_answer(LABELS[0], None), r"classes \[3\]"),
    ("scores that are no float32", lambda: classify_answer(None, SCORES.astype(np.float64)), "received float64"),
    ("classes that are no strings", lambda: classify_answer(SCORES, SCORES), "expected strings"),
    ("several values an example", lambda: regress_answer(SCORES), r"\[2, 3\]"),
    ("a scalar", lambda: regress_answer(np.float32(1)), r"received \[\]"),
    ("values that are no float32", lambda: regress_answer(np.zeros(2)), "received float64"),
]


@pytest.mark.parametrize(
    ("answer", "message"), [row[1:] for row in WRONG_RESULTS], ids=[row[0] for row in WRONG_RESULTS]
)
def test_results_that_cannot_be_written_are_refused(answer, message):
    with pytest.raises(InputError, match=message):
        answer()


@pytest.mark.parametrize("message", ['Bad key: "key"', "Bad key: 'key'", "a\nb \ud800 é"])
def test_errors_are_written(message):
    """StatusError; StatusOK, that nothing is written where nothing failed, has nothing to call here."""
    assert json.loads(error_answer(message)) == {"error": message}
