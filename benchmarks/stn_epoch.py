"""One epoch of `stn_mnist` against PyTorch's tutorial on spatial transformers, on the same cores.

    python benchmarks/stn_epoch.py [rounds] [images]

Both train the tutorial's network as it says: SGD 0.01 without momentum, 64 images a batch. Ours is the loop of the
study, with its callbacks, on uint8 images that are scaled in the network; it measures 1,000 test images and writes a
checkpoint as well. The tutorial's reads standardised float images from memory through a DataLoader and only trains.
Each contestant runs in a fresh process, in turn, `rounds` times (default 3) on MNIST-sized noise (default 60,000
images: what is in an image changes no time), and times the epoch after the first. The ratio is of medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS, IMAGES, TESTED, BATCH, CLASSES = 3, 60_000, 1_000, 64, 10


def made_up(count: int):
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 28, 28), "uint8"), rng.integers(0, CLASSES, count)


def with_tl_keras(count: int) -> float:
    from experiments.stn_mnist import RECIPES
    from tl_keras.data.splits import Split
    from tl_keras.models import stn_network
    from tl_keras.run_folder import RunFolder
    from tl_keras.training import loop, runtime
    from tl_keras.training.schedules import Recipe

    runtime.prepare(seed=0)
    images, labels = made_up(count + TESTED)
    images, names = images[..., None].repeat(3, axis=-1), tuple(map(str, range(CLASSES)))
    train, test = (Split(images[rows], labels[rows], names) for rows in (slice(count), slice(count, None)))
    seconds = {}
    for epochs in (1, 2):  # what they differ by is the second epoch: both trace their graph
        recipe, model = Recipe(epochs, BATCH, **RECIPES["tutorial"]), stn_network.build((28, 28, 3), CLASSES)
        with tempfile.TemporaryDirectory() as folder:
            seconds[epochs] = loop.fit("stn", model, train, test, recipe, RunFolder(Path(folder))).seconds
    return seconds[2] - seconds[1]


def with_torch(count: int) -> float:
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
            self.drop, self.fc1, self.fc2 = nn.Dropout2d(), nn.Linear(320, 50), nn.Linear(50, CLASSES)
            self.localization = nn.Sequential(
                nn.Conv2d(1, 8, 7), nn.MaxPool2d(2, 2), nn.ReLU(True),
                nn.Conv2d(8, 10, 5), nn.MaxPool2d(2, 2), nn.ReLU(True),
            )  # fmt: skip
            self.fc_loc = nn.Sequential(nn.Linear(90, 32), nn.ReLU(True), nn.Linear(32, 6))
            self.fc_loc[2].weight.data.zero_()
            self.fc_loc[2].bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

        def forward(self, x):
            theta = self.fc_loc(self.localization(x).view(-1, 90)).view(-1, 2, 3)
            x = F.grid_sample(x, F.affine_grid(theta, x.size(), align_corners=False), align_corners=False)
            x = F.relu(F.max_pool2d(self.conv1(x), 2))
            x = F.relu(F.max_pool2d(self.drop(self.conv2(x)), 2))
            x = F.dropout(F.relu(self.fc1(x.view(-1, 320))), training=self.training)
            return F.log_softmax(self.fc2(x), dim=1)

    images, labels = map(torch.from_numpy, made_up(count))
    images = (images[:, None].float() / 255 - 0.1307) / 0.3081
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        started = time.perf_counter()
        for batch, target in loader:
            optimizer.zero_grad()
            F.nll_loss(model(batch), target).backward()
            optimizer.step()
    return time.perf_counter() - started


CONTESTANTS = {"tl_keras": with_tl_keras, "torch": with_torch}


def main(rounds: int, count: int) -> None:
    seconds = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name in CONTESTANTS:
            command = [sys.executable, __file__, name, str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds[name].append(float(done.stdout.split()[-1]))
    for name, values in seconds.items():
        print(f"{name:<9} seconds " + " ".join(f"{value:.2f}" for value in values))
    ratio = statistics.median(seconds["tl_keras"]) / statistics.median(seconds["torch"])
    print(f"tl_keras takes {ratio:.2f} times the time of the tutorial's code (n = {rounds}, {count:,} images)")


if __name__ == "__main__":
    first = sys.argv[1] if len(sys.argv) > 1 else ROUNDS
    count = int(sys.argv[2]) if len(sys.argv) > 2 else IMAGES
    if first in CONTESTANTS:
        print(CONTESTANTS[first](count))
    else:
        main(int(first), count)
