"""The distribution focal loss of box regression."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
