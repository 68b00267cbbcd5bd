"""Images in: sources, splits, decoding, resizing on demand, augmentation and the tf.data pipeline."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "sources",
        "image_data",
        "selection",
        "view",
        "splits",
        "decode",
        "lazy",
        "pipeline",
        "augment",
        "distortions",
        "mixing",
        "policies",
        "chunks",
        "deform",
    ],
)
