"""A Ray cluster of two machines that are none, all at the loopback address, for tests that lose one of them."""

import importlib.util
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from tests.isolation import ROOT
from tl_keras import clusters, tasks
from tl_keras.errors import InputError

# A machine that is gone is missed after a second, not after half a minute.
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}


@contextmanager
def running(machines=2):
    """A cluster whose head does no work, and whose machines have the cores of this one each; `.address` names it."""
    if not importlib.util.find_spec("ray"):  # to import it would settle what it reads of the environment
        pytest.skip("needs ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", str(ROOT))
        clusters.imported()
        from ray.cluster_utils import Cluster

        place = {"node_ip_address": clusters.LOOPBACK}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": SOON, **place}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(machines):
                cluster.add_node(num_cpus=tasks.own_cores(), **place)
            yield cluster
        finally:
            cluster.shutdown()


def lose(cluster, node_id):
    """End a machine of the cluster as a power cut would."""
    lost = next(node for node in cluster.worker_nodes if node.node_id == node_id)
    cluster.remove_node(lost, allow_graceful=False)


def node_id():
    """The machine that this process works for; None outside a cluster."""
    import ray

    return ray.get_runtime_context().get_node_id() if "RAY_RAYLET_PID" in os.environ else None


@dataclass(frozen=True)
class Stuck:
    """Measures for ever on the first machine that it comes to, and nothing on another one."""

    name: ClassVar[str] = "stuck"
    told: str = ""

    def __call__(self, model, images):
        try:
            with open(self.told, "x") as file:
                file.write(node_id())
        except FileExistsError:
            return {}, {}
        time.sleep(600)


def first_time(place):
    """Whether nobody has been at this place before."""
    try:
        return open(place, "x").close() is None
    except FileExistsError:
        return False


def killed_once(place):
    """Its process dies in the first attempt."""
    if first_time(place):
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def killed(place):
    """Its process dies in every attempt."""
    os.kill(os.getpid(), signal.SIGKILL)


def refused(number):
    """Done but for three."""
    if number == 3:
        raise InputError("three: expected another number, received 3; leave it out")
    return number


def with_sent(number, sent):
    """What came with it, the cores of its process, and the process."""
    return sent, PREPARED[:], os.getpid()


PREPARED: list[int] = []


def prepare(cores):
    """Remembers with how many."""
    PREPARED.append(cores)


def waits(place):
    """Says which process it is, and ends at once or never."""
    Path(place).write_text(str(os.getpid()))
    if place.endswith("long"):
        time.sleep(600)


def listening(_):
    """Where this cluster listens, of all that its driver has started; and the numbers of these processes."""
    node = psutil.Process(int(os.environ["RAY_RAYLET_PID"]))
    family, found = node.parent().children(recursive=True), []
    for one in family:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            found += [place.laddr.ip for place in one.net_connections() if place.status == "LISTEN"]
    return " ".join([*found, ",".join(str(one.pid) for one in family)])
