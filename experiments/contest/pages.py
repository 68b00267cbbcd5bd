"""The pages of a competition."""

from __future__ import annotations

from experiments.contest import augmentation
from tl_keras.evaluation.arms import Arm
from tl_keras.records import TEST
from tl_keras.reporting import sections
from tl_keras.reporting.classification_sections import classification_section
from tl_keras.reporting.content import Report
from tl_keras.study.crossfit import OUT_OF_FOLD


def members(run) -> list[Arm]:
    """The arms that compete, without the short trials of augmentations."""
    return [arm for arm in run.arms if not augmentation.is_one(arm.first)]


def chosen_by(run) -> str:
    """The split that decides: images out of fold."""
    return OUT_OF_FOLD if OUT_OF_FOLD in members(run)[0].first.predictions else TEST


def best(run) -> Arm:
    """The arm that names most images rightly out of fold."""
    return max(members(run), key=lambda arm: arm.correct(chosen_by(run)).mean())


def report(run) -> Report:
    arms = members(run)
    return Report(
        "Competition",
        "",
        [],
        [
            sections.text_section("Results", "", sections.results_table(arms)),
            sections.errors_section([best(run)]),
            classification_section(best(run)),
            sections.settings_section(run.config),
        ],
    )


def entries(run) -> dict:
    arm = best(run)
    return {"winner": arm.name, "chosen_by": OUT_OF_FOLD}
