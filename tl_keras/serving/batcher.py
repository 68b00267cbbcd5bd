"""Requests that wait for a network run together: one thread takes what has come meanwhile, as one batch.

Nothing is waited for: the first request runs at once and alone, and those that come while it runs are the next batch.
The busier a server is, the larger its batches are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

Tensors = Mapping[str, np.ndarray]
LARGEST = 32  # rows of a batch: more of them took more memory and were no faster


@dataclass(eq=False)
class _Waiting:
    signature: str
    inputs: Tensors
    rows: int
    key: Hashable  # only requests of one key can share a batch
    answer: Future[Tensors] = field(default_factory=Future)


class Batcher:
    """A queue and the thread that empties it.

    Args:
        run: from the name of a signature and its inputs to its outputs.
        largest: rows of a batch. A request with more runs by itself.
        seen: is told the rows of each batch that has run.

    >>> batcher = Batcher(lambda signature, inputs: {"y": inputs["x"] / 2})
    >>> batcher.submit("half", {"x": np.array([1.0, 2.0])}).result()["y"]
    array([0.5, 1. ])
    >>> batcher.close()
    """

    def __init__(
        self,
        run: Callable[[str, Tensors], Tensors],
        largest: int = LARGEST,
        seen: Callable[[int], None] = lambda rows: None,
    ):
        self._run_signature, self._largest, self._seen = run, largest, seen
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that nobody has begun to work at."""
        with self._changed:
            return sum(each.rows for each in self._queue)

    def submit(
        self, signature: str, inputs: Tensors, together: bool = True, soon: Callable[..., object] = lambda wake: wake()
    ) -> Future[Tensors]:
        """Put a request in the queue.

        Args:
            signature: what is to be run.
            inputs: its inputs; with `together` each of them (N, ...), N of at least 1, as the outputs are.
            together: whether it may run with others. What a batch fails with, each of its requests is tried alone for.
            soon: calls what wakes the thread. An event loop's `call_soon` does so once the requests that have come with
                this one are in the queue: batches were 25 requests instead of 9, and a third more were answered.

        Returns:
            The outputs, or what `run` raised. Cancelled in time, it is not run.
        """
        rows = len(next(iter(inputs.values()))) if together else 1
        shapes = tuple((name, array.shape[1:], array.dtype.kind) for name, array in sorted(inputs.items()))
        asked = _Waiting(signature, inputs, rows, (signature, shapes) if together else object())
        with self._changed:
            if self._closed:
                raise RuntimeError("a batcher that is closed was given a request")
            self._queue.append(asked)
        soon(self._wake)
        return asked.answer

    def close(self) -> None:
        """Let the thread end, once what waits has been answered."""
        with self._changed:
            self._closed = True
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._next():
            asked = [each for each in batch if each.answer.set_running_or_notify_cancel()]
            if asked:
                self._answer(asked)
            del batch, asked  # nor images of the last batch kept while nothing comes

    def _next(self) -> list[_Waiting]:
        """The request that has waited longest and what can run with it; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if not self._queue:
                return []
            batch, others = [self._queue.popleft()], []
            rows = batch[0].rows
            while self._queue and rows < self._largest:
                each = self._queue.popleft()
                if each.key == batch[0].key and rows + each.rows <= self._largest:
                    batch.append(each)
                    rows += each.rows
                else:
                    others.append(each)
            self._queue.extendleft(reversed(others))
            return batch

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            answers = self._run(batch)
        except BaseException as error:  # whatever it is, who waits must hear of it, and the thread goes on
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for each in batch:
                self._answer([each])
            return
        for each, outputs in zip(batch, answers, strict=True):
            each.answer.set_result(outputs)

    def _run(self, batch: list[_Waiting]) -> list[Tensors]:
        rows = sum(each.rows for each in batch)
        self._seen(rows)
        if len(batch) == 1:
            return [self._run_signature(batch[0].signature, batch[0].inputs)]
        inputs = {name: np.concatenate([each.inputs[name] for each in batch]) for name in batch[0].inputs}
        outputs = self._run_signature(batch[0].signature, inputs)
        if any(len(array) != rows for array in outputs.values()):
            raise ValueError("a batch of several requests was not answered row by row")
        ends = np.cumsum([each.rows for each in batch])
        return [
            {name: array[end - each.rows : end] for name, array in outputs.items()}
            for each, end in zip(batch, ends, strict=True)
        ]
