"""The cases of TensorFlow Serving's http_rest_api_handler_test.cc and the REST cases of its model server's test.

Named as there; written anew, with what each asks and expects as a table. The model is y = x / 2 + 2.
"""

import json

import pytest

from tests.serving.conftest import asking

NAME = "half_plus_two"
MODEL = f"/v1/models/{NAME}"
LABEL = "Version_Label"
LATEST, NUMBERED, LABELLED = MODEL, f"{MODEL}/versions/123", f"{MODEL}/labels/{LABEL}"
AVAILABLE = {
    "model_version_status": [
        {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}


@pytest.fixture(scope="module")
def client(half_plus_two):
    with asking(half_plus_two, labels={NAME: {LABEL: 123}}) as client:
        yield client


def error(answer):
    assert answer.headers["content-type"] == "application/json" and list(answer.json()) == ["error"]
    return answer.json()["error"]


MALFORMED = "Malformed request"
UNSUPPORTED = [
    ("GET", "/v1/foo", 400, MALFORMED),
    ("POST", "/v1/foo", 400, MALFORMED),
    ("GET", "/v1/models/debug/model_name", 400, MALFORMED),
    ("POST", "/v1/models", 405, MALFORMED),
    ("GET", "/v1/models/foo:predict", 405, MALFORMED),
    ("GET", "/v1/models/foo/version/50:predict", 400, MALFORMED),
    ("POST", "/v1/models/foo/version/50:regress", 400, MALFORMED),
    ("POST", "/v1/models/foo/versions/HELLO:regress", 400, MALFORMED),
    ("POST", f"/v1/models/foo/versions/{2**64 - 1}:regress", 400, "version: expected at most"),
    ("POST", "/v1/models/foo/metadata", 405, MALFORMED),
    ("POST", "/v1/models/foo/label/some_label:regress", 400, MALFORMED),
    ("POST", "/v1/models/foo/versions/50/labels/some_label:regress", 400, MALFORMED),
    ("POST", "/v1/models/foo/versions/some_label:regress", 400, MALFORMED),
]


def test_k_path_regex(client):
    # "/v1/models" names no model there; here it answers with all of them.
    assert client.get("/v1/models").json()["models"][0]["name"] == NAME
    assert (client.get("/statuspage").status_code, client.get("/index").status_code) == (404, 404)
    assert "Not Found" in error(client.get("/index"))


@pytest.mark.parametrize(("method", "path", "status", "said"), UNSUPPORTED)
def test_unsupported_api_calls(client, method, path, status, said):
    answer = client.request(method, path)
    assert answer.status_code == status and said in error(answer)


@pytest.mark.parametrize("path", ["/v1/models/foo", "/v1/models/foo/versions/50", f"{MODEL}99", f"{MODEL}/versions/99"])
def test_predict_model_name_version_errors(client, path):
    answer = client.post(f"{path}:predict", json={"instances": [1]})
    assert answer.status_code == 404 and "not found" in error(answer)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (MODEL, "", "the document is empty"),
        (MODEL, "instances = [1, 2]", "expected JSON"),
        (MODEL, '{"instances": ["x", "y"]}', "not of the expected type float32"),
        (f"{MODEL}/labels/Version_Nonexistent", '{"instances": ["x", "y"]}', "Unrecognized servable version label"),
        (MODEL, '{"signature_name": 100}', "expected a string value"),
    ],
)
def test_predict_request_errors(client, path, body, said):
    answer = client.post(f"{path}:predict", content=body)
    assert answer.status_code == 400 and said in error(answer)


PREDICT = [
    (LATEST, {"instances": [[1.0, 2.0], [3.0, 4.0]]}, {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
    (NUMBERED, {"instances": [1.0, 2.0]}, {"predictions": [2.5, 3.0]}),
    (LABELLED, {"instances": [1.0, 2.0]}, {"predictions": [2.5, 3.0]}),
    (NUMBERED, {"signature_name": "serving_default", "instances": [3.0, 4.0]}, {"predictions": [3.5, 4.0]}),
    (NUMBERED, {"signature_name": "serving_default", "inputs": [3.0, 4.0]}, {"outputs": [3.5, 4.0]}),
    (LATEST, {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),  # PredictREST
    (LATEST, {"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),  # PredictColumnarREST
    (LATEST, {"inputs": 2.0}, {"outputs": 3.0}),
]
REGRESS = [(path, 80.0, 42.0) for path in (LATEST, NUMBERED, LABELLED)] + [(LATEST, 2.0, 3.0)]  # RegressREST
CLASSIFY = [(LATEST, 20.0, 12.0), (LABELLED, 10.0, 7.0), (LATEST, 2.0, 3.0)]  # ClassifyREST


@pytest.mark.parametrize(("path", "body", "expected"), PREDICT)
def test_predict(client, path, body, expected):
    answer = client.post(f"{path}:predict", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == expected


@pytest.mark.parametrize(("path", "x", "expected"), REGRESS)
def test_regress(client, path, x, expected):
    answer = client.post(f"{path}:regress", json={"signature_name": "regress_x_to_y", "examples": [{"x": x}]})
    assert answer.json() == {"results": [expected]}


@pytest.mark.parametrize(("path", "x", "expected"), CLASSIFY)
def test_classify(client, path, x, expected):
    answer = client.post(f"{path}:classify", json={"signature_name": "classify_x_to_y", "examples": [{"x": x}]})
    assert answer.json() == {"results": [[["", expected]]]}


@pytest.mark.parametrize(
    ("verb", "signature", "example", "said"),
    [
        ("regress", None, {"x": 1.0}, "regress_x_to_y"),  # serving_default is none that regresses
        ("regress", "classify_x_to_y", {"x": 1.0}, "method tensorflow/serving/regress"),
        ("classify", "regress_x_to_y", {"x": 1.0}, "method tensorflow/serving/classify"),
        ("regress", "regress_x2_to_y3", {"x": 1.0}, "takes examples"),
        ("regress", "regress_x_to_y", {"x": 1}, "Data types don't match"),  # 1 is an integer, and x a float
        ("regress", "regress_x_to_y", {}, "x"),
        ("regress", "nothing", {"x": 1.0}, "nothing"),
    ],
)
def test_examples_that_a_signature_cannot_work_with(client, verb, signature, example, said):
    body = {"examples": [example]} | ({"signature_name": signature} if signature else {})
    answer = client.post(f"{MODEL}:{verb}", json=body)
    assert answer.status_code == 400 and said in error(answer)


@pytest.mark.parametrize("path", [LATEST, NUMBERED, LABELLED])
def test_get_status(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == AVAILABLE


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/foo", 404),
        (f"{MODEL}/versions/9", 404),
        (f"{MODEL}/labels/none", 400),
        (f"{MODEL}/versions/9/metadata", 404),
    ],
)
def test_the_status_of_what_there_is_not(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status and error(answer)


@pytest.mark.parametrize("path", [LATEST, NUMBERED, LABELLED])
def test_get_model_metadata(client, path):
    said = client.get(f"{path}/metadata").json()
    assert said["model_spec"] == {"name": NAME, "signature_name": "", "version": "123"}
    signatures = said["metadata"]["signature_def"]["signature_def"]
    assert {name: each["method_name"].rpartition("/")[2] for name, each in signatures.items()} == {
        "serving_default": "predict",
        "regress_x_to_y": "regress",
        "regress_x_to_y2": "regress",
        "regress_x2_to_y3": "regress",
        "classify_x_to_y": "classify",
        "classify_x2_to_y3": "classify",
    }
    open_by_one = {"dim": [{"name": "", "size": "-1"}, {"name": "", "size": "1"}], "unknown_rank": False}
    assert signatures["classify_x2_to_y3"] == {
        "inputs": {"inputs": {"dtype": "DT_FLOAT", "name": "x2:0", "tensor_shape": open_by_one}},
        "outputs": {"scores": {"dtype": "DT_FLOAT", "name": "y3:0", "tensor_shape": open_by_one}},
        "method_name": "tensorflow/serving/classify",
        "defaults": {},
    }
    example = {"dtype": "DT_STRING", "name": "tf_example:0", "tensor_shape": {"dim": [], "unknown_rank": True}}
    assert signatures["regress_x_to_y"]["inputs"]["inputs"] == example


def test_prometheus_endpoint(client):
    client.post(f"{MODEL}:predict", json={"instances": [1.0]})
    client.post("/v1/models/made:predict", json={"instances": [1.0]})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain") and "# TYPE" in answer.text
    lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
    assert float(lines[f'tl_keras_requests_total{{code="200",model="{NAME}",verb="predict"}}']) >= 1
    assert float(lines['tl_keras_requests_total{code="404",model="unknown",verb="predict"}']) >= 1
    assert lines[f'tl_keras_version_loaded{{model="{NAME}",version="123"}}'] == "1.0"
    assert float(lines["process_resident_memory_bytes"]) > 0
    assert "made" not in answer.text, "clients do not make up names of measures"


def test_errors_are_json_wherever_they_come_from(client):
    for method, path, status in [
        ("GET", "/nothing", 404), ("DELETE", "/", 405), ("PUT", MODEL, 405), ("TRACE", "/healthz", 405),
        ("OPTIONS", "/v1/models", 405), ("PATCH", "/v1/other", 404), ("GET", "/page/../application.py", 404),
        ("GET", "/page/%2e%2e/application.py", 404), ("GET", "/page/page.js/x", 404),
    ]:  # fmt: skip
        answer = client.request(method, path)
        assert answer.status_code == status and error(answer), (method, path)
        assert status != 405 or answer.headers["allow"]


def test_traps_in_json(client):
    for body in (
        b"[" * 500_000, b'{"instances": ' + b"[" * 500_000, b'{"a":' * 100_000, b"\xff\xfe", b'"' + b"x" * 10**6,
        b'{"instances": [' + b"9" * 10_000 + b"]}", b'{"instances": [1.0], "instances": [2.0]}',
    ):  # fmt: skip
        answer = client.post(f"{MODEL}:predict", content=body)
        assert answer.status_code == 400 and len(error(answer)) < 1000
    answer = client.post(f"{MODEL}:predict", content=b'{"instances": [NaN, Infinity, -Infinity, 1.0]}')
    found = json.loads(answer.text)["predictions"]
    assert found[0] != found[0] and found[1:] == [float("inf"), -float("inf"), 2.5]
