"""The choice among several backbones: by a probe alone, the same for the same seed."""

import keras
import numpy as np
import pytest

from tests.conftest import made_up_split
from tl_keras.data.image_data import ImageData
from tl_keras.errors import InputError
from tl_keras.run_folder import RunFolder
from tl_keras.study import backbone_choice
from tl_keras.study.backbone_choice import choose, parse
from tl_keras.training import runtime
from tl_keras.transfer import transferability


@pytest.fixture
def images():
    return ImageData("made up", made_up_split(40), made_up_split(4, seed=1))


def own(path):
    """A model that sees how bright an image is."""
    layers = [keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    keras.Sequential(layers).save(path)
    return str(path)


@pytest.mark.parametrize("right, best", [((12, 28), "b"), ((28, 12), "a"), ((28, 28), "a")])
def test_the_best_probe_decides_alone(images, tmp_path, monkeypatch, capsys, right, best):
    """Other scores take time, LEEP a second run over the images, and decide nothing; of equals the first is taken."""
    for module, name in ((transferability, "log_me"), (transferability, "h_score"), (backbone_choice, "leep")):
        monkeypatch.setattr(module, name, None)
    answers = [np.arange(30) < count for count in right]
    monkeypatch.setattr(transferability, "linear_probe", lambda features, labels, seed: answers.pop(0))
    candidates = parse(",".join(own(tmp_path / f"{name}.keras") for name in "ab"))
    assert choose(candidates, images, 30, 0, RunFolder(tmp_path / "run")).title == best
    assert f"{best} is re-used: a probe names 93.3% rightly" in capsys.readouterr().out


def test_random_weights_are_those_of_the_seed(images, tmp_path, monkeypatch):
    seen, features = [], backbone_choice.features
    monkeypatch.setattr(backbone_choice, "features", lambda *given: (seen.append(features(*given)), seen[-1])[1])
    for draw in (0, 1):
        runtime.prepare(draw)
        choose(parse("mobilenet_0.25=none"), images, 8, 5, RunFolder(tmp_path / f"run{draw}"))
    np.testing.assert_array_equal(*seen)


def test_files_of_one_name_are_refused(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        own(tmp_path / folder / "mine.keras")
    own(tmp_path / "vgg16.keras")
    for text in (f"{tmp_path}/first/mine.keras,{tmp_path}/second/mine.keras", f"vgg16,{tmp_path}/vgg16.keras"):
        with pytest.raises(InputError, match=r"expected each backbone once, by name, received .*; take one out"):
            parse(text)
