"""Numbers: predictions, intervals and honest comparisons."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "arms",
        "classification",
        "compare",
        "ensemble",
        "interpret",
        "shared",
        "transfer_effect",
    ],
)
