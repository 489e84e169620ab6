"""Losses of bottom-up networks: heatmaps at two resolutions, tags, and SWAHR's scales.

Cheng et al., "HigherHRNet", CVPR 2020; tags after Newell et al., "Associative Embedding", NeurIPS 2017; scales after Luo
et al., "Rethinking the Heatmap Regression for Bottom-Up Human Pose Estimation" (SWAHR), CVPR 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tinypose_torch.codecs.associative_embedding import MISSING
from tinypose_torch.models.higher_hrnet import BottomUpStages

TAG_WEIGHT = 1e-3
_MAX_SQUARED_ERROR = 2.0  # cells with a larger squared error are ignored
_SHARPNESS = 0.01  # gamma of SWAHR's weights


class AssociativeEmbeddingTargets(NamedTuple):
    """Training targets of a bottom-up network.

    Attributes:
        coarse_heatmaps, fine_heatmaps: ``(N, K, h, w)`` and twice that size.
        coarse_mask, fine_mask: ``(N, h, w)`` and twice that size, bool: where the heatmaps are learned.
        places: ``(N, P, K)`` integers: the coarse cell of each person's keypoints, `MISSING` where there is none.
    """

    coarse_heatmaps: Tensor
    fine_heatmaps: Tensor
    coarse_mask: Tensor
    fine_mask: Tensor
    places: Tensor


class AssociativeEmbeddingLoss(NamedTuple):
    """Parts of a batch's loss; the loss is their sum."""

    heatmaps: Tensor
    pull: Tensor
    push: Tensor

    @property
    def total(self) -> Tensor:
        """The sum."""
        return self.heatmaps + self.pull + self.push


def associative_embedding_loss(
    stages: BottomUpStages, targets: AssociativeEmbeddingTargets
) -> AssociativeEmbeddingLoss:
    """Loss of a batch, with SWAHR's weighting if the network predicts scales."""
    coarse = _heatmap_loss(stages.coarse_heatmaps, targets.coarse_heatmaps, targets.coarse_mask, stages.coarse_scales)
    fine = _heatmap_loss(stages.fine_heatmaps, targets.fine_heatmaps, targets.fine_mask, stages.fine_scales)
    pull, push = tag_losses(stages.tags, targets.places)
    return AssociativeEmbeddingLoss(coarse + fine, TAG_WEIGHT * pull.mean(), TAG_WEIGHT * push.mean())


def tag_losses(tags: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Pull and push losses: distance of a person's tags from their mean, and closeness of the means of different people.

    Args:
        tags: ``(N, K, h, w)``.
        places: ``(N, P, K)``; see `AssociativeEmbeddingTargets`.

    Returns:
        Pull and push, ``(N,)`` each. As in PaddleDetection, people with a single keypoint are excluded from pull's average,
        and push is half the mean over ordered pairs.
    """
    labelled = places != MISSING
    values = tags.flatten(2).gather(2, places.clamp(min=0).transpose(1, 2)).transpose(1, 2)
    counts = labelled.sum(dim=2)
    present = counts > 0
    means = (values * labelled).sum(dim=2) / counts.clamp(min=1)
    spread = (torch.square(values - means[..., None]) * labelled).sum(dim=2) / counts.clamp(min=1)
    people = present.sum(dim=1)
    pull = spread.sum(dim=1) / (people - (counts == 1).sum(dim=1)).clamp(min=1)
    pairs = present[:, :, None] & present[:, None, :]
    pairs = pairs & ~torch.eye(pairs.shape[1], dtype=torch.bool, device=pairs.device)
    near = torch.exp(-torch.square(means[:, :, None] - means[:, None, :])) * pairs
    return pull, near.sum(dim=(1, 2)) / (2 * people * (people - 1)).clamp(min=1)


def _heatmap_loss(found: Tensor, wanted: Tensor, mask: Tensor, scales: Tensor | None) -> Tensor:
    mask = mask[:, None]
    if scales is None:
        return (torch.square(found - wanted) * mask).clamp(max=_MAX_SQUARED_ERROR).mean()
    # The target's logarithm is multiplied by the scale, to second order. Cells are weighted by the network's error, with
    # separate weights for keypoints and background.
    bent = 1 + (scales - 1) * torch.log(wanted + 1e-10)
    scaled = torch.where(wanted > 0, 0.5 * wanted * (1 + torch.square(bent)), wanted)
    share = scaled**_SHARPNESS
    weights = share * (1 - found).abs() + found.abs() * (1 - share)
    near_one = torch.square((scales - 1) * (wanted > 0)).mean()
    return (torch.square(found - scaled) * mask * weights).mean() + near_one
