"""Models out: a SavedModel for TF Serving and everything else, which reads image files by itself.

Three signatures give the same: `class` (B,), `class_names` (B, K), `probabilities` and `logits` (B, K), float32.

* `serving_default`: `images` are strings (B,), encoded JPEG, PNG, BMP or GIF files of any size. Decoding and scaling
  are inside, as the view says (`data.graph_view`).
* `pixels`: `images` are float32 (B, H, W, C) from 0 to 255, as the network sees them.
* `classify`, for TF Serving's method of that name: `inputs` are serialized tf.Examples with a bytes feature `image`;
  out come `classes` and `scores` (B, K).
* `explain`: `images` as `pixels`, `class_index` int32 (B,); out comes `heat` (B, h, w), Grad-CAM. Networks that see no
  places lack it.

Beside it in `assets/`: `labels.txt`, one class a line; `tl_keras.json`, the view and the class names; `README.md`, the
model card.
"""

from __future__ import annotations

import errno
import functools
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tl_keras.data import graph_view
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.evaluation import interpret
from tl_keras.files import alone
from tl_keras.models import heads, model_file
from tl_keras.quiet import keras, tf

UNFINISHED = ".unfinished-"
SMALLEST = 1e-37  # that has a logarithm in float32
LABELS, CARD = "labels.txt", "README.md"
AUGMENTING = ("Random", "RandAugment", "AugMix", "MixUp", "CutMix")  # how the classes of such layers are called
CLASSIFY = "tensorflow/serving/classify"  # the method that TF Serving asks of a signature that classifies


def export(model: keras.Model, view: View, class_names: tuple[str, ...], folder: Path, card: str = "") -> Path:
    """Write `model` as a SavedModel in the next free version of `folder`, whole or not at all.

    Args:
        model: from images of `view` to class probabilities; nothing random in it acts in inference.
        class_names: one for each probability.
        card: the model card, Markdown.

    Returns:
        The folder of the version, as TF Serving lays it out; `tf.saved_model.load` reads it.

    Raises:
        InputError: the model is not one of this view and these classes, or augments its images.

    >>> export(model, View((32, 32)), ("deer", "truck"), Path("saved_models/cifar_ab-B_last"))  # doctest: +SKIP
    PosixPath('saved_models/cifar_ab-B_last/1')
    """
    check(model, view, class_names)
    archive = _archive(model, view, class_names)
    with _unfinished(folder) as unfinished:
        archive.write_out(unfinished, verbose=False)
        _name_method(unfinished)
        said = model_file.entry(view, class_names)
        texts = {LABELS: "\n".join(class_names) + "\n", CARD: card, model_file.ENTRY: said}
        for name, text in texts.items():
            (unfinished / "assets" / name).write_text(text, encoding="utf-8")
        return _numbered(unfinished)


def check(model: keras.Model, view: View, class_names: tuple[str, ...]) -> None:
    """Refuse what would answer wrongly once it is exported.

    Raises:
        InputError: another input than the view, other classes, or layers that augment: they would do so in use too.

    >>> check(model, View((32, 32)), ("deer", "truck"))  # doctest: +SKIP
    """
    if not all(isinstance(name, str) and name and len(name.splitlines()) == 1 for name in class_names):
        raise InputError(f"class_names: expected texts of one line each, received {class_names!r}; name the classes")
    shapes = (model.input_shape, model.output_shape)
    if shapes != ((None, *view.shape), (None, len(class_names))):
        raise InputError(
            f"{model.name}: expected a network of images {view.shape} and {len(class_names)} classes, as it is said to "
            f"be, received {shapes[0]} and {shapes[1]}; save the model anew"
        )
    random = [layer.name for layer in model._flatten_layers() if type(layer).__name__.startswith(AUGMENTING)]
    if random:
        raise InputError(
            f"{model.name}: expected a network that augments nothing, received layers {', '.join(random)}; augment the "
            "images before they reach the network, and save it without these layers"
        )


def scores(model: keras.Model) -> tuple[Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], keras.Model]:
    """What gives logits and probabilities (B, K), float32, of pixels (B, H, W, C), and the layers that it uses.

    A network that ends in no softmax, as one that votes, has no logits: there they are the logarithms of the
    probabilities, of which a softmax makes these again.

    >>> scores(model)[0](tf.zeros((2, 32, 32, 3)))  # doctest: +SKIP
    (<tf.Tensor: shape=(2, 10), ...>, <tf.Tensor: shape=(2, 10), ...>)
    """
    before = heads.before_softmax(model)
    if before is None:

        def of_probabilities(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            probabilities = tf.cast(model(pixels, training=False), tf.float32)
            return tf.math.log(tf.maximum(probabilities, SMALLEST)), probabilities

        return of_probabilities, model

    def of_logits(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.cast(before(pixels, training=False), tf.float32)
        return logits, tf.nn.softmax(logits)

    return of_logits, before


def _archive(model: keras.Model, view: View, class_names: tuple[str, ...]) -> keras.export.ExportArchive:
    score, layers = scores(model)
    # Nothing is tracked by hand: weights that signatures use are kept, and of a layer each would be stored once more.
    archive = keras.export.ExportArchive()
    names = tf.constant(class_names)

    pixels = tf.TensorSpec((None, *view.shape), tf.float32, name="images")
    files, examples = (tf.TensorSpec((None,), tf.string, name=name) for name in ("images", "inputs"))

    # Traced once for all signatures that use it; and TensorFlow need not look for Python's loops and conditions.
    @functools.partial(_traced, pixels)
    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, probabilities = score(pixels)
        rows = tf.repeat(names[None], tf.shape(logits)[0], axis=0)
        best = tf.gather(names, tf.argmax(probabilities, axis=1))
        return {"class": best, "class_names": rows, "probabilities": probabilities, "logits": logits}

    @functools.partial(_traced, files)
    def of_files(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(tf.cast(graph_view.pixels(view, images), tf.float32))

    @functools.partial(_traced, examples)
    def of_examples(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        found = of_files(tf.io.parse_example(inputs, {"image": tf.io.FixedLenFeature((), tf.string)})["image"])
        return {"classes": found["class_names"], "scores": found["probabilities"]}

    archive.add_endpoint("serve", lambda images: of_files(images), [files])
    archive.add_endpoint("pixels", lambda images: answer(images), [pixels])
    archive.add_endpoint("classify", lambda inputs: of_examples(inputs), [examples])
    with suppress(InputError):  # of what sees no places there is nothing to explain
        look = interpret.GradCam(layers)
        asked = tf.TensorSpec((None,), tf.int32, name="class_index")
        explain = _traced(pixels, asked, lambda images, index: {"heat": look(images, index)})
        archive.add_endpoint("explain", lambda images, index: explain(images, index), [pixels, asked])
    return archive


def _traced(*given: Any) -> Any:
    """The last argument, a function of tensors like those before it, as a graph."""
    *signature, function = given
    return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()


def _name_method(version: Path) -> None:
    """Say that `classify` classifies: Keras calls every signature one that predicts."""
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(version))
    updater.replace_method_name("classify", CLASSIFY, tags="serve")
    updater.save()


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A new folder in `folder`, gone after an error; those that killed processes left there go too."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as kept:
        with suppress(OSError):  # a file system that cannot lock folders: what is left there may be another's work
            kept.enter_context(alone(folder, wait=True))
            for left in folder.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
        unfinished = folder / f"{UNFINISHED}{uuid.uuid4().hex}"
        kept.callback(shutil.rmtree, unfinished, ignore_errors=True)
        unfinished.mkdir()
        yield unfinished


def _numbered(unfinished: Path) -> Path:
    """Give the folder the number above all others, or the next one where another process was faster."""
    names = (entry.name for entry in unfinished.parent.iterdir())
    number = max((int(name) for name in names if re.fullmatch("[0-9]+", name)), default=0)
    while True:
        number += 1
        try:
            return unfinished.rename(unfinished.with_name(str(number)))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
