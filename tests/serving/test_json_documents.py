"""Bodies of requests: whatever arrives is read, or refused with one sentence, at once and in little memory."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tl_keras.errors import InputError
from tl_keras.serving.json_answers import predict_answer
from tl_keras.serving.json_documents import parse, to_bytes
from tl_keras.serving.json_tensors import Asked, Tensor, examples_request, predict_request

MANY = 500_000
TYPES = ("float32", "float64", "int64", "uint8", "bool", "string")
SIGNATURES = {
    **{name: {"x": Tensor(name, None)} for name in TYPES},
    "serving_default": {"x": Tensor("float32", (None, 2)), "y": Tensor("string", (None,))},
    "empty": {},
}
DEEP = {
    "lists": "[" * MANY + "]" * MANY,
    "objects": '{"x":' * MANY + "1" + "}" * MANY,
    "both": '[{"b64":' * MANY + '""' + "}]" * MANY,
    "unclosed": "[" * MANY,
    "base64": '[{"b64":' + "[" * MANY + "]" * MANY + "}]",
    "a feature": '[{"x":' + "[" * MANY + "]" * MANY + "}]",
}


@pytest.mark.parametrize("key", ["instances", "inputs", "examples", "context", "signature_name", "unknown"])
@pytest.mark.parametrize("value", DEEP.values(), ids=DEEP)
def test_deep_nesting_is_refused(key, value):
    body = f'{{"{key}":{value}}}'.encode()
    for read in (lambda: predict_request(body, SIGNATURES), lambda: examples_request(body)):
        with pytest.raises(InputError, match="nested too deep"):
            read()


def test_tens_of_megabytes_of_brackets_are_refused():
    with pytest.raises(InputError, match="nested too deep"):
        parse(b"[" * 40_000_000)


REFUSED = [
    (b"", "the document is empty"),
    (b" ", "Expecting value"),
    (b"instances = [1, 2]", "at character 0"),
    (b'{"instances": [1, 2}', "character 19"),
    (b'{"instances": [1]} {}', "Extra data"),
    (b'{"a": 01}', "expected JSON"),
    (b'{"a": "\n"}', "control character"),
    (b'{"a": inf}', "expected JSON"),
    (b'{"a": "\xff"}', "UTF-8, received other bytes at 7"),
    ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    (b'{"a": "\xed\xa0\x80"}', "UTF-8"),  # a surrogate, encoded
    (b"[1]", "expected a JSON object, received a list of 1"),
    (b'"text"', "received 'text'"),
    (b"NaN", "received nan"),
    (b'{"a": 1, "b": {"c": 1, "c": 1}}', "received 'c' twice"),
    (b'{"instances": [1], "instances": [2]}', "received 'instances' twice"),
    (b'{"a": 1' + b"0" * 5000 + b"}", "thousands of digits"),
    (b'{"a": -' + b"9" * 20_000_000 + b"}", "thousands of digits"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED, ids=[repr(body[:30]) for body, _ in REFUSED])
def test_bodies_are_refused(body, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(body)
    assert len(str(caught.value)) < 300


def test_long_decimals_are_read_at_once():
    digits = "3" * 5_000_000
    body = f'{{"a": [1.{digits}, 0.{"0" * 5_000_000}1, 1e-{digits}, {digits}.0]}}'
    assert parse(body.encode()) == {"a": [4 / 3, 0, 0, float("inf")]}


@pytest.mark.parametrize("text", ["YQ", "YQ==", " Y\r\n\tQ = = ", "YQ=\n="])
def test_base64_is_read(text):
    assert to_bytes({"b64": text}) == b"a"


@pytest.mark.parametrize(
    "text", ["Y", "YQ=", "YQ===", "YQ==YQ==", "=", "====", "YQ==x", "Y=Q=", "Y-_Q", "YQ\0=", "é", "\ud800", "YQ.."]
)
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(InputError, match=r"^expected base64, received text that is not \(.+\); "):
        to_bytes({"b64": text})


@given(st.binary())
def test_any_bytes_survive_base64(content):
    assert to_bytes({"b64": base64.b64encode(content).decode()}) == content


def elements(dtype):
    return st.binary(max_size=4) if dtype == "string" else hnp.from_dtype(np.dtype(dtype))


@st.composite
def arrays(draw):
    """An array of one of the types with at least one value, strings as objects, and the name of its type."""
    dtype = draw(st.sampled_from(TYPES))
    shape = draw(hnp.array_shapes(max_dims=4, max_side=4))
    return draw(hnp.arrays(object if dtype == "string" else dtype, shape, elements=elements(dtype))), dtype


@settings(deadline=None)
@given(arrays(), st.booleans(), st.booleans())
def test_what_is_answered_can_be_asked(drawn, rows, named):
    """Any array goes out as an answer and comes in as a request, in rows and in columns, alone and with its name."""
    array, dtype = drawn
    outputs = {"x_bytes": array, "extra": np.arange(len(array))} if named else {"x_bytes": array}
    said = json.loads(predict_answer(outputs, rows))["predictions" if rows else "outputs"]
    body = json.dumps({"signature_name": "any", "instances" if rows else "inputs": said}).encode()
    tensors = {"x_bytes": Tensor(dtype, array.shape), "extra": Tensor("int64", (None,))}
    asked = predict_request(body, {"any": {name: tensors[name] for name in outputs}})
    assert asked.rows == rows and asked.inputs["x_bytes"].dtype == array.dtype
    np.testing.assert_array_equal(asked.inputs["x_bytes"], array)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("YQ==")
KEYS = st.sampled_from(["b64", "x", "y"]) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=12)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from([*SIGNATURES, "none"]) | VALUES,
        **dict.fromkeys(("instances", "inputs", "examples", "context"), VALUES),
    },
)
BODIES = (DOCUMENTS | VALUES).map(lambda document: json.dumps(document).encode("utf-8", "surrogatepass"))


@settings(deadline=None, max_examples=300)
@given(st.binary() | BODIES)
def test_any_body_is_read_or_refused_in_one_sentence(body):
    try:
        asked = predict_request(body, SIGNATURES)
        assert isinstance(asked, Asked) and asked.inputs.keys() == SIGNATURES[asked.signature].keys()
        assert all(isinstance(array, np.ndarray) for array in asked.inputs.values())
    except InputError as error:
        assert len(str(error).encode()) < 1000
    try:
        assert all(isinstance(values, list) for example in examples_request(body)[1] for values in example.values())
    except InputError as error:
        assert len(str(error).encode()) < 1000
