"""How the peak learning rates of `cifar_ab` were chosen: on a validation part of part B's training images.

    python benchmarks/learning_rates.py RUN_FOLDER/models/A.keras

One tenth of part B's training images (stratified, seeded) is held out; each strategy is trained on the rest with each
rate of one grid, in mixed_bfloat16 to save time. The test images are never read.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import keras

from experiments.cifar_ab import IMAGE_SIZE, STRATEGIES, VIEWS_B, Settings, classes_of_part_b
from tl_keras.data import splits
from tl_keras.data.augment import FlipShift
from tl_keras.data.selection import ByClass
from tl_keras.data.view import View
from tl_keras.models import cnn
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies

RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def main(path: str) -> None:
    settings = Settings()
    part_b = ByClass("cifar10", classes=tuple(classes_of_part_b(settings.registration))).load(View(IMAGE_SIZE))
    train, validation = splits.stratified(part_b.train, 0.1, seed=0)
    network_a = keras.models.load_model(path, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        for name, (title, strategy, _) in STRATEGIES.items():
            for rate in RATES:
                runtime.prepare(seed=0, precision="mixed_bfloat16")
                model = cnn.build(2)
                if strategy != "scratch":
                    strategies.copy_weights(network_a, model)
                recipe = Recipe(settings.epochs, settings.batch_size, rate, views=VIEWS_B)
                out = RunFolder(Path(folder))
                trained = loop.fit(
                    f"{name}-{rate}",
                    model,
                    train,
                    validation,
                    recipe,
                    out,
                    augment=FlipShift(),
                    phases=strategies.find(strategy).phases,
                )
                accuracy, loss = (trained.history[f"val_{column}"][-1] for column in ("accuracy", "loss"))
                print(
                    f"RESULT {title:<20} rate {rate:.0e}  validation accuracy {accuracy:.4f}  loss {loss:.4f}"
                    f"  (n = {len(validation)})",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1])
