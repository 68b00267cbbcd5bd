"""What a SavedModel says of itself: its signatures, as requests are checked by them and as `metadata` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tl_keras.errors import InputError
from tl_keras.quiet import tf
from tl_keras.serving.json_tensors import Tensor
from tl_keras.serving.versions import GRAPH

PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{verb}" for verb in ("predict", "classify", "regress"))
INTERNAL = "__"  # with which the names of signatures begin that are TensorFlow's own


class Signature(NamedTuple):
    """One signature: its method, and its inputs and outputs by name."""

    method: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    @property
    def batched(self) -> bool:
        """Whether the first dimension of all inputs and outputs is open, so that requests may share a batch."""
        tensors = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(tensor.shape and tensor.shape[0] is None for tensor in tensors)


def read(version: Path) -> tuple[dict[str, Signature], dict[str, Any]]:
    """The signatures of a SavedModel, and what `metadata` answers of them, as JSON holds it.

    Raises:
        InputError: there is no such file, or it is damaged.

    >>> read(Path("saved_models/flowers/1"))[0]["pixels"].batched  # doctest: +SKIP
    True
    """
    from google.protobuf.json_format import MessageToDict
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        content = saved_model_pb2.SavedModel.FromString((version / GRAPH).read_bytes())
    except OSError as error:
        raise InputError(
            f"version: expected a {GRAPH}, received a folder where it cannot be read ({error.strerror}); copy it whole"
        ) from error
    except Exception as error:  # of protocol buffers
        raise InputError(f"version: expected a whole {GRAPH}, received a damaged one; copy it anew") from error
    known = next(
        (dict(graph.signature_def) for graph in content.meta_graphs if "serve" in graph.meta_info_def.tags), {}
    )
    if not known:
        raise InputError(
            "version: expected a SavedModel with signatures to serve, received one without; export it anew"
        )
    shown = {
        name: MessageToDict(said, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for name, said in known.items()
    }
    used = {
        name: Signature(said.method_name, _tensors(said.inputs), _tensors(said.outputs))
        for name, said in known.items()
        if not name.startswith(INTERNAL)
    }
    return used, {"signature_def": {"signature_def": shown}}


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    """In the order of their names: that of protocol buffers' maps changes from one process to the next."""
    found = {}
    for name in sorted(infos):
        shape, dtype = tf.TensorShape(infos[name].tensor_shape), tf.dtypes.as_dtype(infos[name].dtype)
        found[name] = Tensor(dtype.name, None if shape.rank is None else tuple(shape.as_list()))
    return found
