"""Pure tasks on an engine: one after the other here, in processes, or on the machines of a Ray cluster.

A task is a function of one item that can be sent elsewhere, and that may be done twice: what it leaves is what it gives
back, or files that are whole or absent. So whoever does it, and however often, the result is the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from graphlib import TopologicalSorter
from queue import SimpleQueue
from typing import Any, TypeVar

from tl_keras import clusters, processes
from tl_keras.errors import InputError

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")
Submit = Callable[..., Future]  # of a function and its arguments, as executors have it

ENGINES = re.compile(r"local|processes:[1-9][0-9]{0,2}|ray(:[!-~]+)?", re.ASCII)


def check(engine: str) -> None:
    """Raise InputError unless `engine` names one that can be had.

    >>> check("processes:2")
    """
    if not ENGINES.fullmatch(engine):
        raise InputError(
            f"--engine: expected local, processes:N or ray[:ADDRESS], received {engine!r}; give one such as processes:2"
        )
    kind, _, address = engine.partition(":")
    if kind == "ray":
        clusters.check(address)


def each(
    engine: str,
    work: Callable[..., R],
    items: Sequence[T],
    *,
    needs: Callable[[T], Iterable[T]] | None = None,
    sends: Callable[[T], Any] | None = None,
    cores: int | None = None,
    gpu: bool = False,
    prepare: Callable[[int], object] | None = None,
) -> Iterator[tuple[T, R]]:
    """Do `work` for each item, and give each with its result as they are done, in any order.

    `local` works in this process, `processes:N` in N fresh ones, `ray` on a Ray cluster of this machine that ends with
    the work (or on the one that RAY_ADDRESS names), `ray:ADDRESS` on that one. An exception of `work` is raised here as
    it was raised there; what has not begun is then given up, and what is at work ended, as when the iterator is closed.
    What a lost machine or a killed process of Ray was at is done again by another one.

    Args:
        work: of an item; it can be pickled, as items and results can.
        items: different ones.
        needs: the items that have to be done, and taken from this iterator, before one begins; what is not among
            `items` counts as done.
        sends: what goes with an item, asked for when that begins: the second argument of `work`.
        cores: how many each task may use; by default all of this process, shared by as many processes as are asked for.
        gpu: whether a task on Ray takes one GPU too, where machines have any.
        prepare: called with that number first of all in every process that works, but not in this one.

    Raises:
        InputError: no such engine; or no such cluster, or one of other versions.
        ValueError: items that need each other.
        RuntimeError: a process was killed.

    >>> sorted(each("local", abs, [-2, 1]))
    [(-2, 2), (1, 1)]
    """
    check(engine)
    among = set(items)
    graph = {item: [need for need in needs(item) if need in among] if needs else [] for item in items}
    TopologicalSorter(graph).prepare()  # it raises CycleError, a ValueError

    def arguments(item: T) -> tuple:
        return (item, sends(item)) if sends else (item,)

    if engine == "local" or not items:
        return _here(work, arguments, graph)
    workers = _on_ray(engine, cores, gpu) if engine.startswith("ray") else _in_processes(engine, cores)
    return _elsewhere(workers, partial(_prepared, prepare, work), arguments, graph)


def own_cores() -> int:
    """How many cores this process may use.

    >>> own_cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0))


def _here(work: Callable[..., R], arguments: Callable[[T], tuple], graph: Mapping[T, list[T]]) -> Iterator[tuple[T, R]]:
    done = set[T]()
    for item in graph:
        for each in _with_needs(item, graph, done):
            yield each, work(*arguments(each))


def _with_needs(item: T, graph: Mapping[T, list[T]], done: set[T]) -> Iterator[T]:
    """What `item` needs, and then itself, of what has not been done."""
    if item not in done:
        done.add(item)
        for need in graph[item]:
            yield from _with_needs(need, graph, done)
        yield item


def _elsewhere(
    workers: AbstractContextManager[tuple[Submit, int]],
    work: Callable,
    arguments: Callable[[T], tuple],
    graph: Mapping[T, list[T]],
) -> Iterator[tuple[T, Any]]:
    order = TopologicalSorter(graph)
    order.prepare()
    running, ended = dict[Future, T](), SimpleQueue[Future]()
    with workers as (submit, cores):
        while order.is_active():
            for item in order.get_ready():
                future = submit(work, cores, *arguments(item))
                running[future] = item
                future.add_done_callback(ended.put)
            future = ended.get()
            item = running.pop(future)
            yield item, future.result()
            order.done(item)


@contextmanager
def _in_processes(engine: str, cores: int | None) -> Iterator[tuple[Submit, int]]:
    count = int(engine.partition(":")[2])
    with processes.pool(count) as pool:
        try:
            yield pool.submit, cores or max(1, own_cores() // count)
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"--engine {engine}: expected processes that live, received one that was killed, as the system does "
                "where memory runs out; let fewer work at a time"
            ) from error


@contextmanager
def _on_ray(engine: str, cores: int | None, gpu: bool) -> Iterator[tuple[Submit, int]]:
    address = engine.partition(":")[2]
    with clusters.connected(address, own_cores()) as ray:
        workers = clusters.Workers(ray, engine, cores or own_cores(), gpu)
        yield workers.submit, workers.cores


def _prepared(prepare: Callable[[int], object] | None, work: Callable[..., R], cores: int, *arguments: Any) -> R:
    """A task in its process, which is made ready for the first one."""
    global _is_ready
    if prepare and not _is_ready:
        prepare(cores)
    _is_ready = True
    return work(*arguments)


_is_ready = False
