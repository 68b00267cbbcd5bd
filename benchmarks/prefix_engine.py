"""A frozen network on TensorFlow, ONNX Runtime and OpenVINO, and the whole pass from image files to stored features.

    python benchmarks/prefix_engine.py networks [ROUNDS]
    python benchmarks/prefix_engine.py pass DATA BACKBONE WEIGHTS [ROUNDS IMAGES]
    python benchmarks/prefix_engine.py exactness DATA BACKBONE WEIGHTS

`networks`: images per second of each backbone of the registry up to its last layer, random weights, made-up images in
batches of 32, in turn; the largest difference of a feature from TensorFlow's, of the largest feature; the seconds that
converting takes. An engine that is not installed is left out. `pass`: the files of a folder are decoded and scaled, the
network runs, its features are stored, with TensorFlow and with what `auto` takes, in turn, each from nothing; and what
each step takes when it runs alone. `exactness`: by how much the features of real images, with real weights, differ
from TensorFlow's, and from those that TensorFlow computes in float64.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tl_keras.config import environment
from tl_keras.data import decode, pipeline, selection, sources, splits
from tl_keras.models import backbones, cnn, networks
from tl_keras.quiet import import_tensorflow, keras, tf
from tl_keras.study.backbone_choice import LOADED
from tl_keras.training import runtime
from tl_keras.transfer import activations, engine

BATCH = 32
NAMES = [
    "mobilenet_0.25", "mobilenet_v2_0.35", "mobilenet_v2_1.0", "efficientnetv2b0", "densenet121", "resnet50", "vgg16",
    "vgg19", "torch_resnet18", "torch_resnet50", "vit_base", "cnn",
]  # fmt: skip


def prefix_of(name: str, weights: str = "none") -> keras.Model:
    runtime.prepare(seed=0)
    if name == "cnn":
        return keras.Model((model := cnn.build(10)).input, model.get_layer("relu4").output)
    model = backbones.build(name, 10, weights)
    return keras.Model(model.input, model.get_layer("logits").input)


def with_openvino(network: keras.Model, batch: list[np.ndarray]) -> engine.Engine:
    import openvino

    shape = batch[0].shape[1:]
    call = tf.function(
        lambda images: network(tf.cast(images, tf.float32), training=False),
        input_signature=[tf.TensorSpec((None, *shape), tf.uint8)],
    )
    model = openvino.convert_model(call, example_input=tf.constant(batch[0]))
    model.reshape([-1, *shape])
    settings = {"INFERENCE_NUM_THREADS": engine.threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return engine.Engine(f"openvino {openvino.__version__}", lambda batch: [compiled(batch[0])[0]])


def engines(network: keras.Model, batch: list[np.ndarray]):
    """Each engine that runs the network, and the seconds that converting took."""
    yield engine._with_tensorflow(network), 0.0
    for build in [engine._with_onnxruntime] + [with_openvino] * bool(importlib.util.find_spec("openvino")):
        started = time.perf_counter()
        try:
            yield build(network, batch), time.perf_counter() - started
        except Exception as error:
            print(f"    {build.__name__}: {' '.join(str(error).split())[:150]}")


def compare_networks(rounds: int) -> None:
    for name in NAMES:
        network = prefix_of(name)
        batch = [np.random.default_rng(0).integers(0, 256, (BATCH, *network.input_shape[1:]), "uint8")]
        found = list(engines(network, batch))
        expected = found[0][0].run(batch)[0]
        rates, differences = [[] for _ in found], []
        for running, _ in found:
            differences.append(np.abs(running.run(batch)[0] - expected).max() / np.abs(expected).max())
        for _ in range(rounds):
            for place, (running, _) in enumerate(found):
                started = time.perf_counter()
                running.run(batch)
                rates[place].append(BATCH / (time.perf_counter() - started))
        middle = [statistics.median(rate) for rate in rates]
        for (running, converting), rate, difference in zip(found, middle, differences, strict=True):
            print(
                f"{name:<18} {running.name.split(',')[0]:<22} {rate:8.1f} images/s  {rate / middle[0]:5.2f} times "
                f"TensorFlow  difference {difference:.0e}  converted in {converting:.1f} s",
                flush=True,
            )
        del network, found
        keras.backend.clear_session()


def seen_by(network: str, data: str, images: int):
    split = sources.load(data, size=LOADED).train
    split = splits.limit(split, images, seed=0) if images else split
    return selection.seen(split, networks.view(network, mirror=False))


def whole_pass(name: str, weights: str, data: str, images: int, wanted: str) -> tuple[float, float, int]:
    """The seconds of reading the files and of running the network and storing what it gives, and how many images."""
    network = prefix_of(name, weights)
    started = time.perf_counter()
    split = seen_by(name, data, images)
    read = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        activations.store(network, split, activations.Storage(Path(folder), engine=wanted))
    return read, time.perf_counter() - started - read, len(split)


def compare_passes(data: str, name: str, weights: str, rounds: int = 3, images: int = 0) -> None:
    whole_pass(name, weights, data, 2 * BATCH, "onnxruntime")  # the files are in memory, the packages imported
    ways, seconds = ("tensorflow", "auto"), {"tensorflow": [], "auto": []}
    for _ in range(rounds):
        for wanted in ways:
            read, run, count = whole_pass(name, weights, data, images, wanted)
            seconds[wanted].append(read + run)
            print(
                f"{wanted:<11} {count:,} images: files read in {read:.1f} s, run and stored in {run:.1f} s", flush=True
            )
    plain, faster = (statistics.median(seconds[wanted]) for wanted in ways)
    print(f"{name}, {data}: the whole pass is {plain / faster:.2f} times as fast (n = {rounds})")
    steps_apart(name, weights, data, images)


def steps_apart(name: str, weights: str, data: str, images: int) -> None:
    """How fast each step is alone, on all cores."""
    layout = sources.files(data)
    files = [layout.root / file for file, _ in layout.train[:: max(1, len(layout.train) // 1000)]]
    decoded = in_threads_timed("decoding", decode.decode, files)
    in_threads_timed("scaling", lambda image: decode.resize(image, LOADED), decoded)
    split = seen_by(name, data, images)
    started = time.perf_counter()
    for _ in pipeline.view_batches(split.images, None, 0, 0, BATCH):
        pass
    print(f"handing over {len(split) / (time.perf_counter() - started):,.0f} images/s")
    batch = [split.images[:BATCH]]
    for running, _ in engines(prefix_of(name, weights), batch):
        print(f"the network on {running.name} {BATCH / engine._timed(running, batch)[1]:,.0f} images/s")


def in_threads_timed(what: str, work, items: list) -> list:
    started = time.perf_counter()
    made = [
        each
        for found in decode.in_threads(lambda rows: [work(items[row]) for row in rows], len(items))
        for each in found
    ]
    print(f"{what} {len(items) / (time.perf_counter() - started):,.0f} images/s")
    return made


def compare_with_float64(data: str, name: str, weights: str) -> None:
    place = sources.location(data)
    images = sources.load(data, size=LOADED if place and place.is_dir() else None).train.images
    network = prefix_of(name, weights)
    rows = np.linspace(0, len(images) - 1, 2 * BATCH).astype(int)
    view = networks.view(name, mirror=False)
    split = splits.Split(images[rows], np.zeros(len(rows), int), ("all",))
    batch = [selection.seen(split, view).images[:]]
    found = {running.name.split("-")[0]: running.run(batch)[0] for running, _ in engines(network, batch)}
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    model = backbones.build(name, 10)
    exact = keras.Model(model.input, model.get_layer("logits").input)
    exact.set_weights(network.get_weights())
    references = {"TensorFlow": next(iter(found.values())), "float64": np.asarray(exact(batch[0].astype("float64")))}
    for running, features in found.items():
        said = (f"{np.abs(features - one).max() / np.abs(one).max():.1e} from {of}" for of, one in references.items())
        print(f"{name}, {len(rows)} images of {data}, {running}: {', '.join(said)}")


if __name__ == "__main__":
    import_tensorflow()
    print(environment()["hardware"])
    mode, *given = sys.argv[1:]
    if mode == "networks":
        compare_networks(*map(int, given))
    elif mode == "exactness":
        compare_with_float64(*given)
    else:
        data, name, weights, *numbers = given
        compare_passes(data, name, weights, *map(int, numbers))
