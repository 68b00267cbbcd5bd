"""What one request, and all together, may take: bytes, time, room in the queue; more is refused at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf
from starlette.requests import Request

from tests.serving.conftest import asking
from tl_keras.serving import application
from tl_keras.serving.addresses import Address
from tl_keras.serving.limits import AT_ONCE, Limits, Load
from tl_keras.serving.refusals import Refused
from tl_keras.serving.store import Store


def request(*parts, length=None, pause=0.0):
    """A request whose body comes in parts."""
    left = list(parts)

    async def receive():
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def read(load, *parts, **more):
    async def reading():
        with load.held() as body:
            content = await body.read(request(*parts, **more))
            assert load.bytes == len(content)
        return content

    return asyncio.run(reading())


@pytest.mark.parametrize("parts", [(b"",), (b"abc",), (b"ab", b"", b"c" * 8)])
def test_a_body_within_the_limits_is_read_whole(parts):
    load = Load(Limits(body=10))
    assert read(load, *parts) == b"".join(parts) and load.bytes == 0


@pytest.mark.parametrize(
    ("parts", "more", "status"),
    [
        ((b"",), {"length": 11}, 413),
        ((b"",), {"length": 10**30}, 413),
        ((b"a" * 10, b"b"), {}, 413),
        ((b"a" * 10, b"b"), {"length": 5}, 413),  # it said less than it sends
        ((b"a", b"b"), {"pause": 0.1}, 408),
    ],
)
def test_a_body_beyond_the_limits_is_refused_and_forgotten(parts, more, status):
    load = Load(Limits(body=10, sending=0.05))
    with pytest.raises(Refused) as refused:
        read(load, *parts, **more)
    assert (refused.value.status, load.bytes) == (status, 0)


def test_all_bodies_together_are_limited():
    load = Load(Limits(body=10))
    load.bytes = AT_ONCE * 10 - 3
    with load.held() as body:
        assert asyncio.run(body.read(request(b"abc"))) == b"abc"
        with pytest.raises(Refused) as refused, load.held() as other:
            asyncio.run(other.read(request(b"d")))
    assert (refused.value.status, load.bytes) == (429, AT_ONCE * 10 - 3)


def test_the_queue_has_room_for_so_many_and_an_empty_one_for_anything():
    load = Load(Limits(queue=3))
    with load.room(5):
        with pytest.raises(Refused) as refused, load.room(1):
            pass
        assert refused.value.status == 429 and refused.value.headers["retry-after"]
    with load.room(1), load.room(2):
        assert load.at_work == 3
    assert load.at_work == 0


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A model that counts to n, one by one, and so takes its time."""
    folder = tmp_path_factory.mktemp("models")
    module = tf.Module()
    count = tf.function(
        lambda n: {"y": tf.while_loop(lambda i: tf.less(i, n), lambda i: [i + 1], [tf.constant(0)])[0]},
        input_signature=[tf.TensorSpec((), tf.int32, name="n")],
    )
    tf.saved_model.save(module, str(folder / "slow/1"), signatures=count)
    return folder


def post(client, n):
    return client.post("/v1/models/slow:predict", json={"inputs": n})


def test_overload_is_refused_at_once_and_the_others_are_answered(slow):
    with asking(slow, Limits(queue=3)) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: post(client, 100_000), range(12)))
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 429} and codes.count(200) >= 3
        for answer in answers:
            if answer.status_code == 200:
                assert answer.json() == {"outputs": 100_000}
            else:
                assert answer.headers["retry-after"] and "as much to do" in answer.json()["error"]
        assert post(client, 5).json() == {"outputs": 5}


def test_who_has_waited_too_long_is_told_so_and_does_not_run_any_more(slow):
    with asking(slow, Limits(waiting=0.2)) as client, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(post, client, 500_000) for _ in range(4)]
        for answer in answers:
            assert answer.result().status_code == 429 and "within 0.2 seconds" in answer.result().json()["error"]
        with client.store.hold(Address("slow", None, None, "predict")) as version:
            version.batcher.submit("serving_default", {"n": tf.constant(1).numpy()}, together=False).result(60)
            assert version.batcher.waiting == 0
        assert post(client, 5).json() == {"outputs": 5}
        assert 'tl_keras_requests_total{code="429",model="slow",verb="predict"} 4.0' in client.get("/metrics").text


def test_before_the_models_have_been_looked_for_it_is_not_healthy(tmp_path):
    from starlette.testclient import TestClient

    store = Store(tmp_path)
    client = TestClient(application.build(store))
    assert client.get("/healthz").status_code == 503 and "error" in client.get("/healthz").json()
    store.look()
    assert client.get("/healthz").status_code == 200


def test_applications_are_of_their_own_and_can_be_mounted(half_plus_two):
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    outer = FastAPI()
    with asking(half_plus_two) as inner, asking(half_plus_two) as other:
        outer.mount("/models", inner.app)
        mounted = TestClient(outer)
        for path in ("/v1/models/half_plus_two", "/v1/models/half_plus_two/metadata", "/healthz", "/v1/models"):
            assert mounted.get(f"/models{path}").json() == inner.get(path).json()
        answer = mounted.post("/models/v1/models/half_plus_two:predict", json={"instances": [2.0]})
        assert answer.json() == {"predictions": [3.0]}
        assert 'verb="predict"' in inner.get("/metrics").text and 'verb="predict"' not in other.get("/metrics").text
