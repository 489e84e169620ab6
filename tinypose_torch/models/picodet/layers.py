"""Layers shared by PicoDet's backbones, necks and heads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.layers import ConvNormAct


class ConvBnHardswish(ConvNormAct):
    """`ConvNormAct` with PicoDet's activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups, nn.Hardswish)


class SqueezeExcitation(nn.Module):
    """Channel weights from the global average: 1x1, ReLU, 1x1, hard sigmoid."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // reduction, 1)
        self.conv2 = nn.Conv2d(channels // reduction, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.conv1(x.mean(dim=(2, 3), keepdim=True)))
        return x * self.gate(self.conv2(squeezed))


class DepthwiseSeparable(nn.Module):
    """Depthwise and 1x1 convolution, both with batch norm and hard swish.

    Args:
        squeeze: Whether a `SqueezeExcitation` stands between the two.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 5,
        stride: int = 1,
        squeeze: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = ConvBnHardswish(in_channels, in_channels, kernel, stride, in_channels)
        self.se = SqueezeExcitation(in_channels) if squeeze else nn.Identity()
        self.pointwise = ConvBnHardswish(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.se(self.depthwise(x)))
