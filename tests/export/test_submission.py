"""A submission is the four files that the grader expects, whole or not at all."""

import numpy as np
import pytest
from submissions import network
from torchvision_networks import torchvision

from tl_keras.errors import InputError
from tl_keras.export import submission, torch_bridge
from tl_keras.models import backbones, heads


@pytest.fixture(scope="module")
def models():
    torchvision()
    extracted = network()
    return {"model_ft": extracted, "model_cnn": heads.with_softmax(network(seed=1))}


def test_the_files_are_those_of_the_grader(tmp_path, models):
    torch, networks = torchvision()
    folder = submission.write(tmp_path / "submission", models, "print('trained')\n")
    assert sorted(file.name for file in folder.iterdir()) == ["assign3.py", "model.txt", "model_cnn", "model_ft"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["submission"]
    assert (folder / "model.txt").read_bytes() == b"resnet34"
    assert (folder / "assign3.py").read_text() == "print('trained')\n"
    for name, model in models.items():
        state = torch.load(folder / name, weights_only=True)
        assert isinstance(state, dict) and not any(tensor.requires_grad for tensor in state.values())
        networks.resnet34(num_classes=5).load_state_dict(state, strict=True)
        np.testing.assert_array_equal(state["fc.weight"].numpy().T, model.get_layer("logits").kernel)


def test_whole_or_as_before(tmp_path, models, monkeypatch):
    folder = submission.write(tmp_path / "submission", models, "first = True\n")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(path, content):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(submission, "write_bytes", full)
        with pytest.raises(OSError):
            submission.write(folder, models, "second = True\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["submission"]
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    swapped = dict(zip(models, reversed(models.values()), strict=True))
    submission.write(folder, swapped, "second = True\n")
    assert (folder / "assign3.py").read_text() == "second = True\n"
    assert (folder / "model_ft").stat().st_size == len(before["model_ft"])
    state = torch_bridge.read_state_dict(folder / "model_ft")
    np.testing.assert_array_equal(state["fc.bias"], models["model_cnn"].get_layer("logits").bias)
    assert [entry.name for entry in tmp_path.iterdir()] == ["submission"]


def test_what_the_grader_could_not_read_is_not_written(tmp_path, models):
    small = backbones.build("mobilenet_0.25", 5, size=32)
    other = backbones.build("densenet121", 5, size=32)
    for given, message in (
        ({"model_ft": models["model_ft"]}, "expected the networks model_ft and model_cnn, received model_ft; train"),
        ({"model_ft": small, "model_cnn": small}, "torchvision: expected the layers of vgg16"),
        ({"model_ft": other, "model_cnn": other}, "of one kind, vgg16, resnet50, resnet34, received densenet121"),
        (models | {"model_ft": other}, "of one kind, .* received densenet121 and resnet34"),
    ):
        with pytest.raises(InputError, match=message):
            submission.write(tmp_path / "submission", given, "")
    assert not list(tmp_path.iterdir())


def test_words():
    names = ("vgg16", "torch_resnet50", "torch_resnet34", "resnet50", "mobilenet_0.25")
    assert [submission.word_for(name) for name in names] == ["vgg16", "resnet50", "resnet34", None, None]


def test_constants_are_filled_in():
    template = 'DATA = "a"  # where\nRATES = {"x": 1}\nif DATA == "b":\n    DATA = 3\n'
    code = submission.filled(template, {"DATA": r"C:\new", "RATES": {"x": 2.0}})
    assert code == "DATA = 'C:\\\\new'  # where\nRATES = {'x': 2.0}\nif DATA == \"b\":\n    DATA = 3\n"
    with pytest.raises(ValueError, match="EPOCHS: expected one assignment in the template, received 0"):
        submission.filled(template, {"EPOCHS": 1})
