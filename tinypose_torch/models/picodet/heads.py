"""PicoDet's heads: a tower of convolutions per level, then the predictions.

Boxes are distributions over ``BINS`` distances per side, in units of the level's stride (Li et al., "Generalized
Focal Loss", NeurIPS 2020). The 2022 head adds an alignment logit (Feng et al., "TOOD", ICCV 2021).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tinypose_torch.models.layers import ConvNormAct
from tinypose_torch.models.picodet.layers import ConvBnHardswish, DepthwiseSeparable

BINS = 8


class LevelOutput(NamedTuple):
    """Raw predictions of one pyramid level.

    Attributes:
        cls_logit: ``(N, C, h, w)`` class logits.
        box_logit: ``(N, 4 * BINS, h, w)``: the bins of left, then top, right, bottom.
        align_logit: ``(N, 1, h, w)``, or ``None`` in the 2021 head.
    """

    cls_logit: Tensor
    box_logit: Tensor
    align_logit: Tensor | None


class ChannelGate(nn.Module):
    """Weigh the channels by their global average, then mix them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)
        self.conv = ConvBnHardswish(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * torch.sigmoid(self.fc(x.mean(dim=(2, 3), keepdim=True))))


class Tower(nn.Module):
    """Features of one level, before (aligned) and after (gated) the channel gate."""

    def __init__(self, channels: int, num_convs: int, gated: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(DepthwiseSeparable(channels, channels) for _ in range(num_convs)))
        self.gate = ChannelGate(channels) if gated else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.convs(x)
        return x, self.gate(x)


class AlignedPredictor(nn.Module):
    """The 2022 head of one level."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls = nn.Conv2d(channels, num_classes, 1)
        self.reg = nn.Conv2d(channels, 4 * BINS, 1)
        self.align = nn.Sequential(ConvBnHardswish(channels, 1, 5), ConvNormAct(1, 1, activation=None))

    def forward(self, tower: Tensor, gated: Tensor) -> LevelOutput:
        return LevelOutput(self.cls(gated), self.reg(gated), self.align(tower))


class LegacyPredictor(nn.Module):
    """The 2021 head of one level: classes and boxes from one convolution."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.output = nn.Conv2d(channels, num_classes + 4 * BINS, 1)

    def forward(self, tower: Tensor, gated: Tensor) -> LevelOutput:
        output = self.output(gated)
        return LevelOutput(output[:, : self.num_classes], output[:, self.num_classes :], None)


class PicoDetHead(nn.Module):
    """Predictions of every level; nothing is shared between levels.

    Args:
        aligned: The 2022 head, with channel gate and alignment branch; else the 2021 one.
    """

    def __init__(self, channels: int, num_convs: int, num_classes: int, aligned: bool, num_levels: int = 4) -> None:
        super().__init__()
        predictor = AlignedPredictor if aligned else LegacyPredictor
        self.towers = nn.ModuleList(Tower(channels, num_convs, aligned) for _ in range(num_levels))
        self.predictors = nn.ModuleList(predictor(channels, num_classes) for _ in range(num_levels))

    def forward(self, features: list[Tensor]) -> list[LevelOutput]:
        return [
            predictor(*tower(x)) for x, tower, predictor in zip(features, self.towers, self.predictors, strict=True)
        ]
