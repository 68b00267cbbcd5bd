"""Runs trials: one, or many on an engine. A finished trial is never trained again, a stopped one goes on."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from tl_keras import processes, records, transfer
from tl_keras.data import selection
from tl_keras.errors import InputError
from tl_keras.records import Record
from tl_keras.run_folder import RunFolder
from tl_keras.study import single
from tl_keras.study.trial import Stacked, Trial, Voted, in_order


def run(trials: Sequence[Trial], out: RunFolder, engine: str = "here") -> list[Record]:
    """Run the trials that have no record yet, and give the records of all, in the order of `trials`.

    Args:
        engine: `here`, one after the other; or `processes:N`, so many at a time, each with its share of the cores.

    Raises:
        InputError: no such engine, trials that cannot be brought in order, or a record of another trial.
    """
    count = engine_processes(engine)
    ordered = in_order(trials)
    out.update_config(trials=[trial.name for trial in trials])
    try:
        if count == 1:
            for trial in ordered:
                run_one(trial, out)
        else:
            _in_processes(ordered, out, count)
    finally:
        selection.forget()
        transfer.engine.forget()
        single.forget()
    return [records.read(out, trial.name) for trial in trials]


def engine_processes(engine: str) -> int:
    """How many processes an engine is.

    >>> engine_processes("here"), engine_processes("processes:2")
    (1, 2)
    """
    found = re.fullmatch(r"here|processes:([1-9][0-9]{0,2})", engine, re.ASCII)
    if not found:
        raise InputError(f"--engine: expected here or processes:N, received {engine!r}; give one such as processes:2")
    return int(found[1] or 1)


def run_one(trial: Trial, out: RunFolder) -> Record:
    """Train one trial, unless it has a record, and leave its record and its network in the run folder.

    Raises:
        InputError: there is a record of that name of another trial; or what the trial asks for cannot be had.
    """
    if out.record(trial.name).exists():
        return _finished(trial, records.read(out, trial.name))
    from tl_keras.study import crossfit, stacking, voting  # they solve, by SciPy: not before there is work for it

    if isinstance(trial, Stacked):
        record = stacking.solved(trial, out)
    elif isinstance(trial, Voted):
        record = voting.voted(trial, out)
    else:
        record = (crossfit.trained if trial.folds else single.trained)(trial, out)
    records.write(record, out)
    return record


def _finished(trial: Trial, record: Record) -> Record:
    asked = trial.to_json()
    if record.trial != asked:
        keys = [key for key in {**asked, **record.trial} if asked.get(key) != record.trial.get(key)]
        raise InputError(
            f"{trial.name}: expected the trial that was finished here, received one with another {', '.join(keys)}; "
            "start a new run"
        )
    print(f"{trial.name}: finished before", flush=True)
    return record


def _in_processes(ordered: list[Trial], out: RunFolder, count: int) -> None:
    """So many trials at a time, each in a process of its own; one that starts from another waits for it."""
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    with processes.pool(count, _begin, threads) as pool:
        waiting, running, done = list(ordered), dict[Future, str](), set[str]()
        while waiting or running:
            for trial in [trial for trial in waiting if done.issuperset(trial.needs)]:
                running[pool.submit(_work, trial, out)] = trial.name
                waiting.remove(trial)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                done.add(running.pop(future))


def _begin(threads: int) -> None:
    """Prepare a worker process: its share of the cores, no progress bars, which would overwrite each other."""
    os.environ["TQDM_DISABLE"] = "1"
    from tl_keras import quiet

    quiet.import_tensorflow()
    quiet.tf.config.threading.set_intra_op_parallelism_threads(threads)
    quiet.tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))


def _work(trial: Trial, out: RunFolder) -> str:
    run_one(trial, out)
    return trial.name
