"""A network as TensorBoard's Graphs tab draws it: one node for each layer, read from a .keras file without Keras.

TensorBoard's own `keras_model_to_graph_def` fails where an operation is given a plain number (`images / 127.5`), and
loses edges of nested networks that are called twice, as those that average mirror images are.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tl_keras.errors import InputError

if TYPE_CHECKING:
    from tensorboard.compat.proto.graph_pb2 import GraphDef

Config = Mapping[str, Any]
NETWORKS = ("Functional", "Sequential")
SAID_ELSEWHERE = ("name", "batch_shape")  # of a layer's settings: by its node's name and shape


class Tensor(NamedTuple):
    """The output of that number of the layer called `layer`, in the same network."""

    layer: str
    output: int


def read(path: Path) -> GraphDef:
    """The graph of the network in a .keras file.

    Raises:
        InputError: it is damaged.

    >>> [node.name for node in read(Path("models/B_last.keras")).node][:2]  # doctest: +SKIP
    ['images', 'rescaling']
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return graph(json.loads(archive.read("config.json")))
    except Exception as error:  # of damaged bytes: BadZipFile, zlib.error, KeyError, RecursionError, ...
        raise InputError(
            f"{path}: expected a network that Keras saved, received a damaged file ({error!r}); start a new run"
        ) from error


def graph(config: Config) -> GraphDef:
    """Nodes and edges of a network, by its configuration as Keras 3 saves it.

    A layer of a nested network is called `nested/layer`, which the tab draws as a box that opens. A layer that is
    called several times is one node, with an edge from all that it reads.
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    found = GraphDef()
    _add(found, _Network(config, ""))
    return found


class _Network:
    """A functional or sequential network, at the top or nested in another one."""

    def __init__(self, config: Config, scope: str):
        self.scope, settings = scope, config["config"]
        self.layers: dict[str, Config] = {_name(layer): layer for layer in settings["layers"]}
        self.inner = {name: _Network(each, f"{scope}{name}/") for name, each in self.layers.items() if _nests(each)}
        order = list(self.layers)
        if "output_layers" in settings:
            self.inputs = [tensor.layer for tensor in _tensors(settings["input_layers"])]
            self.outputs = list(_tensors(settings["output_layers"]))
            self.calls = {name: _calls(layer) for name, layer in self.layers.items()}
        else:
            self.inputs, self.outputs = order[:1], [Tensor(order[-1], 0)]
            before = [[], *([[Tensor(name, 0)]] for name in order[:-1])]
            self.calls = dict(zip(order, before, strict=True))

    def node(self, tensor: Tensor) -> str:
        """The name of the node that a tensor comes from: where a nested network gives it, of a layer in that."""
        inner = self.inner.get(tensor.layer)
        return inner.node(inner.outputs[tensor.output]) if inner else f"{self.scope}{tensor.layer}"

    def read(self, name: str) -> list[list[str]]:
        """The nodes that a layer reads: a list for each of its arguments that are tensors, of all of its calls."""
        calls = [[self.node(tensor) for tensor in call] for call in self.calls[name]]
        return [[node for node in each if node] for each in zip_longest(*calls)]


def _add(found: GraphDef, network: _Network, given: Mapping[str, list[str]] | None = None) -> None:
    """Add the nodes of `network`; `given` are the nodes that each of its inputs reads."""
    shapes = _shapes(network)
    for name, layer in network.layers.items():
        read = network.read(name)
        if name in (given or {}):
            read.append((given or {})[name])
        if name in network.inner:
            inner = network.inner[name]
            _add(found, inner, dict(zip(inner.inputs, read, strict=False)))
            continue
        node = found.node.add(name=f"{network.scope}{name}", op=layer["class_name"])
        node.input.extend(dict.fromkeys(each for argument in read for each in argument))
        for key, value in layer["config"].items():
            if key not in SAID_ELSEWHERE and value is not None:
                node.attr[key].s = _said(value).encode()
        for shape in shapes.get(name, ()):
            sizes = node.attr["_output_shapes"].list.shape.add()
            for size in shape:
                sizes.dim.add(size=-1 if size is None else size)


def _name(layer: Config) -> str:
    return layer.get("name") or layer["config"]["name"]


def _nests(layer: Config) -> bool:
    return layer["class_name"] in NETWORKS


def _said(value: Any) -> str:
    """A setting in few words: of an object its class, or what it is called."""
    if isinstance(value, Mapping):
        inner = value.get("config")
        return str(inner["name"] if isinstance(inner, Mapping) and "name" in inner else value.get("class_name", ""))
    return value if isinstance(value, str) else json.dumps(value)


def _tensors(references: Any) -> Iterator[Tensor]:
    """Those named by `["layer", 0, 0]`, or by lists or objects of such lists."""
    if isinstance(references, Mapping):
        references = list(references.values())
    if references and isinstance(references[0], str):
        yield Tensor(references[0], references[2])
    else:
        for each in references:
            yield from _tensors(each)


def _read_by(argument: Any) -> Iterator[tuple[Tensor, list[int | None]]]:
    """The tensors in the arguments of a call, with their shapes."""
    if isinstance(argument, list):
        for each in argument:
            yield from _read_by(each)
    elif isinstance(argument, Mapping) and argument.get("class_name") == "__keras_tensor__":
        said = argument["config"]
        yield next(_tensors(said["keras_history"])), said["shape"]
    elif isinstance(argument, Mapping):
        yield from _read_by(list(argument.values()))


def _calls(layer: Config) -> list[list[Tensor]]:
    return [[tensor for tensor, _ in _read_by([call["args"], call["kwargs"]])] for call in layer["inbound_nodes"]]


def _shapes(network: _Network) -> dict[str, list[list[int | None]]]:
    """The shape of what a layer gives, as those that read it have it; of an input, its own."""
    found: dict[str, list[list[int | None]]] = {}
    for name, layer in network.layers.items():
        if layer["config"].get("batch_shape"):
            found[name] = [layer["config"]["batch_shape"]]
        for tensor, shape in _read_by(layer.get("inbound_nodes", [])):
            if tensor.output == 0:
                found[tensor.layer] = [shape]
    return found
