"""Predict requests: the cases of TensorFlow Serving's util/json_tensor_test.cc by their names, and what it leaves open.

Each of its names is a row here, so that they can be checked off; bodies and values are ours. The two on deep nesting
differ: it reads half a million brackets where nobody asks for them, here they are refused wherever they stand.
"""

import json
import math
import re

import numpy as np
import pytest

from tl_keras.errors import InputError
from tl_keras.serving.json_tensors import Asked, Tensor, predict_request

DEEP = "[" * 500_000 + "]" * 500_000
INTS = {"x": Tensor("int32", None)}
FLOATS = {"x": Tensor("float32", None)}
DOUBLES = {"x": Tensor("float64", None)}
STRINGS = {"x": Tensor("string", None)}
MIXED = {
    "whole": Tensor("int32", None),
    "text": Tensor("string", None),
    "single": Tensor("float32", None),
    "double": Tensor("float64", None),
}
INT_AND_TEXT = {name: MIXED[name] for name in ("whole", "text")}


def ask(body, inputs, name="serving_default") -> Asked:
    return predict_request(body if isinstance(body, bytes) else body.encode(), {name: inputs})


def same(received, expected, dtype):
    """Values, shape and type; NaN equals NaN, and 0 is not -0."""
    assert received.dtype == (object if dtype == "string" else dtype)
    assert received.shape == np.shape(expected)
    np.testing.assert_array_equal(received, np.array(expected, received.dtype))
    if received.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(received), np.signbit(np.array(expected, received.dtype)))


READ = [
    ("SingleUnnamedTensor", '{"instances": [[9, 8], [7, 6], [5, 4]]}', INTS, {"x": [[9, 8], [7, 6], [5, 4]]}),
    ("MixedInputForFloatTensor", '{"instances": [4, 0.25, 3, 1.5e1, 0.0]}', FLOATS, {"x": [4, 0.25, 3, 15, 0]}),
    ("MixedInputForDoubleTensor", '{"instances": [4, 0.1, 3, 0, 0.0]}', DOUBLES, {"x": [4, 0.1, 3, 0, 0]}),
    ("FloatTensorWithPrecisionLoss", '{"instances": [1435774380, 1435774380.0]}', FLOATS, {"x": [1435774336] * 2}),
    ("FloatTensorThatExceedsMaxReturnsInf", '{"instances": [1.7e308, -1.7e308]}', FLOATS, {"x": [math.inf, -math.inf]}),
    ("FloatTensorThatExceedsMinReturnsZero", '{"instances": [3e-308, -3e-308]}', FLOATS, {"x": [0.0, -0.0]}),
    ("TensorFromNonNullTerminatedBuffer", memoryview(b'{"instances": [1]}X')[:-1].tobytes(), INTS, {"x": [1]}),
    (
        "SingleUnnamedTensorBase64Scalars",
        '{"instances": [{"b64": "Y2F0"}, {"b64": "ZG9ncw=="}]}',
        STRINGS,
        {"x": [b"cat", b"dogs"]},
    ),
    (
        "SingleUnnamedTensorBase64Lists",
        '{"instances": [[{"b64": "Y2F0"}], [{"b64": "ZG9ncw=="}]]}',
        STRINGS,
        {"x": [[b"cat"], [b"dogs"]]},
    ),
    (
        "SingleNamedTensorBase64",
        '{"instances": [{"x": [[{"b64": "Y2F0"}], [{"b64": "ZG9ncw=="}]]}]}',
        STRINGS,
        {"x": [[[b"cat"], [b"dogs"]]]},
    ),
    (
        "MultipleNamedTensor",
        """{"instances": [
            {"whole": [[1, 2]], "text": ["a", "b"], "single": [1.5, NaN], "double": [-Infinity]},
            {"double": [2.0], "whole": [[3, 4]], "text": ["c", "d"], "single": [2, Infinity]}]}""",
        MIXED,
        {
            "whole": [[[1, 2]], [[3, 4]]],
            "text": [[b"a", b"b"], [b"c", b"d"]],
            "single": [[1.5, math.nan], [2, math.inf]],
            "double": [[-math.inf], [2]],
        },
    ),
    ("SingleUnnamedTensorColumnarFormat", '{"inputs": {"x": [[[1, 2], [3, 4]]]}}', INTS, {"x": [[[1, 2], [3, 4]]]}),
    ("SingleUnnamedTensorColumnarFormat", '{"inputs": [[[1, 2], [3, 4]]]}', INTS, {"x": [[[1, 2], [3, 4]]]}),
    (
        "MultipleNamedTensorColumnarFormat",
        '{"inputs": {"whole": [[1, 2, 3]], "text": {"b64": "Y2F0"}}}',
        INT_AND_TEXT,
        {"whole": [[1, 2, 3]], "text": b"cat"},
    ),
    ("a scalar in columns", '{"inputs": 3.5}', FLOATS, {"x": 3.5}),
    ("a base64 value in columns", '{"inputs": {"b64": "Y2F0"}}', STRINGS, {"x": b"cat"}),
    ("what nobody asks for in columns", '{"inputs": {"x": [1], "y": "?"}, "z": {}}', INTS, {"x": [1]}),
    ("no values in columns", '{"inputs": [[], []]}', FLOATS, {"x": np.zeros((2, 0))}),
    ("text beyond ASCII", '{"inputs": ["\\u00e9\\ud83d\\ude00", "é😀"]}', STRINGS, {"x": ["é😀".encode()] * 2}),
    ("base64 in lines, without padding", '{"instances": [{"b64": "ZG9n\\ncw"}]}', STRINGS, {"x": [b"dogs"]}),
    ("a byte order mark", b'\xef\xbb\xbf{"instances": [1]}', INTS, {"x": [1]}),
    ("numbers beyond float64", '{"instances": [1e999999, -1e999999]}', DOUBLES, {"x": [math.inf, -math.inf]}),
    ("integers beyond float64", f'{{"inputs": [{10**400}, -{10**400}, 2]}}', FLOATS, {"x": [math.inf, -math.inf, 2]}),
    ("64 levels", f'{{"inputs": {"[" * 64}5{"]" * 64}}}', INTS, {"x": np.full((1,) * 64, 5)}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "inputs", "expected"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_requests_are_read(body, inputs, expected):
    asked = ask(body, inputs)
    assert asked.signature == "serving_default" and asked.inputs.keys() == expected.keys()
    assert asked.rows == ("instances" in (body if isinstance(body, str) else body.decode()))
    for name, values in expected.items():
        same(asked.inputs[name], values, inputs[name].dtype)


def test_single_unnamed_tensor_with_signature():
    """SingleUnnamedTensorWithSignature"""
    signatures = {"serving_default": STRINGS, "pixels": INTS}
    asked = predict_request(b'{"signature_name": "pixels", "instances": [[1, 2]]}', signatures)
    assert asked.signature == "pixels" and asked.rows
    same(asked.inputs["x"], [[1, 2]], "int32")
    assert predict_request(b'{"signature_name": "", "instances": ["a"]}', signatures).signature == "serving_default"


ROW = '"text": ["a", "b"]'
REFUSED = [
    ("DeeplyNestedWellFormed", f'{{"instances": [1], "nested": {DEEP}}}', INTS, "nested too deep"),
    ("DeeplyNestedMalformed", f'{{"signature_name": {DEEP}}}', INTS, "nested too deep"),
    ("SingleUnnamedTensorErrors", "", INTS, "document is empty"),
    ("SingleUnnamedTensorErrors", '{"signature_name": 5, "instances": [1]}', INTS, "string value"),
    ("SingleUnnamedTensorErrors", '{"instances": [1], "inputs": [1]}', INTS, "expected only one"),
    ("SingleUnnamedTensorErrors", '{"instances": [[1, 2], [3]]}', INTS, "lists of 1 and of 2"),
    ("SingleUnnamedTensorErrors", '{"instances": [[1, 2], [[3, 4]]]}', INTS, "lists of 1 and of 2"),
    ("SingleUnnamedTensorErrors", '{"instances": [1, [1]]}', INTS, "received lists and values"),
    ("SingleUnnamedTensorErrors", '{"instances": [[1, 2], ["a", "b"]]}', INTS, r"x\[1\]\[0\]: .*expected type int32"),
    (
        "MultipleNamedTensorErrors",
        f'{{"instances": [{{"whole": [[1, 2]], {ROW}}}, {{"whole": [[[3, 4]]], {ROW}}}]}}',
        INT_AND_TEXT,
        "whole: expected lists of one size in dimension 2",
    ),
    (
        "MultipleNamedTensorErrors",
        f'{{"instances": [{{"whole": [[1], [2]], {ROW}}}, {{"whole": [[3]], {ROW}}}]}}',
        INT_AND_TEXT,
        "whole: expected lists of one size in dimension 1",
    ),
    (
        "MultipleNamedTensorErrors",
        f'{{"instances": [{{"whole": [1], {ROW}}}, [1, 2]]}}',
        INT_AND_TEXT,
        "expected an object at item 1 .* received a value or list",
    ),
    (
        "MultipleNamedTensorErrors",
        '{"instances": [["a"], {"x": ["b"]}]}',
        STRINGS,
        "expected a value or list at item 1 .* received an object",
    ),
    ("an unknown signature", '{"signature_name": "y", "inputs": 1}', INTS, r"one of this model's \(serving_default\)"),
    ("no signature", '{"signature_name": null, "instances": [1]}', INTS, "received null"),
    ("neither rows nor columns", '{"instance": [1]}', INTS, "received neither"),
    ("no rows", '{"instances": []}', INTS, "received a list of 0"),
    ("a value for rows", '{"instances": 5}', INTS, "received 5"),
    ("an object for rows", '{"instances": {"x": [1]}}', INTS, "received an object"),
    ("a name missing in a row", '{"instances": [{"whole": 1}]}', INT_AND_TEXT, "received the keys 'whole'"),
    ("a name too many in a row", '{"instances": [{"x": 1, "y": 2}]}', INTS, "received the keys 'x', 'y'"),
    ("plain rows for several inputs", '{"instances": [1]}', INT_AND_TEXT, "'whole', 'text'"),
    ("a base64 row for several inputs", '{"instances": [{"b64": ""}]}', INT_AND_TEXT, "'whole', 'text'"),
    ("a name missing in columns", '{"inputs": {"whole": 1}}', INT_AND_TEXT, "without 'text'"),
    ("a plain value for several inputs", '{"inputs": [1]}', INT_AND_TEXT, "'whole', 'text'"),
    ("65 levels", f'{{"inputs": {"[" * 65}5{"]" * 65}}}', INTS, "at most 64 dimensions"),
    ("a decimal for an integer", '{"inputs": 1.0}', INTS, "whole number"),
    ("NaN for an integer", '{"inputs": NaN}', INTS, "received nan"),
    ("true for an integer", '{"inputs": [0, true]}', INTS, "received true"),
    ("true for a float", '{"inputs": true}', FLOATS, "received true"),
    ("null", '{"inputs": [null]}', FLOATS, "received null"),
    ("a string for a float", '{"inputs": "1"}', FLOATS, "received '1'"),
    ("base64 for a float", '{"inputs": [{"b64": "AAAA"}]}', FLOATS, "received an object"),
    ("a number for a string", '{"inputs": ["a", 1]}', STRINGS, r"x\[1\]: .* received 1"),
    ("a number for a boolean", '{"inputs": 1}', {"x": Tensor("bool", None)}, "true or false"),
    ("an object for a string", '{"inputs": [{"b64": "AAAA", "c": 1}]}', STRINGS, "received an object"),
    ("a number in base64", '{"inputs": [{"b64": 5}]}', STRINGS, "received an object"),
    ("half a character", '{"inputs": ["a", "\\ud800"]}', STRINGS, r"x\[1\]: expected text"),
    ("beyond uint8", '{"inputs": [[0, 256]]}', {"x": Tensor("uint8", None)}, r"x\[0\]\[1\]: .* to 255, received 256"),
    ("below uint64", '{"inputs": [-1]}', {"x": Tensor("uint64", None)}, "from 0 to 18446744073709551615, received -1"),
    ("beyond int64", '{"inputs": 9223372036854775808}', {"x": Tensor("int64", None)}, "received 9223372036854775808"),
    ("integers of a thousand digits", f'{{"inputs": [1{"0" * 1000}]}}', INTS, "received 1000"),
    ("a type that JSON lacks", '{"inputs": [1]}', {"x": Tensor("complex64", None)}, "received one of complex64"),
    ("a dimension too few", '{"inputs": [1]}', {"x": Tensor("int32", (None, 1))}, r"shape \[any, 1\], received \[1\]"),
    ("another size", '{"inputs": [[1, 2]]}', {"x": Tensor("int32", (None, 3))}, r"shape \[any, 3\], received \[1, 2\]"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "inputs", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_requests_are_refused(body, inputs, message):
    with pytest.raises(InputError, match=message) as caught:
        ask(body, inputs)
    assert re.fullmatch("(?=.{,400}$).+: expected .+, received .+; .+", str(caught.value))


def test_the_declared_shape_admits_any_size_where_it_says_so():
    for shape in (None, (None, 2, None), (1, 2, 3)):
        assert ask('{"inputs": [[[1, 2, 3], [4, 5, 6]]]}', {"x": Tensor("int8", shape)}).inputs["x"].shape == (1, 2, 3)


def test_a_signature_without_inputs_cannot_be_asked():
    with pytest.raises(InputError, match=r"one of this model's \(none\), received 'serving_default'"):
        ask('{"instances": [1]}', {})


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers_keep_their_limits_exactly(name):
    limits = np.iinfo(name)
    body = json.dumps({"inputs": [int(limits.min), int(limits.max)]})
    same(ask(body, {"x": Tensor(name, (2,))}).inputs["x"], [limits.min, limits.max], name)


def test_long_and_short_strings_take_no_more_room_than_they_are_long():
    """An array of fixed-width strings would take 200 GB here."""
    body = json.dumps({"inputs": ["a" * 1_000_000] + ["b"] * 50_000})
    assert ask(body, STRINGS).inputs["x"].nbytes == 50_001 * 8
