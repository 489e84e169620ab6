"""Lite-HRNet in exported files: its exact rewrites, format by format."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.layers import replace_modules
from tinypose_torch.models.lite_hrnet.blocks import CrossResolutionWeighting
from tinypose_torch.models.lite_hrnet.network import Fusion, LiteHRNet


def rewrite_for_export(network: LiteHRNet, format_name: str) -> LiteHRNet:
    """See `Network.export_form`."""
    if format_name == "executorch":
        broadcast_weighting(network)
    hierarchical_fusion(network)
    return network


def broadcast_weighting(network: nn.Module) -> nn.Module:
    """Let Lite-HRNet's conditional channel weighting use operations that XNNPACK has."""
    return replace_modules(network, CrossResolutionWeighting, BroadcastWeighting)


def hierarchical_fusion(network: nn.Module) -> nn.Module:
    """Let Lite-HRNet's fusions upsample sums instead of summing upsampled features: less is moved, by factors of 2."""
    return replace_modules(network, Fusion, HierarchicalFusion)


class BroadcastWeighting(nn.Module):
    """`CrossResolutionWeighting` whose pooling has whole windows and whose weights are broadcast, not upsampled."""

    def __init__(self, weighting: CrossResolutionWeighting) -> None:
        super().__init__()
        self.channels = weighting.channels
        self.conv1, self.conv2 = weighting.conv1, weighting.conv2

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        height, width = xs[-1].shape[-2:]
        pooled = [F.avg_pool2d(x, (x.shape[-2] // height, x.shape[-1] // width)) for x in xs[:-1]]
        weights = self.conv2(self.conv1(torch.cat([*pooled, xs[-1]], dim=1)))
        weighted, start = [], 0
        for x, channels in zip(xs, self.channels, strict=True):
            weight = weights[:, start : start + channels]
            weighted.append(_multiply_upsampled(x, weight, x.shape[-2] // height))
            start += channels
        return weighted


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


def _multiply_upsampled(fine: Tensor, coarse: Tensor, factor: int) -> Tensor:
    """``fine * upsample(coarse, factor)`` by broadcasting in the channels-last layout."""
    return _from_cells(_cells(fine, factor) * _cells(coarse, 1), fine)


def _cells(x: Tensor, factor: int) -> Tensor:
    """``(N, C, H, W)`` as ``(N * H / factor, factor, W / factor, factor, C)``."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n * h // factor, factor, w // factor, factor, c)


def _from_cells(cells: Tensor, like: Tensor) -> Tensor:
    n, c, h, w = like.shape
    return cells.reshape(n, h, w, c).permute(0, 3, 1, 2)
