"""PicoDet's two backbones: LCNet (2022) and ESNet (2021).

LCNet: Cui et al., "PP-LCNet: A Lightweight CPU Convolutional Neural Network", arXiv:2109.15099.
ESNet: Yu et al., "PP-PicoDet: A Better Real-Time Object Detector on Mobile Devices", arXiv:2111.00902.
Both return features at strides 8, 16 and 32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tinypose_torch.models.layers import (
    ConvNormAct,
    channel_shuffle,
    half_channels,
    round_channels,
)
from tinypose_torch.models.picodet.layers import (
    ConvBnHardswish,
    DepthwiseSeparable,
    SqueezeExcitation,
)

# Per block: kernel, channels in and out at scale 1, stride, squeeze-and-excitation.
LCNET_GROUPS: dict[str, list[tuple[int, int, int, int, bool]]] = {
    "blocks2": [(3, 16, 32, 1, False)],
    "blocks3": [(3, 32, 64, 2, False), (3, 64, 64, 1, False)],
    "blocks4": [(3, 64, 128, 2, False), (3, 128, 128, 1, False)],
    "blocks5": [(3, 128, 256, 2, False)] + [(5, 256, 256, 1, False)] * 5,
    "blocks6": [(5, 256, 512, 2, True), (5, 512, 512, 1, True)],
}


class LCNet(nn.Module):
    """Plain stack of depthwise separable blocks.

    Args:
        scale: Factor of all widths, which are then rounded to multiples of 8.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.conv1 = ConvBnHardswish(3, round_channels(16 * scale), 3, stride=2)
        for name, blocks in LCNET_GROUPS.items():
            self.add_module(
                name,
                nn.Sequential(
                    *(
                        DepthwiseSeparable(
                            round_channels(c_in * scale),
                            round_channels(c_out * scale),
                            kernel,
                            stride,
                            squeeze,
                        )
                        for kernel, c_in, c_out, stride, squeeze in blocks
                    )
                ),
            )
        self.out_channels = [round_channels(c * scale) for c in (128, 256, 512)]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv1(x)
        features = []
        for name in LCNET_GROUPS:
            x = self.get_submodule(name)(x)
            features.append(x)
        return features[-3:]


def _linear(in_channels: int, out_channels: int, kernel: int, stride: int) -> ConvNormAct:
    """Depthwise convolution with batch norm and no activation."""
    return ConvNormAct(in_channels, out_channels, kernel, stride, in_channels, activation=None)


class ESBlock(nn.Module):
    """ESNet's block of stride 1: half of the channels pass, half are transformed, then all are shuffled."""

    def __init__(self, channels: int, mid: int) -> None:
        super().__init__()
        half = channels // 2
        self.expand = ConvBnHardswish(half, mid // 2)
        self.depthwise = _linear(mid // 2, mid // 2, 3, 1)
        self.se = SqueezeExcitation(mid)
        self.pointwise = ConvBnHardswish(mid, half)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = half_channels(x)
        expanded = self.expand(changed)
        changed = self.se(torch.cat([expanded, self.depthwise(expanded)], dim=1))
        return channel_shuffle(torch.cat([kept, self.pointwise(changed)], dim=1))


class ESDownsampleBlock(nn.Module):
    """ESNet's block of stride 2: two strided branches, concatenated and mixed."""

    def __init__(self, in_channels: int, channels: int, mid: int) -> None:
        super().__init__()
        half = channels // 2
        self.depthwise1 = _linear(in_channels, in_channels, 3, 2)
        self.pointwise1 = ConvBnHardswish(in_channels, half)
        self.expand2 = ConvBnHardswish(in_channels, mid // 2)
        self.depthwise2 = _linear(mid // 2, mid // 2, 3, 2)
        self.se = SqueezeExcitation(mid // 2)
        self.pointwise2 = ConvBnHardswish(mid // 2, half)
        self.mix_depthwise = ConvBnHardswish(channels, channels, 3, 1, channels)
        self.mix_pointwise = ConvBnHardswish(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        first = self.pointwise1(self.depthwise1(x))
        second = self.pointwise2(self.se(self.depthwise2(self.expand2(x))))
        return self.mix_pointwise(self.mix_depthwise(torch.cat([first, second], dim=1)))


class ESNet(nn.Module):
    """Enhanced ShuffleNet.

    Args:
        scale: Factor of the widths 128, 256 and 512, rounded to multiples of 16.
        channel_ratio: Inner width of each of the 13 blocks over the block's width.
    """

    BLOCKS_PER_STAGE = (3, 7, 3)

    def __init__(self, scale: float, channel_ratio: Sequence[float]) -> None:
        super().__init__()
        self.stem = ConvBnHardswish(3, 24, 3, stride=2)
        self.max_pool = nn.MaxPool2d(3, 2, 1)
        self.out_channels = [round_channels(c * scale, 16) for c in (128, 256, 512)]
        ratios = iter(channel_ratio)
        in_channels = 24
        for stage, (channels, blocks) in enumerate(zip(self.out_channels, self.BLOCKS_PER_STAGE, strict=True), start=2):
            mids = [round_channels(channels * next(ratios)) for _ in range(blocks)]
            layers: list[nn.Module] = [ESDownsampleBlock(in_channels, channels, mids[0])]
            layers += [ESBlock(channels, mid) for mid in mids[1:]]
            self.add_module(f"stage{stage}", nn.Sequential(*layers))
            in_channels = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.max_pool(self.stem(x))
        features = []
        for stage in (2, 3, 4):
            x = self.get_submodule(f"stage{stage}")(x)
            features.append(x)
        return features
