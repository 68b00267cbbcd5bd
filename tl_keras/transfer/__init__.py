"""The subject: which layers train, and frozen layers paid for once."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "strategies",
        "frozen",
        "probe",
        "transferability",
        "advice",
        "activations",
        "early",
        "blocks",
        "kernel_ridge",
        "engine",
    ],
)
