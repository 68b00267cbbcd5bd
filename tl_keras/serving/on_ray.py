"""The same application on Ray Serve: several replicas, each a process with its own models, behind one address.

Ray spreads replicas over the machines of a cluster; on one machine the server without it is faster. It is an extra.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from tl_keras import clusters, stopping
from tl_keras.clusters import LOOPBACK
from tl_keras.serving.limits import Limits

APPLICATION = "tl_keras"
PROXY_SECONDS = 60


def application(folder: Path, keep: int, labels: dict[str, dict[str, int]], most: Limits, poll: int) -> FastAPI:
    """The application of a folder's models, loaded: what a replica builds for itself."""
    from tl_keras import quiet
    from tl_keras.serving import application, store

    quiet.import_tensorflow()
    models = store.Store(folder, keep, labels)
    app = application.build(models, most)
    models.look()
    models.watch(poll)
    return app


def serve(build: Callable[[], FastAPI], port: int, replicas: int) -> None:
    """Answer at 127.0.0.1 until Ctrl-C or SIGTERM: Ray, all of whose ports are bound there alone, ends then too.

    Args:
        build: makes the application, in each replica anew; it can be pickled.
        replicas: how many processes answer.

    Raises:
        tl_keras.stopping.Stopped: by the signal.
    """
    heard = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    with running(build, port, replicas):
        for number, handler in heard.items():  # Ray has put its own in their place
            signal.signal(number, handler)
        print(f"ready: http://{LOOPBACK}:{port}/ answers with {replicas} replicas; Ctrl-C ends it", flush=True)
        try:
            while True:
                signal.pause()
        except BaseException as error:
            stopping.asked(error)  # it came: Ray must not be interrupted while it ends
            raise


@contextmanager
def running(build: Callable[[], FastAPI], port: int, replicas: int) -> Iterator[None]:
    """A cluster of this machine that answers as long as the block lasts; all replicas are ready when it begins."""
    ray, ray_serve = clusters.imported(), clusters.imported("ray.serve")
    hook = {"worker_process_setup_hook": f"{__name__}.{bind_to_loopback.__name__}"}
    ray.init(address="local", num_cpus=replicas + 1, include_dashboard=False, log_to_driver=False, runtime_env=hook)
    try:
        ray_serve.start(http_options={"host": LOOPBACK, "port": port})

        made = ray_serve.ingress(lambda: build())(type("Application", (), {}))  # of a partial it would make no call
        deployment = ray_serve.deployment(num_replicas=replicas, max_ongoing_requests=1000)(made)
        ray_serve.run(deployment.bind(), name=APPLICATION, route_prefix="/")
        _wait_for(port)
        yield
    finally:
        ray_serve.shutdown()
        ray.shutdown()


def _wait_for(port: int) -> None:
    """Until somebody listens: Ray Serve calls an application ready when its replicas are, whatever its proxy does."""
    end = time.monotonic() + PROXY_SECONDS
    while True:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def bind_to_loopback() -> None:
    """Let the replicas of this process listen to each other at 127.0.0.1, where Ray Serve has all addresses.

    No setting of Ray Serve 2.60 does that. It is called by Ray in each of its processes.

    >>> bind_to_loopback()  # doctest: +SKIP
    """
    from ray.serve._private import replica

    listen = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: listen(server, address.replace("[::]", LOOPBACK))
