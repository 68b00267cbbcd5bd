"""Settings: what is not known or out of bounds is refused in one line, and JSON brings back the same settings."""

import json
from dataclasses import asdict

import pytest

from experiments.cifar_ab import Settings as StudySettings
from experiments.cifar_ab import classes_of_part_b
from tl_keras.config import Settings, environment, flag, only_own_network
from tl_keras.errors import InputError


def refusal(make, *arguments, **keywords):
    with pytest.raises(InputError) as caught:
        make(*arguments, **keywords)
    return str(caught.value)


def test_defaults():
    settings = StudySettings()
    assert (settings.epochs, settings.seed, settings.seeds, settings.precision) == (20, 0, 1, "float32")
    assert (settings.data, settings.data_dir, settings.limit) == (None, None, None)
    assert settings.registration == "2020387499"


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(AttributeError):
        Settings().epochs = 3


@pytest.mark.parametrize(
    "kind, changes", [(Settings, {"epochs": 3}), (StudySettings, {"data": "Łódź.npz", "seeds": 2})]
)
def test_json_round_trip(kind, changes):
    settings = kind(**changes)
    assert kind.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert settings.to_dict() == asdict(settings)


def test_unknown_keys_fail():
    text = refusal(Settings.from_dict, {"epochs": 2, "epoch": 3, "batch": 4})
    assert text.startswith("settings: expected keys among backbone, batch_size, data, data_dir, epochs,")
    assert text.endswith("received batch, epoch; remove or rename them")
    with pytest.raises(TypeError, match="epoch"):
        Settings(epoch=3)
    assert "received registration" in refusal(Settings.from_dict, {"registration": "12"})


@pytest.mark.parametrize(
    "name, value, least",
    [("epochs", 0, 1), ("epochs", "3", 1), ("epochs", 1.5, 1), ("epochs", True, 1), ("batch_size", 0, 1),
     ("limit", 0, 1), ("limit", -5, 1), ("seed", -1, 0), ("seeds", 0, 1)],
)  # fmt: skip
def test_bounds(name, value, least):
    assert refusal(StudySettings, **{name: value}) == (
        f"{flag(name)}: expected a whole number of at least {least}, received {value}; give a larger one"
    )
    assert refusal(StudySettings.from_dict, {name: value}) == refusal(StudySettings, **{name: value})
    assert getattr(StudySettings(**{name: least}), name) == least


def test_choices():
    assert refusal(Settings, precision="float64") == (
        "--precision: expected one of float32, mixed_bfloat16, mixed_float16, received 'float64'; choose one of them"
    )


@pytest.mark.parametrize("name, only", [("backbone", "cnn"), ("weights", "none")])
def test_the_study_refuses_other_networks(name, only):
    assert getattr(StudySettings(**{name: only}), name) == only
    assert refusal(StudySettings, **{name: "vgg16"}).startswith(f"--{name}: expected {only}, received vgg16; ")


def test_environment_names_versions_and_machine():
    told = json.loads(json.dumps(environment()))
    import keras

    assert told["versions"]["keras"] == keras.__version__
    assert told["hardware"]["cores"] >= 1 and told["hardware"]["memory_gib"] > 0 and told["hardware"]["processor"]


@pytest.mark.parametrize(
    "registration, classes",
    [("2020387499", [4, 9]), ("2020387494", [4, 9]), ("10", [0, 1]), ("01", [0, 1]), ("3777777", [3, 7]),
     ("1118", [1, 8]), ("555553", [3, 5]), ("0000001000", [0, 1])],
)  # fmt: skip
def test_classes_of_part_b(registration, classes):
    assert classes_of_part_b(registration) == classes


@pytest.mark.parametrize(
    "registration, reason",
    [("77", "expected two different digits"), ("0000", "expected two different digits"),
     ("7", "expected a number of at least two digits"), ("", "expected a number of at least two digits"),
     ("abc", "expected a number of at least two digits"), ("²3", "expected a number of at least two digits"),
     ("٣٤", "expected a number of at least two digits"), ("-34", "expected a number of at least two digits"),
     (" 34", "expected a number of at least two digits"), ("3.4", "expected a number of at least two digits")],
)  # fmt: skip
def test_registrations_that_name_no_two_classes(registration, reason):
    text = refusal(StudySettings, registration=registration)
    assert text.startswith(f"--registration: {reason}, received {registration!r}; give ")


@pytest.mark.parametrize("asked", [{"backbone": "vgg16"}, {"weights": "imagenet"}])
def test_a_study_with_a_network_of_its_own_refuses_another(asked):
    option, value = next(iter(asked.items()))
    with pytest.raises(InputError, match=f"--{option}: expected .*, received {value}; .* leave the option out"):
        only_own_network(Settings(**asked), "cnn")
    only_own_network(Settings(), "cnn")
    only_own_network(Settings(backbone="cnn", weights="none"), "cnn")
