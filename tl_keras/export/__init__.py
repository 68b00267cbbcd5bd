"""Models out: SavedModels, torchvision state dicts and submissions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "saved_model",
        "torch_bridge",
        "torch_layouts",
        "submission",
        "predictions_csv",
        "grading",
    ],
)
