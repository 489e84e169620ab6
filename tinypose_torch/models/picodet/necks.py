"""PicoDet's necks: a path aggregation network with a fourth level at stride 64.

Both necks share their wiring and differ in the block that merges two concatenated features: depthwise separable
layers in LC-PAN (2022), a cross-stage-partial layer in CSP-PAN (Yu et al., arXiv:2111.00902).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tinypose_torch.models.picodet.layers import ConvBnHardswish, DepthwiseSeparable


def lc_block(in_channels: int, out_channels: int) -> nn.Module:
    """LC-PAN's block."""
    return nn.Sequential(DepthwiseSeparable(in_channels, in_channels), DepthwiseSeparable(in_channels, out_channels))


class CSPBlock(nn.Module):
    """CSP-PAN's block: one half through a bottleneck, one half past it. No residual sum."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.main_conv = ConvBnHardswish(in_channels, hidden)
        self.short_conv = ConvBnHardswish(in_channels, hidden)
        self.final_conv = ConvBnHardswish(2 * hidden, out_channels)
        self.bottleneck = nn.Sequential(ConvBnHardswish(hidden, hidden), DepthwiseSeparable(hidden, hidden))

    def forward(self, x: Tensor) -> Tensor:
        main = self.bottleneck(self.main_conv(x))
        return self.final_conv(torch.cat([main, self.short_conv(x)], dim=1))


class BottomUpStep(nn.Module):
    """Halve the finer output and merge it with the same level of the top-down pass."""

    def __init__(self, channels: int, block: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.downsample = DepthwiseSeparable(channels, channels, stride=2)
        self.block = block(2 * channels, channels)

    def forward(self, finer: Tensor, same: Tensor) -> Tensor:
        return self.block(torch.cat([self.downsample(finer), same], dim=1))


class PicoDetNeck(nn.Module):
    """Features at strides 8, 16, 32 to features of equal width at strides 8, 16, 32, 64.

    Modules are created in the order in which PaddleDetection creates its own: the exporter numbers parameters so.

    Args:
        in_channels: Widths of the three inputs.
        channels: Width of the outputs.
        block: Builds the merging block from its widths in and out.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        block: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(ConvBnHardswish(c, channels) for c in in_channels)
        self.first_top_conv = DepthwiseSeparable(channels, channels, stride=2)
        self.second_top_conv = DepthwiseSeparable(channels, channels, stride=2)
        self.top_down_blocks = nn.ModuleList(block(2 * channels, channels) for _ in range(2))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.bottom_up = nn.ModuleList(BottomUpStep(channels, block) for _ in range(2))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.laterals, features, strict=True))
        down = [coarse]  # coarse to fine
        for block, lower in zip(self.top_down_blocks, (middle, fine), strict=True):
            down.append(block(torch.cat([self.upsample(down[-1]), lower], dim=1)))
        outputs = [down[-1]]
        for step, same in zip(self.bottom_up, (down[1], coarse), strict=True):
            outputs.append(step(outputs[-1], same))
        return [*outputs, self.first_top_conv(coarse) + self.second_top_conv(outputs[-1])]
