"""torchvision, the reference: a test that asks for it skips where it is not installed."""

import pytest

KEPT = []  # operators live as long as the library that declares them


def torchvision_part(name):
    """`torchvision.models` or `torchvision.transforms`."""
    torch = pytest.importorskip("torch", reason="torch, the reference, is not installed")
    # torchvision's Python part refuses to be imported where its C++ part, which declares these, does not fit to torch.
    if not hasattr(torch.ops.torchvision, "nms"):
        KEPT.append(torch.library.Library("torchvision", "FRAGMENT"))
        for operator in ("nms", "qnms"):
            KEPT[0].define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return pytest.importorskip(f"torchvision.{name}", reason="torchvision, the reference, is not installed")
