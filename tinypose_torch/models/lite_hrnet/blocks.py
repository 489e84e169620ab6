"""Lite-HRNet's stem, and the blocks of its branches: conditional channel weighting, or ShuffleNet units."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.layers import ConvNormAct, channel_shuffle, half_channels


class Stem(nn.Module):
    """Image ``(N, 3, H, W)`` to features ``(N, 32, H/4, W/4)``."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = ConvNormAct(3, channels, 3, stride=2)
        self.branch1 = nn.Sequential(
            ConvNormAct(half, half, 3, stride=2, groups=half, activation=None),
            ConvNormAct(half, half),
        )
        self.expand_conv = ConvNormAct(half, channels)
        self.depthwise_conv = ConvNormAct(channels, channels, 3, stride=2, groups=channels, activation=None)
        self.linear_conv = ConvNormAct(channels, half)

    def forward(self, x: Tensor) -> Tensor:
        first, second = half_channels(self.conv1(x))
        first = self.branch1(first)
        second = self.linear_conv(self.depthwise_conv(self.expand_conv(second)))
        return channel_shuffle(torch.cat([first, second], dim=1))


class CrossResolutionWeighting(nn.Module):
    """Cross-resolution channel weights, computed at the smallest branch's resolution."""

    def __init__(self, channels: list[int], reduction: int = 8) -> None:
        super().__init__()
        self.channels = channels
        total = sum(channels)
        self.conv1 = ConvNormAct(total, total // reduction)
        self.conv2 = ConvNormAct(total // reduction, total, activation=nn.Sigmoid)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        smallest = (xs[-1].shape[-2], xs[-1].shape[-1])
        pooled = [F.adaptive_avg_pool2d(x, smallest) for x in xs[:-1]] + [xs[-1]]
        weights = self.conv2(self.conv1(torch.cat(pooled, dim=1)))
        return [
            x * F.interpolate(weight, size=x.shape[-2:], mode="nearest")
            for x, weight in zip(xs, torch.split(weights, self.channels, dim=1), strict=True)
        ]


class SpatialWeighting(nn.Module):
    """Channel weights from the branch's global average."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        # The nested "conv" keeps PaddleDetection's parameter names.
        self.conv1 = nn.ModuleDict({"conv": nn.Conv2d(channels, channels // reduction, 1)})
        self.conv2 = nn.ModuleDict({"conv": nn.Conv2d(channels // reduction, channels, 1)})

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.conv1["conv"](x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.conv2["conv"](squeezed))


class ConditionalChannelWeighting(nn.Module):
    """The conditional channel weighting block of all branches; shapes do not change."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        halves = [c // 2 for c in channels]
        self.cross_resolution_weighting = CrossResolutionWeighting(halves)
        self.depthwise_convs = nn.ModuleList(ConvNormAct(c, c, 3, groups=c, activation=None) for c in halves)
        self.spatial_weighting = nn.ModuleList(SpatialWeighting(c) for c in halves)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        split = [half_channels(x) for x in xs]
        weighted = self.cross_resolution_weighting([second for _, second in split])
        outputs = []
        for i, (depthwise, weighting) in enumerate(zip(self.depthwise_convs, self.spatial_weighting, strict=True)):
            second = weighting(depthwise(weighted[i]))
            outputs.append(channel_shuffle(torch.cat([split[i][0], second], dim=1)))
        return outputs


class ShuffleUnit(nn.Module):
    """The naive block of one branch: half of the channels pass three convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch2 = nn.Sequential(
            ConvNormAct(half, half),
            ConvNormAct(half, half, 3, groups=half, activation=None),
            ConvNormAct(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = half_channels(x)
        return channel_shuffle(torch.cat([first, self.branch2(second)], dim=1))
