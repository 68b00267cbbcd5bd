"""Fit: one loop, schedules, callbacks and exact resume."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "devices",
        "runtime",
        "inference",
        "loop",
        "lr_range",
        "schedules",
        "callbacks",
        "checkpoint",
        "averaging",
    ],
)
