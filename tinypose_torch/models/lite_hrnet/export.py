"""Lite-HRNet in exported files: its exact rewrites, format by format."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.layers import replace_modules
from tinypose_torch.models.lite_hrnet.blocks import CrossResolutionWeighting
from tinypose_torch.models.lite_hrnet.broadcasting import BroadcastWeighting
from tinypose_torch.models.lite_hrnet.network import Fusion, LiteHRNet
from tinypose_torch.models.lite_hrnet.nhwc import to_nhwc_branches


def rewrite_for_export(network: LiteHRNet, format_name: str, precision: str) -> LiteHRNet:
    """See `Network.export_form`."""
    if format_name == "executorch":
        if precision != "fp16":  # the powers of two would leave float16 too few digits near zero
            to_nhwc_branches(network)
        broadcast_weighting(network)
    hierarchical_fusion(network)
    return network


def broadcast_weighting(network: nn.Module) -> nn.Module:
    """Let Lite-HRNet's conditional channel weighting use operations that XNNPACK has."""
    return replace_modules(network, CrossResolutionWeighting, BroadcastWeighting)


def hierarchical_fusion(network: nn.Module) -> nn.Module:
    """Let Lite-HRNet's fusions upsample sums instead of summing upsampled features: less is moved, by factors of 2."""
    return replace_modules(network, Fusion, HierarchicalFusion)


class HierarchicalFusion(nn.Module):
    """`Fusion` with ``up2(c1 + up2(c2 + up2(c3)))`` in place of ``up2(c1) + up4(c2) + up8(c3)``; equal but for rounding."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.count = len(fusion)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.paths = nn.ModuleDict()
        for target in range(self.count):
            for source in range(self.count):
                path = fusion.get_submodule(f"{target}.{source}")
                if source > target:  # convolution, batch norm, upsampling
                    path = nn.Sequential(*list(path.children())[:2])
                self.paths[f"{target}_{source}"] = path

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        first = self._from_coarser(xs, 0)
        doubled = xs[0] + xs[0]
        xs = [doubled if first is None else doubled + first, *xs[1:]]
        fused = [xs[0]]
        for target in range(1, self.count):
            from_first = self.paths[f"{target}_0"](xs[0])
            y = from_first + from_first
            for source in range(1, target + 1):
                y = y + self.paths[f"{target}_{source}"](xs[source])
            coarser = self._from_coarser(xs, target)
            fused.append(y if coarser is None else y + coarser)
        return [F.relu(y) for y in fused]

    def _from_coarser(self, xs: list[Tensor], target: int) -> Tensor | None:
        total: Tensor | None = None
        for source in range(self.count - 1, target, -1):
            carried = self.paths[f"{target}_{source}"](xs[source])
            total = self.upsample(carried if total is None else carried + total)
        return total
