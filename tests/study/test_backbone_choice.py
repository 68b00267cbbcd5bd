"""Lists of backbones: what is read, refused, and chosen by a probe alone, the same for the same seed."""

import numpy as np
import pytest

from experiments import finetune, mnist_sizes
from tests.commands.test_advise import own_model, weight_file
from tests.conftest import made_up_split
from tl_keras.commands import advise
from tl_keras.data.image_data import ImageData
from tl_keras.errors import InputError
from tl_keras.study import backbone_choice
from tl_keras.study.backbone_choice import Candidate, choose, parse
from tl_keras.training import runtime
from tl_keras.transfer import transferability
from tl_keras.transfer.activations import Storage


@pytest.fixture
def images():
    return ImageData("made up", made_up_split(40), made_up_split(4, seed=1))


@pytest.mark.parametrize("right, best", [((12, 28), "b"), ((28, 12), "a"), ((28, 28), "a")])
def test_the_best_probe_decides_alone(images, tmp_path, monkeypatch, capsys, right, best):
    """Other scores take time, LEEP a second run over the images, and decide nothing; of equals the first is taken."""
    for module, name in ((transferability, "log_me"), (transferability, "h_score"), (backbone_choice, "leep")):
        monkeypatch.setattr(module, name, None)
    answers = [np.arange(30) < count for count in right]
    monkeypatch.setattr(transferability, "linear_probe", lambda features, labels, seed: answers.pop(0))
    candidates = parse(",".join(own_model(tmp_path / f"{name}.keras") for name in "ab"))
    assert choose(candidates, images, 30, 0, Storage(tmp_path / "run")).title == best
    assert f"{best} is re-used: a probe names 93.3% rightly" in capsys.readouterr().out


def test_random_weights_are_those_of_the_seed(images, tmp_path, monkeypatch):
    seen, features = [], backbone_choice.features
    monkeypatch.setattr(backbone_choice, "features", lambda *given: (seen.append(features(*given)), seen[-1])[1])
    for draw in (0, 1):
        runtime.prepare(draw)
        choose(parse("mobilenet_0.25=none"), images, 8, 5, Storage(tmp_path / f"run{draw}"))
    np.testing.assert_array_equal(*seen)


def test_a_list_of_backbones(tmp_path):
    own, file = own_model(tmp_path / "own.keras"), weight_file(tmp_path / "a.weights.h5")
    candidates = parse(f"vgg16, mobilenet_0.3={file},resnet50=none,{own}")
    assert [(one.title, one.origin) for one in candidates] == [
        ("vgg16", "published"), ("mobilenet_0.3", "weight file"), ("resnet50 (random)", "random"),
        ("own", "model file"),
    ]  # fmt: skip
    assert [one.is_random for one in candidates] == [False, False, True, False]


def test_weights_of_those_that_name_none(tmp_path, monkeypatch):
    own, file = own_model(tmp_path / "own.keras"), weight_file(tmp_path / "a.weights.h5")
    given = parse(f"mobilenet_0.25,mobilenet_0.5=none,mobilenet_0.75={file}", "none")
    assert [one.weights for one in given] == ["none", "none", file]
    assert [one.weights for one in parse(f"{own},vgg16")] == ["none", "imagenet"]
    with pytest.raises(InputError, match="expected none with a model file, received imagenet"):
        parse(f"vgg16,{own}", "imagenet")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert [one.name for one in parse(None)] == [backbone_choice.DEFAULT]
    (tmp_path / "models").mkdir()
    (tmp_path / "models/mobilenet_2_5_224_tf_no_top.h5").touch()
    assert [(one.name, one.weights) for one in parse(None)] == [("mobilenet_0.25", "imagenet")], "it is at hand"


@pytest.mark.parametrize(
    "text, said",
    [("vgg61", "received 'vgg61'"), ("vgg16,", "received ''"), ("vgg16,vgg16", "each backbone once"),
     ("vgg16=gone.h5", "received 'gone.h5'"), ("vgg16=", "received ''")],
)  # fmt: skip
def test_lists_that_are_refused(text, said):
    with pytest.raises(InputError, match=said):
        advise.Settings("digits", backbones=text)


def test_leep_needs_probabilities(tmp_path):
    split = made_up_split(12, side=32)
    storage = Storage(tmp_path / "run")
    assert backbone_choice.leep(Candidate(own_model(tmp_path / "a.keras"), "none"), split, storage) <= 0
    grey = own_model(tmp_path / "grey.keras", channels=1)
    assert backbone_choice.leep(Candidate(grey, "none"), split, storage) <= 0, "it is shown grey images"
    assert backbone_choice.leep(Candidate(own_model(tmp_path / "b.keras", last=None), "none"), split, storage) is None


def test_files_of_one_name_are_refused(tmp_path):
    """Before any is read: tables, figures and files call them by it."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        own_model(tmp_path / folder / "mine.keras")
    own_model(tmp_path / "vgg16.keras")
    for text in (f"{tmp_path}/first/mine.keras,{tmp_path}/second/mine.keras", f"vgg16,{tmp_path}/vgg16.keras"):
        for made in (lambda text=text: finetune.Settings(data="digits", backbone=text),
                     lambda text=text: advise.Settings(data="digits", backbones=text),
                     lambda text=text: mnist_sizes.Settings(backbone=text)):  # fmt: skip
            with pytest.raises(InputError, match=r"expected (each backbone once|different networks).*received .*; "):
                made()
