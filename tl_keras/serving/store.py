"""The models that answer: loaded from a folder, looked after while it changes, given out to requests."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tl_keras.errors import InputError
from tl_keras.serving import versions
from tl_keras.serving.addresses import Address
from tl_keras.serving.batcher import Batcher
from tl_keras.serving.loaded import Loaded
from tl_keras.serving.refusals import Refused
from tl_keras.serving.versions import Labels, Stamp

LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"


class Version:
    """One version that answers, its batcher, and how many requests hold it."""

    def __init__(self, number: int, loaded: Loaded, batcher: Batcher):
        self.number, self.loaded, self.batcher = number, loaded, batcher
        self.holders = 0
        self.retired = False


@dataclass
class Known:
    """What is known of a version in the folder: its files when last looked at and last tried, and how that went."""

    stamp: Stamp | None = None
    tried: Stamp | None = None
    state: str = LOADING
    error: str = ""
    version: Version | None = None


class Store:
    """The versions in memory of all models of a folder.

    Args:
        folder: `saved_models`, with models in it, or the folder of one model.
        keep: how many of the newest versions of each model answer, besides those with a label.
        labels: names of versions, by model.
        seen: is told the model and the rows of each batch that has run.
        failed: is told the model of each version that could not be loaded.

    >>> store = Store(Path("saved_models"))  # doctest: +SKIP
    >>> store.look()  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 2,
        labels: Labels | None = None,
        seen: Callable[[str, int], None] = lambda model, rows: None,
        failed: Callable[[str], None] = lambda model: None,
    ):
        self.folder, self.keep, self.labels = folder, keep, labels or {}
        self.seen, self.failed = seen, failed
        self.ready = False
        self._models: dict[str, dict[int, Known]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def look(self) -> None:
        """Load what is new, reload what has changed, let go what is no longer there or no longer wanted.

        A version whose files have changed since the last look is still being written: it waits for the next one.
        """
        found = versions.found(self.folder)
        for model in sorted(set(found) | set(self._models)):
            self._look_at(model, found.get(model, {}))
        self.ready = True

    def watch(self, seconds: float = 1.0) -> None:
        """Look every so many seconds, in a thread, until `close`."""

        def work() -> None:
            while not self._stop.wait(seconds):
                try:
                    self.look()
                except Exception as error:  # such as no memory: the models that answer go on answering
                    _tell(f"{self.folder}: looking for versions failed ({type(error).__name__}: {error})")

        self._watcher = threading.Thread(target=work, name="versions", daemon=True)
        self._watcher.start()

    def close(self, seconds: float = 5.0) -> bool:
        """End the threads: no version is loaded any more, and the end of one that is being loaded awaited so long.

        Returns:
            Whether they have ended; else one is still being loaded.
        """
        self._stop.set()
        if self._watcher:
            self._watcher.join(seconds)
        with self._lock:
            for known in (known for model in self._models.values() for known in model.values()):
                if known.version:
                    self._retire(known)
        return not (self._watcher and self._watcher.is_alive())

    @contextmanager
    def hold(self, address: Address) -> Iterator[Version]:
        """The version that an address names, kept in memory for the block.

        Raises:
            Refused: no such model, version or label, or one that does not answer now.
        """
        with self._lock:
            version = self._find(address)
            version.holders += 1
        try:
            yield version
        finally:
            with self._lock:
                version.holders -= 1
                if version.retired and not version.holders:
                    version.batcher.close()

    def status(self, address: Address) -> dict[int, tuple[str, str]]:
        """State and error of the versions that an address names, the newest first.

        Raises:
            Refused: no such model, version or label.
        """
        with self._lock:
            known = self._models.get(address.model)
            if not known:
                raise Refused(404, f"Could not find any versions of model {address.model}")
            number = self._number(address)
            if number is not None and number not in known:
                raise Refused(404, f"Could not find version {number} of model {address.model}")
            numbers = sorted(known, reverse=True) if number is None else [number]
            return {each: (known[each].state, known[each].error) for each in numbers}

    def answering(self) -> dict[str, list[Version]]:
        """The versions that answer, the newest first, by model; models without one are there too."""
        with self._lock:
            return {
                name: [version for number in sorted(known, reverse=True) if (version := known[number].version)]
                for name, known in sorted(self._models.items())
            }

    def states(self) -> dict[str, dict[int, tuple[str, str]]]:
        """State and error of every version of every model, the newest first."""
        with self._lock:
            return {
                name: {number: (known[number].state, known[number].error) for number in sorted(known, reverse=True)}
                for name, known in sorted(self._models.items())
            }

    def knows(self, model: str) -> bool:
        """Whether there is such a model."""
        return model in self._models

    def _number(self, address: Address) -> int | None:
        if address.label is None:
            return address.version
        if address.label not in self.labels.get(address.model, {}):
            raise Refused(400, f"Unrecognized servable version label: {address.label}")
        return self.labels[address.model][address.label]

    def _find(self, address: Address) -> Version:
        known = self._models.get(address.model, {})
        number = self._number(address) if address.model in self._models else address.version
        wanted = sorted(known, reverse=True) if number is None else [number]
        for each in wanted:
            version = known[each].version if each in known else None
            if version:
                return version
        which = "any version" if number is None else f"version {number}"
        raise Refused(404, f"Servable not found for request: {which} of model {address.model}")

    def _look_at(self, model: str, present: dict[int, Path]) -> None:
        known = self._models.setdefault(model, {})
        for number in set(known) - set(present):
            self._forget(model, number)
        labelled = set(self.labels.get(model, {}).values())
        good = 0
        for number in sorted(present, reverse=True):
            if good < self.keep or number in labelled:
                good += self._is_good(model, number, present[number])
            elif number in known:
                self._forget(model, number)
        if not present:
            with self._lock:
                self._models.pop(model, None)

    def _is_good(self, model: str, number: int, folder: Path) -> bool:
        """Whether a version answers, after it has been loaded where it is new, or has changed, and is whole."""
        stamp = versions.stamp(folder)
        with self._lock:
            known = self._models[model].setdefault(number, Known(None if self.ready else stamp))
        settled, known.stamp = known.stamp == stamp, stamp
        if settled and known.tried != stamp and not self._stop.is_set():
            known.tried = stamp
            self._load(model, number, folder, known)
        return known.version is not None

    def _load(self, model: str, number: int, folder: Path, known: Known) -> None:
        try:
            loaded = Loaded(folder)
        except Exception as error:
            text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            message = " ".join(text.split())[:500]
            if message != known.error:  # told once, however often its files change
                _tell(f"{model} {number}: not served, {message}")
            with self._lock:
                known.error = message
                known.state = AVAILABLE if known.version else END
            self.failed(model)
            return
        batcher = Batcher(loaded.run, seen=lambda rows: self.seen(model, rows))
        with self._lock:
            if known.version:
                self._retire(known)
            known.version, known.state, known.error = Version(number, loaded, batcher), AVAILABLE, ""
        kind = "image model" if loaded.images else "model"
        print(f"{model} {number}: {kind}, run by {loaded.engine}", flush=True)

    def _forget(self, model: str, number: int) -> None:
        with self._lock:
            known = self._models[model].pop(number)
            answered = known.version is not None
            if answered:
                self._retire(known)
        if answered:
            print(f"{model} {number}: no longer served", flush=True)
            del known
            gc.collect()

    @staticmethod
    def _retire(known: Known) -> None:
        """Take a version out of use; its thread ends once no request holds it. The lock is held."""
        version = known.version
        assert version
        known.version, known.state, version.retired = None, UNLOADING, True
        if not version.holders:
            version.batcher.close()


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
