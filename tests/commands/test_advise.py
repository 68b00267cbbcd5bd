"""`advise`: backbones scored and ranked on training images, the strategy by the table, and what is refused."""

import json
import os
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tests.conftest import made_up_split
from tl_keras import run
from tl_keras.commands import advise
from tl_keras.data import arrays
from tl_keras.data.image_data import ImageData
from tl_keras.models import backbones
from tl_keras.study.backbone_choice import Candidate, Scored, ranked
from tl_keras.transfer import advice, transferability
from tl_keras.transfer.advice import MEASURED, RULE

RANDOM = "mobilenet_0.25=none"


@pytest.fixture
def here(isolated_place, monkeypatch):
    monkeypatch.setattr(arrays, "EAGER_BYTES", 0)  # most of the images here are never looked at
    return isolated_place


def folder_of_images(root: Path, count=12) -> Path:
    """Dark ants and bright bees, class folders without a test set."""
    split = made_up_split(count, side=16)
    for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        folder = root / ("ants", "bees")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    return root


def weight_file(path: Path) -> str:
    """Weights of a MobileNet, stored as the published ones are."""
    keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None).save_weights(path)
    return str(path)


def own_model(path: Path, last="softmax", channels=3) -> str:
    """A person's classifier of 32 x 32 images."""
    layers = [keras.Input((32, 32, channels)), keras.layers.Rescaling(1 / 255),
              keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.GlobalAveragePooling2D(),
              keras.layers.Dense(3, activation=last)]  # fmt: skip
    keras.Sequential(layers).save(path)
    return str(path)


def results(folder):
    return json.loads((folder / "results.json").read_text())


def refused(capfd, *arguments):
    code = run.main(["advise", *map(str, arguments)])
    out, err = capfd.readouterr()
    assert code == 2, out + err
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and "expected" in line and "received" in line
    return line


# ------------------------------------------------------------------------------------------------ whole runs


def test_a_run_with_a_weight_file_a_random_network_and_a_model_file(here, capfd):
    folder_of_images(here / "insects", count=30)
    chosen = (
        f"mobilenet_0.25={weight_file(here / 'mine.weights.h5')},mobilenet_0.5=none,{own_model(here / 'own.keras')}"
    )
    assert run.main(["advise", "insects", "--backbones", chosen, "--out", "run"]) == 0
    found = results(here / "run")
    assert (found["experiment"], found["data"], found["ranked_by"]) == ("advise", "insects", "linear_probe")
    assert found["training_images"] == found["scored_images"] == 24, "the other six are test images"
    entries = {entry["title"]: entry for entry in found["backbones"]}
    assert set(entries) == {"mobilenet_0.25", "mobilenet_0.5 (random)", "own"}
    probes = [entry["scores"]["linear_probe"] for entry in found["backbones"]]
    assert probes == sorted(probes, reverse=True) and found["backbones"][0]["ranks"]["linear_probe"] == 1
    assert entries["own"]["scores"]["leep"] <= 0 and entries["mobilenet_0.25"]["scores"]["leep"] is None
    assert [entries[title]["scores"]["imagenet_top1"] for title in entries] == [
        {"mobilenet_0.25": 0.506}.get(title) for title in entries
    ]
    assert found["advice"]["strategy"] in ("last_layer", "early_probe")
    assert {kind for kind, _ in found["advice"]["reasons"]} == {MEASURED, RULE}
    assert found["advice"]["reasons"][0] == [MEASURED, "12 training images per class, 24 in all."]
    for name in ("report.html", "report.pdf", "plots/probe.png"):
        assert (here / "run" / name).stat().st_size > 1000
    assert not (here / "run/checkpoints/activations").exists()
    out = capfd.readouterr().out
    assert "mobilenet_0.5 (random)" in out and "All 24 training images were scored" in out
    assert "Why this strategy:" in out and RULE in out


def test_random_weights_alone_give_a_ranking_and_no_advice(here, capfd):
    assert run.main(["advise", "digits", "--limit", "40", "--backbones", RANDOM, "--out", "run"]) == 0
    found = results(here / "run")
    assert found["advice"] is None and found["scored_images"] == 40 and found["training_images"] == 1437
    assert "All weights here are random" in found["conclusion"][-1]
    out = capfd.readouterr().out
    assert "40 of 1,437 (thinned by --limit, every class in proportion) training images were scored" in out
    config = json.loads((here / "run/config.json").read_text())
    asked = {"data": "digits", "data_dir": None, "backbones": RANDOM, "limit": 40, "seed": 0, "prefix_engine": "auto"}
    assert config["settings"] == asked
    assert config["data"]["image_shape"] == [256, 256, 3], "all networks are served from these"
    assert run.main(["advise", "--resume", "--out", "run"]) == 0, "a run knows its data"
    again = results(here / "run")
    assert again["backbones"][0]["scores"] == found["backbones"][0]["scores"]


def test_the_test_images_are_never_scored(monkeypatch, here):
    split = made_up_split(20)
    images = ImageData("made up", split.take(np.arange(10)), split.take(np.arange(10, 20)))
    part = advise.scored_part(images, advise.Settings("x", backbones=RANDOM))
    assert part.ids.tolist() == images.train.ids.tolist()


def test_few_images_of_a_class_mean_few_folds():
    split = made_up_split(7)
    text = advise.method(ImageData("made up", split, split), split)
    assert "in 3 folds (a class has only 3 images)" in text


@pytest.mark.skipif(
    not {"TL_KERAS_DATA", "TL_KERAS_WEIGHTS"} <= set(os.environ),
    reason="TL_KERAS_DATA and TL_KERAS_WEIGHTS name no folders with hymenoptera and ImageNet weights",
)
def test_on_photographs_imagenet_weights_rank_before_random_ones(tmp_path):
    weights = Path(os.environ["TL_KERAS_WEIGHTS"])
    chosen = (
        f"mobilenet_0.25={weights / 'mobilenet_2_5_224_tf_no_top.h5'},"
        f"mobilenet_v2_0.35={weights / 'mobilenet_v2_0.35_224_no_top.weights.h5'},mobilenet_0.5=none"
    )
    assert run.main(["advise", "hymenoptera", "--backbones", chosen, "--out", str(tmp_path / "run")]) == 0
    found = results(tmp_path / "run")
    titles = [entry["title"] for entry in found["backbones"]]
    assert titles == ["mobilenet_v2_0.35", "mobilenet_0.25", "mobilenet_0.5 (random)"]
    probes = [entry["scores"]["linear_probe"] for entry in found["backbones"]]
    assert probes[0] > 0.87 and probes[1] > 0.81 and probes[2] < 0.7
    assert found["advice"]["strategy"] == "last_layer"


# --------------------------------------------------------------------------------------- ranking and words


def scored(title, right, log_me=-1.0, top1=None, images=100, weights="imagenet", leep=None):
    correct = np.arange(images) < right
    scores = {"linear_probe": right / images, "log_me": log_me, "h_score": 0.5, "leep": leep, "imagenet_top1": top1}
    return Scored(Candidate(title, weights), correct, scores, features=8, seconds=1.0)


def test_ranks_by_the_probe_then_by_log_me_and_by_every_score_of_its_own():
    order = ranked([
        scored("vgg16", 80, -0.2, 0.713, leep=-0.5), scored("vgg19", 90, -0.9, leep=0.0),
        scored("resnet50", 80, -0.1, 0.749),
    ])  # fmt: skip
    assert [one.candidate.name for one in order] == ["vgg19", "resnet50", "vgg16"]
    assert [one.ranks["linear_probe"] for one in order] == [1, 2, 2]
    assert [one.ranks["log_me"] for one in order] == [3, 1, 2]
    assert [one.ranks["imagenet_top1"] for one in order] == [None, 1, 2]
    assert [one.ranks["leep"] for one in order] == [1, None, 2], "0 is the best there is"


def words(*entries):
    order = ranked(list(entries))
    images = ImageData("made up", made_up_split(40), made_up_split(4))
    advice = advise.advise(images, images.train, order)
    return " ".join(advise.conclude(advise.Settings("made up", backbones="vgg16"), order, advice)), advice


def test_a_lead_that_is_noise_is_called_so():
    text, _ = words(scored("vgg16", 80), scored("vgg19", 79), scored("resnet50", 20))
    assert "On these images it cannot be told from vgg19 (p = 1)." in text
    text, _ = words(scored("vgg16", 80), scored("vgg19", 50))
    assert "Its lead over the others is more than noise" in text


def test_the_best_by_imagenet_accuracy_is_named_where_the_probe_prefers_another():
    assert "resnet50 would come first" in words(scored("vgg16", 80, top1=0.7), scored("resnet50", 50, top1=0.75))[0]
    assert "would come first" not in words(scored("vgg16", 50, top1=0.7), scored("resnet50", 80, top1=0.75))[0]


def test_the_advice_is_of_the_best_trained_backbone_even_where_random_weights_win():
    text, advice = words(scored("vgg16", 95, weights="none"), scored("vgg19", 90))
    assert "vgg16 (random) ranks first" in text and "Try this strategy first, with vgg19: last layer." in text
    assert "90.0%" in advice.reasons[2][1]
    assert "tl-keras finetune 'made up' --backbone vgg19=imagenet --strategies last_layer,probe,full" in text


def test_few_and_different_images_are_sent_to_earlier_features():
    text, advice = words(scored("vgg16", 55))
    assert advice.strategy == "early_probe" and "with vgg16: linear probe on earlier features." in text
    assert "--backbone vgg16=imagenet --strategies early_probe,probe,full" in text


def test_the_command_says_where_the_data_lie():
    settings = advise.Settings("mnist", data_dir="my sets", backbones=RANDOM)
    text = advise.comparison_command(settings, Candidate("vgg16", "a b.h5"), "full")
    assert shlex.split(text) == ["tl-keras", "finetune", "mnist", "--backbone", "vgg16=a b.h5", "--strategies",
                                 "full,probe", "--data-dir", "my sets"]  # fmt: skip


@pytest.mark.parametrize("side, channels, advised", [(8, 1, "early_probe"), (32, 3, "last_layer")])
def test_the_command_that_is_printed_runs(here, capfd, monkeypatch, side, channels, advised):
    monkeypatch.setattr(transferability, "linear_probe", lambda features, labels, seed: labels >= 0)
    layers = [keras.Input((side, side, channels)), keras.layers.Conv2D(8, 3), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(10, activation="softmax")]).save(here / "own.keras")
    if advised == "early_probe":
        monkeypatch.setattr(advice, "SIMILAR_PROBE", 2.0)
    assert run.main(["advise", "digits", "--limit", "40", "--backbones", "own.keras", "--out", "run"]) == 0
    (said,) = [line for line in capfd.readouterr().out.splitlines() if "tl-keras finetune" in line]
    words = shlex.split(said.partition("tl-keras ")[2])
    assert words[words.index("--strategies") + 1].split(",")[0] == advised
    assert run.main([*words, "--epochs", "1", "--limit", "60", "--out", "trained"]) == 0
    assert set(results(here / "trained")["models"]) == {advised, "probe", "full"}


# ------------------------------------------------------------------------------------------------ refusals


def test_no_published_weights_to_be_had(here, capfd, monkeypatch):
    monkeypatch.setattr(backbones, "names", lambda: ["mobilenet_0.25", "mobilenet_0.5"])
    line = refused(capfd, "digits", "--limit", "40", "--out", "run")
    assert "--backbones: expected one whose weights can be had" in line
    assert "--backbones mobilenet_0.25=FILE,mobilenet_v2_0.35=FILE" in line
    assert not (here / "run").exists()


def test_what_can_be_had_is_scored_and_the_rest_named(here, capfd, monkeypatch):
    build = backbones.build

    def half_offline(name, classes, weights):
        return build(name, classes, "none" if name == "mobilenet_0.25" else weights)

    monkeypatch.setattr(backbones, "names", lambda: ["mobilenet_0.25", "mobilenet_0.5"])
    monkeypatch.setattr(backbones, "build", half_offline)
    assert run.main(["advise", "digits", "--limit", "40", "--out", "run"]) == 0
    found = results(here / "run")
    assert [entry["name"] for entry in found["backbones"]] == ["mobilenet_0.25"]
    assert list(found["left_out"]) == ["mobilenet_0.5"]
    assert "mobilenet_0.5: left out" in capfd.readouterr().out
    assert "Left out" in (here / "run/report.html").read_text()


def test_weights_of_a_named_backbone_that_are_not_to_be_had_stop_the_run(here, capfd):
    line = refused(capfd, "digits", "--limit", "40", "--backbones", "mobilenet_0.25")
    assert "--backbones mobilenet_0.25: --weights imagenet: expected the published weights" in line
    assert not list(here.rglob("config.json"))


def test_weights_of_another_network(here, capfd):
    file = weight_file(here / "mine.weights.h5")
    line = refused(capfd, "digits", "--limit", "40", "--backbones", f"mobilenet_0.5={file}")
    assert "--backbones mobilenet_0.5: --weights: expected" in line


def test_data_that_cannot_be_scored(here, capfd):
    assert "one class only" not in refused(capfd, "nosuch", "--backbones", RANDOM)
    folder_of_images(here / "one")
    for file in (here / "one/bees").iterdir():
        file.unlink()
    (here / "one/bees").rmdir()
    refused(capfd, "one", "--backbones", RANDOM)
    images = np.repeat(np.arange(5, dtype=np.uint8), 8 * 8 * 3).reshape(5, 8, 8, 3)
    labels = np.array([0, 0, 0, 0, 1])
    np.savez(here / "lonely.npz", x_train=images, y_train=labels, x_test=images + 5, y_test=labels)
    line = refused(capfd, "lonely.npz", "--backbones", RANDOM)
    assert "at least 2 training images of every class, received 1 of '1' among 5; add images" in line
    line = refused(capfd, "digits", "--limit", "14", "--backbones", RANDOM)
    assert "raise --limit" in line
    assert not list(here.rglob("config.json"))
