"""Settings: what is not known or out of bounds is refused in one line, and JSON brings back the same settings."""

import json
from dataclasses import asdict

import pytest

from experiments.cifar_ab import Settings as StudySettings
from experiments.cifar_ab import classes_of_part_b
from experiments.mnist_sizes import Settings as FewImages
from tl_keras.commands.advise import Settings as Advice
from tl_keras.config import FineTuningSettings, Settings, TransferSettings, environment, flag, only_own_network
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


@pytest.mark.parametrize(
    "name, most", [("epochs", 10**9), ("limit", 10**9), ("batch_size", 10**9), ("seeds", 1000), ("seed", 2**31 - 1)]
)
def test_numbers_that_overflow_somewhere_are_refused(name, most):
    for value in (most + 1, 99999999999999999999):
        assert refusal(StudySettings, **{name: value}) == (
            f"{flag(name)}: expected a whole number of at most {most:d}, received {value}; give a smaller one"
        )
    assert getattr(StudySettings(**{name: most}), name) == most


@pytest.mark.parametrize("given", [None, [], "digits", 3])
def test_what_is_no_object_holds_no_settings(given):
    assert refusal(StudySettings.from_dict, given).startswith("settings: expected an object, received ")


WRONG = (None, 5, -1.5, "x\0", "half\udcff", [], {}, ["a"], {"a": 1}, True)


@pytest.mark.parametrize("kind", [StudySettings, FewImages, Advice])
def test_settings_of_another_kind_are_refused_or_right(kind):
    good = {"data": "digits"}
    for name in [*kind.__dataclass_fields__]:
        for value in WRONG:
            try:
                made = kind.from_dict(good | {name: value})
            except InputError as error:
                assert "\n" not in str(error)
            else:
                assert (value is None or isinstance(value, int)) and getattr(made, name) is value


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


# ------------------------------------------------------------------------------------ re-using other networks


def test_a_rate_is_the_studys_a_number_or_to_be_found():
    rates = [TransferSettings(lr=lr).learning_rate(default=0.1) for lr in (None, "1e-3", "2", "find")]
    assert rates == [0.1, 1e-3, 2.0, None]


@pytest.mark.parametrize("lr", ["zero", "", "0", "-1e-3", "nan", "inf", "1,5", "FIND"])
def test_rates_that_cannot_be(lr):
    text = refusal(TransferSettings, lr=lr)
    assert text == f"--lr: expected find or a number above zero, received {lr!r}; give one such as 1e-3"


def test_repetitions_count_on_from_the_seed():
    assert list(TransferSettings(seed=7, seeds=3).repeats) == [7, 8, 9]


OPTIONS = {"stages": 2, "batch_norm": "trained", "views": 0, "lr": "1e-3"}
DEEPER = {"batch_norm", "views", "lr"}
READ_BY = {
    "scratch": {"views", "lr"}, "probe": set(), "early_probe": set(), "ridge": set(), "last_layer": {"views", "lr"},
    "last_two": DEEPER, "full": DEEPER, "lp_ft": DEEPER, "per_depth": DEEPER, "last_stages": set(OPTIONS),
    "gradual": set(OPTIONS),
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("strategy", READ_BY)
def test_an_option_that_no_strategy_reads_is_refused(strategy, option):
    settings = FineTuningSettings(**{option: OPTIONS[option]})
    if option in READ_BY[strategy]:
        settings.refuse_ignored([strategy])
    else:
        assert refusal(settings.refuse_ignored, [strategy]) == (
            f"{flag(option)}: expected a strategy that reads it, received {strategy}; leave the option out, or name "
            "another strategy"
        )
        reader = next(name for name, read in READ_BY.items() if option in read)
        settings.refuse_ignored([strategy, reader])


def test_options_that_were_not_given_are_never_refused():
    for strategy in READ_BY:
        FineTuningSettings().refuse_ignored([strategy])
