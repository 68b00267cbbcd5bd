"""Models answer requests: TensorFlow Serving's REST protocol over HTTP."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "addresses",
        "answering",
        "application",
        "batcher",
        "documented",
        "engines",
        "images",
        "json_answers",
        "json_documents",
        "json_tensors",
        "limits",
        "loaded",
        "metrics",
        "refusals",
        "replies",
        "server",
        "signatures",
        "statuses",
        "store",
        "versions",
    ],
)
