"""What is published of a finished run: once, however often it is resumed."""

import json
from dataclasses import replace

import pytest

from tests.made_up_records import made_up_record, write_run
from tl_keras.data.selection import Selection
from tl_keras.data.view import View
from tl_keras.evaluation.arms import arms_of
from tl_keras.export import saved_model
from tl_keras.models import model_file
from tl_keras.run_folder import SAVED_MODELS, RunFolder
from tl_keras.study import pages, publish
from tl_keras.study.trial import Trial
from tl_keras.training.schedules import Recipe

TRIAL = Trial("full", "full", "", Selection("digits"), View((16, 16)), "mobilenet_0.25", Recipe(2, 32, 1e-3))


@pytest.fixture
def out(isolated_place, monkeypatch):
    """A run whose two trials are finished; its pages and networks are stand-ins."""
    settings = {"data": "digits", "backbone": "mobilenet_0.25", "weights": "none"}
    config = {"experiment": "finetune", "settings": settings, "data": {"name": "made up"}}
    out = RunFolder.create(isolated_place / "run", config)
    made = [made_up_record(name, images=20) for name in ("full", "probe")]
    write_run(arms_of([replace(record, trial={**TRIAL.to_json(), **record.trial}) for record in made]), out)
    monkeypatch.setattr(pages, "write", lambda out: pages.compose(out.path))
    monkeypatch.setattr(model_file, "load", lambda path: path.name)
    monkeypatch.setattr(model_file, "said_of", lambda path: (TRIAL.view, ("a", "b", "c")))
    monkeypatch.setattr(saved_model, "export", exported)
    return out


def exported(model, view, class_names, folder, card):
    with saved_model._unfinished(folder) as unfinished:
        (unfinished / "saved_model.pb").write_text(model)
        return saved_model._numbered(unfinished)


def versions():
    return sorted(path.relative_to(SAVED_MODELS).as_posix() for path in SAVED_MODELS.glob("*/*"))


def test_a_finished_run_that_is_resumed_adds_no_version(out):
    for _ in range(3):
        publish.publish(out)
        assert versions() == ["finetune-full/1", "finetune-probe/1"]
    named = json.loads((out.path / "results.json").read_text())["models"]
    assert named["probe"]["saved_model"] == "saved_models/finetune-probe/1"


def test_a_version_that_went_away_is_made_again(out):
    publish.publish(out)
    (SAVED_MODELS / "finetune-full/1/saved_model.pb").unlink()
    publish.publish(out)
    assert versions() == ["finetune-full/1", "finetune-full/2", "finetune-probe/1"]


def test_a_run_that_was_stopped_while_its_pages_were_drawn_leaves_none(out, monkeypatch):
    def stopped(out):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pages, "write", stopped)
        publish.publish(out)
    assert versions() == []
    publish.publish(out)
    assert versions() == ["finetune-full/1", "finetune-probe/1"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"models": {"full": {"saved_model": ""}}}', '{"models": 5}', "[" * 100_000]
)
def test_damaged_results_are_made_anew(out, content):
    publish.publish(out)
    (out.path / "results.json").write_text(content)
    publish.publish(out)
    assert versions() == [f"finetune-{name}/{version}" for name in ("full", "probe") for version in (1, 2)]
    assert set(json.loads((out.path / "results.json").read_text())["models"]) == {"full", "probe"}
