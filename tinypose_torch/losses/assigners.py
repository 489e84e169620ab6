"""Label assigners: SimOTA, ATSS and task-aligned assignment, batched.

Boxes of the images of a batch are padded to the same number, at least 1; a mask says which are valid. B images, A anchor
points over all levels (fine to coarse, rows, then columns), G boxes, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tinypose_torch.geometry.boxes import box_centers, giou, pairwise_iou
from tinypose_torch.losses.classification import varifocal_loss

_INSIDE = 1e-9
_FORBIDDEN = 1e8


@dataclass(frozen=True)
class Targets:
    """Ground-truth boxes of a batch.

    Attributes:
        boxes: ``(B, G, 4)`` x1, y1, x2, y2, pixels of the network's input.
        labels: ``(B, G)``.
        valid: ``(B, G)`` bool, false where the boxes are padding.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Anchors:
    """Anchor points.

    Attributes:
        points: ``(A, 2)`` x, y in pixels: centres of the cells.
        strides: ``(A, 1)`` pixels.
        per_level: Their number on every level.
    """

    points: Tensor
    strides: Tensor
    per_level: tuple[int, ...]


@dataclass(frozen=True)
class Assignment:
    """Targets of every anchor point.

    Attributes:
        positive: ``(B, A)`` bool.
        boxes: ``(B, A, 4)`` pixels, meaningful where positive.
        labels: ``(B, A)``, meaningful where positive.
        scores: ``(B, A)`` quality to predict, 0 where not positive; SimOTA's are all 1.
    """

    positive: Tensor
    boxes: Tensor
    labels: Tensor
    scores: Tensor

    def class_scores(self, num_classes: int) -> Tensor:
        """Class targets ``(B, A, C)``: the score in the label's column."""
        columns = F.one_hot(self.labels.clamp(min=0), num_classes).to(self.scores.dtype)
        return columns * self.scores[..., None]


def assign_atss(
    targets: Targets, anchors: Anchors, predicted: Tensor, nearest: int = 9, anchor_size: float = 5.0
) -> Assignment:
    """Adaptive training sample selection (Zhang et al., CVPR 2020) with square anchors.

    Args:
        predicted: ``(B, A, 4)`` pixels; their overlap is the score.
        nearest: Candidates per box and level.
        anchor_size: Side of the anchors in strides.
    """
    half = anchors.strides * (anchor_size / 2)
    squares = torch.cat([anchors.points - half, anchors.points + half], dim=1)
    overlaps = pairwise_iou(targets.boxes, squares)
    centers = box_centers(targets.boxes)
    distances = (centers[:, :, None] - anchors.points).norm(dim=-1)
    candidates = _nearest(distances, anchors.per_level, nearest)
    chosen = overlaps.gather(2, candidates)
    threshold = chosen.mean(dim=2, keepdim=True) + chosen.std(dim=2, keepdim=True)
    is_candidate = torch.zeros_like(overlaps, dtype=torch.bool).scatter_(2, candidates, True)
    matches = is_candidate & (overlaps > threshold) & _inside(targets.boxes, anchors.points) & targets.valid[..., None]
    matches = _one_box_each(matches, overlaps)
    scores = (pairwise_iou(targets.boxes, predicted) * matches).amax(dim=1)
    return _collect(matches, targets, scores)


def assign_task_aligned(
    targets: Targets,
    anchors: Anchors,
    predicted: Tensor,
    class_scores: Tensor,
    top: int = 13,
    alpha: float = 1.0,
    beta: float = 6.0,
) -> Assignment:
    """Task-aligned assignment (Feng et al., "TOOD", ICCV 2021): by score^alpha * overlap^beta.

    Args:
        predicted: ``(B, A, 4)`` pixels.
        class_scores: ``(B, A, C)`` in [0, 1].
        top: Anchor points per box.
    """
    overlaps = pairwise_iou(targets.boxes, predicted)
    labels = targets.labels[..., None].expand(-1, -1, predicted.shape[1])
    own_scores = class_scores.transpose(1, 2).gather(1, labels)
    metric = own_scores.pow(alpha) * overlaps.pow(beta)
    inside = _inside(targets.boxes, anchors.points) & targets.valid[..., None]
    best = (metric * inside).topk(min(top, metric.shape[2]), dim=2).indices
    matches = torch.zeros_like(inside).scatter_(2, best, True) & inside
    matches = _one_box_each(matches, overlaps)
    metric = metric * matches
    greatest = metric.amax(dim=2, keepdim=True)
    normalised = metric / (greatest + _INSIDE) * (overlaps * matches).amax(dim=2, keepdim=True)
    return _collect(matches, targets, normalised.amax(dim=1))


def assign_simota(
    targets: Targets,
    anchors: Anchors,
    predicted: Tensor,
    class_scores: Tensor,
    top: int = 10,
    radius: float = 2.5,
    overlap_weight: float = 6.0,
) -> Assignment:
    """Simplified optimal transport (Ge et al., "YOLOX", 2021), with PicoDet's cost.

    Args:
        predicted: ``(B, A, 4)`` pixels.
        class_scores: ``(B, A, C)`` in [0, 1].
        top: Most anchor points per box; how many is the sum of its ``top`` greatest overlaps.
        radius: Of the region around a box's centre, strides.
    """
    inside = _inside(targets.boxes, anchors.points, 0.0) & targets.valid[..., None]
    centers = box_centers(targets.boxes)
    reach = anchors.strides * radius
    central = ((anchors.points - centers[:, :, None]).abs() < reach).all(dim=-1) & targets.valid[..., None]
    candidate = (inside | central).any(dim=1, keepdim=True) & targets.valid[..., None]
    overlaps = pairwise_iou(targets.boxes, predicted) * candidate
    cost = (
        _classification_cost(targets, overlaps, class_scores)
        + overlap_weight * (1 - giou(targets.boxes[:, :, None], predicted[:, None]))
        + _FORBIDDEN * ~(inside & central)
    )
    cost = cost.masked_fill(~candidate, torch.inf)
    most = min(top, cost.shape[2])
    count = overlaps.topk(most, dim=2).values.sum(dim=2).int().clamp(min=1)
    cheapest = cost.topk(most, dim=2, largest=False)
    wanted = torch.arange(most, device=cost.device) < count[..., None]
    matches = torch.zeros_like(candidate).scatter_(2, cheapest.indices, wanted & cheapest.values.isfinite())
    matches = _one_box_each(matches, -cost, among_matches=True)
    return _collect(matches, targets, matches.any(dim=1).to(predicted.dtype))


def _classification_cost(targets: Targets, overlaps: Tensor, class_scores: Tensor) -> Tensor:
    """``(B, G, A)``: varifocal loss of each anchor point's scores against its IoU with the box."""
    negatives = varifocal_loss(class_scores, torch.zeros_like(class_scores))
    labels = targets.labels[..., None].expand(-1, -1, class_scores.shape[1])
    own = class_scores.transpose(1, 2).gather(1, labels)
    own_negative = negatives.transpose(1, 2).gather(1, labels)
    return negatives.sum(dim=2)[:, None] - own_negative + varifocal_loss(own, overlaps)


def _nearest(distances: Tensor, per_level: Sequence[int], count: int) -> Tensor:
    """Indices of the ``count`` nearest anchor points of every level: ``(B, G, candidates)``."""
    found, start = [], 0
    for part in distances.split(list(per_level), dim=2):
        found.append(part.topk(min(count, part.shape[2]), dim=2, largest=False).indices + start)
        start += part.shape[2]
    return torch.cat(found, dim=2)


def _inside(boxes: Tensor, points: Tensor, margin: float = _INSIDE) -> Tensor:
    """``(B, G, A)``: whether a point lies strictly inside a box."""
    sides = torch.cat([points - boxes[:, :, None, :2], boxes[:, :, None, 2:] - points], dim=-1)
    return sides.amin(dim=-1) > margin


def _one_box_each(matches: Tensor, preference: Tensor, among_matches: bool = False) -> Tensor:
    """Resolve anchor points matched by several boxes to the box of highest preference.

    Args:
        among_matches: Only boxes that matched can be chosen; else any box of the image, as PaddleDetection does.
    """
    if among_matches:
        preference = preference.masked_fill(~matches, -torch.inf)
    several = matches.sum(dim=1, keepdim=True) > 1
    best = torch.zeros_like(matches).scatter_(1, preference.argmax(dim=1, keepdim=True), True)
    return torch.where(several, best, matches)


def _collect(matches: Tensor, targets: Targets, scores: Tensor) -> Assignment:
    which = matches.to(torch.uint8).argmax(dim=1)
    boxes = targets.boxes.gather(1, which[..., None].expand(-1, -1, 4))
    return Assignment(matches.any(dim=1), boxes, targets.labels.gather(1, which), scores)
