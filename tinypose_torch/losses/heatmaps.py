"""Mean squared error of heatmaps (PaddleDetection's ``KeyPointMSELoss``), with online hard keypoint mining."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HeatmapLoss(nn.Module):
    """Squared error of weighted heatmaps, averaged over batch, keypoints and cells.

    Keypoints of weight 0 count in the average, as in PaddleDetection.

    Args:
        scale: Factor of the loss: 1 for Lite-HRNet and TinyPose, 0.5 for HRNet.
        ohkm_topk: Average over this number of keypoints per person, those with the largest loss (Chen et al.,
            "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018); all of them unless given.
    """

    def __init__(self, scale: float = 1.0, ohkm_topk: int | None = None) -> None:
        super().__init__()
        if ohkm_topk is not None and ohkm_topk < 1:
            raise ValueError(f"ohkm_topk={ohkm_topk}; at least 1 keypoint is needed")
        self.scale, self.ohkm_topk = scale, ohkm_topk

    def forward(self, heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            heatmaps, targets: ``(N, K, h, w)``.
            weights: ``(N, K)``.
        """
        weights = weights[..., None, None]
        error = torch.square(weights * heatmaps - weights * targets).flatten(2).mean(dim=2)
        if self.ohkm_topk is not None and self.ohkm_topk < error.shape[1]:
            error = error.topk(self.ohkm_topk, dim=1).values
        return self.scale * error.mean()
