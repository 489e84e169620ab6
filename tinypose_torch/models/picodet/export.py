"""PicoDet's decoding in exported files."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.picodet.detector import STRIDES
from tinypose_torch.models.picodet.heads import BINS, LevelOutput


class BoxDecoding(nn.Module):
    """Raw predictions per level to scores ``(N, A, C)`` and boxes ``(N, A, 4)``.

    The same as `tinypose_torch.models.picodet.decode_levels` for a fixed input size, in the layout in which backends
    hold their values: channels last, so that nothing but the reshapes of a single partition is left.
    """

    bins: Tensor

    def __init__(self, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).view(1, BINS))
        for stride in STRIDES:
            height, width = (-(-size // stride) for size in input_size)
            y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
            centres = torch.stack([x, y, x, y], dim=-1).reshape(1, height * width, 4) * stride
            self.register_buffer(f"centres{stride}", centres)
            self.register_buffer(f"signs{stride}", torch.tensor([-1.0, -1.0, 1.0, 1.0]) * stride)

    def forward(self, levels: list[LevelOutput]) -> tuple[Tensor, Tensor]:
        scores, boxes = [], []
        for level, stride in zip(levels, STRIDES, strict=True):
            n, _, h, w = level.cls_logit.shape
            score = torch.sigmoid(level.cls_logit)
            if level.align_logit is not None:
                score = torch.sqrt(score * torch.sigmoid(level.align_logit) + 1e-9)
            scores.append(score.permute(0, 2, 3, 1).reshape(n, h * w, -1))
            distribution = level.box_logit.permute(0, 2, 3, 1).reshape(n, h * w * 4, BINS).softmax(dim=-1)
            distances = F.linear(distribution, self.bins).reshape(n, h * w, 4)
            boxes.append(distances * self.get_buffer(f"signs{stride}") + self.get_buffer(f"centres{stride}"))
        return torch.cat(scores, dim=1), torch.cat(boxes, dim=1)
