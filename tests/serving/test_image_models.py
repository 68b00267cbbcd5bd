"""Image models answer as the network itself does on the same files; what is no image is refused, and by itself."""

import base64
import io
import itertools
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.serving import models
from tests.serving.conftest import asking
from tests.serving.models import NAMES, encoded, image_file
from tl_keras.data.decode import decode
from tl_keras.evaluation import interpret
from tl_keras.serving.limits import Limits

FILES = [
    image_file(0), image_file(1, (200, 90), "JPEG"), image_file(2, (16, 12), "BMP"), image_file(3, (33, 77), "WEBP"),
    image_file(4, (5, 5), "GIF"),
]  # fmt: skip
PATH = "/v1/models/cats"


@pytest.fixture(scope="module")
def client(images):
    with asking(images.folder, Limits(images=40, pixels=100_000)) as client:
        yield client


@pytest.fixture(scope="module")
def pixels(images):
    return np.stack([images.view.of(decode(file)) for file in FILES])


@pytest.fixture(scope="module")
def expected(images, pixels):
    """The probabilities that Keras gives, of several classes."""
    probabilities = images.network.predict(pixels, verbose=0)
    assert len(set(probabilities.argmax(1))) > 1 and (np.ptp(probabilities, axis=0) > 0.01).all()
    return probabilities


def check(rows, expected):
    found = np.array([row["probabilities"] for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for row, best in zip(rows, expected.argmax(1), strict=True):
        assert sorted(row) == ["class", "class_names", "logits", "probabilities"]
        assert (row["class"], row["class_names"]) == (NAMES[best], list(NAMES))
        logits = np.exp(np.array(row["logits"]) - max(row["logits"]))
        np.testing.assert_allclose(logits / logits.sum(), row["probabilities"], atol=1e-5)


@pytest.mark.parametrize(
    "entry", [encoded, lambda file: {"images": encoded(file)}], ids=["plain", "by the name of the input"]
)
def test_files_in_rows(client, expected, entry):
    answer = client.post(f"{PATH}:predict", json={"instances": [entry(file) for file in FILES]})
    assert answer.status_code == 200
    check(answer.json()["predictions"], expected)


@pytest.mark.parametrize("entry", [list, lambda files: {"images": list(files)}], ids=["plain", "by name"])
def test_files_in_columns(client, expected, entry):
    answer = client.post(f"{PATH}:predict", json={"inputs": entry(map(encoded, FILES))}).json()["outputs"]
    check([dict(zip(answer, row, strict=True)) for row in zip(*answer.values(), strict=True)], expected)


def test_pixels(client, pixels, expected):
    answer = client.post(f"{PATH}:predict", json={"signature_name": "pixels", "instances": pixels.tolist()})
    check(answer.json()["predictions"], expected)


def test_examples(client, expected):
    examples = [{"image": encoded(file)} for file in FILES]
    for asked in ({"examples": examples}, {"examples": examples, "signature_name": "classify"}):
        results = client.post(f"{PATH}:classify", json=asked).json()["results"]
        assert [[name for name, _ in row] for row in results] == [list(NAMES)] * len(FILES)
        np.testing.assert_allclose([[score for _, score in row] for row in results], expected, atol=1e-5)


def test_the_signatures_that_read_files_in_the_graph_can_be_asked_too(client, expected):
    import tensorflow as tf

    example = tf.train.Example()
    example.features.feature["image"].bytes_list.value.append(FILES[0])
    asked = {"signature_name": "classify", "inputs": [encoded(example.SerializeToString())]}
    np.testing.assert_allclose(
        client.post(f"{PATH}:predict", json=asked).json()["outputs"]["scores"], expected[:1], atol=0.02
    )


def test_more_images_than_a_batch_has(client, expected):
    files = list(itertools.islice(itertools.cycle(FILES), 40))
    answer = client.post(f"{PATH}:predict", json={"instances": list(map(encoded, files))})
    check(answer.json()["predictions"], np.resize(expected, (40, 3)))
    metrics = client.get("/metrics").text
    assert 'tl_keras_batch_rows_bucket{le="64.0",model="cats"}' in metrics


def test_requests_at_the_same_time_get_their_own_answers(client, expected):
    def ask(index):
        answer = client.post(f"{PATH}:predict", json={"instances": [encoded(FILES[index % 5])]})
        check(answer.json()["predictions"], expected[index % 5][None])

    def mistake(_):
        assert client.post(f"{PATH}:predict", json={"instances": [encoded(FILES[0][:100])]}).status_code == 400

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: (mistake if index % 3 == 2 else ask)(index), range(60)))


@pytest.mark.parametrize("index", [None, 0, 2])
def test_where_the_network_looked(client, images, pixels, expected, index):
    asked = {"instances": list(map(encoded, FILES))} | ({} if index is None else {"class_index": index})
    found = client.post(f"{PATH}:explain", json=asked).json()["explanations"]
    classes = expected.argmax(1) if index is None else np.full(len(FILES), index)
    heat = interpret.grad_cam(images.network, pixels, classes.tolist())
    for row, number, image, map_ in zip(found, classes, pixels, heat, strict=True):
        assert (row["class"], row["class_index"]) == (NAMES[number], number)
        overlay = Image.open(io.BytesIO(base64.b64decode(row["overlay"])))
        assert (overlay.format, overlay.size) == ("PNG", (12, 16))
        drawn = interpret.overlay(image, map_).astype(int)
        assert np.abs(np.asarray(overlay) - drawn).max() <= 2


BAD = [
    ({"instances": [encoded(b"no image")]}, "image 0: expected a readable JPEG"),
    ({"instances": [encoded(FILES[0]), encoded(FILES[1][:-50])]}, "image 1: expected a whole image"),
    ({"instances": [encoded(b"")]}, "empty file"),
    ({"instances": ["text"]}, "image 0"),
    ({"instances": [{"b64": "@@@"}]}, "base64"),
    ({"instances": [{"b64": 5}]}, ""),
    ({"instances": []}, "at least one"),
    ({"instances": [[encoded(FILES[0])]]}, "shape"),
    ({"inputs": encoded(FILES[0])}, "shape"),
    ({"instances": [encoded(FILES[0])] * 41}, "1 to 40"),
    ({"instances": [encoded(image_file(size=(400, 251)))]}, "at most 100000 pixels"),
    ({"instances": [encoded(image_file(size=(300, 300)))] * 5}, "at most 400000 pixels in all"),
    ({"signature_name": "pixels", "instances": [[[[1, 2, 3]]]]}, "shape"),
    ({"signature_name": "pixels", "instances": np.zeros((41, 16, 12, 3), int).tolist()}, "1 to 40"),
    ({"signature_name": "explain", "instances": [5]}, "keys"),
    ({"signature_name": "none", "instances": [5]}, "none"),
    ({"signature_name": "classify", "instances": ["text"]}, "Could not parse"),
]


@pytest.mark.parametrize(("body", "said"), BAD)
def test_what_is_refused(client, body, said):
    answer = client.post(f"{PATH}:predict", content=json.dumps(body))
    assert answer.status_code == 400 and said in answer.json()["error"]
    assert len(answer.json()["error"]) < 500


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        ("classify", {"examples": [{"picture": encoded(FILES[0])}]}, "the feature image"),
        ("classify", {"examples": [{"image": [encoded(FILES[0])] * 2}]}, "one file"),
        ("classify", {"examples": [{"image": 5}]}, "one file"),
        ("regress", {"examples": [{"image": encoded(FILES[0])}]}, "regress"),
        ("explain", {"instances": [encoded(FILES[0])], "class_index": 3}, "from 0 to 2"),
        ("explain", {"instances": [encoded(FILES[0])], "class_index": True}, "class_index"),
        ("explain", {"instances": [encoded(FILES[0])], "class_index": -1}, "class_index"),
        ("explain", {"instances": ["x"], "signature_name": "classify"}, "serving_default or pixels"),
    ],
)
def test_what_other_verbs_refuse(client, verb, body, said):
    answer = client.post(f"{PATH}:{verb}", json=body)
    assert answer.status_code == 400 and said in answer.json()["error"]


def test_the_list_of_models(client):
    assert client.get("/v1/models").json() == {
        "models": [
            {
                "name": "cats",
                "versions": [{"version": "1", "state": "AVAILABLE", "labels": []}],
                "classes": list(NAMES),
                "view": {"size": [16, 12], "channels": 3},
                "explains": True,
            }
        ]
    }


def test_grey_images(tmp_path):
    grey = models.image_model(tmp_path / "grey", channels=1)
    with asking(tmp_path) as client:
        pixels = np.stack([grey.view.of(decode(file)) for file in FILES])
        answer = client.post("/v1/models/grey:predict", json={"instances": list(map(encoded, FILES))})
        check(answer.json()["predictions"], grey.network.predict(pixels, verbose=0))
        overlay = client.post("/v1/models/grey:explain", json={"instances": [encoded(FILES[0])]})
        assert overlay.json()["explanations"][0]["overlay"]


BREAKS = {
    "a view that is none": lambda said: said | {"view": {"size": [16, 12]}},
    "another view": lambda said: said | {"view": said["view"] | {"size": [8, 8], "scaled": None}},
    "too few classes": lambda said: said | {"class_names": ["cat"]},
    "no classes": lambda said: {"view": said["view"]},
}


@pytest.mark.parametrize("change", BREAKS.values(), ids=BREAKS)
def test_an_image_model_that_does_not_do_what_it_says_is_not_served(images, tmp_path, change, capsys):
    shutil.copytree(images.folder / "1", tmp_path / "cats/2")
    said = tmp_path / "cats/2/assets/tl_keras.json"
    said.write_text(json.dumps(change(json.loads(said.read_text()))))
    with asking(tmp_path) as client:
        assert client.get("/v1/models").json()["models"][0]["versions"][0]["state"] == "END"
        status = client.get(PATH).json()["model_version_status"][0]
        assert status["state"] == "END" and status["status"]["error_message"].startswith("version: expected")
        assert client.get("/healthz").status_code == 200
    assert len(capsys.readouterr().err.splitlines()) == 1
