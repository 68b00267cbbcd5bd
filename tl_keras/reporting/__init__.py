"""Pages: figures, the HTML and PDF report, the executed notebook."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "figures",
        "error_figures",
        "classification_figures",
        "augmentation_figures",
        "content",
        "report",
        "templates",
        "pdf",
        "sections",
        "classification_sections",
        "explanations",
        "conclusion",
        "notebook",
    ],
)
