"""What TensorBoard shows of a training: every number of every epoch, in files of its own format."""

from __future__ import annotations

import time
from pathlib import Path

FLUSH_SECONDS = 5


class Events:
    """Event files in `train/` and, of what begins with `val_`, in `validation/`: both appear in one diagram.

    `keras.callbacks.TensorBoard` writes the same by TensorFlow's operations, which took a fifth of a training on stored
    features, where an epoch lasts some milliseconds.

    >>> events = Events(Path("tensorboard/net"))
    >>> events.write({"epoch": 1, "accuracy": 0.9, "val_accuracy": 0.8})
    >>> events.close()
    """

    def __init__(self, folder: Path):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writers = {
            part: EventFileWriter(str(folder / part), flush_secs=FLUSH_SECONDS) for part in ("train", "validation")
        }

    def write(self, row: dict[str, float]) -> None:
        """Add what was recorded of an epoch, whose number is its step."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        parts: dict[str, list] = {part: [] for part in self.writers}
        for column, value in row.items():
            part = "validation" if column.startswith("val_") else "train"
            tag = f"epoch_{column.removeprefix('val_')}"
            parts[part].append(Summary.Value(tag=tag, simple_value=value))
        for part, values in parts.items():
            event = Event(wall_time=time.time(), step=int(row["epoch"]), summary=Summary(value=values))
            self.writers[part].add_event(event)

    def close(self) -> None:
        """Write what is still in memory."""
        for writer in self.writers.values():
            writer.close()
