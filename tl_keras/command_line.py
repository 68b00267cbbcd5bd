"""What a command line asks for: which study or command, with which options, said by the fields of its settings."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import experiments
from tl_keras import commands, quiet, running
from tl_keras.config import flag
from tl_keras.errors import InputError

USAGE = "`python -m tl_keras.run NAME [options]` runs an experiment or a command."


def answer(arguments: list[str]) -> int:
    """Do what the arguments ask for and give the exit code.

    Raises:
        InputError: they ask for nothing that can be done.

    >>> answer(["list"])
    0
    """
    found = {package.__name__: summaries(package) for package in (experiments, commands)}
    if not arguments or arguments[0] in ("-h", "--help", "list"):
        _list(found)
        return 0
    asked, *rest = arguments
    package, name = _found(found, asked)
    module = importlib.import_module(f"{package}.{_file(name)}")
    # Intermixed, so that options may stand among the arguments.
    given, surplus = _parser(name, found[package][name], module).parse_known_intermixed_args(rest)
    if surplus:
        raise InputError(
            f"tl-keras {name}: expected options that it knows, received {' '.join(surplus)}; "
            f"tl-keras {name} --help shows them"
        )
    return running.run(name, module, vars(given)) if _keeps_run(module) else _command(module, vars(given))


def summaries(package: ModuleType) -> dict[str, str]:
    """Every experiment, or every command, with the first line of its docstring.

    Of two words, commands are shown with a dash between them: experiments name folders and configurations, by their
    files, with an underscore.

    >>> "cifar_ab" in summaries(experiments), "check-csv" in summaries(commands)
    (True, True)
    """
    files = sorted(Path(package.__path__[0]).glob("[!_]*.py"))
    names = [file.stem.replace("_", "-") if package is commands else file.stem for file in files]
    texts = [ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "" for file in files]
    return {name: text.split("\n")[0] for name, text in zip(names, texts, strict=True)}


def _found(found: dict[str, dict[str, str]], asked: str) -> tuple[str, str]:
    """The package and the name, as it is shown, of what is asked for, with a dash or an underscore between words."""
    for package, names in found.items():
        for name in names:
            if _file(name) == _file(asked):
                return package, name
    known = ", ".join(name for names in found.values() for name in names)
    raise InputError(f"command: expected list or one of {known}, received {asked!r}; check the spelling")


def _file(name: str) -> str:
    """The module of a name."""
    return name.replace("-", "_")


def _list(found: dict[str, dict[str, str]]) -> None:
    width = max(len(name) for names in found.values() for name in names)
    print(USAGE)
    for package, names in found.items():
        print(f"\n{package.rpartition('.')[2].capitalize()}:")
        print("\n".join(f"  {name:<{width}}  {summary}" for name, summary in names.items()))
    print("\n`python -m tl_keras.run NAME --help` shows the options of one.")


def _keeps_run(module: ModuleType) -> bool:
    return getattr(module, "KEEPS_RUN", True)


def _command(module: ModuleType, given: dict) -> int:
    settings = module.Settings(**given)
    settings.refuse_blanks()
    if getattr(module, "NEEDS_TENSORFLOW", True):
        quiet.import_tensorflow()
    try:
        module.run(settings)
    except OSError as error:
        if not running.is_storage_failure(error):
            raise
        print(f"error: {error}; make room or make it writable, then try again", file=sys.stderr)
        return 1
    return 0


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
    if running.is_study(module):
        where = "what runs the trials: local, processes:N at a time, or ray[:ADDRESS] on a cluster (default local)"
        parser.add_argument("--engine", help=where)
    if _keeps_run(module):
        parser.add_argument("--out", metavar="DIR", help=f"run folder (default runs/{name}/<time>)")
        parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, received {text!r}") from None
