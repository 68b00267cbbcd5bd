"""The grader accepts what the house writes, agrees with Keras, and names every convention that is broken."""

import functools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from submissions import network, tiny_imagenet
from torchvision_networks import torchvision

from tl_keras.data import decode, sources
from tl_keras.errors import InputError
from tl_keras.export import grading, submission, torch_bridge
from tl_keras.models import backbones
from tl_keras.run import main

REAL = os.environ.get("TL_KERAS_DATA")


@pytest.fixture(scope="module", autouse=True)
def built_once():
    """The Keras network to load the weights into is the same in all tests: it takes seconds to build and to trace."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backbones, "build", functools.cache(backbones.build))
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return tiny_imagenet(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A submission that is right."""
    torchvision()
    first = network()
    folder = submission.write(
        tmp_path_factory.mktemp("made") / "submission", {"model_ft": first, "model_cnn": first}, "EPOCHS = 50\n"
    )
    torch_bridge.save_state_dict(network(seed=1), folder / "model_cnn")  # the same layers with other weights
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """The same, to be broken: links, since the files are large."""
    (tmp_path / "given").mkdir()
    for file in whole.iterdir():
        os.link(file, tmp_path / "given" / file.name)
    return tmp_path / "given"


def rewrite(folder, name, content):
    """Put another content in place of a linked file."""
    torch, _ = torchvision()
    (folder / name).unlink()
    if isinstance(content, str):
        (folder / name).write_text(content)
    else:
        torch.save(content, folder / name)


def refused(folder, images, match):
    with pytest.raises(InputError, match=match) as error:
        grading.grade(folder, sources.files(images), limit=1)
    assert "\n" not in str(error.value)


def test_what_was_written_is_accepted(whole, images, capsys, monkeypatch):
    grades, grade = [], grading.grade
    monkeypatch.setattr(grading, "grade", lambda *given: grades.extend(grade(*given)) or grades)
    assert main(["grade", str(whole), "--data", str(images)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("pixels: ") and " 0 of 255 levels" in told[0] and told[-1] == "all conventions hold"
    torch, networks = torchvision()
    from torchvision import transforms

    # The grader, as a student would write it.
    view = transforms.Compose(
        [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor(),
         transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    )  # fmt: skip
    rows = [line.split("\t") for line in (images / "val/val_annotations.txt").read_text().splitlines()]
    batch = torch.stack([view(Image.open(images / "val/images" / row[0]).convert("RGB")) for row in rows])
    labels = [sorted({row[1] for row in rows}).index(row[1]) for row in rows]
    for grade in grades:
        net = networks.resnet34(num_classes=5)
        net.load_state_dict(torch.load(whole / grade.name, weights_only=True), strict=True)
        with torch.inference_mode():
            logits = net.eval()(batch).numpy()
        assert grade.count == 10 and grade.correct == (logits.argmax(1) == labels).sum()
        assert f"{grade.name}: {grade.correct}/10 right" in "".join(told)
        assert grade.largest == pytest.approx(np.abs(logits).max(), rel=1e-5) and 0.1 < grade.largest < 100
        assert grade.agrees and grade.difference < 1e-4 and not grade.disagreements


@pytest.mark.parametrize("name", ["model.txt", "model_ft", "model_cnn", "assign3.py"])
def test_a_name_that_is_missing_or_other(folder, images, name):
    stem = Path(name).stem
    os.rename(folder / name, folder / f"{stem}.pth")
    refused(folder, images, rf"expected a file {name}, received {stem}.pth; ")
    os.rename(folder / f"{stem}.pth", folder / "zzz")
    refused(folder, images, rf"expected a file {name}, received .*zzz.*; add it")
    os.rename(folder / "zzz", folder / stem.upper().replace("_", "-"))
    refused(folder, images, f"expected a file {name}, received ")


def test_a_suffix_and_a_slip_of_the_pen(folder, images):
    os.rename(folder / "model_ft", folder / "model_ft.pth")
    refused(folder, images, "received model_ft.pth; take the suffix .pth away")
    os.rename(folder / "model_ft.pth", folder / "modelft")
    refused(folder, images, "received modelft; rename it")


@pytest.mark.parametrize(
    "word", ["", "resnet18", "ResNet34", "torch_resnet34", "resnet34 resnet50", "\x00", "resnet34\n"]
)
def test_a_word_that_the_grader_does_not_know(folder, images, word):
    rewrite(folder, "model.txt", word)
    refused(folder, images, "model.txt: expected one word, vgg16, resnet50, resnet34, received ")


def test_the_word_of_another_network(folder, images):
    rewrite(folder, "model.txt", "resnet50")
    refused(folder, images, "model_ft: expected the keys of resnet50, as model.txt says, received those of resnet34")


def test_code_that_is_no_python(folder, images):
    rewrite(folder, "assign3.py", "for epoch in range(50)\n")
    refused(folder, images, "assign3.py: expected Python, received ")


def state_of(folder):
    torch, _ = torchvision()
    return torch.load(folder / "model_ft", weights_only=True)


def prefixed(torch, networks, state):
    return {f"module.{key}": tensor for key, tensor in state.items()}


def six(torch, networks, state):
    return state | {"fc.weight": torch.zeros(6, 512), "fc.bias": torch.zeros(6)}


def pickled(torch, networks, state):
    return networks.resnet34(num_classes=5)


def incomplete(torch, networks, state):
    return {key: tensor for key, tensor in state.items() if key != "fc.bias"}


def wrapped(torch, networks, state):
    return {"epoch": 50, "state_dict": state}


def counted(torch, networks, state):
    return state | {"bn1.num_batches_tracked": torch.zeros(2, dtype=torch.int64)}


BROKEN = {
    prefixed: "model_ft: .*received module.conv1.weight, the prefix of DataParallel",
    six: r"model_ft: fc.weight: expected shape \(5, 512\), received \(6, 512\)",
    pickled: "model_ft: expected a state_dict, received a pickle of torchvision.models.resnet.ResNet",
    incomplete: r"model_ft: .*1 missing \(fc.bias\)",
    wrapped: "epoch: expected a tensor, received int.*without a dictionary around it",
    counted: "model_ft: expected the state_dict of torchvision's resnet34, received size mismatch for bn1.num_batche",
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__)
def test_files_that_are_no_state_dict_of_the_network(spoil, folder, images):
    rewrite(folder, "model_ft", spoil(*torchvision(), state_of(folder)))
    refused(folder, images, BROKEN[spoil])


def test_damaged_files(folder, images, tmp_path):
    content = (folder / "model_ft").read_bytes()[:5000]
    (folder / "model_ft").unlink()
    (folder / "model_ft").write_bytes(content)
    refused(folder, images, "model_ft: expected a whole state_dict file")
    refused(tmp_path / "absent", images, "expected a folder, received .*absent")


def test_weights_that_are_no_numbers(folder, images, capsys):
    state = state_of(folder)
    rewrite(folder, "model_ft", state | {"fc.bias": state["fc.bias"] * float("nan")})
    assert main(["grade", str(folder), "--data", str(images), "--limit", "2"]) == 2
    assert "model_ft: expected the logits of Keras to 1e-04, received nan" in (told := capsys.readouterr()).err
    assert "model_cnn: " in told.out and "/2 right" in told.out


def test_other_logits_in_keras(whole, images, capsys, monkeypatch):
    real = torch_bridge.load_state_dict

    def wrong(model, mapping):
        real(model, {**mapping, "fc.bias": mapping["fc.bias"] + np.float32(0.01)})

    monkeypatch.setattr(torch_bridge, "load_state_dict", wrong)
    assert main(["grade", str(whole), "--data", str(images), "--limit", "2"]) == 2
    assert "model_ft: expected the logits of Keras to 1e-04, received 1.0e-02" in capsys.readouterr().err


def test_data_that_cannot_be_graded(whole, images, tmp_path, capsys):
    shutil.copytree(images / "train", tmp_path / "only/train")
    refused(whole, tmp_path / "only", "expected labelled images in val/ or test/, received none")
    for name in ("digits", "nowhere"):
        assert main(["grade", str(whole), "--data", name, "--data-dir", str(tmp_path)]) == 2
        assert "expected a folder, .zip, .csv or .tsv of image files" in capsys.readouterr().err
    assert main(["grade"]) == 2
    assert "FOLDER: expected the folder with model.txt" in capsys.readouterr().err


def test_without_torchvision(whole, images, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchvision", None)
    refused(whole, images, r"expected the packages torch and torchvision, received .*pip install 'tl-keras\[torch\]'")


@pytest.mark.parametrize("resize", [224, 256])
def test_keras_and_torchvision_scale_real_images_alike(resize):
    root = Path(REAL or "", "tiny-imagenet-5")
    if not REAL or not root.is_dir():
        pytest.skip("$TL_KERAS_DATA has no tiny-imagenet-5")
    torchvision()
    from torchvision import transforms

    scale = transforms.Resize(resize)
    files = sources.files(root)
    paths = [files.root / name for name, _ in files.test]
    ours, _, rejected = decode.decode_files(paths, (resize, resize))
    assert not rejected and len(ours) == 250
    for path, pixels in zip(paths, ours, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(scale(Image.open(path).convert("RGB"))), str(path))
