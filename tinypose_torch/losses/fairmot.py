"""Losses of FairMOT: objects as points, identities as classes.

Zhang et al., "FairMOT", IJCV 2021; Zhou et al., "Objects as Points", 2019; the heatmap's after Law and Deng, "CornerNet",
ECCV 2018; the weights of the two tasks after Kendall et al., "Multi-Task Learning Using Uncertainty", CVPR 2018.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tinypose_torch.models.fairmot import STRIDE, FairMOT, FairMOTMaps, at_cells

UNKNOWN_ID = -1  # identity of objects without an annotated one
_MIN_OVERLAP = 0.7  # IoU of a box whose corners are off by the heatmap's radius
_PROBABILITY_EPSILON = 1e-4  # probabilities are clamped to [epsilon, 1 - epsilon]
_SIZE_WEIGHT = 0.1


class PointTargets(NamedTuple):
    """Training targets, at most G objects per image.

    Attributes:
        heatmap: ``(N, 1, h, w)``, 1 at centres and falling around them.
        cells: ``(N, G)``: the centres' cells, ``row * w + column``.
        sizes: ``(N, G, 4)``: distances to left, top, right and bottom, cells.
        offsets: ``(N, G, 2)``: x, y of the centre from the cell's corner, cells.
        identities: ``(N, G)``, or `UNKNOWN_ID`.
        valid: ``(N, G)`` bool, false where there is no object.
    """

    heatmap: Tensor
    cells: Tensor
    sizes: Tensor
    offsets: Tensor
    identities: Tensor
    valid: Tensor


class FairMOTLoss(NamedTuple):
    """Terms of the loss; ``total`` is minimised."""

    heatmap: Tensor
    size: Tensor
    offset: Tensor
    detection: Tensor
    appearance: Tensor
    total: Tensor


def point_targets(boxes: Tensor, identities: Tensor, valid: Tensor, size: tuple[int, int]) -> PointTargets:
    """Encode the targets of a batch.

    Args:
        boxes: ``(N, G, 4)`` x1, y1, x2, y2, input pixels.
        identities: ``(N, G)``, from 0; `UNKNOWN_ID` where it is not known.
        valid: ``(N, G)`` bool, false where the boxes are padding.
        size: (height, width) of the input.
    """
    height, width = size[0] // STRIDE, size[1] // STRIDE
    boxes = boxes / STRIDE
    limits = boxes.new_tensor([width - 1, height - 1])
    centres = ((boxes[..., :2] + boxes[..., 2:]) / 2).clamp(min=torch.zeros_like(limits), max=limits)
    corners = centres.floor()
    valid = valid & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    sizes = torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], dim=-1)
    heatmap = boxes.new_zeros(len(boxes), 1, height, width)
    for image, row in valid.nonzero().tolist():
        sides = (boxes[image, row, 2:] - boxes[image, row, :2]).ceil().tolist()
        _draw_peak(heatmap[image, 0], corners[image, row].int().tolist(), _radius(*sides))
    mask = valid.unsqueeze(-1)
    return PointTargets(
        heatmap,
        torch.where(valid, corners[..., 1] * width + corners[..., 0], 0).long(),
        sizes * mask,
        (centres - corners) * mask,
        torch.where(valid, identities, 0),
        valid,
    )


def fairmot_loss(network: FairMOT, maps: FairMOTMaps, targets: PointTargets) -> FairMOTLoss:
    """Loss of the network's output maps."""
    found = {name: at_cells(getattr(maps, name), targets.cells) for name in ("size", "offset", "appearance")}
    heatmap = _point_focal_loss(maps.heatmap, targets.heatmap)
    size = _mean_distance(found["size"], targets.sizes, targets.valid)
    offset = _mean_distance(found["offset"], targets.offsets, targets.valid)
    detection = heatmap + _SIZE_WEIGHT * size + offset
    known = targets.valid & (targets.identities != UNKNOWN_ID)
    scale = math.sqrt(2) * math.log(network.classifier.out_features - 1)
    embeddings = scale * F.normalize(found["appearance"][known], dim=1)
    scores = network.classifier(embeddings)
    appearance = F.cross_entropy(scores, targets.identities[known], reduction="sum") / known.sum().clamp(min=1)
    a, b = network.detection_weight, network.appearance_weight
    total = 0.5 * (torch.exp(-a) * detection + torch.exp(-b) * appearance + a + b)
    return FairMOTLoss(heatmap, size, offset, detection, appearance, total.squeeze())


def _point_focal_loss(heatmap: Tensor, wanted: Tensor) -> Tensor:
    probability = heatmap.clamp(_PROBABILITY_EPSILON, 1 - _PROBABILITY_EPSILON)
    centre = (wanted == 1).to(heatmap)
    hits = (centre * (1 - probability) ** 2 * probability.log()).sum()
    misses = ((1 - centre) * (1 - wanted) ** 4 * probability**2 * (1 - probability).log()).sum()
    return -(hits + misses) / centre.sum().clamp(min=1)


def _mean_distance(found: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference over the numbers of valid objects."""
    mask = valid.unsqueeze(-1).expand_as(found).to(found)
    return (found * mask - wanted * mask).abs().sum() / (mask.sum() + 1e-4)


def _radius(width: float, height: float) -> int:
    """Radius of the Gaussian, in cells, by CornerNet's rule: boxes whose corners are off by it keep the minimum IoU."""
    roots = []
    total, area = width + height, width * height
    share = _MIN_OVERLAP
    for a, b, c in (  # both corners outward on one side, inward, outward
        (1.0, total, area * (1 - share) / (1 + share)),
        (4.0, 2 * total, (1 - share) * area),
        (4 * share, -2 * share * total, (share - 1) * area),
    ):
        roots.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    return max(0, int(min(roots)))


def _draw_peak(heatmap: Tensor, centre: list[int], radius: int) -> None:
    """Draw a Gaussian around a cell ``[column, row]``, keeping the maximum."""
    height, width = heatmap.shape
    sigma = (2 * radius + 1) / 6
    reach = torch.arange(-radius, radius + 1, device=heatmap.device, dtype=torch.float64)
    row = torch.exp(-(reach**2) / (2 * sigma**2))
    peak = torch.outer(row, row)
    peak[peak < torch.finfo(torch.float64).eps * peak.max()] = 0
    left, top = min(centre[0], radius), min(centre[1], radius)
    right, bottom = min(width - centre[0], radius + 1), min(height - centre[1], radius + 1)
    region = heatmap[centre[1] - top : centre[1] + bottom, centre[0] - left : centre[0] + right]
    inside = peak[radius - top : radius + bottom, radius - left : radius + right].to(heatmap)
    torch.maximum(region, inside, out=region)
