"""Detections from scored candidate boxes: score thresholds and multi-class NMS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from tinypose_torch.geometry.boxes import clip_boxes, xyxy_to_xywh

Array = np.ndarray


@dataclass(frozen=True)
class NMSConfig:
    """Options of `multiclass_nms`.

    Attributes:
        score_threshold: Candidates must score more than this.
        iou_threshold: IoU above which the lower-scoring of two boxes of a class is removed.
        candidates_per_level: Maximum number of candidates per pyramid level; ``None`` for all.
        candidates_per_class: Maximum number of candidates per class before NMS.
        max_per_class, max_detections: Maximum number of detections per class and in total; ``None`` for no limit.
        clip: Clip boxes in pixels of the network's input to the size of the image. PaddleDetection does so by mistake;
            it is kept for equal results.
    """

    score_threshold: float = 0.025
    iou_threshold: float = 0.6
    candidates_per_level: int | None = None
    candidates_per_class: int = 1000
    max_per_class: int | None = None
    max_detections: int | None = 100
    clip: bool = False

    def apply(
        self,
        scores: Array,
        boxes: Array,
        input_size: tuple[int, int],
        scale_factor: tuple[float, float],
        image_size: tuple[int, int],
        level_sizes: tuple[int, ...] = (),
    ) -> NMSResult:
        """Detections of one image.

        Args:
            scores: ``(A, C)`` in [0, 1].
            boxes: ``(A, 4)`` x1, y1, x2, y2 in pixels of the network's input.
            input_size: (height, width) of the network's input.
            scale_factor: (y, x) input pixels per image pixel.
            image_size: (height, width) of the image.
            level_sizes: Number of anchors per pyramid level.
        """
        return multiclass_nms(scores, boxes, self, scale_factor, image_size, level_sizes)


class NMSResult(NamedTuple):
    """Detections of one image.

    Attributes:
        boxes: ``(M, 4)`` x1, y1, x2, y2 in pixels of the image.
        scores: ``(M,)``.
        class_ids: ``(M,)``.
        rows: ``(M,)``: indices of the candidates.
    """

    boxes: Array
    scores: Array
    class_ids: Array
    rows: Array


# PaddleDetection's evaluation, and deployed networks with NMS inside.
GRAPH_NMS = NMSConfig()
# Score order only.
NO_NMS = NMSConfig(score_threshold=0, iou_threshold=1, max_detections=None)
# PaddleDetection's deployment of networks that were exported without post-processing.
NUMPY_NMS = NMSConfig(
    score_threshold=0.4,
    iou_threshold=0.5,
    candidates_per_level=1000,
    candidates_per_class=200,
    max_per_class=100,
    max_detections=None,
    clip=True,
)


def multiclass_nms(
    scores: Array,
    boxes: Array,
    rule: NMSConfig,
    scale_factor: tuple[float, float] = (1.0, 1.0),
    image_size: tuple[int, int] | None = None,
    level_sizes: tuple[int, ...] = (),
) -> NMSResult:
    """Apply score thresholds and per-class NMS to the candidates of one image.

    Args:
        scores: ``(A, C)`` in [0, 1].
        boxes: ``(A, 4)`` x1, y1, x2, y2 in pixels of the network's input.
        scale_factor: (y, x) input pixels per image pixel; the results are divided by it.
        image_size: (height, width), needed for ``rule.clip``.
        level_sizes: Number of anchors per pyramid level, needed for ``rule.candidates_per_level``.

    Returns:
        By class, then by falling score.
    """
    keep = _level_candidates(scores, rule, level_sizes)
    scores, boxes = scores[keep], np.asarray(boxes[keep], np.float32)
    scale = np.array([scale_factor[1], scale_factor[0]] * 2, np.float32)
    scaled = boxes if rule.clip else boxes / scale
    chosen: list[Array] = []
    classes: list[Array] = []
    for index in np.flatnonzero((scores > rule.score_threshold).any(axis=0)):
        rows = _class_nms(scores[:, index], scaled, rule)
        chosen.append(rows)
        classes.append(np.full(len(rows), index))
    rows = np.concatenate([np.zeros(0, np.int64), *chosen])
    labels = np.concatenate([np.zeros(0, np.int64), *classes])
    values = scores[rows, labels]
    if rule.max_detections is not None and len(rows) > rule.max_detections:
        best = np.sort(np.argsort(-values, kind="stable")[: rule.max_detections])
        rows, labels, values = rows[best], labels[best], values[best]
    results = scaled[rows]
    if rule.clip and image_size is not None:
        results = clip_boxes(results, image_size) / scale
    return NMSResult(results, values, labels, keep[rows])


def _level_candidates(scores: Array, rule: NMSConfig, level_sizes: tuple[int, ...]) -> Array:
    if rule.candidates_per_level is None or max(level_sizes, default=0) <= rule.candidates_per_level:
        return np.arange(len(scores))
    best = scores.max(axis=1)
    kept, start = [], 0
    for size in level_sizes:
        order = np.argsort(-best[start : start + size], kind="stable")
        kept.append(start + order[: rule.candidates_per_level])
        start += size
    return np.concatenate(kept)


def _class_nms(scores: Array, boxes: Array, rule: NMSConfig) -> Array:
    """Rows kept of one class, by descending score."""
    rows = np.flatnonzero(scores > rule.score_threshold)
    rows = rows[np.argsort(-scores[rows], kind="stable")[: rule.candidates_per_class]]
    if len(rows) < 2:
        return rows[: rule.max_per_class]
    # OpenCV's NMS gives torchvision's results; importing torchvision takes longer than importing torch.
    xywh = xyxy_to_xywh(boxes[rows].astype(np.float64))
    kept = cv2.dnn.NMSBoxes(xywh, scores[rows], 0.0, rule.iou_threshold)  # type: ignore[arg-type]
    return rows[np.asarray(kept, np.int64).reshape(-1)][: rule.max_per_class]
