"""Models out: SavedModels, ONNX and TensorFlow Lite, torchvision state dicts, submissions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "formats",
        "saved_model",
        "torch_bridge",
        "torch_layouts",
        "submission",
        "predictions_csv",
        "grading",
    ],
)
