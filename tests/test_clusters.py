"""Tasks on Ray: nothing listens beyond this machine, what is killed is done again, what is amiss is said at once."""

import http.server
import os
import signal
import threading
import time
from contextlib import suppress

import psutil
import pytest

from tests import fresh, ray_cluster
from tl_keras import clusters, tasks
from tl_keras.errors import InputError


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster.running(machines=1) as found:
        yield f"ray:{found.address}"


def test_items_come_behind_what_they_need_with_what_was_sent(cluster):
    needs, taken = {3: (1, 2), 1: (2,), 2: ()}, []
    for item, (sent, prepared, _) in tasks.each(
        cluster, ray_cluster.with_sent, list(needs), needs=needs.get, sends=lambda item: [item, *taken],
        prepare=ray_cluster.prepare, cores=1,
    ):  # fmt: skip
        assert sent == [item, *taken], "asked for when it begins"
        assert prepared == [1], "each process once"
        taken.append(item)
    assert taken == [2, 1, 3]


def test_a_killed_process_costs_its_task_alone(cluster, tmp_path):
    items = [str(tmp_path / name) for name in "ab"]
    assert [item for item, _ in sorted(tasks.each(cluster, ray_cluster.killed_once, items, cores=1))] == items
    with pytest.raises(RuntimeError, match=f"--engine {cluster}: expected machines that live, received one whose work"):
        list(tasks.each(cluster, ray_cluster.killed, items, cores=1))


def test_an_error_arrives_as_it_was_raised(cluster):
    with pytest.raises(InputError) as told:
        list(tasks.each(cluster, ray_cluster.refused, range(6), cores=1))
    assert type(told.value) is InputError
    assert str(told.value) == "three: expected another number, received 3; leave it out"


def test_a_machine_with_other_versions_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(clusters, "versions", lambda real=clusters.versions: real() | {"numpy": "1.0"})
    with pytest.raises(InputError, match=r"what is installed here on every machine, received numpy [2-9].* on "):
        list(tasks.each(cluster, ray_cluster.refused, [1]))


def test_closing_ends_what_is_at_work_and_gives_signals_back(cluster, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    short, long = tmp_path / "short", tmp_path / "long"
    found = tasks.each(cluster, ray_cluster.waits, [str(short), str(long)], cores=1)
    next(found)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    while not (long.exists() and long.read_text()):
        time.sleep(0.05)
    family = [psutil.Process(int(place.read_text())) for place in (short, long)]
    found.close()
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_a_cluster_of_its_own_listens_at_this_machine_alone():
    """And ends with the work."""
    tests = "from tests.ray_cluster import listening; from tl_keras import tasks; "
    code = tests + "print(*(found for _, found in tasks.each('ray', listening, [0])), flush=True)"
    done = fresh.python("-c", code, folder=fresh.ROOT)
    assert done.returncode == 0, done.stderr
    *addresses, processes = done.stdout.splitlines()[-1].split(" ")
    assert len(addresses) > 3 and {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
    left = []
    for number in processes.split(","):
        with suppress(psutil.NoSuchProcess):
            left.append(psutil.Process(int(number)))
    assert psutil.wait_procs(left, timeout=30)[1] == []


@pytest.mark.parametrize("address", ["127.0.0.1:9", "localhost:9", "ray://127.0.0.1:9", "nowhere", "127.0.0.1:http"])
def test_nobody_answers(address):
    with pytest.raises(InputError, match=f"--engine ray:{address}: expected the address of a Ray cluster, received"):
        tasks.check(f"ray:{address}")
    with pytest.raises(InputError, match=r"--engine ray:ray://127\.0\.0\.1:9: expected"):
        tasks.check("ray://127.0.0.1:9")


def test_a_server_of_something_else_is_no_cluster(monkeypatch):
    monkeypatch.setenv(clusters.ALONE, "0")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(InputError, match="it is no server of Ray that answers"):
            tasks.check(f"ray:127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_without_ray_one_line_says_how_to_have_it(tmp_path):
    code = "import sys; sys.modules['ray'] = None; from tl_keras.run import main; sys.exit(main(sys.argv[1:]))"
    for command in (["cifar_ab", "--engine", "ray", "--out", "run"], ["serve", ".", "--engine", "ray"]):
        done = fresh.python("-c", code, *command, folder=tmp_path)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("error: --engine: expected ray[serve] to be installed, received none (")
        assert done.stderr.endswith("; pip install 'tl-keras[ray]'\n") and len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []
