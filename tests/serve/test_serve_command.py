"""`serve` as users start it: it waits for nobody who is slow, takes new versions under load, and stops in order."""

import json
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest

from tests.fresh import python
from tests.serve.running import said, serving
from tests.serving import models
from tests.serving.models import encoded, image_file

LINE, CATS = "/v1/models/line:predict", "/v1/models/cats:predict"
FILE = {"instances": [encoded(image_file())]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    models.half_plus_two(folder / "line/1", 1.0)
    models.half_plus_two(folder / "next", 2.0)
    models.image_model(folder / "cats")
    return folder


@pytest.fixture
def saved(made, tmp_path):
    for name in ("line", "cats"):
        shutil.copytree(made / name, tmp_path / "saved" / name)
    return tmp_path / "saved"


@pytest.fixture(scope="module")
def server(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    for name in ("line", "cats"):
        shutil.copytree(made / name, folder / name)
    with serving(folder, "--body", 1, "--sending", 1, "--labels", "line:stable=1") as server:
        yield server


def head(path, *headers):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: here", *headers, "", ""]).encode()


def test_it_answers_once_it_says_that_it_is_ready(server):
    with server.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.post(LINE, json={"instances": [2.0]}).json() == {"predictions": [2.0]}
        assert client.post("/v1/models/line/labels/stable:predict", json={"inputs": 4.0}).json() == {"outputs": 3.0}
        assert client.post(CATS, json=FILE).json()["predictions"][0]["class"] in models.NAMES
    assert any("cats 1: image model, run by" in line for line in server.lines)


def test_a_body_that_is_too_large_is_refused_at_once_when_it_says_so(server):
    with server.connected() as connection:
        connection.sendall(head(LINE, "Content-Length: 999999999999"))  # and nothing of it
        status, headers, body = said(connection)
    assert (status, headers["connection"]) == (413, "close")
    assert "at most 1048576 bytes" in json.loads(body)["error"]


@pytest.mark.parametrize("announced", [True, False])
def test_who_sends_too_much_reads_why(server, announced):
    content = b"x" * 3_000_000
    parts = content if announced else iter([content[:1_500_000], content[1_500_000:]])
    with server.client() as client:
        answer = client.post(LINE, content=parts)
        assert answer.status_code == 413 and "1048576" in answer.json()["error"]
        assert client.post(LINE, json={"instances": [2.0]}).status_code == 200


def test_who_sends_slowly_is_told_to_hurry_and_nobody_waits_for_them(server):
    with server.connected() as slow, server.client() as client:
        slow.sendall(head(LINE, "Content-Length: 100") + b"{")
        assert client.post(LINE, json={"instances": [2.0]}).status_code == 200
        status, headers, body = said(slow)
    assert (status, headers["connection"]) == (408, "close") and "within 1 seconds" in json.loads(body)["error"]


NONSENSE = {
    "no HTTP": b"hello\r\n\r\n",
    "a method that is none": b"BREW / HTTP/1.1\r\nHost: here\r\n\r\n",
    "a length that is none": head(LINE, "Content-Length: many"),
    "a negative length": head(LINE, "Content-Length: -5"),
    "two lengths": head(LINE, "Content-Length: 5", "Content-Length: 6"),
    "a header without a colon": head(LINE, "nonsense"),
    "chunks that are none": head(LINE, "Transfer-Encoding: chunked") + b"zz\r\n",
    "other bytes in the path": b"GET /\xff HTTP/1.1\r\nHost: here\r\n\r\n",
    "an endless head": b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 200_000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % index for index in range(20_000)),
}


@pytest.mark.parametrize("sent", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_answered_in_json(server, sent):
    with server.connected() as connection:
        with suppress(ConnectionError):  # it was refused before all was sent
            connection.sendall(sent)
        status, headers, body = said(connection)
    assert 400 <= status < 500 and headers["content-type"] == "application/json"
    assert isinstance(json.loads(body)["error"], str)


def test_who_hangs_up_in_the_middle_disturbs_nobody(server):
    for sent in (b"", b"POST", head(LINE, "Content-Length: 100") + b"{", head(CATS, "Content-Length: 5") + b"[[[[["):
        server.connected().close() if not sent else _sent_and_gone(server, sent)
    with server.client() as client:
        assert client.post(LINE, json={"instances": [2.0]}).status_code == 200


def _sent_and_gone(server, sent):
    with server.connected() as connection:
        connection.sendall(sent)


def test_bad_requests_among_good_ones_do_not_disturb_them(server):
    bad = [b"[" * 100_000, b'{"instances": ["x"]}', b"", b'{"instances": [{"b64": "////"}]}', b"\xff" * 1000]

    def ask(index):
        if index % 2:
            return client.post(CATS, content=bad[index // 2 % len(bad)]).status_code
        answer = client.post(CATS, json=FILE)
        assert answer.json()["predictions"] == expected
        return answer.status_code

    with server.client() as client, ThreadPoolExecutor(8) as pool:
        expected = client.post(CATS, json=FILE).json()["predictions"]
        assert set(list(pool.map(ask, range(120)))[::2]) == {200}
        assert "process_resident_memory_bytes" in client.get("/metrics").text
    assert not any("Traceback" in line for line in server.lines)


def test_the_page_may_load_nothing_from_elsewhere(server):
    with server.client() as client:
        answers = {name: client.get(name) for name in ("/", "/page/page.css", "/page/page.js")}
        assert [client.head(name).status_code for name in ("/", "/healthz", "/page/page.js")] == [200, 200, 200]
    assert [answer.headers["content-type"].split(";")[0] for answer in answers.values()] == [
        "text/html", "text/css", "text/javascript",
    ]  # fmt: skip
    for answer in answers.values():
        assert answer.headers["content-security-policy"] == "default-src 'self'; img-src 'self' blob: data:"


def test_new_versions_are_taken_under_load_without_a_failed_request(saved, made):
    stop, found = threading.Event(), []

    def ask():
        with server.client() as client:
            while not stop.is_set():
                for path, body in ((LINE, {"instances": [0.0]}), (CATS, FILE)):
                    answer = client.post(path, json=body)
                    found.append((answer.status_code, answer.json().get("predictions", [None])[0]))

    def states(client):
        told = client.get("/v1/models/line").json()["model_version_status"]
        return {each["version"]: each["state"] for each in told}

    with serving(saved, "--versions", 1) as server, server.client() as client, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            (saved / "line/3").mkdir()
            (saved / "line/3/saved_model.pb").write_bytes(b"damaged")
            server.wait_for(lambda: states(client) == {"3": "END", "1": "AVAILABLE"})
            shutil.copytree(made / "next", saved / "line/2")
            server.wait_for(lambda: states(client) == {"3": "END", "2": "AVAILABLE"})
            shutil.rmtree(saved / "line/3")
            server.wait_for(lambda: states(client) == {"2": "AVAILABLE"})
            assert client.post(LINE, json={"instances": [0.0]}).json() == {"predictions": [2.0]}
            assert 'tl_keras_reloads_failed_total{model="line"} 1.0' in client.get("/metrics").text
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert {status for status, _ in found} == {200} and len(found) > 20
    lines = [said for _, said in found if isinstance(said, float)]
    assert set(lines) == {1.0, 2.0} and lines[-1] == 2.0
    assert sum("line 3: not served" in line for line in server.lines) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_it_stops_after_what_it_accepted_and_leaves_nothing(saved, number):
    with serving(saved) as server, server.client() as client:
        client.get("/healthz")  # a connection that idles from here on
        idle, sending = server.connected(), server.connected()
        content = json.dumps({"instances": [FILE["instances"][0]] * 60}).encode()
        sending.sendall(head(CATS, f"Content-Length: {len(content)}") + content)
        time.sleep(0.05)
        started = time.monotonic()
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.send_signal(number)
        status, _, body = said(sending)
        assert status == 200 and len(json.loads(body)["predictions"]) == 60
        assert server.process.wait(30) == 1
        assert time.monotonic() - started < 15
        server._reader.join(10)
        assert server.lines[-1] == "stopped\n" and not any("Traceback" in line for line in server.lines)
        idle.close(), sending.close()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url, trust_env=False)


WRONG = [
    (["nothing"], "MODELS: expected a folder"),
    ([], "MODELS: expected"),
    ([".", "--labels", "stable=1"], "--labels: expected"),
    ([".", "--port", "70000"], "--port: expected"),
    ([".", "--host", "300.1.1.1"], "--port: expected an address"),
    ([".", "--versions", "0"], "--versions: expected"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_loaded(tmp_path, arguments, message):
    found = python("-X", "importtime", "-m", "tl_keras.run", "serve", *arguments, folder=tmp_path)
    lines = [line for line in found.stderr.splitlines() if not line.startswith("import time:")]
    assert found.returncode == 2 and len(lines) == 1 and message in lines[0]
    assert " tensorflow\n" not in found.stderr


def test_a_port_that_is_taken(server, tmp_path):
    found = python("-m", "tl_keras.run", "serve", ".", "--port", server.port, folder=tmp_path)
    assert found.returncode == 2 and f"127.0.0.1:{server.port}" in found.stderr


def test_an_empty_folder_is_waited_for(tmp_path):
    with serving(tmp_path) as server, server.client() as client:
        assert client.get("/v1/models").json() == {"models": []}
        assert any("no model in" in line for line in server.lines)
        assert server.stop() == 1
