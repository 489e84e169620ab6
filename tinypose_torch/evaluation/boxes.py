"""COCO box accuracy of detectors. Needs pycocotools, which the `train` extra brings."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.data.detection.annotations import DetectionAnnotation
from tinypose_torch.estimators.detection import select_detections
from tinypose_torch.estimators.preprocessing import resize_for_detector
from tinypose_torch.evaluation.images import OnError, predict_images
from tinypose_torch.evaluation.truth import Truth, import_pycocotools, read_truth
from tinypose_torch.geometry.boxes import xyxy_to_xywh
from tinypose_torch.models.config import DetectorConfig, of_task
from tinypose_torch.runtime import Runner

Array = np.ndarray
STATISTICS = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL")


def box_results(image_id: int, boxes: Array, scores: Array, labels: Array, category_ids: Sequence[int]) -> list[Any]:
    """One image's detections as records of COCO's result format.

    Args:
        boxes: ``(N, 4)`` x1, y1, x2, y2.
        labels: ``(N,)`` indices into ``category_ids``.
    """
    return [
        {
            "image_id": image_id,
            "category_id": int(category_ids[label]),
            "bbox": box,
            "score": float(score),
        }
        for box, score, label in zip(xyxy_to_xywh(boxes.astype(np.float64)).tolist(), scores, labels, strict=True)
    ]


def box_accuracy(
    annotations: Truth | str | os.PathLike[str],
    records: list[Any],
    category_ids: Sequence[int] | None = None,
    image_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """The twelve numbers of COCO's box evaluation; all 0 if there are no records.

    Args:
        annotations: COCO file, or what `read_truth` read from it.
        category_ids, image_ids: Categories and images that count; all of the file's unless given.

    Raises:
        DatasetError: See `read_truth`.
    """
    _, COCOeval = import_pycocotools()  # noqa: N806
    if not records:
        return dict.fromkeys(STATISTICS, 0.0)
    if not isinstance(annotations, Truth):
        annotations = read_truth(annotations)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = annotations.to_coco()
        evaluation = COCOeval(truth, truth.loadRes(records), "bbox")
        if category_ids is not None:
            evaluation.params.catIds = list(category_ids)
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(STATISTICS, map(float, evaluation.stats), strict=True))


def detect_in_images(
    runner: Runner,
    images: Sequence[DetectionAnnotation],
    folder: Path,
    category_ids: Sequence[int],
    progress: Callable[[int], object] | None = None,
    on_error: OnError | None = None,
    workers: int = 1,
) -> Iterator[Any]:
    """Run a detector, in whatever form, over images; gives COCO records.

    Args:
        progress, on_error, workers: See `predict_images`.

    Raises:
        DatasetError, ImageError: See `predict_images`.
    """
    return predict_images(images, folder, partial(_predict, runner, category_ids), progress, on_error, workers)


def _predict(runner: Runner, category_ids: Sequence[int], image_id: int, image: Array) -> list[Any]:
    config = of_task(runner.metadata.config, DetectorConfig)
    scores, boxes, *_ = runner(resize_for_detector(image, config))
    found = select_detections(scores[0], boxes[0], config, image.shape[:2])
    return box_results(image_id, found.boxes, found.scores, found.class_ids, category_ids)
