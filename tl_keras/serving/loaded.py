"""One version of a model in memory: its signatures run, and of an image model what its images must be like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.models import model_file
from tl_keras.quiet import tf
from tl_keras.serving import engines, signatures
from tl_keras.serving.batcher import LARGEST, Tensors
from tl_keras.serving.json_tensors import Tensor

FILES, PIXELS, CLASSIFY, EXPLAIN = "serving_default", "pixels", "classify", "explain"
SAID = f"assets/{model_file.ENTRY}"


class Images(NamedTuple):
    """What an image model says of itself: how it sees images, what its classes are called, whether it has a map."""

    view: View
    class_names: tuple[str, ...]
    explains: bool


class Loaded:
    """A version that has been loaded, tried and warmed up.

    Args:
        folder: of a SavedModel. With `assets/tl_keras.json` in it, it is an image model.

    Raises:
        InputError: damaged, or an image model that does not do what it says.

    >>> Loaded(Path("saved_models/half_plus_two/1")).run("serving_default", {"x": np.ones(2, "float32")})
    {'y': array([2.5, 2.5], dtype=float32)}
    """

    def __init__(self, folder: Path):
        self.signatures, self.metadata = signatures.read(folder)
        self.images = _images(folder, self.signatures)
        self.inputs = {name: self._asked(signature.inputs) for name, signature in self.signatures.items()}
        try:
            self._model = tf.saved_model.load(str(folder))  # kept: its variables go with it
            self._functions = dict(self._model.signatures)
        except Exception as error:  # whatever a damaged file makes TensorFlow raise
            raise InputError(f"version: expected a whole SavedModel, received {_line(error)}; copy it anew") from error
        missing = set(self.signatures) - set(self._functions)
        if missing:
            raise InputError(
                f"version: expected its signatures to load, received none of {sorted(missing)}; export anew"
            )
        self.engine = "tensorflow"
        if self.images:
            self._prepare_pixels(self.images)

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Tensors:
        """The outputs of a signature; of `pixels` only logits and probabilities, of uint8 or float32.

        Raises:
            ValueError, TypeError, tf.errors.OpError: inputs that the signature cannot work with.
        """
        if self.images and signature == PIXELS:
            return self._pixels(inputs["images"])
        specs = self.signatures[signature].inputs
        given = {name: tf.constant(inputs[name], dtype=tensor.dtype) for name, tensor in specs.items()}
        return {name: output.numpy() for name, output in self._functions[signature](**given).items()}

    def _asked(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What a request must give: of other models than those of images no shape, as with TensorFlow Serving.

        Its own half_plus_two says (any, 1) and is asked for [1.0, 2.0, 5.0] all over its documentation.
        """
        return tensors if self.images else {name: tensor._replace(shape=None) for name, tensor in tensors.items()}

    def named(self, outputs: Tensors) -> Tensors:
        """What the signatures of an image model answer, from logits and probabilities."""
        assert self.images
        names = np.array([name.encode() for name in self.images.class_names], object)
        return {
            "class": names[outputs["probabilities"].argmax(1)],
            "class_names": np.broadcast_to(names, outputs["probabilities"].shape),
            **outputs,
        }

    def _prepare_pixels(self, images: Images) -> None:
        """Choose who runs `pixels`, and refuse a network that gives nothing of use.

        What runs first is compiled or allocated then, so the smallest and the largest batch are tried.
        """
        try:
            engine = engines.choose(self._functions[PIXELS], images.view)
            for rows in (1, LARGEST):
                batch = np.zeros((rows, *images.view.shape), np.uint8)
                outputs = engine.run(batch)
                self._check(outputs, rows, images)
            self.engine, self._pixels = engine.name, engine.run
            if images.explains:
                given = {"images": np.zeros((1, *images.view.shape), np.float32), "class_index": np.zeros(1, np.int32)}
                self.run(EXPLAIN, given)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"version: expected a network that runs, received {_line(error)}; export it anew"
            ) from error

    @staticmethod
    def _check(outputs: Tensors, rows: int, images: Images) -> None:
        shape = (rows, len(images.class_names))
        for name, array in outputs.items():
            if array.shape != shape or not np.isfinite(array).all():
                kind = "other" if array.shape == shape else f"the shape {array.shape} of"
                raise InputError(
                    f"version: expected finite {name} of the shape {shape}, received {kind} ones; export it anew"
                )


def _images(folder: Path, known: Mapping[str, signatures.Signature]) -> Images | None:
    """What the assets of an image model say; None of another model."""
    try:
        view, class_names = model_file.read_entry((folder / SAID).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"version: expected a view and class names in {SAID}, received {_line(error)}; export anew"
        ) from error
    pixels = known.get(PIXELS)
    if not pixels or set(pixels.inputs) != {"images"} or not set(engines.OUTPUTS) <= set(pixels.outputs):
        raise InputError(
            f"version: expected a signature {PIXELS} from images to {' and '.join(engines.OUTPUTS)}, received another "
            "one or none; export it anew"
        )
    if FILES not in known:
        raise InputError(f"version: expected a signature {FILES}, received none; export it anew")
    return Images(view, class_names, EXPLAIN in known)


def _line(error: BaseException) -> str:
    """What an error says, on one line, without the hundreds of lines that TensorFlow may add."""
    return " ".join(str(error).split())[:300] or type(error).__name__
