"""Answer requests over HTTP with exported models: TensorFlow Serving's REST protocol, and a page to try them.

    python -m tl_keras.run serve saved_models/ --port 8501

MODELS is `saved_models/` with models in it, or the folder of one of them. The newest versions of each answer, and new
ones take over while the server runs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tl_keras import clusters, quiet
from tl_keras.config import Options, option
from tl_keras.errors import InputError

if TYPE_CHECKING:
    from tl_keras.serving.limits import Limits

KEEPS_RUN = NEEDS_TENSORFLOW = False  # it is imported once the folder and the port have been found


@dataclass(frozen=True)
class Settings(Options):
    """What this command can be asked."""

    models: str = option(None, "the folder with exported models, or of one of them", positional=True)
    host: str = option("127.0.0.1", "the address that is listened at; 0.0.0.0: all of this machine")
    port: int = option(8501, "the port that is listened at; 0: any that is free", minimum=0, maximum=65535)
    versions: int = option(2, "how many of the newest versions of each model answer", minimum=1)
    labels: str | None = option(None, "names of versions, such as flowers:stable=1,flowers:canary=2")
    poll: int = option(1, "seconds between two looks for new versions", minimum=1)
    body: int = option(32, "most megabytes of a request", minimum=1, maximum=1024)
    pixels: int = option(50, "most millions of pixels of an image", minimum=1, maximum=64)
    images: int = option(64, "most images of a request", minimum=1)
    sending: int = option(30, "seconds in which a request must have been sent", minimum=1)
    waiting: int = option(60, "seconds in which it must be answered", minimum=1)
    queue: int = option(1024, "most images that are at work or wait", minimum=1)
    engine: str = option("here", "who answers: this process, or Ray Serve with several", choices=("here", "ray"))
    replicas: int | None = option(None, "how many processes of Ray Serve answer (default 2)", minimum=1, maximum=1000)

    def __post_init__(self):
        super().__post_init__()
        if self.engine == "here" and self.replicas is not None:
            raise InputError("--replicas: expected --engine ray with it, received here; leave it out, or name ray")
        if self.engine == "ray" and (self.host != "127.0.0.1" or self.port == 0):
            raise InputError(
                f"--host, --port: expected 127.0.0.1 and a port above 0 with --engine ray, received {self.host} and "
                f"{self.port}; serve other machines by Ray's own configuration"
            )


def run(settings: Settings) -> None:
    """Load all models, then answer until Ctrl-C or SIGTERM.

    Raises:
        InputError: no such folder, labels that are not written so, an address that is taken.
    """
    folder = Path(settings.models)
    if not folder.is_dir():
        raise InputError(
            f"MODELS: expected a folder with exported models, received {folder}; export one, or name another"
        )
    from tl_keras.serving import limits, versions

    labels = versions.labels(settings.labels) if settings.labels is not None else {}
    most = limits.Limits(
        settings.body * limits.MEBI, settings.pixels * 10**6, settings.images, settings.sending, settings.waiting,
        settings.queue,
    )  # fmt: skip
    if settings.engine == "ray":
        _on_ray(settings, folder.absolute(), labels, most)
    else:
        _here(settings, folder, labels, most)


def _on_ray(settings: Settings, folder: Path, labels: dict[str, dict[str, int]], most: Limits) -> None:
    from tl_keras.serving import on_ray

    clusters.imported("ray.serve")  # where it is not, nothing else need be looked at
    build = functools.partial(on_ray.application, folder, settings.versions, labels, most, settings.poll)
    on_ray.serve(build, settings.port, settings.replicas or 2)


def _here(settings: Settings, folder: Path, labels: dict[str, dict[str, int]], most: Limits) -> None:
    from tl_keras.serving import application, server, store

    listener = server.bound(settings.host, settings.port)
    quiet.import_tensorflow()
    quiet.tf.get_logger().setLevel("ERROR")  # its advice is for those who write models
    models = store.Store(folder, settings.versions, labels)
    app = application.build(models, most)
    models.look()
    if not models.answering():
        print(f"warning: no model in {folder} yet; the server waits for one", flush=True)
    host, port = listener.getsockname()[:2]
    models.watch(settings.poll)
    print(f"ready: http://{f'[{host}]' if ':' in host else host}:{port}/ answers; Ctrl-C ends it", flush=True)
    server.serve(app, models, listener)
