"""Arithmetic of boxes x1, y1, x2, y2: area, intersection over union, conversion, clipping. For NumPy arrays and torch tensors.

Functions take arrays or tensors ``(..., 4)`` whose leading dimensions broadcast, and return the kind that they got.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Boxes = TypeVar("Boxes", np.ndarray, Tensor)
else:
    Boxes = TypeVar("Boxes")

Array = np.ndarray
IOU_EPSILON = 1e-9
GIOU_EPSILON = 1e-10


def box_area(boxes: Boxes, last_pixel: float = 0) -> Boxes:
    """Areas ``(...)``; 0 for boxes whose corners are swapped.

    Args:
        last_pixel: Added to width and height: 1 for boxes that include the pixels of both corners.
    """
    return (boxes[..., 2:] - boxes[..., :2] + last_pixel).clip(min=0).prod(-1)


def overlap_sizes(one: Boxes, two: Boxes) -> Boxes:
    """Width and height ``(..., 2)`` of the intersections; negative by the distance of boxes that do not overlap."""
    library = _library(one)
    return library.minimum(one[..., 2:], two[..., 2:]) - library.maximum(one[..., :2], two[..., :2])


def iou(one: Boxes, two: Boxes, last_pixel: float = 0, epsilon: float = IOU_EPSILON) -> Boxes:
    """Intersection over union ``(...)`` of boxes that broadcast.

    Args:
        last_pixel: See `box_area`.
        epsilon: Added to the union.
    """
    overlap = (overlap_sizes(one, two) + last_pixel).clip(min=0).prod(-1)
    return overlap / (box_area(one, last_pixel) + box_area(two, last_pixel) - overlap + epsilon)


def pairwise_iou(one: Boxes, two: Boxes, last_pixel: float = 0, epsilon: float = IOU_EPSILON) -> Boxes:
    """Intersection over union of every box of one set with every box of the other.

    Args:
        one, two: ``(..., N, 4)`` and ``(..., M, 4)``.
        last_pixel, epsilon: See `iou`.

    Returns:
        ``(..., N, M)``.
    """
    return iou(one[..., :, None, :], two[..., None, :, :], last_pixel, epsilon)


def giou(one: Boxes, two: Boxes) -> Boxes:
    """Generalized intersection over union (Rezatofighi et al., CVPR 2019) ``(...)`` of boxes that broadcast."""
    library = _library(one)
    overlap = overlap_sizes(one, two).clip(min=0).prod(-1)
    union = box_area(one) + box_area(two) - overlap + GIOU_EPSILON
    sides = library.maximum(one[..., 2:], two[..., 2:]) - library.minimum(one[..., :2], two[..., :2])
    enclosing = sides.prod(-1) + GIOU_EPSILON
    return overlap / union - (enclosing - union) / enclosing


def box_centers(boxes: Boxes) -> Boxes:
    """Centres ``(..., 2)``."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """Boxes from left, top, width and height, COCO's form."""
    return _library(boxes).concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def xyxy_to_xywh(boxes: Boxes) -> Boxes:
    """Left, top, width and height, COCO's form."""
    return _library(boxes).concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)


def clip_boxes(boxes: Array, size: tuple[float, float]) -> Array:
    """Boxes clipped to an image of (height, width)."""
    return np.clip(boxes, 0, np.array([size[1], size[0]] * 2, np.float32))


def expand_boxes(boxes: Boxes, margin: Boxes | float) -> Boxes:
    """Boxes with a margin on every side: one number, or ``(..., 1)``."""
    return _library(boxes).concatenate([boxes[..., :2] - margin, boxes[..., 2:] + margin], -1)


def boxes_of_points(points: Array, found: Array) -> Array:
    """Extents ``(N, 4)`` of those points that were found; infinite, corners swapped, where none was.

    Args:
        points: ``(N, K, 2)`` x, y.
        found: ``(N, K)`` bool.
    """
    low = np.where(found[..., None], points, np.inf).min(axis=1, initial=np.inf)
    high = np.where(found[..., None], points, -np.inf).max(axis=1, initial=-np.inf)
    return np.concatenate([low, high], axis=1)


def _library(boxes: Any) -> Any:
    """NumPy or torch, by the kind of the boxes. Arrays do not wait for torch to be imported."""
    if isinstance(boxes, np.ndarray):
        return np
    import torch

    return torch
