"""The JSON that clients send: read whole, or refused with a sentence that says why.

It is what TensorFlow Serving reads, NaN, Infinity and -Infinity included, but for this: bytes after the object, keys
that occur twice, text that is not UTF-8, and lists nested deeper than the interpreter reads are refused.
"""

from __future__ import annotations

import binascii
import json
from typing import Any

from tl_keras.errors import InputError

BASE64 = "b64"
SHOWN = 60  # characters of a wrong value that a message repeats


def parse(body: bytes) -> dict[str, Any]:
    """The object that a request's body holds.

    Numbers beyond float64 are inf. Lists and objects may be nested some hundreds of levels deep.

    Raises:
        InputError: empty, not UTF-8, not JSON, no object, a key twice, nested too deep, an integer of thousands of
            digits.

    >>> parse(b'{"instances": [1, NaN]}')
    {'instances': [1, nan]}
    """
    if not body:
        raise InputError("body: expected a JSON object, received nothing: the document is empty; send one")
    try:
        document = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_without_twins)
    except UnicodeDecodeError as error:
        raise InputError(f"body: expected JSON in UTF-8, received other bytes at {error.start}; encode it") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"body: expected JSON, received what breaks off at character {error.pos} ({error.msg}); correct it"
        ) from None
    except RecursionError:
        raise InputError("body: expected JSON, received lists or objects nested too deep; send flatter ones") from None
    except InputError:
        raise
    except ValueError:  # the interpreter reads integers of at most some thousand digits
        raise InputError("body: expected numbers, received an integer of thousands of digits; round it") from None
    if type(document) is not dict:
        raise InputError(f"body: expected a JSON object, received {shown(document)}; send an object")
    return document


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twin = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InputError(f"body: expected each key once in an object, received {shown(twin)} twice; name it once")
    return members


def shown(value: Any) -> str:
    """A value of the document as a message shows it: short, and never a nested one in full.

    >>> shown([1, [2]]), shown("cat"), shown(None)
    ('a list of 2', "'cat'", 'null')
    """
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = repr(value[: SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def signature_name(document: dict[str, Any]) -> str | None:
    """The signature that a request names; None if none.

    Raises:
        InputError: it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InputError(f"'signature_name': expected a string value, received {shown(name)}; name a signature")
    return name or None


def is_base64(value: Any) -> bool:
    """Whether a value is what stands for bytes: an object whose one key is b64, with a string.

    >>> is_base64({"b64": "aGVsbG8="}), is_base64({"b64": 5}), is_base64("aGVsbG8=")
    (True, False, False)
    """
    return type(value) is dict and len(value) == 1 and isinstance(value.get(BASE64), str)


def to_bytes(value: Any) -> bytes:
    """The bytes that a string (in UTF-8) or a base64 object stands for.

    White space in base64 counts for nothing, and the padding may be missing altogether; wrong padding is refused.

    Raises:
        InputError: neither of them, no base64, or a string with half a character (a lone surrogate).

    >>> to_bytes("hé"), to_bytes({"b64": "aGVsbG8"})
    (b'h\\xc3\\xa9', b'hello')
    """
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"expected text, received half a character (a lone surrogate) in {shown(value)}; remove it"
            ) from None
    if not is_base64(value):
        raise InputError(f'expected a string or {{"b64": "..."}}, received {shown(value)}; send one of them')
    try:
        encoded = value[BASE64].encode("ascii").translate(None, b" \t\n\v\f\r")
        if not encoded.endswith(b"="):
            encoded += b"=" * (-len(encoded) % 4)
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:  # binascii.Error and UnicodeEncodeError are such
        reason = "characters beyond ASCII" if isinstance(error, UnicodeError) else str(error)
        raise InputError(f"expected base64, received text that is not ({reason}); encode the bytes anew") from None
