"""Ray: started on this machine, or connected to; it runs functions elsewhere, and again where a machine is lost."""

from __future__ import annotations

import importlib.util
import os
import platform
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tl_keras import config, stopping
from tl_keras.errors import InputError

LOOPBACK = "127.0.0.1"
ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # at 0 Ray takes the loopback address for that of its machine
ANSWER_SECONDS = 5
# A function is tried so many times again when its machine is lost, or its process killed.
RETRIES = 3
# By HTTP/2, as Ray speaks it, each side begins with its settings: a frame of this type. These are none at all.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS = PREFACE[-6]


def check(address: str) -> None:
    """Raise InputError unless Ray is installed and, where an address is given, a cluster answers there.

    >>> check("127.0.0.1:6379")  # doctest: +SKIP
    """
    try:
        found = importlib.util.find_spec("ray")
    except (ImportError, ValueError):
        found = None
    if not found:
        raise _not_installed("No module named 'ray'")
    place = _address(address)
    if place not in ("", "auto"):
        with _answering(address):
            _check_answers(place)


def imported(name: str = "ray", *, beyond: bool = False) -> ModuleType:
    """Ray, or a part of it, which sends nothing anywhere and adds nothing to the lines that its workers print.

    Args:
        beyond: other machines are meant too; else all that it starts listens at the loopback address alone.

    Raises:
        InputError: it is not installed.

    >>> imported().__name__  # doctest: +SKIP
    'ray'
    """
    # Ray reads these once, when it is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ |= {"RAY_DISABLE_WORKER_LOG_PREFIX": "1", "RAY_COLOR_PREFIX": "0", "RAY_DEDUP_LOGS": "0"}
    if not beyond:
        os.environ[ALONE] = "0"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _not_installed(error) from error


@contextmanager
def connected(address: str, cores: int) -> Iterator[ModuleType]:
    """Ray, as long as the block lasts: connected to the cluster at `address`, or to one that is made for the block.

    Args:
        address: host:port, auto, ray://host:port; or nothing for the one that RAY_ADDRESS names, else a new one of this
            machine with so many `cores`, all of whose ports listen at the loopback address.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    found = _address(address)
    ray = imported(beyond=bool(found))
    heard = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    try:
        if found:
            with _answering(address, ray.exceptions.RayError):
                ray.init(address=found, logging_level="ERROR")
        else:
            ray.init(address="local", num_cpus=cores, include_dashboard=False, logging_level="ERROR")
        for number, handler in heard.items():  # Ray has put its own in their place
            signal.signal(number, handler)
        yield ray
    except BaseException as error:
        stopping.asked(error)  # it came: Ray must not be interrupted while it ends
        raise
    finally:
        ray.shutdown()


class Workers:
    """The processes of a cluster, to which functions are submitted as to an executor.

    Args:
        engine: the words for it, in messages.
        cores: how many each function may use, or as many as the largest machine has.
        gpu: whether each function takes a GPU, where machines have any.
    """

    def __init__(self, ray: ModuleType, engine: str, cores: int, gpu: bool = False):
        self._ray, self._name = ray, engine
        machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
        machines = [machine for machine in machines if gpu and machine.get("GPU")] or machines
        largest = int(max((machine.get("CPU", 0) for machine in machines), default=0))
        self.cores = min(cores, largest) or cores  # a cluster that grows may begin with none
        gpus = int(gpu and any(machine.get("GPU") for machine in machines))
        kind = ray.remote(num_cpus=self.cores, num_gpus=gpus, max_retries=RETRIES)
        self._task = kind(_sent(versions()))

    def submit(self, function: Callable, *arguments: Any) -> Future:
        """Call `function` with `arguments` on one of the machines.

        Raises, as the result:
            InputError: the machine has other versions of what decides the results.
            RuntimeError: its process was killed, again and again.
            BaseException: what the function raised.
        """
        from ray import cloudpickle

        answer = Future[Any]()
        given = self._task.remote(cloudpickle.dumps((function, arguments))).future()
        given.add_done_callback(lambda done: self._settle(answer, done))
        return answer

    def _settle(self, answer: Future, given: Future) -> None:
        from ray import cloudpickle

        try:
            kind, content = given.result()
            if kind == "refused":
                raise InputError(
                    f"--engine {self._name}: expected what is installed here on every machine, received {content}; "
                    "install the same there"
                )
            found = cloudpickle.loads(content)
            if kind == "raised":
                raise found
            answer.set_result(found)
        except self._ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())
            answer.set_exception(
                RuntimeError(
                    f"--engine {self._name}: expected machines that live, received one whose work was lost ({reason})"
                )
            )
        except BaseException as error:
            answer.set_exception(error)


def versions() -> dict[str, str]:
    """What decides the results of a function, for a machine to compare.

    >>> "numpy" in versions()
    True
    """
    return config.environment()["versions"] | {"python": ".".join(platform.python_version_tuple()[:2])}


def _address(given: str) -> str:
    """The address that is meant; empty for a cluster that is made."""
    address = given or os.environ.get("RAY_ADDRESS", "")
    if address.startswith("//"):  # of `ray://...`, where the word for the engine has become a part of it
        return f"ray:{address}"
    return "" if address == "local" else address


def _not_installed(why: object) -> InputError:
    return InputError(
        f"--engine: expected ray[serve] to be installed, received none ({why}); pip install 'tl-keras[ray]'"
    )


@contextmanager
def _answering(address: str, *errors: type[Exception]) -> Iterator[None]:
    """What goes wrong in the block means that no cluster answers there: these errors too."""
    refusals: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError, *errors)
    try:
        yield
    except refusals as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--engine ray:{_address(address)}: expected the address of a Ray cluster, received one where none "
            f"answers ({reason}); start it by `ray start --head`, set RAY_AUTH_MODE=token where it asks for a token, "
            "or leave the address out for this machine alone"
        ) from error


def _check_answers(place: str) -> None:
    """Raise an error unless somebody answers there as Ray does: it would try for minutes by itself."""
    by_client = place.startswith("ray://")
    host, _, port = place.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("it is not of the form host:port")
    host = host.strip("[]")
    if host in ("localhost", LOOPBACK) and not by_client and os.environ.get(ALONE) != "0":
        host = _own_address()
    with socket.create_connection((host, int(port)), ANSWER_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0") == "0":
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(PREFACE)
            if connection.recv(4)[3:] != bytes([SETTINGS]):
                raise ConnectionError("it is no server of Ray that answers")


def _own_address() -> str:
    """The address of this machine in its network, which Ray takes for the loopback address where it may have many."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nothing_is_sent:
        try:
            nothing_is_sent.connect(("8.8.8.8", 80))
        except OSError:
            return LOOPBACK
        return nothing_is_sent.getsockname()[0]


def _sent(expected: dict[str, str]) -> Callable[[bytes], tuple[str, Any]]:
    """What a machine runs. Ray sends it by value, since it is made here: nothing of it need be installed there."""

    def answer(content: bytes) -> tuple[str, Any]:
        import pickle
        import socket
        import traceback

        try:
            from tl_keras import clusters

            found = clusters.versions()
        except ImportError:
            found = {}
        other = [f"{name} {found.get(name)}" for name in expected if found.get(name) != expected[name]]
        if other:
            return "refused", f"{', '.join(other)} on {socket.gethostname()}"
        from ray import cloudpickle

        try:
            function, arguments = pickle.loads(content)
            return "done", cloudpickle.dumps(function(*arguments))
        except Exception as error:
            error.add_note("".join(traceback.format_exception(error)))
            return "raised", cloudpickle.dumps(error)

    return answer
