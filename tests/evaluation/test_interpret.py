"""Grad-CAM against what it must equal: class activation maps, and another package's maps of torchvision's network."""

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from tests.export.torchvision_networks import DEVIATION, MEAN, images, randomise, torchvision
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.evaluation.interpret import grad_cam, overlay
from tl_keras.models import backbones, cnn, heads, model_file

CLASSES = 5


def build(name, side):
    if name.startswith(("torch", "vit")):
        pytest.importorskip("keras_hub", reason="the extra kerashub is not installed")
    model = backbones.build(name, CLASSES, size=side)
    randomise(model, images(side=side))
    return model


def class_activation(features, kernel, classes):
    """Zhou et al. (2016), equation 2, for each image: the map of its class, before a relu."""
    return np.stack([features[row] @ kernel[:, number] for row, number in enumerate(classes)])


def large(maps, side):
    return np.stack(
        [np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BILINEAR)) for each in maps]
    )


def signed(model, pixels, classes, layer="logits"):
    """The sum over channels before the relu: the negative part is what a head of the opposite sign shows."""
    positive = grad_cam(model, pixels, classes)
    head = model.get_layer(layer)
    head.set_weights([-each for each in head.get_weights()])
    negative = grad_cam(model, pixels, classes)
    head.set_weights([-each for each in head.get_weights()])
    return positive - negative


def same(received, expected, share=1e-5):
    np.testing.assert_allclose(received, expected, rtol=0, atol=share * np.abs(expected).max())


@pytest.mark.parametrize(
    "name, side, map_side",
    [("mobilenet_0.25", 96, 3), ("mobilenet_v2_0.35", 96, 3), ("resnet50", 64, 2), ("densenet121", 96, 3),
     ("efficientnetv2b0", 96, 3), ("torch_resnet18", 128, 4)],
)  # fmt: skip
def test_behind_average_pooling_it_is_the_class_activation_map(name, side, map_side):
    model, pixels = build(name, side), images(side=side)
    pooling = next(layer for layer in model.layers if isinstance(layer, layers.GlobalAveragePooling2D)
                   and layer.output.shape[-1] == model.get_layer("logits").kernel.shape[0])  # fmt: skip
    body = keras.Model(model.input, [pooling.input, model.output])
    features, logits = (np.asarray(found) for found in body(pixels))
    classes, head = np.array([3, 0, 4, 1]), model.get_layer("logits")
    for given in (None, classes):
        wanted = logits.argmax(axis=1) if given is None else given
        expected = class_activation(features, head.kernel.numpy(), wanted) / map_side**2
        received = grad_cam(model, pixels, given)
        assert received.shape == (4, map_side, map_side) and received.dtype == np.float32
        same(received, np.maximum(expected, 0))
    received = signed(model, pixels, classes)
    assert expected.min() < 0 < expected.max()
    same(received, expected)
    own = logits[np.arange(4), classes] - head.bias.numpy()[classes]
    same(received.sum(axis=(1, 2)), own, share=1e-4)


def test_it_is_what_the_package_grad_cam_gives_of_torchvision():
    torch, models = torchvision()
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam, the reference, is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from tl_keras.export.torch_bridge import to_state_dict

    model, pixels, classes = build("torch_resnet18", 224), images(), [3, 0, 4, 1]
    network = models.resnet18(num_classes=CLASSES)
    network.load_state_dict({key: torch.from_numpy(array) for key, array in to_state_dict(model).items()})
    layer = network.layer4[-1]
    fed = torch.tensor(((pixels / 255 - MEAN) / DEVIATION).astype("float32").transpose(0, 3, 1, 2))
    with package.GradCAM(model=network, target_layers=[layer]) as theirs:
        targets = [ClassifierOutputTarget(number) for number in classes]
        scaled = theirs(input_tensor=fed, targets=targets)
        kept = theirs.activations_and_grads
        raw = theirs.get_cam_image(fed, layer, targets, kept.activations[0], kept.gradients[0].numpy())
    received = grad_cam(heads.with_softmax(model), pixels, classes)
    same(received, np.maximum(raw, 0), share=1e-4)
    # The package brings each map to 0..1 before and behind its resizing.
    each = [(found - found.min()) / (found.max() - found.min()) for found in large(normal(received), 224)]
    np.testing.assert_allclose(each, scaled, atol=1e-4)


def normal(maps):
    least = maps.min(axis=(1, 2), keepdims=True)
    return (maps - least) / (maps.max(axis=(1, 2), keepdims=True) - least)


def test_a_softmax_changes_nothing_be_it_a_layer_or_an_activation():
    model, pixels = build("mobilenet_0.25", 64), images(side=64)
    expected = grad_cam(model, pixels, 2)
    np.testing.assert_array_equal(grad_cam(heads.with_softmax(model), pixels, 2), expected)
    named = keras.Model(model.input, layers.Activation("softmax")(model.output))
    np.testing.assert_array_equal(grad_cam(named, pixels, 2), expected)
    last = model.get_layer("logits")
    dense = layers.Dense(CLASSES, activation="softmax")
    within = keras.Model(model.input, dense(last.input))
    dense.set_weights(last.get_weights())
    np.testing.assert_array_equal(grad_cam(within, pixels, 2), expected)


def test_behind_flattening_weights_are_the_mean_gradients():
    model, pixels = cnn.build(3, (16, 16, 3)), images(side=16)
    one, two = (model.get_layer(name) for name in ("dense1", "dense2"))
    assert two.activation is keras.activations.softmax
    body = keras.Model(model.input, [model.get_layer("flatten").input, one.output])
    features, units = (np.asarray(found) for found in body(pixels))
    expected = []
    for each, on in zip(features, units > 0, strict=True):
        gradient = one.kernel.numpy() @ (on * two.kernel.numpy()[:, 1])
        expected.append(each @ gradient.reshape(each.shape).mean(axis=(0, 1)))
    same(signed(model, pixels, 1, "dense2"), np.array(expected))


def composite(sides=(32, 64)):
    """Bodies that see the image at several sizes, their averages side by side before one linear head."""
    seen = keras.Input((32, 32, 3), name="images")
    pooled = []
    for side in sides:
        x = layers.Resizing(side, side)(seen)
        x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(layers.Rescaling(1 / 128, -1)(x))
        x = layers.ZeroPadding2D(1)(layers.Conv2D(4, 3, strides=2, padding="same", name=f"map{side}")(x))
        pooled.append(layers.GlobalAveragePooling2D()(layers.Cropping2D(1)(x)))
    return keras.Model(seen, layers.Dense(CLASSES, name="logits")(layers.Concatenate()(pooled)))


def test_branches_add_up_to_the_logit():
    model, pixels, classes = composite(), images(side=32), np.array([0, 1, 2, 3])
    body = keras.Model(model.input, [model.get_layer(f"map{side}").output for side in (32, 64)])
    small, wide = (np.asarray(found) for found in body(pixels))
    assert small.shape[1:3] == (8, 8) and wide.shape[1:3] == (16, 16)
    kernel = model.get_layer("logits").kernel.numpy()
    parts = class_activation(small, kernel[:4], classes), class_activation(wide, kernel[4:], classes)
    expected = (large(parts[0], 16) + parts[1]) / 16**2
    same(grad_cam(model, pixels, classes), np.maximum(expected, 0))
    received = signed(model, pixels, classes)
    same(received, expected)
    same(received.sum(axis=(1, 2)), np.asarray(model(pixels))[np.arange(4), classes])


def test_zeros_around_a_map_are_no_places():
    seen = keras.Input((8, 8, 3))
    inner = layers.Conv2D(4, 3, padding="same", name="map")(seen)
    x = layers.GlobalAveragePooling2D()(layers.ZeroPadding2D(2)(inner))
    model = keras.Model(seen, layers.Dense(CLASSES, name="logits")(x))
    pixels = images(side=8)[:2]
    features = np.asarray(keras.Model(seen, inner)(pixels))
    expected = class_activation(features, model.get_layer("logits").kernel.numpy(), [1, 1]) / 12**2
    assert expected.shape == (2, 8, 8)
    same(signed(model, pixels, 1), expected)


def test_nested_sequential_and_saved_models(tmp_path):
    seen, head = keras.Input((16, 16, 3)), layers.Dense(CLASSES, activation="softmax")
    body = keras.Sequential([seen, layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()])
    model = keras.Sequential([seen, layers.Rescaling(1 / 255), body, layers.GlobalAveragePooling2D(), head])
    pixels = images(side=16)
    features = np.asarray(keras.Sequential(model.layers[:2])(pixels))
    expected = class_activation(features, model.layers[-1].kernel.numpy(), [4] * 4) / 7**2
    received = grad_cam(model, pixels, 4)
    same(received, np.maximum(expected, 0))
    model_file.save(model, tmp_path / "mine.keras", View((16, 16)), tuple("abcde"))
    np.testing.assert_array_equal(grad_cam(model_file.load(tmp_path / "mine.keras"), pixels, 4), received)


@pytest.mark.parametrize("token", [True, False])
def test_tokens_are_put_on_their_grid(token):
    """Slopes by small steps: the gradient's mean over places is that of moving all of them at once."""
    seen, shift = keras.Input((16, 16, 3)), keras.Input((16 + token, 8))
    norms, attention = [layers.LayerNormalization() for _ in range(2)], layers.MultiHeadAttention(2, 4)
    logits = layers.Dense(CLASSES, name="logits")
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(layers.Rescaling(1 / 255)(seen)))
    x = layers.ZeroPadding1D((1, 0))(x) if token else x

    def behind(read):
        y = norms[1](layers.Add()([x, attention(read, read)]))
        return logits(y[:, 0] if token else layers.GlobalAveragePooling1D()(y))

    read, pixels = norms[0](x), images(side=16).astype("float32")
    received = signed(keras.Model(seen, behind(read)), pixels, 2)
    shifted, places = keras.Model([seen, shift], behind(layers.Add()([read, shift]))), slice(int(token), None)
    tokens, slopes = np.asarray(keras.Model(seen, read)(pixels)), np.zeros((4, 8))
    for channel in range(8):
        step = np.zeros_like(tokens)
        step[:, places, channel] = 1e-2
        up, down = (np.asarray(shifted([pixels, sign * step]))[:, 2] for sign in (1, -1))
        slopes[:, channel] = (up - down) / 2e-2 / 16
    assert received.shape == (4, 4, 4)
    same(received, np.einsum("ntk,nk->nt", tokens[:, places], slopes).reshape(4, 4, 4), share=1e-2)


def test_the_registry_s_transformer_has_a_map():
    keras_hub = pytest.importorskip("keras_hub", reason="the extra kerashub is not installed")
    hub = keras_hub.models.ViTBackbone((48, 48, 3), 16, 2, 2, 16, 32)
    seen = keras.Input((48, 48, 3))
    model = keras.Model(seen, heads.logits(heads.flat_vit(hub, layers.Rescaling(1 / 128, -1)(seen)), CLASSES))
    received = signed(model, images(side=48), 1)
    assert received.shape == (4, 3, 3) and np.all(np.ptp(received, axis=(1, 2)) > 0)


def test_many_images_and_half_precision():
    model = composite(sides=(32,))
    pixels = np.concatenate([images(side=32)] * 5)
    found = grad_cam(model, pixels, np.arange(20) % CLASSES)
    for row in (0, 15, 16, 19):
        same(found[row : row + 1], grad_cam(model, pixels[row : row + 1], row % CLASSES))
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = composite(sides=(32,))
    half.set_weights(model.get_weights())
    same(grad_cam(half, pixels[:4], 0), grad_cam(model, pixels[:4], 0), share=0.05)


def test_what_cannot_be_shown_is_refused():
    seen = keras.Input((8, 8, 3))
    flat = keras.Model(seen, layers.Dense(2)(layers.Flatten()(layers.Rescaling(1 / 255)(seen))), name="flat")
    with pytest.raises(InputError, match="flat: expected a network with layers that see places"):
        grad_cam(flat, images(side=8))
    model, pixels = composite(), images(side=32)
    for classes in (5, -1, [0, 1], [0.5] * 4):
        with pytest.raises(InputError, match="classes: expected numbers from 0 to 4, one or 4, received"):
            grad_cam(model, pixels, classes)
    for wrong in (pixels[0], pixels[:0], pixels[:, :16], pixels[..., :1]):
        with pytest.raises(InputError, match=r"images: expected \(N, 32, 32, 3\) as .* reads them, received"):
            grad_cam(model, wrong)
    tokens = keras.Sequential([keras.Input((4, 6, 3)), layers.Conv2D(2, 1), layers.Reshape((24, 2)),
                               layers.GlobalAveragePooling1D(), layers.Dense(2)])  # fmt: skip
    with pytest.raises(InputError, match=r"tokens on a square grid, .* received 24"):
        grad_cam(tokens, np.zeros((1, 4, 6, 3)))


def test_overlay_colours_what_is_hot_alone():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), dtype="uint8")
    heat = np.zeros((4, 6), "float32")
    heat[1, 4] = 7
    drawn = overlay(image, heat)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    cold = drawn[:, :20].astype(int)
    assert np.ptp(cold, axis=2).max() == 0, "grey"
    np.testing.assert_allclose(cold[..., 0], image[:, :20] @ [0.299, 0.587, 0.114], atol=0.51)
    red, _, blue = drawn[14, 44].astype(int)
    assert red > blue + 40, "yellow"
    np.testing.assert_array_equal(overlay(image, 1000 * heat), drawn)
    np.testing.assert_array_equal(np.ptp(overlay(image, 0 * heat), axis=2), 0)
    for wrong in (image.astype(float), image[..., :1], image[0]):
        with pytest.raises(InputError, match="image: expected uint8"):
            overlay(wrong, heat)
    for wrong in (heat[0], heat[:0], heat * np.nan):
        with pytest.raises(InputError, match="heat: expected finite numbers"):
            overlay(image, wrong)
