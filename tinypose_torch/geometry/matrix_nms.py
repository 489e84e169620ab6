"""Matrix NMS: scores decay with overlap instead of boxes being removed.

Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinypose_torch.geometry.nms import NMSResult

Array = np.ndarray
_BLOCK = 256  # candidates per step, which limits memory


@dataclass(frozen=True)
class MatrixNMSConfig:
    """Options of matrix NMS.

    Attributes:
        score_threshold: Candidates must score more than this,
        post_threshold: and more than this after they lost score.
        candidates_per_class: Best candidates of each class that take part; ``None`` for all.
        max_detections: Limit of what remains; ``None`` for none.
        gaussian_sigma: Lose score by a Gaussian of the overlap, ``exp(sigma * (m^2 - iou^2))``; ``None``: linearly.
        pixel_boxes: Boxes reach to the end of their last pixel, so that they are 1 larger than the difference of
            their corners.
    """

    score_threshold: float = 0.01
    post_threshold: float = 0.01
    candidates_per_class: int | None = None
    max_detections: int | None = 100
    gaussian_sigma: float | None = None
    pixel_boxes: bool = True


def matrix_nms(scores: Array, boxes: Array, rule: MatrixNMSConfig) -> NMSResult:
    """Apply matrix NMS to the candidates of one image.

    Args:
        scores: ``(A, C)`` in [0, 1].
        boxes: ``(A, 4)`` x1, y1, x2, y2 in pixels of the image.

    Returns:
        Detections by descending score.
    """
    rows, labels, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for index in np.flatnonzero((scores > rule.score_threshold).any(axis=0)):
        candidates = np.flatnonzero(scores[:, index] > rule.score_threshold)
        order = np.argsort(-scores[candidates, index], kind="stable")[: rule.candidates_per_class]
        candidates = candidates[order]
        lowered = scores[candidates, index] * _decay(boxes[candidates], rule)
        kept = lowered > rule.post_threshold
        rows.append(candidates[kept])
        labels.append(np.full(int(kept.sum()), index))
        values.append(lowered[kept])
    found, kinds, lowered = np.concatenate(rows), np.concatenate(labels), np.concatenate(values)
    best = np.argsort(-lowered, kind="stable")[: rule.max_detections]
    return NMSResult(np.asarray(boxes[found[best]], np.float32), lowered[best], kinds[best], found[best])


def in_image(boxes: Array, input_size: tuple[int, int], scale_factor: tuple[float, float]) -> Array:
    """Boxes in pixels of the network's input, as boxes inside the image.

    PaddleDetection computes the image's size in single precision and cuts off its fraction, which sometimes makes it one
    pixel less than it is.

    Args:
        boxes: ``(A, 4)``.
        input_size: (height, width).
        scale_factor: (y, x) input pixels per image pixel.
    """
    sizes = [int(np.float32(size) / np.float32(scale)) for size, scale in zip(input_size, scale_factor, strict=True)]
    height, width = sizes
    factors = np.array([width / input_size[1], height / input_size[0]] * 2, np.float32)
    limits = np.array([width - 1, height - 1] * 2, np.float32)
    return np.clip(np.asarray(boxes, np.float32) * factors, 0, limits)


def _decay(boxes: Array, rule: MatrixNMSConfig) -> Array:
    """Factors ``(A,)`` by which the scores of one class's candidates decay, candidates by descending score."""
    blocks = range(0, len(boxes), _BLOCK)
    max_overlaps = np.concatenate(
        [_overlap_with_betters(boxes, start, rule).max(axis=0, initial=0) for start in blocks]
    )
    return np.concatenate([_decay_of_block(boxes, start, max_overlaps, rule) for start in blocks])


def _decay_of_block(boxes: Array, start: int, max_overlaps: Array, rule: MatrixNMSConfig) -> Array:
    """Decay factors of a block of candidates."""
    overlap = _overlap_with_betters(boxes, start, rule)
    betters = max_overlaps[: len(overlap), None]
    if rule.gaussian_sigma is None:
        factors = (1 - overlap) / (1 - betters).clip(1e-12)
    else:
        factors = np.exp(rule.gaussian_sigma * (betters**2 - overlap**2))
    is_better = np.arange(len(overlap))[:, None] < np.arange(start, start + overlap.shape[1])
    return np.where(is_better, factors, 1).min(axis=0, initial=1).astype(np.float32)


def _overlap_with_betters(boxes: Array, start: int, rule: MatrixNMSConfig) -> Array:
    """IoU of a block of candidates (columns) with all candidates before its end (rows); 0 where the row's score is not higher."""
    end = min(start + _BLOCK, len(boxes))
    overlap = _pairwise_overlap(boxes[:end], boxes[start:end], 1 if rule.pixel_boxes else 0)
    return np.triu(overlap, k=1 - start)


def _pairwise_overlap(one: Array, two: Array, extra: int) -> Array:
    """IoU ``(N, M)``; 0 for boxes that do not touch."""
    sides = np.minimum(one[:, None, 2:], two[None, :, 2:]) - np.maximum(one[:, None, :2], two[None, :, :2])
    shared = np.where((sides >= 0).all(axis=2), (sides + extra).prod(axis=2), 0)
    areas = [(boxes[:, 2:] - boxes[:, :2] + extra).prod(axis=1) for boxes in (one, two)]
    return shared / (areas[0][:, None] + areas[1] - shared).clip(1e-12)
