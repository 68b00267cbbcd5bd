"""What TensorBoard shows of finished trials beside their curves, from records alone: no TensorFlow, no training.

`tensorboard/NAME/record/` holds the network's graph, test images with the answers, the confusion matrix, what the
trials differ in and came to (the HParams tab), and the features of test images (the Projector tab). Training's own
events in `tensorboard/NAME/train` and `validation` (`training.events`) are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops, ImageOps

from tl_keras.evaluation.arms import Arm
from tl_keras.files import write_bytes
from tl_keras.records import Record
from tl_keras.reporting import error_figures, figures, tensorboard_graph, tensorboard_projector, tensorboard_samples
from tl_keras.run_folder import RunFolder

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

FOLDER = "record"
EVENTS = "events.out.tfevents.record"  # of one name: written again, it takes its own place
MARGIN = 20  # pixels
ALWAYS = ("arm", "network", "strategy", "seed", "learning_rate")  # told even where all trials have the same

Plain = bool | int | float | str


def write(out: RunFolder, records: Sequence[Record]) -> None:
    """Write the files of every trial anew; each is whole or absent, and the same records give the same bytes.

    Raises:
        InputError: a damaged network, or a record whose features are not those of its images.
        OSError: the folder cannot be written.

    >>> write(out, records.read_all(out))  # doctest: +SKIP
    """
    settings = differing([_settings(record) for record in records])
    for record, said in zip(records, settings, strict=True):
        folder = out.tensorboard / record.name / FOLDER
        events = _packed(_events(record, said, out))
        for name, content in {EVENTS: events, **tensorboard_projector.files(record)}.items():
            write_bytes(folder / name, content)


def differing(settings: Sequence[Mapping[str, Plain]]) -> list[dict[str, Plain]]:
    """Of the settings of trials those in which they differ, and those that are always told.

    >>> differing([{"seed": 0, "epochs": 5, "batch_size": 16}, {"seed": 1, "epochs": 9, "batch_size": 16}])
    [{'seed': 0, 'epochs': 5}, {'seed': 1, 'epochs': 9}]
    """
    keys = dict.fromkeys(key for said in settings for key in said)
    kept = [key for key in keys if key in ALWAYS or len({repr(said.get(key)) for said in settings}) > 1]
    return [{key: said[key] for key in kept if key in said} for said in settings]


def metrics(record: Record) -> dict[str, float]:
    """What a trial came to, by the name of the metric; those on test images only where their classes are known.

    >>> metrics(record)["test_accuracy"]  # doctest: +SKIP
    0.9125
    """
    known = bool((record.test.labels >= 0).all())
    of_test = {"test_accuracy": record.test.accuracy, "test_loss": record.test.loss} if known else {}
    # The HParams tab lists them by the alphabet: what counts comes first.
    return of_test | {"train_accuracy": record.train_accuracy, "training_seconds": record.seconds}


def _settings(record: Record) -> dict[str, Plain]:
    """All that a trial is, in plain values; a learning rate is the one that was used, be it given or found."""
    trial = {key: value for key, value in record.trial.items() if key not in ("name", "title", "keep", "kind")}
    strategy, recipe = trial.get("strategy"), trial.pop("recipe", None)
    if isinstance(strategy, Mapping):
        trial["strategy"] = strategy.get("name")
    if isinstance(recipe, Mapping):  # its seed is the trial's
        trial |= {key: value for key, value in recipe.items() if key not in ("kind", "seed")}
    trial["learning_rate"] = record.measured.get("learning_rate", trial.get("learning_rate"))
    found = dict(_flat(trial))
    return {key: found[key] for key in ALWAYS if key in found} | found


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Plain]]:
    """Plain values under the dotted keys that lead to them; a list is one value, and nothing stands for None."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif key == "kind":
            yield above.rstrip("."), str(value).rpartition(".")[2]
        elif isinstance(value, bool | int | float | str):
            yield f"{above}{key}", value
        elif value is not None:
            yield f"{above}{key}", json.dumps(value)


def _events(record: Record, settings: Mapping[str, Plain], out: RunFolder) -> Iterator[Event]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    moment = out.record(record.name).stat().st_mtime  # when the trial was finished
    step = int(record.history["epoch"][-1])
    yield Event(wall_time=moment, file_version="brain.Event:2")
    if out.model(record.name).is_file():
        graph = tensorboard_graph.read(out.model(record.name))
        yield Event(wall_time=moment, graph_def=graph.SerializeToString())
    parts = [*_hparams(record, settings, moment), *_images(record)]
    parts += [Summary.Value(tag=name, simple_value=value) for name, value in metrics(record).items()]
    for value in parts:
        yield Event(wall_time=moment, step=step, summary=Summary(value=[value]))


def _packed(events: Iterable[Event]) -> bytes:
    """The content of an event file."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    # EventFileWriter would import TensorFlow, and would write a file that is there before it is whole.
    file = BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    return file.getvalue()


def _hparams(record: Record, settings: Mapping[str, Plain], moment: float) -> Iterator[Summary.Value]:
    """A session of the HParams tab, which finds the metrics among the scalars."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    # tensorboard.plugins.hparams.summary would write the same, and imports TensorFlow.
    start = SessionStartInfo(group_name=record.name, start_time_secs=moment - record.seconds)
    for key, value in settings.items():
        kind = "bool_value" if isinstance(value, bool) else "string_value" if isinstance(value, str) else "number_value"
        setattr(start.hparams[key], kind, value)
    end = SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=moment)
    for tag, data in (
        (metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        (metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)),
    ):
        said = metadata.create_summary_metadata(data)
        yield Summary.Value(tag=tag, metadata=said, tensor=metadata.NULL_TENSOR)


def _images(record: Record) -> Iterator[Summary.Value]:
    """The confusion matrix as the report draws it, and the kept test images."""
    if (record.test.labels >= 0).all():
        matrix = error_figures.confusions([Arm(record.arm, record.title, (record,))])
        yield _image("confusion_matrix", [_cropped(figures.png(matrix))], "test images by true and predicted class")
    for kind, pngs in tensorboard_samples.samples(record).items():
        yield _image(f"test_images/{kind}", pngs, "what the network answers, and how sure it is; the surest first")


def _cropped(png: bytes) -> bytes:
    """A PNG file without its white margins, which would leave little of the picture on TensorBoard's small cards."""
    file = BytesIO()
    with Image.open(BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    drawn = picture.crop(ImageChops.invert(picture).getbbox())
    ImageOps.expand(drawn, MARGIN, "white").save(file, format="PNG")
    return file.getvalue()


def _image(tag: str, pngs: Sequence[bytes], description: str) -> Summary.Value:
    """PNG files of one size under one tag."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.image import metadata
    from tensorboard.util import tensor_util

    with Image.open(BytesIO(pngs[0])) as first:
        sizes = [str(side).encode() for side in first.size]
    said = metadata.create_summary_metadata(display_name=None, description=description)
    tensor = tensor_util.make_tensor_proto(np.array([*sizes, *pngs], dtype=object))
    return Summary.Value(tag=tag, metadata=said, tensor=tensor)
