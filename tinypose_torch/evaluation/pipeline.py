"""The detector and the pose network together, or an app file, on the images of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.evaluation.images import ImageFile, OnError, predict_images

Array = np.ndarray


def pipeline_results(
    estimator: PoseEstimator,
    images: Sequence[ImageFile],
    folder: Path,
    category_id: int,
    progress: Callable[[int], object] | None = None,
    on_error: OnError | None = None,
    workers: int = 1,
) -> Iterator[dict[str, Any]]:
    """People in images as records of COCO's result format.

    A person's score is the box's times the mean score of the keypoints above 0.2.

    Args:
        progress, on_error, workers: See `predict_images`.

    Raises:
        DatasetError, ImageError: See `predict_images`.
        ValueError: The detector has no class ``person``.
    """
    return predict_images(images, folder, partial(_predict, estimator, category_id), progress, on_error, workers)


def _predict(estimator: PoseEstimator, category_id: int, image_id: int, image: Array) -> list[dict[str, Any]]:
    records = estimator(image).to_coco_results(image_id, category_id)
    # With a bbox, pycocotools takes a person's area from it and not from the keypoints.
    return [{key: record[key] for key in ("image_id", "category_id", "keypoints", "score")} for record in records]
