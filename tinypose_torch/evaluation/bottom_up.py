"""Bottom-up networks on the images of a dataset, as PaddleDetection evaluates them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.estimators.bottom_up import group_poses
from tinypose_torch.evaluation.images import ImageFile, OnError, predict_images
from tinypose_torch.runtime import Runner

Array = np.ndarray


def bottom_up_results(image_id: int, poses: Array, scores: Array, category_id: int = 1) -> list[dict[str, Any]]:
    """People as records of COCO's result format: all of them, with the scores that they have.

    Args:
        poses: ``(P, K, 3)`` x, y, score in pixels of the image.
        scores: ``(P,)``.
    """
    records = []
    for pose, score in zip(poses.astype(float), scores.tolist(), strict=True):
        low, high = pose[:, :2].min(axis=0), pose[:, :2].max(axis=0)
        records.append(
            {
                "image_id": image_id,
                "category_id": category_id,
                "keypoints": pose.reshape(-1).tolist(),
                "score": score,
                "area": float(np.prod(high - low)),
                "bbox": [*low.tolist(), *(high - low).tolist()],
            }
        )
    return records


def find_in_images(
    runner: Runner,
    images: Sequence[ImageFile],
    folder: Path,
    category_id: int,
    *,
    flip: bool,
    progress: Callable[[int], object] | None = None,
    on_error: OnError | None = None,
    workers: int = 1,
) -> Iterator[dict[str, Any]]:
    """Run a bottom-up network over images; gives COCO records.

    Args:
        flip: Average with the mirrored images.
        progress, on_error, workers: See `predict_images`.

    Raises:
        DatasetError, ImageError: See `predict_images`.
    """
    return predict_images(images, folder, partial(_predict, runner, flip, category_id), progress, on_error, workers)


def _predict(runner: Runner, flip: bool, category_id: int, image_id: int, image: Array) -> list[dict[str, Any]]:
    poses, scores = group_poses(runner, image, flip=flip)
    return bottom_up_results(image_id, poses, scores, category_id)
