"""Starts a run or takes one up: its settings, the places that it writes to, and what is said when it is stopped."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from pathlib import Path
from types import ModuleType

import experiments
from tl_keras import config, quiet, stopping, tasks
from tl_keras.config import Options, flag
from tl_keras.data import sources
from tl_keras.errors import InputError
from tl_keras.files import check_writable
from tl_keras.run_folder import SAVED_MODELS, RunFolder
from tl_keras.study import runner

# These names mean the data sets, even where a folder is called so.
NAMED_SETS = ("cifar10", "mnist", "digits")


def run(name: str, module: ModuleType, given: dict) -> int:
    """Run a study, or a command that keeps a run, and give the exit code.

    Args:
        given: the options that the command line has.

    Raises:
        InputError: an option that cannot be; a new run leaves nothing then.
    """
    resume, engine = given.pop("resume", False), given.pop("engine", "local")
    where = _folder(given.pop("out", None))
    if is_study(module):
        tasks.check(engine)
    found = RunFolder.reopen(where) if resume else None
    settings = _resumed_settings(name, module, found, given) if found else _new_settings(module, given)
    _check_places(name, module, settings, where or Path("runs"), resume)
    out = found or RunFolder.create(where, {"experiment": name, "settings": settings.to_dict(), **config.environment()})
    with out.locked():
        if resume:
            out.remove_leftovers()
        print(f"run folder: {out.path}", flush=True)
        go_on = f"go on with: tl-keras {name} --resume --out {shlex.quote(str(out.path))}"
        return _work(module, settings, out, engine, go_on)


def is_study(module: ModuleType) -> bool:
    """Whether a module is one of `experiments`, made of trials, and no command."""
    return module.__name__.startswith(f"{experiments.__name__}.")


def is_storage_failure(error: BaseException) -> bool:
    """Whether a disk was full, or something could not be written, in whatever words.

    >>> is_storage_failure(OSError(errno.ENOSPC, "No space left on device")), is_storage_failure(ValueError())
    (True, False)
    """
    # TensorFlow and h5py report a full disk in classes of their own, with the system's words in the message.
    codes = (errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EIO)
    told = str(error).lower()
    return getattr(error, "errno", None) in codes or any(os.strerror(code).lower() in told for code in codes)


def _work(module: ModuleType, settings: Options, out: RunFolder, engine: str, go_on: str) -> int:
    try:
        if is_study(module):
            _compare(module, settings, out, engine)
        else:
            quiet.import_tensorflow()
            module.run(settings, out)
    except BaseException as error:
        if stopping.asked(error):
            print(f"\nstopped; {go_on}", file=sys.stderr)
        elif isinstance(error, InputError):
            out.discard_if_unused()
            raise
        elif is_storage_failure(error):
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(
                f"error: cannot write to {out.path}: {reason}; make room or make it writable, then {go_on}",
                file=sys.stderr,
            )
        else:
            print(f"failed; after mending the cause, {go_on}", file=sys.stderr)
            raise
        return 1
    return 0


def _compare(study: ModuleType, settings: Options, out: RunFolder, engine: str) -> None:
    """Run the trials of a study, and publish what came of them."""
    quiet.filter_log()  # a download may import TensorFlow already
    images = study.load(settings)
    quiet.import_tensorflow()
    from tl_keras.study import publish

    out.update_config(data=images.described())
    out.write_quarantine(images.quarantine)
    if hasattr(study, "resolve"):  # what only the images can decide, decided once
        settings = study.resolve(settings, images, out)
        out.update_config(settings=settings.to_dict())
    trials = study.trials(settings, images)
    del images  # each trial loads its own part
    runner.run(trials, out, engine)
    publish.publish(out)


def _folder(out: str | None) -> Path | None:
    if out is None:
        return None
    config.check_text("--out", "a folder", out)
    config.refuse_blank("--out", "a folder", out)
    return Path(out)


def _new_settings(module: ModuleType, given: dict) -> Options:
    # The run remembers its data directory: it is resumed, and its notebook runs, where the variable may be unset.
    here = os.environ.get("TL_KERAS_DATA")
    given = ({"data_dir": here} if here and os.path.isdir(here) else {}) | given
    settings = module.Settings(**{key: _absolute(module, key, value) for key, value in given.items()})
    settings.refuse_blanks()
    return settings


def _resumed_settings(name: str, module: ModuleType, out: RunFolder, given: dict) -> Options:
    content = out.config()
    if content.get("experiment") != name:
        raise InputError(
            f"--resume: expected a run of {name}, received one of {content.get('experiment')} in "
            f"{out.path}; name another folder"
        )
    settings = module.Settings.from_dict(content.get("settings"))
    settings.refuse_blanks()
    for key, value in given.items():
        if getattr(settings, key) not in (value, _absolute(module, key, value)):
            raise InputError(
                f"{flag(key)}: expected {getattr(settings, key)}, as the run in {out.path} was started, "
                f"received {value}; leave the option out, or start a new run"
            )
    return settings


def _absolute(module: ModuleType, key: str, value):
    """`value` with absolute paths: the notebook runs in the run folder, and a run may be resumed from anywhere."""
    if key in ("data", "data_dir") and value not in NAMED_SETS:
        path = os.path.expanduser(value)
        return str(Path(path).absolute()) if os.path.exists(path) else value
    if key not in ("backbones", "backbone", "weights"):
        return value
    if module.Settings.__dataclass_fields__[key].metadata.get("listed"):
        entries = [value] if _is_model(value) else value.split(",")
        return ",".join(_entry_absolute(key, entry.strip()) for entry in entries)
    return str(Path(value).absolute()) if _is_model(value) else value


def _entry_absolute(key: str, entry: str) -> str:
    """An entry of a list, a name, a file or NAME=FILE, with an absolute path."""
    name, _, file = entry.partition("=")
    start, path = (f"{name}=", file) if _is_model(file) else ("", entry)
    if not _is_model(path):
        return entry
    absolute = str(Path(path).absolute())
    if "," in absolute or ("=" in absolute and not start):
        raise InputError(
            f"{flag(key)}: expected a list of files without a comma or an equals sign in their paths, received "
            f"{absolute}; rename it"
        )
    return start + absolute


def _is_model(text: str) -> bool:
    """Whether a file is meant, and there. Names of networks, none and imagenet stand for themselves."""
    return ("/" in text or text.endswith((".h5", ".keras"))) and os.path.isfile(text)


def _check_places(name: str, module: ModuleType, settings: Options, run_folder: Path, resume: bool) -> None:
    """Refuse places that could not be written in the end, or that lie among the images."""
    saved = [SAVED_MODELS, *filter(Path.is_dir, SAVED_MODELS.glob(f"{name}-*"))] if is_study(module) else []
    data = getattr(settings, "data", None) or getattr(module, "DEFAULT_DATA", None)
    images = sources.location(data, getattr(settings, "data_dir", None)) if data else None
    for place in (run_folder, *saved[:1]):
        if images and images.is_dir() and _lies_in(place, images):
            raise InputError(
                f"--data: expected a folder that no run writes into, received {images}, in which {place} would lie; "
                "run from another folder, and name no --out in it"
            )
    for place in [run_folder, *saved] if resume else saved:  # a new run folder says so itself
        try:
            check_writable(place)
        except OSError as error:
            raise InputError(
                f"{place}: expected a folder that can be written, received one that cannot ({error.strerror}); make "
                "it writable, or run from another folder"
            ) from error


def _lies_in(place: Path, folder: Path) -> bool:
    above = os.path.realpath(folder)
    return os.path.commonpath([os.path.realpath(place), above]) == above
