"""Grad-CAM of networks that see an image several times: at several sizes, mirrored, and as members of a vote."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.evaluation.test_interpret import CLASSES, build, large, same
from tests.export.torchvision_networks import images, randomise
from tl_keras.data.view import View
from tl_keras.evaluation.interpret import grad_cam
from tl_keras.models import heads, model_file, steps
from tl_keras.study import voting
from tl_keras.transfer import blocks, kernel_ridge

BLOCKS = [blocks.Block("mobilenet_0.25", "none", 64), blocks.Block("mobilenet_v2_0.35", "none", 128, stages=2)]
SIDE = 64  # doubled exactly for the other block: rounding of levels is the same in the mirror


def scores(model, pixels):
    """What comes before the last softmax."""
    return np.asarray(keras.Model(model.input, model.layers[-1].input)(pixels, training=False))


def stacked(head=None):
    """A network of two blocks, each on the image and its mirror image, with a linear head or another."""
    seen, features = blocks.model(BLOCKS, View((SIDE, SIDE), mirror=True))
    body = keras.Model(seen, features)
    randomise(keras.Model(seen, heads.logits(features, CLASSES)), images(side=SIDE))
    # Statistics of the images themselves: else features of random networks are nearly the same for all.
    for layer in body._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    body(images(side=SIDE), training=True)
    return heads.with_softmax(keras.Model(seen, (head or (lambda each: heads.logits(each, CLASSES)))(features))), body


def seen_by(model, pixels):
    """For each group of features of each block, in order, its maps of the images and of the mirrored images."""
    for block in BLOCKS:
        name = f"{block.name}_{block.size}"
        body = model.get_layer(name)
        averages = (average._keras_history for average in body.get_layer("features").input)
        maps = [layer._inbound_nodes[node].input_tensors[0] for layer, node, _ in averages]
        scaled = np.asarray(keras.Model(model.input, body._inbound_nodes[0].input_tensors[0])(pixels, training=False))
        seen = keras.Model(body.input, maps)
        for pair in zip(*(seen(each, training=False) for each in (scaled, scaled[:, :, ::-1])), strict=True):
            yield [np.asarray(each) for each in pair]


def by_hand(seen, slopes):
    """The maps of features that count by `slopes` (N, F): the mirrored image's are flipped back."""
    parts, start = [], 0
    for straight, mirrored in seen:
        slope = slopes[:, start : start + straight.shape[-1]]
        start += slope.shape[1]
        found = [np.einsum("nhwk,nk->nhw", each, slope) for each in (straight, mirrored)]
        parts.append((found[0] + found[1][:, :, ::-1]) / 2)
    assert start == slopes.shape[1]
    side = max(part.shape[1] for part in parts)
    return np.maximum(sum(large(part.astype("float32"), side) / side**2 for part in parts), 0)


def test_of_mirrored_blocks_under_a_linear_head_it_is_the_sum_of_the_class_activation_maps():
    model, pixels, classes = stacked()[0], images(side=SIDE), [3, 0, 4, 1]
    kernel, seen = model.get_layer("logits").kernel.numpy(), list(seen_by(model, pixels))
    expected = by_hand(seen, kernel.T[classes])
    assert expected.shape == (4, 16, 16) and expected.max() > 0
    same(grad_cam(model, pixels, classes), expected)
    same(grad_cam(model, pixels), by_hand(seen, kernel.T[scores(model, pixels).argmax(axis=1)]))


def kernel_headed():
    """A stacked network with a kernel head, and the head."""
    rng = np.random.default_rng(0)
    body = stacked()[1]
    shown = np.concatenate([images(side=SIDE), rng.integers(0, 256, (26, SIDE, SIDE, 3), dtype="uint8")])
    labels = np.arange(30) % CLASSES
    head = kernel_ridge.solve(np.asarray(body(shown, training=False)), labels, CLASSES, np.arange(30) % 3).head
    logits = head.logits(body.output)
    return heads.with_softmax(keras.Model(body.input, logits)), body, head


def slopes_of(head, features, classes):
    """The gradients (N, F) of the kernel head's scores, by hand."""
    at = head.coordinates(features)
    apart = at[:, None] - head.centres
    alike = np.exp(-head.width * np.sum(apart**2, axis=2))
    by_coordinate = -2 * head.width * np.einsum("nm,nm,nmr->nr", head.weights.T[classes], alike, apart)
    root = np.sqrt(np.abs(features))
    slopes = head.sharpness * (by_coordinate @ head.coordinates.axes.T)
    return np.divide(slopes, 2 * root, out=np.zeros_like(slopes), where=root > 0)


def test_of_a_kernel_head_features_count_by_their_slopes(tmp_path):
    model, body, head = kernel_headed()
    pixels = images(side=SIDE)
    features, seen, received = np.asarray(body(pixels, training=False), "float64"), list(seen_by(model, pixels)), []
    for number in range(CLASSES):
        expected = by_hand(seen, slopes_of(head, features, [number] * 4))
        received.append(grad_cam(model, pixels, number))
        same(received[-1], expected, share=1e-3)
    assert np.all(np.max(received, axis=(0, 2, 3)) > 0)
    model_file.save(model, tmp_path / "stacked.keras", View((SIDE, SIDE)), tuple("abcde"))
    same(grad_cam(model_file.load(tmp_path / "stacked.keras"), pixels, CLASSES - 1), received[-1])


def test_features_that_are_0_have_no_slope():
    """The square root's is infinite there, and infinity times 0 is no number."""
    seen = keras.Input((8, 8, 3))
    inner = layers.Conv2D(6, 3, activation="relu", bias_initializer=keras.initializers.Constant(1))(seen)
    features = layers.GlobalAveragePooling2D()(layers.Rescaling([1, 1, 0, 1, 0, 1])(inner))
    rng = np.random.default_rng(0)
    rows = np.asarray(keras.Model(seen, features)(rng.integers(0, 256, (20, 8, 8, 3), dtype="uint8")))
    head = kernel_ridge.solve(rows, np.arange(20) % 2, 2, np.arange(20) % 4).head
    assert (rows == 0).any()
    found = grad_cam(keras.Model(seen, head.logits(features)), images(side=8)[:2], 1)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("make", [lambda: stacked()[0], lambda: kernel_headed()[0]], ids=["linear", "kernel"])
def test_the_map_of_the_mirror_image_is_the_mirrored_map(make):
    model, pixels = make(), images(side=SIDE)
    received = grad_cam(model, pixels, 2)
    assert np.abs(received - received[:, :, ::-1]).max() > 0.01 * received.max() > 0
    same(grad_cam(model, pixels[:, :, ::-1], 2), received[:, :, ::-1], share=1e-3)


def test_logits_averaged_over_the_mirror_image():
    model, pixels, classes = build("mobilenet_0.25", 96), images(side=96), np.array([3, 0, 4, 1])
    both = heads.with_softmax(heads.mirrored(model))
    pooling = next(layer for layer in model.layers if isinstance(layer, layers.GlobalAveragePooling2D))
    maps, kernel = keras.Model(model.input, pooling.input), model.get_layer("logits").kernel.numpy()
    straight, mirrored = (np.asarray(maps(each)) @ kernel / 9 for each in (pixels, pixels[:, :, ::-1]))
    expected = (straight + mirrored[:, :, ::-1])[np.arange(4), :, :, classes] / 2
    same(grad_cam(both, pixels, classes), np.maximum(expected, 0))
    same(grad_cam(both, pixels[:, :, ::-1], classes), np.maximum(expected, 0)[:, :, ::-1])
    assert np.array_equal(grad_cam(both, pixels), grad_cam(heads.mirrored(model), pixels))


def member(side, seed, mirror=False, sharper=1.0):
    """A network with a linear head on one pooled map, its kernel, and the maps of images of its size."""
    seen = keras.Input((side, side, 3), name="images")
    inner = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="map")(
        layers.Rescaling(1 / 64)(seen)
    )
    logits = keras.Model(seen, heads.logits(layers.GlobalAveragePooling2D()(inner), CLASSES), name=f"body{seed}")
    randomise(logits, images(side=side), seed)
    last = logits.get_layer("logits")
    last.set_weights([sharper * each for each in last.get_weights()])
    made = heads.with_softmax(heads.mirrored(logits) if mirror else logits)
    return made, last.kernel.numpy().astype("float64"), keras.Model(seen, inner)


def voted(tmp_path, members, weights, side=32):
    taken = []
    for number, ((model, *_), weight) in enumerate(zip(members, weights, strict=True)):
        taken.append((tmp_path / f"member{number}.keras", weight))
        model_file.save(model, taken[-1][0], View((model.input_shape[1],) * 2), tuple("abcde"))
    network = voting._network(taken, View((side, side)), "voted")
    model_file.save(network, tmp_path / "voted.keras", View((side, side)), tuple("abcde"))
    return model_file.load(tmp_path / "voted.keras")


def chances(logits):
    powers = np.exp(np.asarray(logits, "float64") - np.max(logits, axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_of_a_vote_of_one_it_is_the_member_s_map_of_the_logarithm(tmp_path):
    one, pixels, classes = member(32, 1), images(side=32), np.array([3, 0, 4, 1])
    model, kernel, maps = one
    probabilities = chances(scores(model, pixels))
    slopes = kernel.T[classes] - probabilities @ kernel.T
    expected = np.maximum(np.einsum("nhwk,nk->nhw", np.asarray(maps(pixels)), slopes) / 16**2, 0)
    same(grad_cam(voted(tmp_path, [one], [1.0]), pixels, classes), expected)
    same(grad_cam(voted(tmp_path, [one], [0.3]), pixels, classes), expected)


def test_members_count_as_they_weigh_in_the_vote(tmp_path):
    members, weights = [member(32, 1), member(32, 2, mirror=True), member(16, 3)], [0.5, 0.3, 0.2]
    pixels, network = images(side=32), voted(tmp_path, members, weights)
    seen = keras.Input((32, 32, 3))
    smaller = np.asarray(keras.Model(seen, blocks.covering(seen, (16, 16), "smaller"))(pixels))
    seen = [pixels, pixels, smaller]
    said = [
        weight * chances(scores(each[0], given)) for weight, each, given in zip(weights, members, seen, strict=True)
    ]
    np.testing.assert_allclose(sum(said), network(pixels), atol=1e-6)
    for classes in (np.array([3, 0, 4, 1]), sum(said).argmax(axis=1)):
        rows, parts = np.arange(4), []
        for (_, kernel, maps), own, weight, given in zip(members, said, weights, seen, strict=True):
            share = own[rows, classes] / sum(said)[rows, classes]
            slopes = share[:, None] * (kernel.T[classes] - own / weight @ kernel.T)
            parts.append(
                [np.einsum("nhwk,nk->nhw", np.asarray(maps(each)), slopes) for each in (given, given[:, :, ::-1])]
            )
        mirrored = (parts[1][0] + parts[1][1][:, :, ::-1]) / 2
        expected = (parts[0][0] + mirrored + large(parts[2][0].astype("float32"), 16)) / 16**2
        asked = None if np.array_equal(classes, sum(said).argmax(axis=1)) else classes
        same(grad_cam(network, pixels, asked), np.maximum(expected, 0))


@pytest.mark.parametrize("apart", [40, 2000])
def test_of_a_vote_that_is_sure_there_is_still_a_map(tmp_path, apart):
    """Where a probability is rounded to 1 its own gradient is 0, and where it is rounded to 0 it has no logarithm."""
    pixels = images(side=32)
    logits = np.sort(scores(member(32, 1)[0], pixels), axis=1)
    one = member(32, 1, sharper=apart / (logits[:, -1] - logits[:, -2]).max())
    network = voted(tmp_path, [one], [1.0])
    said = np.asarray(network(pixels))
    sure = said.max(axis=1) == 1
    assert sure.any() and (apart == 40 or (said == 0).any())
    assert apart > 40 or grad_cam(network, pixels)[sure].max(axis=(1, 2)).all()
    for number in range(CLASSES):
        found = grad_cam(network, pixels, number)
        assert np.isfinite(found).all() and found[said[:, number] < 1e-3].max(axis=(1, 2)).all()


@pytest.mark.parametrize(
    "axes, expected", [([2], {2}), ([-2], {2}), ([2, 2], set()), ([1], {1}), ([(1, 2), 2], {1}), ([None], {1, 2})]
)
def test_flips_are_counted(axes, expected):
    seen = keras.Input((8, 8, 3))
    x = seen
    for axis in axes:
        x = layers.Conv2D(3, 1)(keras.ops.flip(x, axis=axis))
    nested = keras.Model(seen, x)
    outer = keras.Input((8, 8, 3))
    found, output = steps.of(keras.Model(outer, layers.ReLU()(nested(outer))), outer)
    assert steps.flipped(found).get(id(output), frozenset()) == expected


def test_steps_of_nested_networks_work_out_what_the_network_does(tmp_path):
    members = [member(32, 1), member(16, 2, mirror=True)]
    network, pixels = voted(tmp_path, members, [0.5, 0.5]), images(side=32).astype("float32")
    seen = keras.Input((32, 32, 3))
    found, output = steps.of(network, seen)
    maker = {id(step.output): step for step in found}
    received = steps.worked_out(output, {id(seen): pixels}, maker)
    np.testing.assert_array_equal(received, network(pixels, training=False))
    assert sum(step.operation.name == "map" for step in found) == 3, "one is called twice"
    assert len(steps.summed_softmaxes(output, maker)) == 2
