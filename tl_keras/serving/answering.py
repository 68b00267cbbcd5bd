"""From the body of a request to the body of its answer, by a version that is held for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from tl_keras.errors import InputError
from tl_keras.quiet import tf
from tl_keras.serving import images, json_answers, json_documents, json_tensors, signatures
from tl_keras.serving.batcher import LARGEST, Tensors
from tl_keras.serving.limits import Load
from tl_keras.serving.loaded import CLASSIFY, EXPLAIN, FILES, PIXELS, Images
from tl_keras.serving.refusals import Refused
from tl_keras.serving.store import Version

SHORT = 2**16  # bytes of JSON that are read in less time than it takes to hand them to a thread and back several times
EXPLAINED = 8  # images at a time: gradients need more memory than answers
T = TypeVar("T")


class Answering:
    """How requests are answered: what reads images and JSON in threads, and what waits for the batches.

    >>> answering = Answering(Load(Limits()))
    >>> await answering.predict(version, b'{"instances": [1.0]}')  # doctest: +SKIP
    b'{"predictions": [2.5]}'
    """

    def __init__(self, load: Load):
        self.load = load
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "requests")

    async def predict(self, version: Version, body: bytes) -> bytes:
        """The answer to `:predict`."""
        asked = await self._parsed(json_tensors.predict_request, body, version.loaded.inputs)
        told = version.loaded.images
        if told and asked.signature in (FILES, PIXELS):
            pixels = await self._pixels(told, asked)
            outputs = version.loaded.named(await self._probabilities(version, pixels))
        else:
            outputs = await self._run(version, asked.signature, asked.inputs)
        return await self._written(json_answers.predict_answer, outputs, asked.rows)

    async def classify(self, version: Version, body: bytes) -> bytes:
        """The answer to `:classify`."""
        name, examples = await self._parsed(json_tensors.examples_request, body)
        told = version.loaded.images
        if told and name in (None, CLASSIFY):
            files = [_only_image(index, features) for index, features in enumerate(examples)]
            pixels = await self._decoded(told, files)
            outputs = version.loaded.named(await self._probabilities(version, pixels))
            return json_answers.classify_answer(outputs["class_names"], outputs["probabilities"])
        outputs = await self._of_examples(version, name, examples, signatures.CLASSIFY)
        return json_answers.classify_answer(outputs.get("classes"), outputs.get("scores"))

    async def regress(self, version: Version, body: bytes) -> bytes:
        """The answer to `:regress`."""
        name, examples = await self._parsed(json_tensors.examples_request, body)
        outputs = await self._of_examples(version, name, examples, signatures.REGRESS)
        if "outputs" not in outputs:
            raise InputError("signature: expected one with the output outputs, received another; export the model anew")
        return json_answers.regress_answer(outputs["outputs"])

    async def explain(self, version: Version, body: bytes) -> bytes:
        """The answer to `:explain`: where the network looked, drawn on each image."""
        told = version.loaded.images
        if not told or not told.explains:
            raise InputError("explain: expected a model of images with a map, received another; ask for predictions")
        asked = await self._parsed(json_tensors.predict_request, body, version.loaded.inputs)
        if asked.signature not in (FILES, PIXELS):
            raise InputError(f"signature_name: expected {FILES} or {PIXELS}, received {asked.signature}; leave it out")
        pixels = await self._pixels(told, asked)
        number = _class_index(await self._parsed(json_documents.parse, body), told)
        if number is None:
            outputs = await self._probabilities(version, pixels)
            classes = outputs["probabilities"].argmax(1)
        else:
            classes = np.full(len(pixels), number)
        heat = []
        for start in range(0, len(pixels), EXPLAINED):
            part = slice(start, start + EXPLAINED)
            given = {"images": pixels[part].astype(np.float32), "class_index": classes[part].astype(np.int32)}
            heat += list((await self._run(version, EXPLAIN, given, together=False))["heat"])
        overlays = [self._in_thread(images.drawn, *each) for each in zip(pixels, heat, strict=True)]
        shown = [
            {"class": told.class_names[index], "class_index": index, "overlay": overlay}
            for index, overlay in zip(classes.tolist(), await asyncio.gather(*overlays), strict=True)
        ]
        return json.dumps({"explanations": shown}).encode()

    async def _pixels(self, told: Images, asked: json_tensors.Asked) -> np.ndarray:
        """The images of a predict request as the network sees them, (N, H, W, C)."""
        given = asked.inputs["images"]
        if asked.signature == FILES:
            return await self._decoded(told, given.tolist())
        if given.shape[1:] != told.view.shape:
            raise InputError(
                f"images: expected the shape {told.view.shape} of each, received {given.shape[1:]}; resize them"
            )
        self._check_count(len(given))
        return given

    async def _decoded(self, told: Images, files: Sequence[bytes]) -> np.ndarray:
        """Encoded images as the network sees them, uint8 (N, H, W, C): the one that is none is named."""
        self._check_count(len(files))
        most = self.load.limits.pixels
        if len(files) > 1:
            await self._in_thread(images.check_together, files, most)
        with self.load.room(len(files) - 1):
            read = [self._in_thread(images.seen, file, told.view, index, most) for index, file in enumerate(files)]
            return np.stack(await asyncio.gather(*read))

    def _check_count(self, count: int) -> None:
        most = self.load.limits.images
        if not 1 <= count <= most:
            raise InputError(f"images: expected 1 to {most} of them, received {count}; send them in several requests")

    async def _of_examples(
        self, version: Version, name: str | None, examples: list[dict[str, list]], method: str
    ) -> Tensors:
        """What a signature of serialized tf.train.Example answers."""
        name = name or json_tensors.DEFAULT
        signature = version.loaded.signatures.get(name)
        if not signature or signature.method != method or set(signature.inputs) != {"inputs"}:
            fitting = [each for each, said in version.loaded.signatures.items() if said.method == method]
            raise InputError(
                f"signature_name: expected one of the method {method} ({', '.join(fitting) or 'none'}), received "
                f"{name}; name such a one"
            )
        if signature.inputs["inputs"].dtype != "string":
            raise InputError(f"signature_name: expected one that takes examples, received {name}; name another one")
        return await self._run(version, name, {"inputs": np.array([_serialized(each) for each in examples], object)})

    async def _probabilities(self, version: Version, pixels: np.ndarray) -> Tensors:
        """Logits and probabilities of images, in batches of at most `LARGEST`."""
        parts = [pixels[start : start + LARGEST] for start in range(0, len(pixels), LARGEST)]
        answers = await asyncio.gather(*(self._run(version, PIXELS, {"images": part}) for part in parts))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    async def _run(self, version: Version, signature: str, inputs: Tensors, together: bool = True) -> Tensors:
        """The outputs of a signature; with others' rows in a batch where that can be."""
        together &= version.loaded.signatures[signature].batched
        together &= len({array.shape[:1] for array in inputs.values()} | {(), (0,)}) == 3  # one number of rows, above 0
        try:
            soon = asyncio.get_running_loop().call_soon
            return await asyncio.wrap_future(version.batcher.submit(signature, inputs, together, soon))
        except tf.errors.ResourceExhaustedError as error:
            raise Refused(429, f"the model needs more memory than there is ({_first(error)}); ask for less") from error
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise InputError(
                f"inputs: expected what the model can work with, received other ones ({_first(error)}); correct them"
            ) from error

    async def _parsed(self, parse: Callable[..., T], body: bytes, *more: Any) -> T:
        return parse(body, *more) if len(body) <= SHORT else await self._in_thread(parse, body, *more)

    async def _written(self, write: Callable[..., T], outputs: Tensors, *more: Any) -> T:
        small = sum(array.size for array in outputs.values()) < 1000
        return write(outputs, *more) if small else await self._in_thread(write, outputs, *more)

    def _in_thread(self, work: Callable[..., T], *given: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *given)


def _only_image(index: int, features: dict[str, list]) -> bytes:
    """The file in an example for an image model."""
    given = features.get("image", [])
    if len(given) != 1 or not isinstance(given[0], bytes):
        raise InputError(
            f"examples item {index}: expected the feature image with one file in base64, received "
            f"{', '.join(features)[:100] or 'no feature'}; send it"
        )
    return given[0]


def _serialized(features: dict[str, list]) -> bytes:
    """A tf.train.Example of the features."""
    kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
    example = tf.train.Example()
    for name, given in features.items():
        feature = example.features.feature[name]
        if given:
            getattr(feature, kinds[type(given[0])]).value.extend(given)
    return example.SerializeToString()


def _class_index(document: dict[str, Any], told: Images) -> int | None:
    number = document.get("class_index")
    if number is None:
        return None
    if type(number) is not int or not 0 <= number < len(told.class_names):
        raise InputError(
            f"class_index: expected a number from 0 to {len(told.class_names) - 1}, received "
            f"{json_documents.shown(number)}; give the number of a class"
        )
    return number


def _first(error: BaseException) -> str:
    """What TensorFlow says in one line, without the places in the graph that it adds."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(_ADDED)]
    return re.sub(r"\s*\[?\[?\{\{.*?\}\}\]?\]?\s*", "", lines[0])[:200] if lines else type(error).__name__


_ADDED = ("Graph execution error", "Detected at node", "  ", "\t", "<stack traces")
