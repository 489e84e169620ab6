"""COCO keypoint accuracy of top-down results, as PaddleDetection evaluates them.

Needs pycocotools, which the `train` extra brings.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinypose_torch.evaluation.truth import Truth, import_pycocotools, read_truth
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.utils.defaults import VISIBLE

Array = np.ndarray
NMS_THRESHOLD = 0.9
STATISTICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")


@dataclass(frozen=True)
class KeypointPrediction:
    """Predicted keypoints of one person in one image.

    Attributes:
        keypoints: ``(K, 3)`` x, y, score.
        box_score: Of the detection; 1 for annotated boxes.
        area: Area of the network's crop, square pixels; the scale of OKS-NMS.
        annotation_id: Of the annotated box; ``None`` for a detected one.
    """

    image_id: int
    keypoints: Array
    box_score: float
    area: float
    annotation_id: int | None = None


def rescore(prediction: KeypointPrediction, visible: float = VISIBLE) -> float:
    """Person score: box score times the mean of the keypoint scores above a threshold; 0 without such keypoints."""
    scores = prediction.keypoints[:, 2]
    seen = scores[scores > visible]
    return float(prediction.box_score * seen.mean()) if len(seen) else 0.0


def keypoint_similarity(one: Array, others: Array, area: float, areas: Array, sigmas: Array) -> Array:
    """Object keypoint similarity of one person with others, over all keypoints (cocodataset.org, "Keypoint Evaluation").

    Args:
        one: ``(K, 3)``.
        others: ``(M, K, 3)``.
        area, areas: Square pixels, of the one and ``(M,)`` of the others; each pair uses the mean.
        sigmas: ``(K,)``.
    """
    squared = ((others[:, :, :2] - one[:, :2]) ** 2).sum(axis=-1)
    scale = (area + areas) / 2 + np.spacing(1)
    return np.exp(-squared / (2 * sigmas) ** 2 / scale[:, None] / 2).mean(axis=1)


def oks_nms(
    predictions: Sequence[KeypointPrediction], scores: Array, sigmas: Array, threshold: float = NMS_THRESHOLD
) -> list[int]:
    """Apply OKS-NMS to the people of one image; return the indices kept, by descending score."""
    keypoints = np.stack([prediction.keypoints for prediction in predictions]).astype(np.float64)
    areas = np.array([prediction.area for prediction in predictions])
    remaining = np.argsort(-scores, kind="stable")
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(int(best))
        similar = keypoint_similarity(keypoints[best], keypoints[remaining], areas[best], areas[remaining], sigmas)
        remaining = remaining[similar <= threshold]
    return kept


def keypoint_results(
    predictions: Sequence[KeypointPrediction],
    sigmas: Sequence[float] = COCO17.sigmas,
    visible: float = VISIBLE,
    threshold: float = NMS_THRESHOLD,
    category_id: int = 1,
) -> list[dict[str, Any]]:
    """Convert predictions to COCO's result format, with rescoring and OKS-NMS."""
    images: dict[int, list[KeypointPrediction]] = {}
    for prediction in predictions:
        images.setdefault(prediction.image_id, []).append(prediction)
    records = []
    for image_id, people in images.items():
        scores = np.array([rescore(person, visible) for person in people])
        for index in oks_nms(people, scores, np.asarray(sigmas), threshold):
            keypoints = people[index].keypoints.astype(float).reshape(-1).tolist()
            records.append(
                {
                    "image_id": image_id,
                    "category_id": category_id,
                    "keypoints": keypoints,
                    "score": float(scores[index]),
                }
            )
    return records


def keypoint_accuracy(
    annotations: Truth | str | os.PathLike[str],
    records: list[dict[str, Any]],
    sigmas: Sequence[float] | None = None,
    image_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """The ten numbers of COCO's keypoint evaluation; all 0 if there are no records.

    Args:
        annotations: COCO keypoint file, or what `read_truth` read from it.
        records: From `keypoint_results`; of one category.
        sigmas: Of another skeleton than COCO's.
        image_ids: Images that count; all of the file's unless given.

    Raises:
        DatasetError: See `read_truth`.
    """
    _, COCOeval = import_pycocotools()  # noqa: N806
    if not records:
        return dict.fromkeys(STATISTICS, 0.0)
    category_id = records[0]["category_id"]
    if not isinstance(annotations, Truth):
        annotations = read_truth(annotations, keypoint_category=category_id)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = annotations.to_coco()
        evaluation = COCOeval(truth, truth.loadRes(records), "keypoints")
        evaluation.params.catIds = [category_id]
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(STATISTICS, map(float, evaluation.stats), strict=True))
