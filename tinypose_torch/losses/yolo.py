"""Loss of PP-YOLOv2: YOLOv3's (Redmon and Farhadi, arXiv 1804.02767, 2018), with IoU and IoU-aware terms.

The terms follow Long et al., "PP-YOLO", arXiv 2007.12099, 2020, as PaddleDetection trains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tinypose_torch.geometry.boxes import iou, pairwise_iou
from tinypose_torch.losses.assigners import Targets
from tinypose_torch.models.ppyolov2 import ANCHORS, CENTRE_SCALE, PER_CELL, STRIDES, level_boxes, split_level

_IGNORE_IOU = 0.7  # IoU above which an unmatched prediction is ignored by the objectness loss
_IOU_WEIGHT = 2.5


class YoloLoss(NamedTuple):
    """Weighted terms of the loss; the total is their sum."""

    xy: Tensor
    wh: Tensor
    iou: Tensor
    iou_aware: Tensor
    obj: Tensor
    cls: Tensor

    @property
    def total(self) -> Tensor:
        """Sum of the parts."""
        return torch.stack(self).sum()


class LevelTargets(NamedTuple):
    """Training targets of a level, ``(N, 3, ..., h, w)``.

    Attributes:
        boxes: ``(N, 3, 4, h, w)``: centre x, y from the cell's corner, cells; log of width and height over the anchor's.
        weights: ``(N, 3, h, w)``: 2 minus the box's share of the image; small boxes count more. 0 where there is none.
        objects: ``(N, 3, h, w)``: 1 where there is one, or its share.
        classes: ``(N, 3, C, h, w)``: one of them 1.
    """

    boxes: Tensor
    weights: Tensor
    objects: Tensor
    classes: Tensor


def assign_to_anchors(
    targets: Targets, size: tuple[int, int], num_classes: int, shares: Tensor | None = None
) -> list[LevelTargets]:
    """Assign each box to the anchor of all levels with the highest shape IoU, in the cell of its centre.

    Args:
        targets: Boxes in input pixels.
        size: (height, width) of the input.
        shares: ``(B, G)``: how much of each box there is, where images are mixtures of two; 1 unless given.
    """
    height, width = size
    anchors = torch.tensor(ANCHORS).flatten(0, 1).to(targets.boxes)
    empty = [
        torch.zeros(len(targets.boxes), PER_CELL, 6 + num_classes, height // stride, width // stride)
        for stride in STRIDES
    ]
    for image, row in targets.valid.nonzero().tolist():
        x1, y1, x2, y2 = targets.boxes[image, row].tolist()
        sides = targets.boxes.new_tensor([x2 - x1, y2 - y1])
        # IoU of the shapes alone, as if all boxes had one centre.
        shared = torch.minimum(sides, anchors).prod(dim=1)
        best = int((shared / (sides.prod() + anchors.prod(dim=1) - shared)).argmax())
        level, anchor = divmod(best, PER_CELL)
        stride = STRIDES[level]
        x, y = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
        maps = empty[level][image, anchor]
        if not (0 <= y < maps.shape[1] and 0 <= x < maps.shape[2]):
            continue
        cell = maps[:, int(y), int(x)]
        logs = (sides / anchors[best]).log().tolist()
        area = float(sides.prod()) / (height * width)
        share = 1.0 if shares is None else float(shares[image, row])
        cell[:6] = cell.new_tensor([x - int(x), y - int(y), *logs, 2 - area, share])
        cell[6:] = 0
        cell[6 + int(targets.labels[image, row])] = 1
    moved = [maps.to(targets.boxes) for maps in empty]
    return [LevelTargets(maps[:, :, :4], maps[:, :, 4], maps[:, :, 5], maps[:, :, 6:]) for maps in moved]


def yolo_loss(levels: Sequence[Tensor], targets: Targets, wanted: Sequence[LevelTargets]) -> YoloLoss:
    """Loss of raw predictions.

    Args:
        levels: What `PPYOLOv2` gives.
        targets: All boxes, input pixels.
        wanted: What `assign_to_anchors` made of them.
    """
    parts = [
        _level_loss(raw, level, targets, goal) for level, (raw, goal) in enumerate(zip(levels, wanted, strict=True))
    ]
    return YoloLoss(*(torch.stack(terms).sum() for terms in zip(*parts, strict=True)))


def _level_loss(raw: Tensor, level: int, targets: Targets, wanted: LevelTargets) -> YoloLoss:
    """Terms of a level, summed over each image and averaged over images."""
    iou_logits, prediction = split_level(raw)
    slack = 0.5 * (CENTRE_SCALE - 1)
    centres = prediction[:, :, :2].sigmoid() * CENTRE_SCALE - slack
    boxes = level_boxes(prediction, level)
    overlap = iou(boxes, _wanted_boxes(wanted.boxes, level))
    with torch.no_grad():
        free = _overlaps_none(boxes, targets)
    objects, weights = wanted.objects, wanted.weights * wanted.objects
    objectness_loss = F.binary_cross_entropy_with_logits(prediction[:, :, 4], (objects > 0).to(raw), reduction="none")
    objectness_weights = torch.where(objects > 0, objects, free.to(raw))
    kinds = F.binary_cross_entropy_with_logits(prediction[:, :, 5:], wanted.classes, reduction="none").sum(dim=2)
    quality = F.binary_cross_entropy_with_logits(iou_logits, overlap.detach(), reduction="none")
    return YoloLoss(
        _per_image(weights * (centres - wanted.boxes[:, :, :2]).abs().sum(dim=2)),
        _per_image(weights * (prediction[:, :, 2:4] - wanted.boxes[:, :, 2:]).abs().sum(dim=2)),
        _per_image(weights * _IOU_WEIGHT * (1 - overlap**2)),
        _per_image(objects * quality),
        _per_image(objectness_weights * objectness_loss),
        _per_image(objects * kinds),
    )


def _per_image(terms: Tensor) -> Tensor:
    return terms.flatten(1).sum(dim=1).mean()


def _wanted_boxes(boxes: Tensor, level: int) -> Tensor:
    """`LevelTargets.boxes` as x1, y1, x2, y2 in input pixels, ``(N, 3, h, w, 4)``."""
    h, w = boxes.shape[-2:]
    rows, columns = torch.arange(h).view(-1, 1).to(boxes), torch.arange(w).to(boxes)
    anchors = torch.tensor(ANCHORS[level]).view(PER_CELL, 2, 1, 1).to(boxes)
    x, y = (boxes[:, :, 0] + columns) * STRIDES[level], (boxes[:, :, 1] + rows) * STRIDES[level]
    half = boxes[:, :, 2:].exp() * anchors / 2
    return torch.stack([x - half[:, :, 0], y - half[:, :, 1], x + half[:, :, 0], y + half[:, :, 1]], dim=-1)


def _overlaps_none(boxes: Tensor, targets: Targets) -> Tensor:
    """``(N, 3, h, w)``: whether a predicted box overlaps no object by more than `_IGNORE_IOU`."""
    n = len(boxes)
    best = torch.stack(
        [
            pairwise_iou(found.reshape(-1, 4), true[valid]).amax(dim=1)
            if valid.any()
            else found.new_zeros(found[..., 0].numel())
            for found, true, valid in zip(boxes, targets.boxes, targets.valid, strict=True)
        ]
    )
    return (best <= _IGNORE_IOU).view(n, *boxes.shape[1:-1])
