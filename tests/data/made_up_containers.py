"""Made-up containers of images, written by the libraries that others write them with; and what is read of them."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq

from tl_keras.data import containers
from tl_keras.folders import Folder

SAMPLES = [
    ("a/1.jpg", b"one"),
    ("a/1.cls", b"3\n"),
    ("2.PNG", b"two"),
    ("2.json", b'{"label": "dog"}'),
    ("3.webp", b"3"),
]


def packed(path, files):
    """A .tar of (name, content), in this order; a str is the target of a link."""
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            tar.addfile(member, None if isinstance(content, str) else io.BytesIO(content))
    return path


def listed(path, names=()):
    return list(containers.members(Folder(path.parent), path.name, names))


def told(path, names=()):
    return [(member.name, member.label, member.content) for member in listed(path, names) if not member.reason]


def reasons(path):
    return {member.name: member.reason for member in listed(path) if member.reason}


def example(features):
    import tensorflow as tf

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    made = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def recorded(path, examples):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in examples:
            writer.write(example(each) if isinstance(each, dict) else each)
    return path


def table(path, images, labels, row_group_size=4, **features):
    """As Hugging Face's datasets writes images: structs of bytes and path, and what columns mean in the schema."""
    cells = [image if image is None else {"bytes": image, "path": None} for image in images]
    made = pa.table(
        {"image": pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "label": labels}
    )
    told = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}})}
    pq.write_table(made.replace_schema_metadata(told), path, row_group_size=row_group_size)
    return path
