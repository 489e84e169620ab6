"""Mean squared error of heatmaps, as the original's ``KeyPointMSELoss``, with online hard keypoint mining."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HeatmapLoss(nn.Module):
    """Squared error of weighted heatmaps, averaged over batch, keypoints and cells.

    Keypoints of weight 0 count in the average, as in the original.

    Args:
        scale: Factor of the loss: 1 for Lite-HRNet and TinyPose, 0.5 for HRNet.
        hardest: Average only over so many keypoints of every person, those with the greatest loss (Chen et al.,
            "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018); all of them unless given.
    """

    def __init__(self, scale: float = 1.0, hardest: int | None = None) -> None:
        super().__init__()
        if hardest is not None and hardest < 1:
            raise ValueError(f"hardest={hardest}; at least 1 keypoint is needed")
        self.scale, self.hardest = scale, hardest

    def forward(self, heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            heatmaps, targets: ``(N, K, h, w)``.
            weights: ``(N, K)``.
        """
        weights = weights[..., None, None]
        error = torch.square(weights * heatmaps - weights * targets).flatten(2).mean(dim=2)
        if self.hardest is not None and self.hardest < error.shape[1]:
            error = error.topk(self.hardest, dim=1).values
        return self.scale * error.mean()
