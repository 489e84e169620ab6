"""IoU and GIoU of boxes, and the distribution focal loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IOU_EPSILON = 1e-9
GIOU_EPSILON = 1e-10


def pairwise_iou(one: Tensor, two: Tensor) -> Tensor:
    """Intersection over union of every box of one set with every box of the other.

    Args:
        one, two: ``(..., N, 4)`` and ``(..., M, 4)`` x1, y1, x2, y2.

    Returns:
        ``(..., N, M)``.
    """
    return iou(one.unsqueeze(-2), two.unsqueeze(-3))


def iou(one: Tensor, two: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast: ``(..., 4)``."""
    overlap = _overlap(one, two)
    return overlap / (_area(one) + _area(two) - overlap + IOU_EPSILON)


def giou(one: Tensor, two: Tensor) -> Tensor:
    """Generalized intersection over union (Rezatofighi et al., CVPR 2019) of boxes that broadcast: ``(..., 4)``."""
    overlap = _overlap(one, two)
    union = _area(one) + _area(two) - overlap + GIOU_EPSILON
    sides = torch.maximum(one[..., 2:], two[..., 2:]) - torch.minimum(one[..., :2], two[..., :2])
    enclosing = sides.prod(dim=-1) + GIOU_EPSILON
    return overlap / union - (enclosing - union) / enclosing


def distribution_focal_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """Cross-entropy of the two bins beside a distance (Li et al., "Generalized Focal Loss", NeurIPS 2020).

    Args:
        logits: ``(N, bins)``.
        distances: ``(N,)`` between 0 and bins - 1.

    Returns:
        ``(N,)``.
    """
    lower = distances.floor().long()
    share = distances - lower
    below = F.cross_entropy(logits, lower, reduction="none")
    above = F.cross_entropy(logits, lower + 1, reduction="none")
    return below * (1 - share) + above * share


def _overlap(one: Tensor, two: Tensor) -> Tensor:
    sides = torch.minimum(one[..., 2:], two[..., 2:]) - torch.maximum(one[..., :2], two[..., :2])
    return sides.clamp(min=0).prod(dim=-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
