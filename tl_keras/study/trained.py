"""Which network of a run is meant: its winner, or the one that is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder


def find(run: Path, name: str | None = None) -> Path:
    """The .keras file of a run's network.

    Args:
        run: a run folder; or a .keras file, which is the network itself.
        name: an arm, of which the first network is taken, or one of the files in `models/` without `.keras`. None: the
            winner, which validation images chose, as results.json names it; where it names none, the arm of the highest
            mean test accuracy, the first of equal ones; in a run that has not finished, the only network.

    Raises:
        InputError: no run, one that keeps no network, no such name, or a damaged results.json.

    >>> find(Path("runs/finetune/2026-11-21_10-00-00"))  # doctest: +SKIP
    PosixPath('runs/finetune/2026-11-21_10-00-00/models/lp_ft.keras')
    """
    if run.is_file() and run.suffix == ".keras":
        if name is not None:
            raise InputError(f"--model: expected a name with a run folder, received {name} with {run}; leave it out")
        return run
    if not run.is_dir():
        raise InputError(f"run: expected the folder of a run or a .keras file, received {run}; check the path")
    out = RunFolder.reopen(run)
    kept = sorted(path.stem for path in out.model("any").parent.glob("[!.]*.keras"))
    if not kept:
        raise InputError(f"{run}: expected a run that keeps its networks, in models/, received none; name another run")
    arms, winner = _arms(run / "results.json")
    chosen = name if name is not None else winner if winner is not None else _only(run, kept)
    found = arms.get(chosen, chosen)
    if found not in kept:
        names = ", ".join(dict.fromkeys([*(arm for arm in arms if arms[arm] in kept), *kept]))
        raise InputError(f"--model: expected one of {names}, received {chosen}; name one of them")
    return out.model(found)


def _only(run: Path, kept: list[str]) -> str:
    if len(kept) > 1:
        raise InputError(
            f"--model: expected one of {', '.join(kept)}, since {run} has no results yet, received nothing; name one"
        )
    return kept[0]


def _arms(path: Path) -> tuple[dict[str, str], str | None]:
    """The network of each arm, and the arm to take where none is named; nothing of a run that has not finished."""
    if not path.is_file():
        return {}, None
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        models: Mapping[str, Mapping[str, Any]] = results.get("models", {})
        arms = {str(arm): Path(said["model"]).stem for arm, said in models.items()}
        means = {str(arm): float(said["mean_test_accuracy"]) for arm, said in models.items()}
        best = results.get("winner", max(means, key=means.__getitem__, default=None))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the results of a run, received a damaged file ({error}); draw them anew with --resume"
        ) from error
    return arms, best
