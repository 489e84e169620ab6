"""Varifocal loss (Zhang et al., "VarifocalNet", CVPR 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ALPHA = 0.75
GAMMA = 2.0


def varifocal_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Weighted binary cross-entropy, element by element: ``target`` weighs positives, ``0.75 p^2`` negatives.

    The weight of negatives is part of the gradient, as in PaddleDetection.

    Args:
        probabilities: In [0, 1].
        targets: The same shape; 0 for negatives.
    """
    weights = _weights(probabilities, targets)
    return F.binary_cross_entropy(probabilities, targets, reduction="none") * weights


def varifocal_loss_with_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """`varifocal_loss` of ``sigmoid(logits)``."""
    weights = _weights(logits.sigmoid(), targets)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights


def _weights(probabilities: Tensor, targets: Tensor) -> Tensor:
    positive = (targets > 0).to(probabilities.dtype)
    return targets * positive + ALPHA * probabilities.pow(GAMMA) * (1 - positive)
