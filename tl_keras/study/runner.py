"""Runs trials: one, or many on an engine. A finished trial is never trained again, a stopped one goes on."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable, Sequence

from tl_keras import records, tasks, transfer
from tl_keras.data import pipeline, selection
from tl_keras.errors import InputError
from tl_keras.records import Record
from tl_keras.run_folder import RunFolder
from tl_keras.study import away, single
from tl_keras.study.trial import Stacked, Trial, Voted, in_order


def run(trials: Sequence[Trial], out: RunFolder, engine: str = "local") -> list[Record]:
    """Run the trials that have no record yet, and give the records of all, in the order of `trials`.

    Args:
        engine: as `tasks.each` has it: `local`, one after the other; `processes:N`, so many at a time, each with its
            share of the cores; `ray[:ADDRESS]`, spread over the machines of a cluster, each with as many cores as this
            process has, so that the results are the same.

    Raises:
        InputError: no such engine, trials that cannot be brought in order, or a record of another trial.
    """
    tasks.check(engine)
    ordered = in_order(trials)
    out.update_config(trials=[trial.name for trial in trials])
    waiting = {trial.name: trial for trial in ordered if not _is_finished(trial, out)}
    try:
        (_run_away if engine.startswith("ray") else _run_here)(waiting, out, engine)
    finally:
        selection.forget()
        transfer.engine.forget()
        single.forget()
    return [records.read(out, trial.name) for trial in trials]


def run_one(trial: Trial, out: RunFolder) -> Record:
    """Train one trial, unless it has a record, and leave its record and its network in the run folder.

    Raises:
        InputError: there is a record of that name of another trial; or what the trial asks for cannot be had.
    """
    if _is_finished(trial, out):
        return records.read(out, trial.name)
    from tl_keras.study import crossfit, stacking, voting  # they solve, by SciPy: not before there is work for it

    try:
        if isinstance(trial, Stacked):
            record = stacking.solved(trial, out)
        elif isinstance(trial, Voted):
            record = voting.voted(trial, out)
        else:
            record = (crossfit.trained if trial.folds else single.trained)(trial, out)
    except Exception as error:
        cause = pipeline.cause(error)
        if cause is error:
            raise
        raise cause from error
    records.write(record, out)
    return record


def _is_finished(trial: Trial, out: RunFolder) -> bool:
    if not out.record(trial.name).exists():
        return False
    asked, found = trial.to_json(), records.read(out, trial.name).trial
    if found != asked:
        keys = [key for key in {**asked, **found} if asked.get(key) != found.get(key)]
        raise InputError(
            f"{trial.name}: expected the trial that was finished here, received one with another {', '.join(keys)}; "
            "start a new run"
        )
    print(f"{trial.name}: finished before", flush=True)
    return True


def _run_here(waiting: dict[str, Trial], out: RunFolder, engine: str) -> None:
    """On this machine: every process works in the run folder itself."""
    work = functools.partial(_work, out)
    for _ in tasks.each(engine, work, list(waiting.values()), needs=_needs(waiting), prepare=_begin):
        pass


def _run_away(waiting: dict[str, Trial], out: RunFolder, engine: str) -> None:
    """On any machine: what a trial starts from goes with it, and what it leaves comes back."""
    work, sends = functools.partial(_work_away, uuid.uuid4().hex), functools.partial(away.packed, out=out)
    for trial, left in tasks.each(
        engine, work, list(waiting.values()), needs=_needs(waiting), sends=sends, gpu=True, prepare=_begin
    ):
        away.keep(left, trial, out)


def _needs(waiting: dict[str, Trial]) -> Callable[[Trial], list[Trial]]:
    return lambda trial: [waiting[name] for name in trial.needs if name in waiting]


def _begin(threads: int) -> None:
    """Prepare a worker process: its share of the cores, no progress bars, which would overwrite each other."""
    os.environ["TQDM_DISABLE"] = "1"
    from tl_keras import quiet

    quiet.import_tensorflow()
    quiet.tf.config.threading.set_intra_op_parallelism_threads(threads)
    quiet.tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))


def _work(out: RunFolder, trial: Trial) -> None:
    run_one(trial, out)


def _work_away(run: str, trial: Trial, parcel: away.Parcel) -> dict[str, bytes]:
    return away.trained(parcel, run, run_one)
