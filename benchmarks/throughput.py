"""Training throughput of the CNN: tl_keras against the plain Keras loop and against PyTorch, on the same cores.

    python benchmarks/throughput.py [rounds]

All train the same network (`models.cnn`: 40-80-160-128 filters, BatchNorm, Dropout) with AdamW on the same made-up
images, 128 a batch, without augmentation. Each contestant runs in a fresh process, in turn, `rounds` times; the ratios
are of medians. PyTorch runs in its usual memory layout and in channels_last, which is faster on CPU; it is left out,
and said to be, where it is not installed.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time

IMAGES, BATCH, CLASSES, WARM_UP, EPOCHS = 5120, 128, 8, 1, 2


def made_up_images():
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES, 32, 32, 3), "uint8"), rng.integers(0, CLASSES, IMAGES)


def with_tl_keras() -> float:
    from tl_keras.data import pipeline
    from tl_keras.models import cnn
    from tl_keras.training import loop, runtime
    from tl_keras.training.schedules import Recipe

    runtime.prepare(seed=0)
    images, labels = made_up_images()
    model, recipe = cnn.build(CLASSES), Recipe(WARM_UP + EPOCHS, BATCH, 1e-3)
    steps = pipeline.steps_per_epoch(IMAGES, BATCH)
    loop.compile_for(model, recipe, steps)
    batches = pipeline.training_batches([images], labels, batch_size=BATCH, seed=0, epochs=recipe.epochs)
    return fit_and_time(model, batches, steps_per_epoch=steps, shuffle=False)


def with_keras() -> float:
    import keras
    from keras import layers

    images, labels = made_up_images()

    def convolution(filters, *pooling):
        convolved = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        return [convolved, *pooling, layers.BatchNormalization(), layers.ReLU()]

    model = keras.Sequential([
        keras.Input((32, 32, 3)),
        *convolution(40, layers.MaxPooling2D()), layers.Dropout(0.1),
        *convolution(80), *convolution(160, layers.MaxPooling2D()), layers.Dropout(0.2),
        *convolution(128), layers.Flatten(),
        layers.Dense(128, activation="relu"), layers.Dropout(0.4),
        layers.Dense(CLASSES, activation="softmax"),
    ])  # fmt: skip
    model.compile("adamw", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return fit_and_time(model, images.astype("float32") / 255, labels, batch_size=BATCH)


def fit_and_time(model, *data, **options) -> float:
    """Images per second of the epochs after the first, which traces the step."""
    import keras

    starts = []
    stamp = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: starts.append(time.perf_counter()))
    model.fit(*data, epochs=WARM_UP + EPOCHS, verbose=0, callbacks=[stamp], **options)
    return EPOCHS * IMAGES / (time.perf_counter() - starts[WARM_UP])


def with_torch(layout: str = "contiguous_format") -> float:
    import torch
    from torch import nn

    images, labels = made_up_images()
    layout = getattr(torch, layout)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=layout)
    labels = torch.from_numpy(labels)

    def convolution(before, filters, *pooling):
        convolved = nn.Conv2d(before, filters, 3, padding=1, bias=False)
        return [convolved, *pooling, nn.BatchNorm2d(filters), nn.ReLU()]

    model = nn.Sequential(
        *convolution(3, 40, nn.MaxPool2d(2)), nn.Dropout(0.1),
        *convolution(40, 80), *convolution(80, 160, nn.MaxPool2d(2)), nn.Dropout(0.2),
        *convolution(160, 128), nn.Flatten(),
        nn.Linear(8192, 128), nn.ReLU(), nn.Dropout(0.4), nn.Linear(128, CLASSES),
    ).to(memory_format=layout)  # fmt: skip
    optimizer, loss_of = torch.optim.AdamW(model.parameters()), nn.CrossEntropyLoss()
    for epoch in range(WARM_UP + EPOCHS):
        if epoch == WARM_UP:
            started = time.perf_counter()
        for rows in torch.randperm(IMAGES).split(BATCH):
            optimizer.zero_grad()
            loss_of(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return EPOCHS * IMAGES / (time.perf_counter() - started)


def with_torch_channels_last() -> float:
    return with_torch("channels_last")


CONTESTANTS = {
    "tl_keras": with_tl_keras,
    "keras": with_keras,
    "torch": with_torch,
    "torch_channels_last": with_torch_channels_last,
}


def main(rounds: int) -> None:
    names = [name for name in CONTESTANTS if not name.startswith("torch") or importlib.util.find_spec("torch")]
    rates = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
            rates[name].append(float(done.stdout.split()[-1]))
    for name in CONTESTANTS:
        if name not in rates:
            print(f"{name:<19} left out: not installed")
            continue
        ratio = statistics.median(rates["tl_keras"]) / statistics.median(rates[name])
        shown = " ".join(f"{rate:.0f}" for rate in rates[name])
        print(f"{name:<19} images/s {shown}   tl_keras is {ratio:.2f} times as fast (n = {rounds})")


if __name__ == "__main__":
    argument = sys.argv[1] if len(sys.argv) > 1 else "3"
    if argument in CONTESTANTS:
        print(CONTESTANTS[argument]())
    else:
        main(int(argument))
