"""What happens at the end of every epoch: record, checkpoint, tell."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
from tqdm import tqdm

from tl_keras.run_folder import RunFolder
from tl_keras.training.checkpoint import Checkpoint, Progress
from tl_keras.training.events import Events

LOGGED = {"loss": "cross_entropy", "accuracy": "accuracy"}  # columns of the history, and the metrics that they hold

# An epoch on stored activations can take less time than its checkpoint: this much work at most is lost to a kill.
CHECKPOINT_SECONDS = 10.0
# Between the first and the last epoch, which are always told.
LINE_SECONDS = 1.0


class Epochs(keras.callbacks.Callback):
    """Append the epoch to `progress`, write checkpoint, history CSV and TensorBoard's events, and print a line.

    On a terminal a bar shows the steps of the running epoch; a log file gets the lines alone.

    Args:
        end: the epoch that training ends with here, always checkpointed; `epochs` is the last one of all phases.
        measure: at the end of an epoch, `val_loss` and `val_accuracy`, and further columns of the history by name.
    """

    def __init__(
        self,
        name: str,
        end: int,
        epochs: int,
        steps: int,
        progress: Progress,
        checkpoint: Checkpoint,
        out: RunFolder,
        measure: Callable[[], dict[str, float]],
    ):
        super().__init__()
        self.name, self.end, self.epochs, self.steps = name, end, epochs, steps
        self.progress, self.checkpoint, self.out, self.measure = progress, checkpoint, out, measure
        self.saved, self.told = time.perf_counter(), 0.0

    def on_train_begin(self, logs=None):
        self.events = Events(self.out.tensorboard / self.name)

    def on_train_end(self, logs=None):
        self.events.close()

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        self.bar = tqdm(
            total=self.steps, desc=f"{self.name} {epoch + 1}/{self.epochs}", unit="step", disable=None, leave=False
        )

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(batch + 1 - self.bar.n)  # one call may have run several steps

    def on_epoch_end(self, epoch, logs=None):
        self.bar.close()
        measured = self.measure()
        seconds = time.perf_counter() - self.started
        numbers = {column: float(logs[key]) for column, key in LOGGED.items()}
        numbers |= {column: measured.pop(column) for column in ("val_loss", "val_accuracy")}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1, **numbers, "learning_rate": rate, **measured}
        self.progress.rows.append(row)
        self.events.write(row)
        self.progress.seconds += seconds
        if epoch + 1 == self.end or time.perf_counter() - self.saved >= CHECKPOINT_SECONDS:
            self.checkpoint.save(self.progress)
            self.saved = time.perf_counter()
        if not self.told or epoch + 1 == self.end or time.perf_counter() - self.told >= LINE_SECONDS:
            self.told = time.perf_counter()
            write_history(self.out, self.name, self.progress)
            self._tell(epoch + 1, numbers, seconds)

    def _tell(self, epoch: int, numbers: dict[str, float], seconds: float) -> None:
        left = (self.epochs - epoch) * seconds
        tqdm.write(
            f"{self.name:<16} epoch {epoch:>{len(str(self.epochs))}}/{self.epochs}"
            f"  loss {numbers['loss']:.4f}  accuracy {numbers['accuracy']:.4f}"
            f"  val_loss {numbers['val_loss']:.4f}  val_accuracy {numbers['val_accuracy']:.4f}"
            f"  {seconds:5.1f} s, {int(left // 60)}:{int(left % 60):02d} left"
        )


def write_history(out: RunFolder, name: str, progress: Progress) -> None:
    """Write `history/NAME.csv`: what was recorded of each epoch."""
    out.write_rows(out.history(name), progress.rows[0], [row.values() for row in progress.rows])
