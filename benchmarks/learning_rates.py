"""How the peak learning rates of `cifar_ab` for part B were chosen: on a validation part of its training images.

    python benchmarks/learning_rates.py RUN_FOLDER/models/A.keras

One tenth of part B's training images (stratified, seeded) is held out; each way is trained on the rest as the study
trains it, with half and twice its rate too, and further until the rate of least validation loss has been passed on both
sides. Training from scratch sees new versions of the images in every epoch; at its best rate the two versions that
re-use sees are tried too. The test images are never read.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import keras

from experiments.cifar_ab import IMAGE_SIZE, STRATEGIES, VIEWS, Settings, classes_of_part_b
from tl_keras.data import splits
from tl_keras.data.augment import FlipShift
from tl_keras.data.selection import ByClass
from tl_keras.data.view import View
from tl_keras.models import cnn
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies


def main(path: str) -> None:
    settings = Settings()
    part_b = ByClass("cifar10", classes=tuple(classes_of_part_b(settings.registration))).load(View(IMAGE_SIZE))
    train, validation = splits.stratified(part_b.train, 0.1, seed=0)
    network_a = keras.models.load_model(path, compile=False)

    def loss(name: str, rate: float, views: int | None) -> float:
        strategy = STRATEGIES[name][1]
        runtime.prepare(seed=0, precision="float32")
        model = cnn.build(2)
        if strategy != "scratch":
            strategies.copy_weights(network_a, model)
        recipe = Recipe(settings.epochs, settings.batch_size, rate, views=views)
        with tempfile.TemporaryDirectory() as folder:
            trained = loop.fit(
                name, model, train, validation, recipe, RunFolder(Path(folder)), augment=FlipShift(),
                phases=strategies.find(strategy).phases,
            )  # fmt: skip
        last = {column: trained.history[f"val_{column}"][-1] for column in ("accuracy", "loss")}
        print(
            f"RESULT {STRATEGIES[name][0]:<20} {views or 'new'} versions  rate {rate:.1e}  validation accuracy "
            f"{last['accuracy']:.4f}  loss {last['loss']:.4f}  (n = {len(validation)})",
            flush=True,
        )
        return last["loss"]

    for name in ("B_last", "B_last_two", "B_scratch"):
        *_, start, views = STRATEGIES[name]
        tried = {rate: loss(name, rate, views) for rate in (start / 2, start, 2 * start)}
        while (best := min(tried, key=lambda rate: tried[rate])) in (min(tried), max(tried)):
            further = best / 2 if best == min(tried) else 2 * best
            tried[further] = loss(name, further, views)
        print(f"CHOSEN {name} {best:.1e}", flush=True)
    loss("B_scratch", best, VIEWS)


if __name__ == "__main__":
    main(sys.argv[1])
