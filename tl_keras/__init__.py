"""Transfer learning with images: which way of re-using a trained network works best here.

The rooms import lazily, so `import tl_keras` costs nothing until TensorFlow is needed:

>>> from tl_keras import data
>>> digits = data.sources.load("digits")
"""

import lazy_loader

__version__ = "0.7.0"

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submodules=["config", "data", "models", "transfer", "training", "evaluation", "reporting", "export", "study"],
)
