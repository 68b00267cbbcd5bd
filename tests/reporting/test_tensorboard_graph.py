"""The Graphs tab: the layers and edges of a network, nested ones in boxes, from what Keras saved."""

import json

import keras
import pytest
from keras import layers

from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import heads, model_file, networks
from tl_keras.reporting import tensorboard_graph


def edges(model):
    """The nodes that each node reads, of the model as it is saved."""
    found = tensorboard_graph.graph(json.loads(model.to_json()))
    assert len({node.name for node in found.node}) == len(found.node)
    return {node.name: list(node.input) for node in found.node}


def body(name="body"):
    images = keras.Input((8, 8, 3), name="images")
    read = layers.Flatten(name="flat")(layers.Conv2D(4, 3, name="conv")(images / 127.5 - 1))
    return keras.Model(images, layers.Dense(2, name="logits")(read), name=name)


BODY = {"images": [], "true_divide": ["images"], "subtract": ["true_divide"], "conv": ["subtract"],
        "flat": ["conv"], "logits": ["flat"]}  # fmt: skip


@pytest.fixture(autouse=True)
def named_from_one():
    keras.backend.clear_session()


def nested(scope, read):
    """`BODY` in a box, its input reading from the nodes `read`."""
    inner = {f"{scope}/{name}": [f"{scope}/{each}" for each in inputs] for name, inputs in BODY.items()}
    return inner | {f"{scope}/images": read}


def test_a_network_of_ours_has_all_its_layers_in_a_row():
    model = networks.build("cnn", 3, View((16, 16)), "none")
    names = [layer.name for layer in model.layers]
    assert edges(model) == {
        name: [before] if before else [] for name, before in zip(names, [None, *names], strict=False)
    }
    found = tensorboard_graph.graph(json.loads(model.to_json()))
    assert [node.op for node in found.node] == [type(layer).__name__ for layer in model.layers]
    for node, layer in list(zip(found.node, model.layers, strict=True))[:-1]:
        sizes = [dim.size for dim in node.attr["_output_shapes"].list.shape[0].dim]
        assert sizes == [-1 if size is None else size for size in layer.output.shape]
    assert json.loads(found.node[-1].attr["units"].s) == 3


def test_operations_with_numbers_are_nodes_too():
    assert edges(body()) == BODY


def test_a_branch_is_read_by_all_that_read_it():
    images = keras.Input((8,), name="images")
    left, right = layers.Dense(4, name="left")(images), layers.Dense(4, name="right")(images)
    model = keras.Model(images, layers.Concatenate(name="both")([left, right, images]))
    expected = {"images": [], "left": ["images"], "right": ["images"], "both": ["left", "right", "images"]}
    assert edges(model) == expected


def test_a_nested_network_that_is_called_twice_reads_both():
    model = heads.with_softmax(heads.mirrored(body()))
    around = {"images": [], "flip": ["images"], "mirrored": ["body/logits"], "probabilities": ["mirrored"]}
    assert edges(model) == around | nested("body", ["images", "flip"])


def test_voting_networks_are_boxes_of_their_own():
    images = keras.Input((8, 8, 3), name="images")
    one = body("one")
    keras.backend.clear_session()  # layers of both are named alike
    vote = layers.Add(name="vote")([0.25 * one(images), 0.75 * body("two")(images)])
    assert edges(keras.Model(images, vote)) == {
        "images": [], **nested("one", ["images"]), **nested("two", ["images"]),
        "multiply": ["one/logits"], "multiply_1": ["two/logits"], "vote": ["multiply", "multiply_1"],
    }  # fmt: skip


def test_a_sequence_of_networks_is_a_row():
    model = keras.Sequential([keras.Input((8, 8, 3), name="first"), body(), layers.Dense(3, name="last")])
    assert edges(model) == {"first": [], **nested("body", ["first"]), "last": ["body/logits"]}
    outer = keras.Model(images := keras.Input((8, 8, 3), name="images"), model(images))
    assert edges(outer)[f"{model.name}/first"] == ["images"]
    assert edges(outer)[f"{model.name}/body/images"] == [f"{model.name}/first"]


def test_several_inputs_and_outputs_keep_their_order():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    outputs = [layers.Add(name="sum")([a, b]), layers.Subtract(name="difference")([a, b])]
    two = keras.Model([a, b], outputs, name="two")
    start = keras.Input((4,), name="start")
    plus, minus = two([start, layers.Dense(4, name="other")(start)])
    found = edges(keras.Model(start, layers.Concatenate(name="joined")([minus, plus])))
    assert (found["two/a"], found["two/b"]) == (["start"], ["other"])
    assert found["joined"] == ["two/difference", "two/sum"]


def test_a_layer_that_is_called_again_on_what_came_of_it_is_one_node():
    images, dense = keras.Input((4,), name="images"), layers.Dense(4, name="again")
    model = keras.Model(images, layers.ReLU(name="end")(dense(layers.ReLU(name="between")(dense(images)))))
    assert edges(model) == {"images": [], "again": ["images", "between"], "between": ["again"], "end": ["again"]}


def test_a_backbone_from_the_registry_has_no_edge_to_nowhere():
    found = edges(networks.build("mobilenet_v2_0.35", 2, View((32, 32)), "none"))
    assert len(found) > 100 and {each for read in found.values() for each in read} < set(found)
    assert [name for name, read in found.items() if not read] == ["images"]


def test_a_saved_network_is_read_without_keras(tmp_path):
    model_file.save(body(), tmp_path / "body.keras", View((8, 8)), ("a", "b"))
    assert {node.name: list(node.input) for node in tensorboard_graph.read(tmp_path / "body.keras").node} == BODY


@pytest.mark.parametrize("length", [0, 10, 1000])
def test_a_damaged_network_is_told(tmp_path, length):
    path = tmp_path / "body.keras"
    model_file.save(body(), path, View((8, 8)), ("a", "b"))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"body\.keras: expected a network that Keras saved, received a damaged file"):
        tensorboard_graph.read(path)
