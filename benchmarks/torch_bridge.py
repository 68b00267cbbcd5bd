"""How far logits of torchvision's networks lie from those of the Keras networks whose weights they were given.

    python -m benchmarks.torch_bridge

Every network of the bridge, 5 outputs, random weights with logits of order 1 to 10, 8 made-up images of 224 by 224.
The same weights and images are asked of both; torchvision loads its state_dict strictly.
"""

from __future__ import annotations

import numpy as np

from tests.export import torchvision_networks as reference
from tl_keras.export import torch_bridge, torch_layouts
from tl_keras.models import backbones

NETWORKS = ("vgg16", "vgg19", "torch_resnet18", "torch_resnet34", "torch_resnet50", "densenet121")


def main() -> None:
    torch, networks = reference.torchvision()
    pixels = np.concatenate([reference.images(), reference.images()[:, ::-1]])
    print("| backbone | torchvision | largest logit | largest difference | same top-1 |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in NETWORKS:
        model = backbones.build(name, classes=5)
        reference.randomise(model, pixels)
        theirs = torch_layouts.find(model).name
        network = getattr(networks, theirs)(num_classes=5)
        state = {key: torch.from_numpy(array) for key, array in torch_bridge.to_state_dict(model).items()}
        network.load_state_dict(state, strict=True)
        ours, logits = reference.predict(model, pixels), reference.predict_torch(network, pixels)
        same = (ours.argmax(axis=1) == logits.argmax(axis=1)).mean()
        difference = np.abs(ours - logits).max()
        print(f"| {name} | {theirs} | {np.abs(logits).max():.1f} | {difference:.1e} | {same:.0%} |", flush=True)


if __name__ == "__main__":
    main()
