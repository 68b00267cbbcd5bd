"""Arms of several runs on the test images that they share, so that they can be compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tl_keras.evaluation.arms import Arm
from tl_keras.records import TEST, Predictions, Record


def groups(arms: Sequence[Arm]) -> list[list[Arm]]:
    """Arms that share test images, each group cut to the images that all of it share, in one order.

    An image is the same where the data set, its id in it and the name of its class are.

    >>> [len(group) for group in groups([arm_on_digits, other_arm_on_digits, arm_on_photographs])]  # doctest: +SKIP
    [2, 1]
    """
    images = [set.intersection(*(set(_keys(record)) for record in arm.records)) for arm in arms]
    found: list[tuple[set[str], list[int]]] = []
    for number, keys in enumerate(images):
        place = next((group for group in found if group[0] & keys), None)
        if place:
            place[0].intersection_update(keys)
            place[1].append(number)
        else:
            found.append((set(keys), [number]))
    return [[_cut(arms[number], sorted(shared)) for number in members] for shared, members in found]


def _keys(record: Record) -> list[str]:
    names, test = np.array([*record.class_names, ""]), record.test
    return [f"{record.data['name']}\0{id}\0{label}" for id, label in zip(test.ids, names[test.labels], strict=True)]


def _cut(arm: Arm, shared: list[str]) -> Arm:
    return replace(arm, records=tuple(_cut_record(record, shared) for record in arm.records))


def _cut_record(record: Record, shared: list[str]) -> Record:
    place = {key: row for row, key in enumerate(_keys(record))}
    rows, test = [place[key] for key in shared], record.test
    kept = Predictions(test.ids[rows], test.labels[rows], test.probabilities[rows])
    return replace(record, predictions={TEST: kept})
