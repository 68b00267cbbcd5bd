"""Networks: functional Keras models, RGB images from 0 to 255 in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "backbones",
        "cnn",
        "heads",
        "model_file",
        "networks",
        "preprocessing",
        "stn",
        "stn_network",
        "weights",
    ],
)
