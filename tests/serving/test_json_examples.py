"""Classify and regress requests: the cases of TensorFlow Serving's util/json_tensor_test.cc and more."""

import json
import math

import pytest

from tl_keras.errors import InputError
from tl_keras.serving.json_tensors import examples_request

READ = [
    (
        "RequestNoContext",
        '{"examples": [{"names": ["a", "b"], "ratings": [8.0, 9.5], "age": 20}, {"names": ["c"], "ratings": 6.0}]}',
        None,
        [{"names": [b"a", b"b"], "ratings": [8.0, 9.5], "age": [20]}, {"names": [b"c"], "ratings": [6.0]}],
    ),
    (
        "RequestWithContextAndSignature",
        """{"signature_name": "mine", "context": {"query": "q", "place": ["p"]}, "examples": [
            {"ratings": [8.0, Infinity], "age": 20},
            {"names": ["c", {"b64": "Y2F0"}], "mixed": [7, true, false]},
            {"ratings": -Infinity}]}""",
        "mine",
        [
            {"query": [b"q"], "place": [b"p"], "ratings": [8.0, math.inf], "age": [20]},
            {"query": [b"q"], "place": [b"p"], "names": [b"c", b"cat"], "mixed": [7, 1, 0]},
            {"query": [b"q"], "place": [b"p"], "ratings": [-math.inf]},
        ],
    ),
    ("no features", '{"context": {}, "examples": [{}, {"x": []}]}', None, [{}, {"x": []}]),
    ("the limits of int64", f'{{"examples": [{{"x": [{-(2**63)}]}}]}}', None, [{"x": [-(2**63)]}]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "signature", "examples"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_examples_are_read(body, signature, examples):
    received = examples_request(body.encode())
    assert received == (signature, examples)
    types = [[[type(value) for value in values] for values in example.values()] for example in received[1]]
    assert types == [[[type(value) for value in values] for values in example.values()] for example in examples]


def test_examples_may_hold_what_is_no_number():
    (example,) = examples_request(b'{"examples": [{"x": [NaN, 1.0]}]}')[1]
    assert math.isnan(example["x"][0]) and example["x"][1] == 1


REFUSED = [
    ("JsonErrors", {"signature_name": ["a"], "examples": [{}]}, "'signature_name': expected a string"),
    ("JsonErrors", {"context": [{"x": 1}]}, "'context': expected an Example as a JSON object"),
    ("JsonErrors", {"examples": {"x": [1]}}, "expected a list/array"),
    ("JsonErrors", {"examples": [[{"x": [1]}]]}, "item 0: expected an Example as a JSON object"),
    ("JsonErrors", {"examples": [{"x": [10, None]}]}, "feature 'x': .* received null"),
    ("JsonErrors", {"examples": [{"x": [10, 10.0]}]}, "feature 'x': expected elements of one type, .* float and int64"),
    ("JsonErrors", {"examples": [{"x": ["a", {"b": 1}]}]}, "feature 'x': .* received an object"),
    ("JsonErrors", {"examples": [{"x": [[10], 20]}]}, "feature 'x': .* received a list of 1"),
    ("beyond int64", {"examples": [{"x": 2**63}]}, "received 9223372036854775808"),
    ("JsonErrors", {"examples": [{"x": [20, 2**64 - 13]}]}, "feature 'x': .* int64"),
    ("an object among numbers", {"examples": [{"x": [10, {"b64": ""}]}]}, "received bytes and int64"),
    ("no examples", {"context": {}}, "received none"),
    ("an empty list", {"examples": []}, "received a list of 0"),
    ("a feature in the context too", {"context": {"x": 1}, "examples": [{}, {"x": 2}]}, "item 1: .* received 'x'"),
    ("wrong base64", {"examples": [{"x": {"b64": "%"}}]}, "feature 'x': expected base64"),
    ("half a character", {"examples": [{"x": "\ud800"}]}, "a lone surrogate"),
    ("half a character in a name", {"examples": [{"\ud800": 1}]}, "a lone surrogate"),
]


@pytest.mark.parametrize(("document", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_examples_are_refused(document, message):
    with pytest.raises(InputError, match=message) as caught:
        examples_request(json.dumps(document).encode())
    str(caught.value).encode()
