"""Sums and products of fine and coarse features by broadcasting in the channels-last layout, without upsampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.lite_hrnet.blocks import CrossResolutionWeighting


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
            weighted.append(multiply_upsampled(x, weight, x.shape[-2] // height))
            start += channels
        return weighted


def add_upsampled(fine: Tensor, coarse: Tensor, relu: bool = False) -> Tensor:
    """``fine + upsample(coarse, 2)`` by broadcasting in the channels-last layout.

    Args:
        fine: ``(N, C, 2h, 2w)``.
        coarse: ``(N, C, h, w)``.
    """
    total = _cells(fine, 2) + _cells(coarse, 1)
    if relu:
        total = F.relu(total)
    return _from_cells(total, fine)


def multiply_upsampled(fine: Tensor, coarse: Tensor, factor: int) -> Tensor:
    """``fine * upsample(coarse, factor)``, likewise."""
    return _from_cells(_cells(fine, factor) * _cells(coarse, 1), fine)


def _cells(x: Tensor, factor: int) -> Tensor:
    """``(N, C, H, W)`` as ``(N * H / factor, factor, W / factor, factor, C)``."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n * h // factor, factor, w // factor, factor, c)


def _from_cells(cells: Tensor, like: Tensor) -> Tensor:
    n, c, h, w = like.shape
    return cells.reshape(n, h, w, c).permute(0, 3, 1, 2)
