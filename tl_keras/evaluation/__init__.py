"""Numbers: predictions, intervals and honest comparisons."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "predictions",
        "outcome",
        "compare",
        "transfer_effect",
        "epoch_choice",
        "deformation",
        "elastic_field",
    ],
)
