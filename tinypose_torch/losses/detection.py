"""Losses of PicoDet's two generations, as in PaddleDetection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tinypose_torch.geometry.boxes import giou, iou
from tinypose_torch.losses.assigners import (
    Anchors,
    Assignment,
    Targets,
    assign_atss,
    assign_simota,
    assign_task_aligned,
)
from tinypose_torch.losses.boxes import distribution_focal_loss
from tinypose_torch.losses.classification import varifocal_loss, varifocal_loss_with_logits
from tinypose_torch.models.picodet.detector import STRIDES, decode_levels
from tinypose_torch.models.picodet.heads import BINS, LevelOutput

_MAX_DISTANCE = BINS - 1 - 0.1  # strides; the largest distance that the bins represent
ATSS_EPOCHS = 100


class DetectionLoss(NamedTuple):
    """Weighted terms of the loss; the total is their sum."""

    vfl: Tensor
    bbox: Tensor
    dfl: Tensor

    @property
    def total(self) -> Tensor:
        """Sum of the parts."""
        return self.vfl + self.bbox + self.dfl


def make_anchors(levels: Sequence[LevelOutput]) -> Anchors:
    """Anchor points of raw predictions, at the centres of the cells."""
    points, strides, counts = [], [], []
    for level, stride in zip(levels, STRIDES, strict=True):
        height, width = level.box_logit.shape[-2:]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells = torch.stack([columns, rows], dim=-1).reshape(-1, 2).to(level.box_logit)
        points.append((cells + 0.5) * stride)
        strides.append(torch.full_like(cells[:, :1], float(stride)))
        counts.append(height * width)
    return Anchors(torch.cat(points), torch.cat(strides), tuple(counts))


def task_aligned_loss(
    levels: Sequence[LevelOutput], targets: Targets, use_atss: bool, nearest: int = 9
) -> DetectionLoss:
    """Loss of the 2022 generation (LCNet).

    Args:
        use_atss: Assign by ATSS, as in the first `ATSS_EPOCHS` epochs; else task-aligned.
        nearest: ATSS's candidates per level: 9 for input sizes from 320, 4 for 192.
    """
    anchors = make_anchors(levels)
    scores, boxes = decode_levels(levels)
    with torch.no_grad():
        if use_atss:
            assignment = assign_atss(targets, anchors, boxes, nearest)
        else:
            assignment = assign_task_aligned(targets, anchors, boxes, scores)
    wanted = assignment.class_scores(scores.shape[2])
    average = wanted.sum()
    average = torch.where(average > 0, average, torch.ones_like(average))
    weights = assignment.scores[assignment.positive]
    overlap, distribution = _positive_losses(levels, boxes, anchors, assignment)
    return DetectionLoss(
        varifocal_loss(scores, wanted).sum() / average,
        2.5 * (weights * overlap).sum() / average,
        0.5 * (weights[:, None] * distribution).sum() / 4 / average,
    )


def legacy_loss(levels: Sequence[LevelOutput], targets: Targets) -> DetectionLoss:
    """Loss of the 2021 generation (ESNet), assigned by SimOTA."""
    anchors = make_anchors(levels)
    scores, boxes = decode_levels(levels)
    with torch.no_grad():
        assignment = assign_simota(targets, anchors, boxes, scores)
        counted = assignment.positive.sum(dim=1).clamp(min=1).sum()
        weights = scores[assignment.positive].amax(dim=1)
        quality = iou(boxes[assignment.positive], assignment.boxes[assignment.positive])
        full = torch.zeros_like(assignment.scores)
        full[assignment.positive] = quality
        wanted = Assignment(assignment.positive, assignment.boxes, assignment.labels, full).class_scores(
            scores.shape[2]
        )
    average = weights.sum().clamp(min=1)
    logits = torch.cat([level.cls_logit.flatten(2).transpose(1, 2) for level in levels], dim=1)
    overlap, distribution = _positive_losses(levels, boxes, anchors, assignment)
    return DetectionLoss(
        varifocal_loss_with_logits(logits, wanted).sum() / counted,
        2.0 * (weights * overlap).sum() / average,
        0.25 * (weights[:, None] * distribution).sum() / 4 / average,
    )


def _positive_losses(
    levels: Sequence[LevelOutput], boxes: Tensor, anchors: Anchors, assignment: Assignment
) -> tuple[Tensor, Tensor]:
    """1 - GIoU ``(P,)`` and distribution focal losses ``(P, 4)`` of the positive anchor points, in strides."""
    positive = assignment.positive
    strides = anchors.strides.expand(len(boxes), -1, -1)[positive]
    points = anchors.points.expand(len(boxes), -1, -1)[positive] / strides
    wanted = assignment.boxes[positive] / strides
    distances = torch.cat([points - wanted[:, :2], wanted[:, 2:] - points], dim=1).clamp(0, _MAX_DISTANCE)
    logits = torch.cat([level.box_logit.flatten(2).transpose(1, 2) for level in levels], dim=1)[positive]
    distribution = distribution_focal_loss(logits.reshape(-1, BINS), distances.reshape(-1)).view(-1, 4)
    return 1 - giou(boxes[positive] / strides, wanted), distribution
