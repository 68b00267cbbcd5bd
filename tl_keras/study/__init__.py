"""A comparison: trials, what runs them, and what is published of their records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "trial",
        "backbone_choice",
        "runner",
        "single",
        "crossfit",
        "stacking",
        "voting",
        "outgoing",
        "pages",
        "publish",
    ],
)
