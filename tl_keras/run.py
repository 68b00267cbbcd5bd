"""The front door: `python -m tl_keras.run NAME [options]`; `list` names the experiments.

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
import sys
from pathlib import Path
from typing import get_type_hints

import experiments
from tl_keras import quiet
from tl_keras.config import Settings, environment, flag
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder

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


def studies() -> dict[str, str]:
    """Every experiment with the first line of its docstring."""
    files = sorted(Path(experiments.__path__[0]).glob("[!_]*.py"))
    return {file.stem: (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split("\n")[0] for file in files}


def _dispatch(arguments: list[str]) -> int:
    known = studies()
    if not arguments or arguments[0] in ("-h", "--help", "list"):
        width = max(map(len, known))
        print(f"{__doc__.splitlines()[0]}\n")
        print("\n".join(f"  {name:<{width}}  {summary}" for name, summary in known.items()))
        print("\n`python -m tl_keras.run NAME --help` shows the options of one.")
        return 0
    name, *rest = arguments
    if name not in known:
        raise InputError(f"command: expected list or one of {', '.join(known)}, received {name!r}; check the spelling")
    study = importlib.import_module(f"experiments.{name}")
    given, surplus = _parser(name, known[name], study.Settings).parse_known_args(rest)
    if surplus:
        raise InputError(
            f"tl-keras {name}: expected options that it knows, received {' '.join(surplus)}; "
            f"tl-keras {name} --help shows them"
        )
    return _run(name, study, vars(given))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{self.prog}: {message}; {self.prog} --help shows the options")


def _parser(name: str, summary: str, settings: type[Settings]) -> argparse.ArgumentParser:
    """Options from the fields of the study's settings; what is not given stays out of the result."""
    parser = _Parser(
        prog=f"tl-keras {name}", description=summary, argument_default=argparse.SUPPRESS, allow_abbrev=False
    )
    hints = get_type_hints(settings)
    for item in dataclasses.fields(settings):
        if hints[item.name] is bool:
            parser.add_argument(flag(item.name), action="store_true", help=item.metadata["help"])
            continue
        kind = _whole_number if hints[item.name] in (int, int | None) else str
        shown = "" if item.default is None else f" (default {item.default})"
        metavar = "N" if kind is _whole_number else item.name.upper()
        parser.add_argument(flag(item.name), type=kind, metavar=metavar, help=item.metadata["help"] + shown)
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"run folder (default runs/{name}/<time>)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, received {text!r}") from None


def _run(name: str, study, given: dict) -> int:
    out_path, resume = given.pop("out", None), given.pop("resume", False)
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


def _absolute(key: str, value):
    # The notebook runs in the run folder, and a run may be resumed from anywhere.
    is_path = key in ("data", "data_dir", "weights") and value not in NAMED_SETS and Path(value).expanduser().exists()
    return str(Path(value).expanduser().absolute()) if is_path else value


def _resumed_settings(name: str, study, out: RunFolder, given: dict) -> Settings:
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
