"""The exact linear head: `transfer.probe.solve`, against scikit-learn's `LogisticRegressionCV`.

    python -m benchmarks.probe [IMAGES WIDTH CLASSES ROUNDS]
    python -m benchmarks.probe FEATURES.npy LABELS.npy [ROUNDS]

Both choose the penalty by five folds, scikit-learn among its ten on features standardised for it, with its defaults.
They run in turn, `ROUNDS` times, on four images in five; the rest say how often each head is right. Without a file the
features are made up: centres of classes in noise that fills few directions, cut off at 0 as by a ReLU.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from tl_keras.transfer import probe


def made_up(images: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    strength = 1 / np.sqrt(np.arange(1, width + 1))
    inside = (0.25 * rng.normal(size=(classes, width))[labels] + rng.normal(size=(images, width))) * strength
    mixed = inside @ rng.normal(size=(width, width)) + rng.normal(size=width)
    return np.maximum(mixed, 0).astype("float32"), labels


def solve(features: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    head = probe.solve(features, labels, labels.max() + 1)
    return (new @ head.weights + head.bias).argmax(axis=1)


def scikit_learn(features: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    scaler = StandardScaler().fit(features)
    with warnings.catch_warnings(action="ignore"):  # not converged at the weakest penalties, future defaults
        found = LogisticRegressionCV(scoring="accuracy").fit(scaler.transform(features), labels)
    return found.predict(scaler.transform(new))


def main(features: np.ndarray, labels: np.ndarray, rounds: int) -> None:
    train, test, known, truth = train_test_split(features, labels, test_size=0.2, stratify=labels, random_state=0)
    spent = {solve: [], scikit_learn: []}
    for _ in range(rounds):
        for way, values in spent.items():
            started, used = time.perf_counter(), time.process_time()
            right = (way(train, known, test) == truth).mean()
            values.append((time.perf_counter() - started, time.process_time() - used))
            print(f"{way.__name__:<12} seconds {values[-1][0]:7.1f}  of CPU {values[-1][1]:7.1f}  right {right:.4f}")
    ours, theirs = (statistics.median(clock for clock, _ in values) for values in spent.values())
    (images, width), classes = train.shape, labels.max() + 1
    print(f"{images:,} x {width:,}, {classes} classes, {len(truth):,} held out, n = {rounds}")
    print(f"solve is {theirs / ours:.1f} times as fast")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].endswith(".npy"):
        main(np.load(sys.argv[1]), np.load(sys.argv[2]), int((sys.argv[3:] or ["2"])[0]))
    else:
        images, width, classes, rounds = [*map(int, sys.argv[1:]), *(5900, 1536, 59, 2)[len(sys.argv) - 1 :]]
        main(*made_up(images, width, classes), rounds)
