"""What the studies of spatial transformers have and no other study needs: theta, what it undoes, how that is shown."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "affine",
        "copies",
        "deformation_pages",
        "deformations",
        "elastic_field",
        "elastic_figures",
        "elastic_pages",
        "figures",
        "measures",
        "tutorial",
    ],
)
