"""Images in TFRecord files, read without TensorFlow: the framing of records, and tf.train.Example in them."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from tl_keras.data.members import MAX_BYTES, Member, class_name

IMAGES = ("image/encoded", "image")
# In ImageNet two classes are called "crane" and two "maillot", but each has a synset of its own.
LABELS = ("image/class/synset", "image/class/text", "image/class/label", "label")
CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, bits reversed


def members(stream: BinaryIO, names: Sequence[str] = ()) -> Iterator[Member]:
    """The images of a TFRecord file, in its order, each called by its number; of a damaged one those before the damage.

    Each record is a tf.train.Example with `image/encoded` and `image/class/text` or `/label`, or with TensorFlow
    Datasets' `image` and `label`. `start` and `length` are those of the Example, not of the image in it.

    Args:
        stream: seekable, uncompressed.
        names: of numbered classes.

    >>> with open("train-00000-of-00010", "rb") as file:  # doctest: +SKIP
    ...     next(members(file)).label
    'n02012849'
    """
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    at = number = 0
    while at < end:
        head = stream.read(12)  # the length, eight bytes, and its checksum, four
        if len(head) < 12:
            yield Member("", reason=f"is cut short in the head of record {number}")
            return
        length, checksum = struct.unpack("<QI", head)
        if checksum != masked_crc(head[:8]):
            yield Member("", reason=f"is no TFRecord file, or damaged at byte {at} (record {number})")
            return
        if at + 16 + length > end:
            yield Member("", reason=f"is cut short within record {number}")
            return
        yield _member(stream, number, at + 12, length, names)
        at, number = at + 16 + length, number + 1
        stream.seek(at)  # past a checksum: each image has one of its own in the manifest


def _member(stream: BinaryIO, number: int, start: int, length: int, names: Sequence[str]) -> Member:
    if length > MAX_BYTES:
        return Member(str(number), reason=f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        features = _features(stream.read(length))
        content = _image(features)
        return Member(str(number), start, length, _label(features, names), content)
    except ValueError as error:
        return Member(str(number), reason=str(error))


def image(record: bytes) -> bytes:
    """The encoded image in a record.

    Raises:
        ValueError: it has none.
    """
    return _image(_features(record))


def _image(features: Mapping[str, Any]) -> bytes:
    for key in IMAGES:
        values = _values(features, key)
        if len(values) == 1 and isinstance(values[0], bytes):
            return values[0]
    raise ValueError(
        f"has no encoded image called {' or '.join(IMAGES)}, but {', '.join(sorted(features)[:9]) or 'nothing'}"
    )


def _label(features: Mapping[str, Any], names: Sequence[str]) -> str:
    for key in LABELS:
        values = _values(features, key)
        if len(values) > 1:
            raise ValueError(f"has {len(values)} classes")
        if values and class_name(values[0], names):
            return class_name(values[0], names)
    return ""


def _values(features: Mapping[str, Any], key: str) -> Sequence:
    """What the feature of a name holds; nothing if there is none."""
    if key not in features:  # asked first: a map of protobuf makes what it is asked for
        return ()
    kind = features[key].WhichOneof("kind")
    return getattr(features[key], kind).value if kind else ()


def _features(record: bytes) -> Mapping[str, Any]:
    """The features of an Example by name; ValueError: it is none."""
    from google.protobuf.message import DecodeError

    try:
        return _example().FromString(record).features.feature
    except DecodeError:
        raise ValueError("is no tf.train.Example") from None


@functools.cache
def _example() -> Any:
    """The message tf.train.Example, whose fields and numbers are its format."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="tl_keras/example.proto", package="tl_keras", syntax="proto3")

    def message(name: str, fields: Sequence[tuple], into: Any = file.message_type, **more: Any) -> Any:
        made = into.add(name=name, **more)
        for number, (called, kind, label, of) in enumerate(fields, 1):
            made.field.add(name=called, number=number, type=kind, label=label, type_name=of and f".tl_keras.{of}")
        return made

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    message("BytesList", [("value", field.TYPE_BYTES, many, None)])
    message("FloatList", [("value", field.TYPE_FLOAT, many, None)])
    message("Int64List", [("value", field.TYPE_INT64, many, None)])
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    feature = message("Feature", [(name, field.TYPE_MESSAGE, one, of) for name, of in lists])
    feature.oneof_decl.add(name="kind")
    for each in feature.field:
        each.oneof_index = 0
    features = message("Features", [("feature", field.TYPE_MESSAGE, many, "Features.FeatureEntry")])
    entry = [("key", field.TYPE_STRING, one, None), ("value", field.TYPE_MESSAGE, one, "Feature")]
    message("FeatureEntry", entry, features.nested_type, options=descriptor_pb2.MessageOptions(map_entry=True))
    message("Example", [("features", field.TYPE_MESSAGE, one, "Features")])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tl_keras.Example"))


def masked_crc(content: bytes) -> int:
    """The checksum of a few bytes as TFRecord files have it: CRC-32C, turned by 15 bits and moved on.

    >>> hex(masked_crc(bytes(8)))
    '0x7980329'
    """
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _table()[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _table() -> list[int]:
    """What each byte does to the checksum."""
    made = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (CASTAGNOLI if value & 1 else 0)
        made.append(value)
    return made
