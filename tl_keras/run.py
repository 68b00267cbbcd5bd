"""The front door: `python -m tl_keras.run NAME [options]`; `list` names the experiments and commands.

Exit codes: 0 done, 2 the user's input is wrong (one line), 1 anything else. TensorFlow is imported only when work
starts, so `--help` and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import errno
import importlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import experiments
from tl_keras import commands, quiet
from tl_keras.config import Options, environment, flag
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder
from tl_keras.study import runner

# These names mean the data sets, even where a folder is called so.
NAMED_SETS = ("cifar10", "mnist", "digits")


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code.

    >>> main(["list"])
    0
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _dispatch(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def summaries(package: ModuleType) -> dict[str, str]:
    """Every experiment, or every command, with the first line of its docstring."""
    files = sorted(Path(package.__path__[0]).glob("[!_]*.py"))
    return {file.stem: (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split("\n")[0] for file in files}


def _dispatch(arguments: list[str]) -> int:
    found = {package.__name__: summaries(package) for package in (experiments, commands)}
    if not arguments or arguments[0] in ("-h", "--help", "list"):
        _list(found)
        return 0
    name, *rest = arguments
    package = next((package for package, names in found.items() if name in names), None)
    if package is None:
        names = ", ".join(name for names in found.values() for name in names)
        raise InputError(f"command: expected list or one of {names}, received {name!r}; check the spelling")
    module = importlib.import_module(f"{package}.{name}")
    given, surplus = _parser(name, found[package][name], module).parse_known_args(rest)
    if surplus:
        raise InputError(
            f"tl-keras {name}: expected options that it knows, received {' '.join(surplus)}; "
            f"tl-keras {name} --help shows them"
        )
    return _run(name, module, vars(given)) if _keeps_run(module) else _answer(module, vars(given))


def _list(found: dict[str, dict[str, str]]) -> None:
    width = max(len(name) for names in found.values() for name in names)
    print(__doc__.splitlines()[0])
    for package, names in found.items():
        print(f"\n{package.rpartition('.')[2].capitalize()}:")
        print("\n".join(f"  {name:<{width}}  {summary}" for name, summary in names.items()))
    print("\n`python -m tl_keras.run NAME --help` shows the options of one.")


def _keeps_run(module: ModuleType) -> bool:
    return getattr(module, "KEEPS_RUN", True)


def _is_study(module: ModuleType) -> bool:
    return module.__name__.startswith(f"{experiments.__name__}.")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{self.prog}: {message}; {self.prog} --help shows the options")


def _parser(name: str, summary: str, module: ModuleType) -> argparse.ArgumentParser:
    """Options from the fields of the module's settings; what is not given stays out of the result."""
    parser = _Parser(
        prog=f"tl-keras {name}", description=summary, argument_default=argparse.SUPPRESS, allow_abbrev=False
    )
    hints = get_type_hints(module.Settings)
    for item in dataclasses.fields(module.Settings):
        if item.metadata.get("positional"):
            # A run that is resumed knows it already; where it lacks, the settings say so.
            count = "*" if item.metadata.get("several") else "?"
            parser.add_argument(item.name, nargs=count, metavar=item.name.upper(), help=item.metadata["help"])
            continue
        if hints[item.name] is bool:
            parser.add_argument(flag(item.name), action="store_true", help=item.metadata["help"])
            continue
        kind = _whole_number if hints[item.name] in (int, int | None) else str
        shown = "" if item.default is None else f" (default {item.default})"
        metavar = "N" if kind is _whole_number else item.name.upper()
        parser.add_argument(flag(item.name), type=kind, metavar=metavar, help=item.metadata["help"] + shown)
    if _is_study(module):
        parser.add_argument("--engine", help="what runs the trials: here, or processes:N at a time (default here)")
    if _keeps_run(module):
        parser.add_argument("--out", metavar="DIR", type=Path, help=f"run folder (default runs/{name}/<time>)")
        parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, received {text!r}") from None


def _answer(module: ModuleType, given: dict) -> int:
    settings = module.Settings(**given)
    if getattr(module, "NEEDS_TENSORFLOW", True):
        quiet.import_tensorflow()
    module.run(settings)
    return 0


def _run(name: str, study: ModuleType, given: dict) -> int:
    out_path, resume, engine = given.pop("out", None), given.pop("resume", False), given.pop("engine", "here")
    if _is_study(study):
        runner.engine_processes(engine)
    if resume:
        out = RunFolder.reopen(out_path)
        settings = _resumed_settings(name, study, out, given)
    else:
        # The run remembers its data directory: it is resumed, and its notebook runs, where the variable may be unset.
        here = os.environ.get("TL_KERAS_DATA")
        given = ({"data_dir": here} if here and os.path.isdir(here) else {}) | given
        settings = study.Settings(**{key: _absolute(key, value) for key, value in given.items()})
        out = RunFolder.create(out_path, {"experiment": name, "settings": settings.to_dict(), **environment()})
    print(f"run folder: {out.path}", flush=True)
    go_on = f"go on with: tl-keras {name} --resume --out {out.path}"
    try:
        if _is_study(study):
            _compare(study, settings, out, engine)
        else:
            quiet.import_tensorflow()
            study.run(settings, out)
    except KeyboardInterrupt:
        print(f"\nstopped; {go_on}", file=sys.stderr)
        return 1
    except InputError:
        out.discard_if_unused()
        raise
    except Exception as error:
        if not _is_storage_failure(error):
            print(f"failed; after mending the cause, {go_on}", file=sys.stderr)
            raise
        print(
            f"error: cannot write to {out.path}: {_first_line(error)}; make room or make it writable, then {go_on}",
            file=sys.stderr,
        )
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


def _absolute(key: str, value):
    # The notebook runs in the run folder, and a run may be resumed from anywhere.
    if key in ("backbones", "backbone", "weights") and value:
        return re.sub(
            r"[^,=]+", lambda part: str(Path(part[0]).absolute()) if Path(part[0]).is_file() else part[0], value
        )
    is_path = key in ("data", "data_dir") and value not in NAMED_SETS and Path(value).expanduser().exists()
    return str(Path(value).expanduser().absolute()) if is_path else value


def _resumed_settings(name: str, study: ModuleType, out: RunFolder, given: dict) -> Options:
    config = out.config()
    if config.get("experiment") != name:
        raise InputError(
            f"--resume: expected a run of {name}, received one of {config.get('experiment')} in "
            f"{out.path}; name another folder"
        )
    settings = study.Settings.from_dict(config["settings"])
    for key, value in given.items():
        if getattr(settings, key) not in (value, _absolute(key, value)):
            raise InputError(
                f"{flag(key)}: expected {getattr(settings, key)}, as the run in {out.path} was started, "
                f"received {value}; leave the option out, or start a new run"
            )
    return settings


def _is_storage_failure(error: Exception) -> bool:
    # TensorFlow and h5py report a full disk in classes of their own, with the system's words in the message.
    codes = (errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EIO)
    told = str(error).lower()
    return getattr(error, "errno", None) in codes or any(os.strerror(code).lower() in told for code in codes)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
