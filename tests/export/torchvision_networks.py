"""The real networks of torchvision, and Keras models with random weights to compare them with."""

import keras
import numpy as np
import pytest

from tests.torchvision_reference import torchvision_part

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def torchvision():
    """PyTorch and `torchvision.models`."""
    models = torchvision_part("models")
    return pytest.importorskip("torch"), models


def images(count=4, side=224):
    """Coarse and fine patterns in different colours; the last has its edges at the border."""
    rng = np.random.default_rng(1)
    made = []
    for number in range(count):
        cells = rng.uniform(0, 255, (4 * 2**number, 4 * 2**number, 3))
        made.append(np.kron(cells, np.ones((side // len(cells) + 1,) * 2 + (1,)))[:side, :side])
    return np.array(made).round().astype("uint8")


def randomise(model, pixels, seed=0):
    """He-scaled kernels, BatchNorm statistics away from 0 and 1, and logits of order 1 to 10 that tell images apart."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name == "kernel":
            weight.assign(rng.standard_normal(shape, "float32") * np.float32(np.sqrt(2 / np.prod(shape[:-1]))))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
        else:
            weight.assign(rng.normal(0, 0.2, shape))
    logits = predict(model, pixels)
    last = model.get_layer("logits")
    scale = 1 / logits.std(axis=0).mean()
    last.set_weights([last.kernel * scale, (last.bias - logits.mean(axis=0)) * scale])


def predict(model, pixels):
    """Logits of the Keras model, which preprocesses itself."""
    return np.array(keras.Model(model.input, model.get_layer("logits").output)(pixels))


def predict_torch(network, pixels):
    """Logits of torchvision's network, fed as its users feed it: RGB / 255, less the mean, over the deviation."""
    import torch

    fed = ((pixels / 255 - MEAN) / DEVIATION).astype("float32").transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return network.eval()(torch.tensor(fed)).numpy()
