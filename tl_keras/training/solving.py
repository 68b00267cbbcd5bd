"""A last layer that is solved instead of trained: one epoch, recorded as those of `training.loop` are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tl_keras.data.lazy import Rows
from tl_keras.data.splits import Split
from tl_keras.quiet import keras
from tl_keras.records import Predictions
from tl_keras.training import inference
from tl_keras.training.checkpoint import Checkpoint, Progress
from tl_keras.transfer import frozen, strategies, streamed

HEADS = {"softmax": streamed.softmax, "ridge": streamed.ridge}

Seen = Callable[[Split], Sequence[Rows]]


def solve(
    name: str,
    how: str,
    trained: keras.Model,
    split: Split,
    seen: Seen,
    measure: Callable[[], dict[str, float]],
    end: int,
    progress: Progress,
    checkpoint: Checkpoint,
    seed: int,
) -> None:
    """Solve the last layer on the features of the training images as they are, and record that as epoch `end`.

    Args:
        how: "softmax" or "ridge", as a `Phase` says it.
        split: the training images.
        seen: what `trained` sees of a split.
        measure: what is recorded of other images, `val_loss` and `val_accuracy` first.

    >>> solve("net", "softmax", suffix, train, seen, measure, 1, Progress(), checkpoint, seed=0)  # doctest: +SKIP
    net: solved with penalty C = 0.01, accuracy 0.9812, val_accuracy 0.9630
    """
    started = time.perf_counter()
    inputs = seen(split)
    head = strategies.last_dense(trained)
    solution = HEADS[how](_features(trained, head, inputs), split.labels, len(split.class_names), seed=seed)
    head.set_weights([solution.weights, solution.bias])
    learned, measured = predicted(trained, inputs, split), measure()
    row = {"loss": learned.loss, "accuracy": learned.accuracy}
    row |= {column: measured.pop(column) for column in ("val_loss", "val_accuracy")} | {"learning_rate": 0.0} | measured
    progress.rows.append({"epoch": end} | row)
    progress.seconds += time.perf_counter() - started
    checkpoint.save(progress)
    print(
        f"{name}: solved with penalty C = {solution.penalty:.3g}, accuracy {row['accuracy']:.4f}, "
        f"val_accuracy {row['val_accuracy']:.4f}",
        flush=True,
    )


def _features(trained: keras.Model, head: keras.layers.Layer, inputs: Sequence[Rows]) -> Rows:
    """What the last layer reads, (N, F): held in memory, or of many images computed whenever it is read."""
    before = frozen.before(trained, head)
    if len(inputs[0]) > streamed.SAMPLE:
        return inference.Outputs(before, inputs)
    return inference.outputs(before, inputs).astype("float32")


def predicted(trained: keras.Model, inputs: Sequence[Rows], split: Split) -> Predictions:
    """What `trained` says of a split, of which it sees `inputs`.

    >>> predicted(suffix, seen(test), test).accuracy  # doctest: +SKIP
    0.963
    """
    return Predictions(split.ids, split.labels, inference.probabilities(trained, *inputs))
