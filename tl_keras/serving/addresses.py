"""The paths of TensorFlow Serving's REST protocol, taken apart: which model, which version, to do what."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from tl_keras.errors import InputError

VERBS = ("predict", "classify", "regress", "explain")  # explain is ours
MAX_VERSION = 2**63 - 1  # versions are signed 64-bit integers
MODEL = r"(?i:/v1/models)/(?P<model>[^/:]+)(?:(?i:/versions)/(?P<version>[0-9]+)|(?i:/labels)/(?P<label>[^/:]+))?"
GET = re.compile(MODEL + "(?:/(?P<verb>metadata))?")
POST = re.compile(MODEL + f":(?P<verb>{'|'.join(VERBS)})")


class Address(NamedTuple):
    """What a path names.

    Args:
        model: the model's name.
        version: the number of its version, or None.
        label: the label of its version, or None; never both.
        verb: predict, classify, regress or explain of a POST; metadata, or "" for the status, of a GET.
    """

    model: str
    version: int | None
    label: str | None
    verb: str


def parse_get(path: str) -> Address:
    """The address of a GET request: a model's status or its metadata.

    Args:
        path: as the client sent it, without host and query, percent-encoded still: a name may hold %2F or %3A.

    Raises:
        InputError: not such a path.

    >>> parse_get("/v1/models/cats/versions/2/metadata")
    Address(model='cats', version=2, label=None, verb='metadata')
    """
    return _parse(GET, path, "/v1/models/NAME[/versions/NUMBER|/labels/LABEL][/metadata]")


def parse_post(path: str) -> Address:
    """The address of a POST request; path and errors as for `parse_get`.

    >>> parse_post("/v1/models/cats/labels/stable:predict")
    Address(model='cats', version=None, label='stable', verb='predict')
    """
    return _parse(POST, path, f"/v1/models/NAME[/versions/NUMBER|/labels/LABEL]:{'|'.join(VERBS)}")


def _parse(pattern: re.Pattern[str], path: str, form: str) -> Address:
    found = pattern.fullmatch(path)
    if not found:
        raise InputError(f"path: expected {form}, received {path[:200]!r}; correct it")
    label = found["label"]
    return Address(
        _decoded(found["model"]),
        None if found["version"] is None else _version(found["version"]),
        None if label is None else _decoded(label),
        found["verb"] or "",
    )


def _version(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    if len(significant) > len(str(MAX_VERSION)) or int(significant) > MAX_VERSION:
        raise InputError(
            f"version: expected at most {MAX_VERSION}, received {digits[:40]}; give the number of a version"
        )
    return int(significant)


def _decoded(name: str) -> str:
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        raise InputError(f"path: expected names in UTF-8, received {name[:200]!r}; percent-encode them anew") from None
