"""The formats in which a trained network goes out, and the check that it answers there as it does here."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.export import saved_model
from tl_keras.files import atomic, write_bytes
from tl_keras.models import model_file
from tl_keras.quiet import keras, tf
from tl_keras.transfer import engine

TOLERANCE = 1e-5  # of a probability, or of the largest logit
IMAGES, LOGITS, PROBABILITIES = "images", "logits", "probabilities"


def write(path: Path, format: str, folder: Path, name: str, card: str, samples: np.ndarray) -> Path:
    """Write the network of a .keras file in another format, whole or not at all.

    Args:
        path: a .keras file that a run wrote, with its view and class names.
        format: savedmodel gives `folder/name/<version>/`; the others `folder/name.<format>`, in place of what is there.
        card: the model card; it lies in the SavedModel.
        samples: uint8 (N, H, W, C) as the network sees them, on which ONNX and TFLite models have to answer alike.

    Returns:
        What was written.

    Raises:
        InputError: the file is none of a run, it cannot be converted, or the converted one answers otherwise.

    >>> write(Path("full.keras"), "onnx", Path("saved_models"), "mine", "", samples)  # doctest: +SKIP
    PosixPath('saved_models/mine.onnx')
    """
    view, class_names = model_file.said_of(path)
    model = model_file.load(path)
    if format == "savedmodel":
        return saved_model.export(model, view, class_names, folder / name, card)
    saved_model.check(model, view, class_names)
    target = folder / f"{name}.{format}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if format == "keras":
        with atomic(target) as temporary:
            shutil.copyfile(path, temporary)
        return target
    convert = {"onnx": _onnx, "tflite": _tflite}[format]
    try:
        content, run = convert(model, view, class_names)
    except Exception as error:  # converters raise whatever they like
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(
            f"--format: expected a network that {format} knows all layers of, received {path} ({reason}); take "
            "savedmodel"
        ) from error
    _check(model, run, samples.astype("float32"), format)
    write_bytes(target, content)
    return target


Converted = tuple[bytes, Callable[[np.ndarray], dict[str, np.ndarray]]]


def _answers(model: keras.Model) -> keras.Model:
    """Logits and probabilities of pixels, under their names."""
    _, layers = saved_model.scores(model)
    pixels = keras.Input(model.input_shape[1:], name=IMAGES)
    if layers is model:
        return keras.Model(pixels, {PROBABILITIES: model(pixels)})
    logits = layers(pixels)
    return keras.Model(pixels, {LOGITS: logits, PROBABILITIES: keras.layers.Softmax(dtype="float32")(logits)})


def _onnx(model: keras.Model, view: View, class_names: tuple[str, ...]) -> Converted:
    import onnx
    import onnxruntime

    answers = _answers(model)
    converted = onnx.load_from_string(engine.to_onnx(answers, [np.zeros((1, *view.shape), "float32")]))
    _rename(converted.graph, [IMAGES], list(answers.output))
    said = {model_file.ENTRY: model_file.entry(view, class_names), "labels": "\n".join(class_names)}
    onnx.helper.set_model_props(converted, said)
    content = converted.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return content, lambda pixels: dict(zip(names, session.run(names, {IMAGES: pixels}), strict=True))


def _rename(graph, inputs: list[str], outputs: list[str]) -> None:
    """Give the ends of an ONNX graph their names."""
    ends = [*graph.input, *graph.output]
    names = dict(zip([end.name for end in ends], [*inputs, *outputs], strict=True))
    for end in ends:
        end.name = names[end.name]
    for node in graph.node:
        for read in (node.input, node.output):
            read[:] = [names.get(each, each) for each in read]


def _tflite(model: keras.Model, view: View, class_names: tuple[str, ...]) -> Converted:
    answers = _answers(model)
    archive = keras.export.ExportArchive()
    pixels = tf.TensorSpec((None, *view.shape), tf.float32, name=IMAGES)
    archive.add_endpoint("pixels", lambda images: answers(images, training=False), [pixels])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        content = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["pixels"]).convert()
        # Labels are packed behind the model, as a zip archive: TensorFlow Lite's own way to add files to one.
        packed = Path(folder) / "packed"
        packed.write_bytes(content)
        with zipfile.ZipFile(packed, "a") as files:
            files.writestr("labels.txt", "\n".join(class_names) + "\n")
            files.writestr(model_file.ENTRY, model_file.entry(view, class_names))
        content = packed.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a later TensorFlow without this name
        runner = tf.lite.Interpreter(model_content=content).get_signature_runner("pixels")
    return content, lambda pixels: runner(**{IMAGES: pixels})


def _check(model: keras.Model, run: Callable, pixels: np.ndarray, format: str) -> None:
    """Refuse what answers otherwise than the network."""
    score, _ = saved_model.scores(model)
    expected = dict(zip((LOGITS, PROBABILITIES), (each.numpy() for each in score(tf.constant(pixels))), strict=True))
    for name, found in run(pixels).items():
        scale = np.abs(expected[name]).max() if name == LOGITS else 1.0
        difference = np.abs(found - expected[name]).max() / (scale or 1.0)
        if not difference <= TOLERANCE:  # nor nan
            raise InputError(
                f"--format: expected {name} of {format} within {TOLERANCE:.0e} of the network's, received "
                f"{difference:.1e} on {len(pixels)} images; take savedmodel"
            )
