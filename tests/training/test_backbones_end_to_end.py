"""Every backbone, with random weights, on a few images: trained by a strategy, audited, saved, loaded again."""

import keras
import numpy as np
import pytest

from tests.conftest import made_up_split
from tl_keras.data.view import View
from tl_keras.models import backbones, heads, model_file
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies

BACKBONES = ("vgg16", "vgg19", "resnet50", "densenet121", "mobilenet_0.25", "mobilenet_v2_0.35", "efficientnetv2b0",
             "torch_resnet18", "torch_resnet34", "torch_resnet50")  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_from_images_to_a_file(tmp_path, name):
    if name.startswith("torch"):
        pytest.importorskip("keras_hub")
    runtime.prepare(seed=0)
    model = heads.with_softmax(backbones.build(name, classes=2, size=32))
    before = {layer.name: layer.get_weights() for layer in model.layers}
    train, test = made_up_split(6, side=32), made_up_split(4, side=32, seed=1)
    phases = strategies.find("last_layer").phases
    training = loop.fit("net", model, train, test, Recipe(1, 3, 1e-2), RunFolder(tmp_path), phases=phases)
    features = model.get_layer("logits").kernel.shape[0]
    assert training.trainable_parameters == 2 * features + 2
    for layer in model.layers:
        same = [np.array_equal(*pair) for pair in zip(layer.get_weights(), before[layer.name], strict=True)]
        assert all(same) == (layer.name != "logits" or not same)
    model_file.save(model, tmp_path / "net.keras", View((32, 32)), test.class_names)
    loaded = keras.models.load_model(tmp_path / "net.keras", safe_mode=True)
    # Without tracing, which takes longer than the few images here.
    expected = np.asarray(model(test.images))
    np.testing.assert_allclose(loaded(test.images), expected, atol=1e-6)
    np.testing.assert_allclose(training.probabilities(test), expected, atol=1e-5)
    assert training.history["val_accuracy"][-1] == pytest.approx(np.mean(expected.argmax(axis=1) == test.labels))
