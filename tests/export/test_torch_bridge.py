"""Keras and torchvision under the same weights: the same bytes both ways, the same logits, or a clear refusal."""

import gc
import pickle
import re
import sys

import keras
import numpy as np
import pytest
from torchvision_networks import images, predict, predict_torch, randomise, torchvision

from tl_keras.errors import InputError
from tl_keras.export import torch_layouts
from tl_keras.export.torch_bridge import load_state_dict, read_state_dict, save_state_dict, to_state_dict
from tl_keras.models import backbones, heads

NETWORKS = ("vgg16", "vgg19", "densenet121", "torch_resnet18", "torch_resnet34", "torch_resnet50")


def build(name, **options):
    if name.startswith("torch"):
        pytest.importorskip("keras_hub", reason="the extra kerashub is not installed")
    return backbones.build(name, classes=5, **options)


def theirs(model):
    torch, models = torchvision()
    name = torch_layouts.find(model).name
    with torch.device("meta"):
        return getattr(models, name)(num_classes=5)


def loaded(network, mapping):
    """torchvision's network with these arrays: no key may be missing or unexpected, no shape may differ."""
    torch, _ = torchvision()
    tensors = {key: torch.from_numpy(array) for key, array in mapping.items()}
    result = network.load_state_dict(tensors, strict=True, assign=True)
    assert not result.missing_keys and not result.unexpected_keys
    return network


def forgetful(model):
    for weight in model.weights:
        weight.assign(keras.ops.zeros_like(weight))
    return model


def same_bytes(given, expected):
    assert set(given) == set(expected)
    for key, array in given.items():
        assert (array.dtype, array.shape) == (expected[key].dtype, expected[key].shape), key
        assert array.tobytes() == expected[key].tobytes(), key


@pytest.mark.parametrize("name", NETWORKS)
def test_both_ways(name):
    """One test for each network, since the weights of a VGG are half a gigabyte."""
    torchvision()
    gc.collect()
    model, pixels = build(name), images()
    network = theirs(model)
    randomise(model, pixels)
    exported = to_state_dict(model)
    for key, tensor in network.state_dict().items():
        array = exported[key]
        assert (array.shape, f"torch.{array.dtype}") == (tuple(tensor.shape), str(tensor.dtype)), key
    assert list(exported) == list(network.state_dict())
    ours, expected = predict(model, pixels), predict_torch(loaded(network, exported), pixels)
    assert 1 < np.abs(expected).max() < 10 and len(set(expected.argmax(axis=1))) > 1
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(ours.argmax(axis=1), expected.argmax(axis=1))
    # Back again, from what torchvision holds now, into a model that has forgotten everything.
    load_state_dict(forgetful(model), network.state_dict())
    same_bytes(to_state_dict(model), exported)


@pytest.fixture(scope="module")
def resnet():
    model = build("torch_resnet18", size=64)
    randomise(model, images(side=64))
    return model


@pytest.mark.parametrize("seed", range(3))
def test_from_torchvision_and_back(seed, resnet):
    torch, models = torchvision()
    torch.manual_seed(seed)
    network = models.resnet18(num_classes=5)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith(("weight", "running_var")) and tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
            elif key.endswith(("bias", "running_mean")):
                tensor.normal_(0, 0.2)
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    model = heads.with_softmax(resnet)
    load_state_dict(model, state)
    same_bytes(to_state_dict(model), state)
    pixels = images(side=64)
    expected = predict_torch(network, pixels)
    np.testing.assert_allclose(predict(model, pixels), expected, atol=1e-4)
    np.testing.assert_allclose(model(pixels), keras.ops.softmax(expected), atol=1e-4)


def test_model_is_known_by_its_layers_even_out_of_a_file(tmp_path, resnet):
    resnet.save(tmp_path / "mine.keras")
    model = keras.models.load_model(tmp_path / "mine.keras", safe_mode=True)
    same_bytes(to_state_dict(model), to_state_dict(resnet))
    copy = keras.Model(model.input, model.output, name="a_winner")
    assert torch_layouts.find(copy).name == "resnet18"


def test_mixed_precision_trains_float32(resnet):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build("torch_resnet18", size=64)
    load_state_dict(model, to_state_dict(resnet))
    same_bytes(to_state_dict(model), to_state_dict(resnet))


@pytest.mark.parametrize("name", ["model_ft", "net.pth", "net.safetensors"])
def test_files(name, tmp_path, resnet, monkeypatch):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    torchvision()
    if name.endswith("safetensors"):
        monkeypatch.setitem(sys.modules, "torch", None)
    save_state_dict(resnet, str(tmp_path / name))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    same_bytes(read_state_dict(tmp_path / name), to_state_dict(resnet))
    if not name.endswith("safetensors"):
        torch, models = torchvision()
        models.resnet18(num_classes=5).load_state_dict(torch.load(tmp_path / name, weights_only=True), strict=True)


def test_a_file_is_whole_or_as_before(tmp_path, resnet, monkeypatch):
    torch, _ = torchvision()
    path = tmp_path / "net.pth"
    path.write_text("before")

    def full(content, path):
        path.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError):
        save_state_dict(resnet, path)
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_widths_are_converted_where_that_is_exact(kind, suffix, tmp_path, resnet):
    torch, _ = torchvision()
    state = {key: torch.from_numpy(array) for key, array in to_state_dict(resnet).items()}
    state = {key: tensor.half().to(getattr(torch, kind)) if tensor.ndim else tensor for key, tensor in state.items()}
    if suffix == "pth":
        torch.save(state, tmp_path / "net.pth")
    else:
        pytest.importorskip("safetensors.torch").save_file(state, tmp_path / "net.safetensors")
    expected = {key: tensor.float().numpy() if tensor.ndim else tensor.numpy() for key, tensor in state.items()}
    for mapping in (state, read_state_dict(tmp_path / f"net.{suffix}")):
        load_state_dict(forgetful(resnet), mapping)
        same_bytes(to_state_dict(resnet), expected)


def test_published_densenet_has_older_names():
    model = build("densenet121", size=32)
    state = to_state_dict(model)
    older = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): array for key, array in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    load_state_dict(model, {key: array for key, array in older.items() if "num_batches" not in key})
    same_bytes(to_state_dict(model), state)


def changed(**changes):
    return lambda state: {**state, **changes}


def without(key):
    return lambda state: {name: array for name, array in state.items() if name != key}


BAD = {
    "missing": (without("fc.bias"), r"1 missing \(fc.bias\);"),
    "foreign": (lambda state: {"stem": 1}, r"missing \(conv1.weight, bn1.weight, .*, \.\.\.\) and 1 unexpected \(stem"),
    "surplus": (changed(extra=np.zeros(3)), r"received 103, of which 1 unexpected \(extra\)"),
    "parallel": (lambda state: {f"module.{key}": array for key, array in state.items()},
                 r"expected conv1.weight, received module.conv1.weight, the prefix of DataParallel"),
    "classes": (changed(**{"fc.weight": np.zeros((9, 512))}), r"fc.weight: expected shape \(5, 512\), received \(9"),
    "axes": (changed(**{"conv1.weight": np.zeros((7, 7, 3, 64))}), r"conv1.weight: expected shape \(64, 3, 7, 7\), r"),
    "vector": (changed(**{"bn1.bias": np.zeros((64, 1))}), r"bn1.bias: expected shape \(64,\), received \(64, 1\)"),
    "digits": (changed(**{"fc.bias": np.full(5, 0.1)}), "fc.bias: expected numbers that float32 holds, received f"),
    "huge": (changed(**{"fc.bias": np.full(5, 1e300)}), "fc.bias: expected numbers that float32 holds"),
    "integers": (changed(**{"fc.bias": np.zeros(5, "int8")}), "fc.bias: expected floating-point numbers, received i"),
    "nested": (changed(**{"fc.bias": {"more": 1}}), "fc.bias: expected a tensor, received dict"),
    "list": (list, r"expected a mapping of keys to arrays, received list; pass network.state_dict\(\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_mappings_change_nothing(case, resnet):
    spoil, message = BAD[case]
    before = to_state_dict(resnet)
    different = {key: array + 1 for key, array in before.items()}
    with pytest.raises(InputError, match=message) as error:
        load_state_dict(resnet, spoil(different))
    assert "\n" not in str(error.value)
    same_bytes(to_state_dict(resnet), before)


class Trap:
    """A pickle that would write a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_bad_files(tmp_path, resnet):
    torch, models = torchvision()
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    save_state_dict(resnet, tmp_path / "net.pth")
    save_state_dict(resnet, tmp_path / "net.safetensors")
    for suffix in ("pth", "safetensors"):
        whole = (tmp_path / f"net.{suffix}").read_bytes()
        for size in (0, 5, 1000, len(whole) // 2, len(whole) - 1):
            (tmp_path / f"cut{size}.{suffix}").write_bytes(whole[:size])
    torch.save(models.resnet18(num_classes=5), tmp_path / "whole.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "wrapped.pth")
    torch.save({"fc.bias": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))
    (tmp_path / "text.pth").write_text("no weights")
    messages = {
        "whole.pth": r"received a pickle of torchvision.models.resnet.ResNet.*save network.state_dict\(\)",
        "trap.pth": "received a pickle of io.open, none of which was run",
        "plain.pth": "received a pickle of io.open, none of which was run",
        "tensor.pth": "expected a state_dict, received Tensor",
        "wrapped.pth": "epoch: expected a tensor, received int.*without a dictionary around it",
        "text.pth": "expected a whole state_dict file, received Unsupported operand",
        "absent.pth": "expected a .pth or .safetensors file, received .*absent.pth; check the path",
        ".": "expected a .pth or .safetensors file",
    } | {path.name: "expected a whole state_dict file, received" for path in tmp_path.glob("cut*")}
    for name, message in messages.items():
        with pytest.raises(InputError, match=message) as error:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "sprung").exists()


def test_without_pytorch(tmp_path, resnet, monkeypatch):
    (tmp_path / "net.pth").write_text("")
    monkeypatch.setitem(sys.modules, "torch", None)
    load_state_dict(resnet, to_state_dict(resnet))
    for call in (lambda: read_state_dict(tmp_path / "net.pth"), lambda: save_state_dict(resnet, tmp_path / "new.pth")):
        with pytest.raises(InputError, match=r"expected the package torch, received .*pip install 'tl-keras\[torch\]'"):
            call()
    assert not (tmp_path / "new.pth").exists()
