"""Settings: frozen dataclasses that become command-line options and JSON, and refuse what they do not know."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self, get_type_hints

from tl_keras import __version__
from tl_keras.errors import InputError

ENGINES = ("auto", "tensorflow", "onnxruntime")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
SOLVED = {"probe", "early_probe", "ridge"}  # strategies in which no layer is trained by gradients
MOST = 10**9  # of anything that is counted: larger numbers overflow somewhere, perhaps hours later
MOST_OF = {"seeds": 1000, "stages": 1000}  # each is a trial, or a phase, or several
NAME_BYTES, PATH_BYTES = 255, 4095  # Linux takes no longer ones


def option(default: Any, help: str, **check: Any) -> Any:
    """A dataclass field that is also a command-line option; `minimum=`, `maximum=` and `choices=` are checked.

    With `positional=True` it is given without a flag, and has to be given. With `listed=True` a text is a list: commas
    part its entries, an equals sign the name of one from its file.
    """
    return field(default=default, metadata={"help": help, **check})


@dataclass(frozen=True)
class Options:
    """Settings without a field yet: how they are checked, written and read back. A command adds its fields."""

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for item in dataclasses.fields(self):
            _check(item, hints[item.name], getattr(self, item.name))

    def refuse_blanks(self) -> None:
        """Refuse texts without a letter, as of a variable that is not set: none of them means the default.

        Raises:
            InputError: there is one.

        >>> Settings(data="digits").refuse_blanks()
        """
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            for text in value if isinstance(value, list | tuple) else [value]:
                if isinstance(text, str):
                    refuse_blank(_spelt(item), item.metadata["help"], text)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The settings that `to_dict` wrote.

        Raises:
            InputError: a key is unknown, or a value is of another kind or outside its bounds.
        """
        if not isinstance(values, dict):
            raise InputError(f"settings: expected an object, received {type(values).__name__}; start a new run")
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(
                f"settings: expected keys among {', '.join(sorted(known))}, received {', '.join(unknown)}; "
                "remove or rename them"
            )
        return cls(**values)


@dataclass(frozen=True)
class Settings(Options):
    """What every study can be asked; a study adds its own fields and defaults.

    >>> Settings(epochs=3) == Settings.from_dict(Settings(epochs=3).to_dict())
    True
    """

    data: str | None = option(None, "data set: a name (cifar10, mnist, digits, tfds:NAME) or a path")
    data_dir: str | None = option(None, "where named sets lie (default $TL_KERAS_DATA, then the Keras cache)")
    epochs: int = option(20, "passes over the training images", minimum=1)
    batch_size: int = option(128, "images per training step", minimum=1)
    limit: int | None = option(None, "images per split, for a quick try", minimum=1)
    seed: int = option(0, "fixes weights, order, augmentation and splits", minimum=0, maximum=2**31 - 1)
    backbone: str | None = option(None, "the network to re-use")
    weights: str | None = option(None, "its weights: imagenet, none or a file")
    precision: str = option("float32", "arithmetic of the layers", choices=PRECISIONS)


def only_own_network(settings: Settings, name: str = "none") -> None:
    """Refuse another `--backbone` than `name`, and `--weights`, where a study trains a network of its own.

    Raises:
        InputError: one of them was asked for.

    >>> only_own_network(Settings(backbone="cnn"), "cnn")
    """
    for item, only in (("backbone", name), ("weights", "none")):
        if getattr(settings, item) not in (None, only):
            raise InputError(
                f"{flag(item)}: expected {only}, received {getattr(settings, item)}; "
                "this study trains its own network, leave the option out"
            )


@dataclass(frozen=True)
class TransferSettings(Settings):
    """What a study can be asked that re-uses a network trained elsewhere.

    >>> TransferSettings(lr="1e-3").learning_rate(default=0.1)
    0.001
    """

    seeds: int = option(1, "how often each network is trained", minimum=1)
    weights: str | None = option(None, "its weights: imagenet, none or a file (default imagenet; a model file's own)")
    lr: str | None = option(None, "peak learning rate, or find: a range test on training images chooses it")
    activations: str = option("float32", "precision of stored activations", choices=("float32", "float16"))
    disk_limit: int = option(50, "most gigabytes of stored activations", minimum=1)
    prefix_engine: str = option("auto", "who runs what does not train; auto: the faster one here", choices=ENGINES)

    def __post_init__(self):
        super().__post_init__()
        self.learning_rate(default=1.0)

    @property
    def repeats(self) -> range:
        """The seeds of the repetitions."""
        return range(self.seed, self.seed + self.seeds)

    def learning_rate(self, default: float) -> float | None:
        """The rate asked for, or `default`; None where a range test is to find it.

        Raises:
            InputError: `lr` is no number above zero.
        """
        if self.lr is None:
            return default
        if self.lr == "find":
            return None
        try:
            rate = float(self.lr)
        except ValueError:
            rate = 0.0
        if not 0 < rate < float("inf"):
            raise InputError(f"--lr: expected find or a number above zero, received {self.lr!r}; give one such as 1e-3")
        return rate


@dataclass(frozen=True)
class FineTuningSettings(TransferSettings):
    """What a study can be asked that may train more of a network than its last layer."""

    stages: int = option(1, "how many stages of the backbone last_stages and gradual unfreeze", minimum=1)
    batch_norm: str = option(
        "frozen", "BatchNorm layers where their stage trains: frozen or trained", choices=("frozen", "trained")
    )
    views: int | None = option(
        None, "augmented versions of each image; 0: the images as they are (default: a new one every epoch)", minimum=0
    )

    devices: str = option(
        "one", "whole stages train on one device, or all: every GPU here, or logical CPU device; heads stay on one",
        choices=("one", "all"),
    )  # fmt: skip

    def refuse_ignored(self, strategies: Sequence[str]) -> None:
        """Refuse options that none of `strategies` reads.

        Raises:
            InputError: one was given.

        >>> FineTuningSettings().refuse_ignored(["last_layer"])
        """
        readers = {
            "stages": {"last_stages", "gradual"},
            "batch_norm": set(strategies) - {*SOLVED, "last_layer", "scratch"},
            "views": set(strategies) - SOLVED,
            "lr": set(strategies) - SOLVED,
            "devices": set(strategies) - {*SOLVED, "last_layer", "last_two"},
        }
        for name, those in readers.items():
            item = next(item for item in dataclasses.fields(self) if item.name == name)
            if getattr(self, name) != item.default and not those & set(strategies):
                raise InputError(
                    f"{flag(name)}: expected a strategy that reads it, received {', '.join(strategies)}; leave the "
                    "option out, or name another strategy"
                )


def _check(item: dataclasses.Field, hint: Any, value: Any) -> None:
    name, choices = _spelt(item), item.metadata.get("choices")
    if value is None and (item.metadata.get("positional") or item.default is not None):
        raise InputError(f"{name}: expected {item.metadata['help']}, received nothing; name it")
    if value is None:
        return
    if hint is bool and not isinstance(value, bool):
        raise InputError(f"{name}: expected true or false, received {value!r}; start a new run")
    if hint in (int, int | None):
        _check_number(name, item, value)
    elif hint is not bool:
        for text in value if item.metadata.get("several") else [value]:
            check_text(name, item.metadata["help"], text)
            _check_lengths(name, text)
    if choices and value not in choices:
        raise InputError(f"{name}: expected one of {', '.join(choices)}, received {value!r}; choose one of them")


def _check_number(name: str, item: dataclasses.Field, value: Any) -> None:
    minimum, maximum = item.metadata["minimum"], item.metadata.get("maximum", MOST_OF.get(item.name, MOST))
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InputError(f"{name}: expected a whole number of at least {minimum}, received {value}; give a larger one")
    if value > maximum:
        raise InputError(f"{name}: expected a whole number of at most {maximum}, received {value}; give a smaller one")


def check_text(name: str, expected: str, text: Any) -> None:
    """Refuse what is no text, and names that the system or JSON cannot take.

    Raises:
        InputError: it is that.

    >>> check_text("--out", "a folder", "runs/try")
    """
    # The bytes of a name that is not UTF-8 stand in a text as half characters.
    if not isinstance(text, str) or "\0" in text or text.encode(errors="ignore").decode() != text:
        raise InputError(f"{name}: expected {expected}, received {text!r}; give another one")


def _check_lengths(name: str, text: str) -> None:
    for path in re.split("[,=]", text):
        longest = max(len(part.encode()) for part in path.split("/"))
        if longest > NAME_BYTES or len(path.encode()) > PATH_BYTES:
            raise InputError(
                f"{name}: expected names of at most {NAME_BYTES} bytes in paths of at most {PATH_BYTES}, received "
                f"{longest} and {len(path.encode())}; give shorter ones"
            )


def refuse_blank(name: str, expected: str, text: str) -> None:
    """Refuse a text without a letter.

    Raises:
        InputError: it is one.

    >>> refuse_blank("--out", "a folder", "runs/try")
    """
    if not text.strip():
        raise InputError(f"{name}: expected {expected}, received {text!r}; give one, or leave the option out")


def _spelt(item: dataclasses.Field) -> str:
    return item.name.upper() if item.metadata.get("positional") else flag(item.name)


def flag(name: str) -> str:
    """The command-line spelling of a field."""
    return "--" + name.replace("_", "-")


def environment() -> dict[str, Any]:
    """Versions and hardware, as `config.json` and the report name them."""
    return {
        "versions": {"tl-keras": __version__, "python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
        "hardware": {"processor": _processor(), "cores": len(os.sched_getaffinity(0)), "memory_gib": _memory_gib()},
    }


PACKAGES = ("tensorflow", "onnxruntime", "keras", "numpy", "scikit-learn", "scipy")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
