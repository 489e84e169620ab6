"""PicoDet: backbone, neck, head, and the decoding of its box distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tinypose_torch.models.picodet.backbones import ESNet, LCNet
from tinypose_torch.models.picodet.heads import BINS, LevelOutput, PicoDetHead
from tinypose_torch.models.picodet.necks import CSPBlock, PicoDetNeck, lc_block

STRIDES = (8, 16, 32, 64)


class DecodedBoxes(NamedTuple):
    """Predictions of all A anchor points, levels fine to coarse, rows, then columns.

    Attributes:
        scores: ``(N, A, C)`` in [0, 1].
        boxes: ``(N, A, 4)`` x1, y1, x2, y2 in pixels of the network's input.
    """

    scores: Tensor
    boxes: Tensor


class PicoDet(nn.Module):
    """PicoDet of either generation.

    Args:
        backbone: ``"lcnet"`` (2022: LC-PAN, aligned head) or ``"esnet"`` (2021: CSP-PAN, legacy head).
        scale: Width factor of the backbone.
        channels: Width of neck and head.
        num_convs: Depth of the head's towers.
        num_classes: Number C of classes.
        channel_ratio: The 13 inner widths of ESNet; not for LCNet.
    """

    def __init__(
        self,
        backbone: str,
        scale: float,
        channels: int,
        num_convs: int,
        num_classes: int = 80,
        channel_ratio: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if backbone not in ("lcnet", "esnet"):
            raise ValueError(f"unknown PicoDet backbone {backbone!r}; choose 'lcnet' or 'esnet'")
        aligned = self.aligned = backbone == "lcnet"
        self.backbone = LCNet(scale) if aligned else ESNet(scale, channel_ratio)
        self.neck = PicoDetNeck(self.backbone.out_channels, channels, lc_block if aligned else CSPBlock)
        self.head = PicoDetHead(channels, num_convs, num_classes, aligned)

    def forward(self, x: Tensor) -> list[LevelOutput]:
        """Normalised RGB images ``(N, 3, H, W)``, H and W divisible by 64 or 32, to raw predictions per level."""
        return self.head(self.neck(self.backbone(x)))

    def predict(self, x: Tensor) -> DecodedBoxes:
        """Normalised RGB images ``(N, 3, H, W)`` to scores and boxes, before non-maximum suppression."""
        return decode_levels(self(x))

    def head_prefixes(self) -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of classes."""
        return tuple(f"head.predictors.{level}.{'cls' if self.aligned else 'output'}" for level in range(len(STRIDES)))


def decode_levels(levels: Sequence[LevelOutput]) -> DecodedBoxes:
    """Scores and boxes of all levels.

    The score is the class probability in the 2021 head, and ``sqrt(class * alignment + 1e-9)`` in the 2022 one.
    """
    decoded = [
        (_level_scores(level), decode_distances(level.box_logit, stride))
        for level, stride in zip(levels, STRIDES, strict=True)
    ]
    return DecodedBoxes(
        torch.cat([scores for scores, _ in decoded], dim=1),
        torch.cat([boxes for _, boxes in decoded], dim=1),
    )


def _level_scores(level: LevelOutput) -> Tensor:
    scores = torch.sigmoid(level.cls_logit)
    if level.align_logit is not None:
        scores = torch.sqrt(scores * torch.sigmoid(level.align_logit) + 1e-9)
    return scores.flatten(2).transpose(1, 2)


def decode_distances(box_logit: Tensor, stride: int) -> Tensor:
    """Expected distances from the anchor points, as boxes (integral regression of Li et al., 2020).

    Args:
        box_logit: ``(N, 4 * BINS, h, w)``.
        stride: Input pixels per cell; anchor points are the centres of the cells.

    Returns:
        ``(N, h * w, 4)`` x1, y1, x2, y2 in input pixels.
    """
    n, _, h, w = box_logit.shape
    bins = torch.arange(BINS, device=box_logit.device, dtype=box_logit.dtype)
    probability = box_logit.view(n, 4, BINS, h * w).softmax(dim=2)
    left, top, right, bottom = (probability * bins.view(1, 1, BINS, 1)).sum(dim=2).unbind(dim=1)
    rows = torch.arange(h, device=box_logit.device, dtype=box_logit.dtype) + 0.5
    columns = torch.arange(w, device=box_logit.device, dtype=box_logit.dtype) + 0.5
    y = rows.view(h, 1).expand(h, w).reshape(-1)
    x = columns.view(1, w).expand(h, w).reshape(-1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=-1) * stride
