"""The card says to people and machines what a network is, was trained on, came to, and whose weights it holds."""

import yaml
from huggingface_hub import ModelCard

from tests.made_up_records import made_up_record
from tl_keras.data.selection import Selection
from tl_keras.data.view import View
from tl_keras.evaluation.arms import arms_of
from tl_keras.reporting import model_card
from tl_keras.study.trial import Stacked, Trial
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.block import Block


def arm_of(network="resnet50", weights="imagenet", seeds=2, kind=Trial, **more):
    trial = kind("full", "full", "all layers", Selection("digits"), View((16, 16)), network, Recipe(2, 32, 1e-3),
                 weights=weights, **more)  # fmt: skip
    made = [made_up_record("full", seed, title="all layers", classes=("Łódź", "fox")) for seed in range(seeds)]
    (arm,) = arms_of([type(one)(**{**vars(one), "trial": {**trial.to_json(), **one.trial}}) for one in made])
    return arm


def test_hugging_face_reads_its_head():
    arm = arm_of()
    card = ModelCard(model_card.card("finetune-full", ("Łódź", "fox"), arm, {"name": "my: images"}))
    found, interval = {each.metric_name: each for each in card.data.eval_results}, arm.interval()
    accuracy = found["Test accuracy"]
    assert accuracy.metric_value == round(arm.accuracy, 4) and accuracy.dataset_name == "my: images"
    assert found["Test accuracy, 95% interval, from"].metric_value == round(interval.low, 4)
    assert found["Test accuracy, 95% interval, to"].metric_value == round(interval.high, 4)
    assert found["Test loss"].metric_value == round(arm.first.test.loss, 4)
    assert (card.data.license, card.data.library_name) == ("mit", "keras")
    assert card.data.pipeline_tag == "image-classification" and card.data.model_name == "finetune-full"


def test_people_read_the_rest():
    text = model_card.card("finetune-full", ("Łódź", "fox"), arm_of(), {"name": "mine"})
    rows = ["| network | resnet50 |", "| batch size | 32 |", "219,058, of which 1,026", "16 x 16 pixels, RGB"]
    for said in (*rows, "Łódź, fox", "over 2 trainings", "480 images of mine", "licensed mit by Kaiming He"):
        assert said in text, said


def head(**given):
    return yaml.safe_load(model_card.card("x", ("a",), arm_of(**given)).split("---\n")[1])["license"]


def test_whose_the_weights_are():
    assert head(network="vgg16") == "cc-by-4.0"
    assert head(network="torch_resnet18") == "bsd-3-clause"
    assert head(network="mobilenet_v2_0.35") == "apache-2.0"
    assert head(network="cnn", weights="none") == "other"
    assert head(network="resnet50", weights="/somewhere/mine.h5") == "other"
    blocks = (Block("vgg16", "imagenet", 64), Block("vgg19", "imagenet", 96))
    assert head(kind=Stacked, blocks=blocks) == "cc-by-4.0"
    assert head(kind=Stacked, blocks=(*blocks, Block("resnet50", "imagenet", 64))) == "other"


def test_no_path_of_this_machine_goes_out():
    text = model_card.card("x", ("a",), arm_of(network="/home/me/own.keras", weights="none"))
    assert "own.keras" in text and "/home" not in text


def test_of_a_lone_file_nothing_is_claimed():
    text = model_card.card("mine", ("ant", "bee"), None)
    assert "nothing is recorded" in text and "model-index" not in text
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "other"
