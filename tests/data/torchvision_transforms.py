"""torchvision's transforms, the reference; a test that asks for them skips where torchvision is not installed."""

import pytest

KEPT = []  # operators live as long as the library that declares them


def transforms():
    torch = pytest.importorskip("torch", reason="torch, the reference, is not installed")
    # torchvision's Python part refuses to be imported where its C++ part, which declares these, does not fit to torch.
    if not hasattr(torch.ops.torchvision, "nms"):
        KEPT.append(torch.library.Library("torchvision", "FRAGMENT"))
        for name in ("nms", "qnms"):
            KEPT[0].define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return pytest.importorskip("torchvision.transforms", reason="torchvision, the reference, is not installed")
