"""The detector and the pose network together on the images of a dataset, as PaddleDetection deploys them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tinypose_torch.estimators.top_down import PoseEstimator
from tinypose_torch.evaluation.images import ImageFile, read_images


def pipeline_results(
    estimator: PoseEstimator,
    images: Sequence[ImageFile],
    folder: Path,
    category_id: int,
    progress: Callable[[int], object] | None = None,
) -> Iterator[dict[str, Any]]:
    """People in images as records of COCO's result format.

    A person's score is the box's times the mean score of the keypoints above 0.2.

    Args:
        progress: Called with 1 after every image.

    Raises:
        DatasetError: An image is missing or cannot be decoded.
        ValueError: The detector has no class ``person``.
    """
    for image_id, image in read_images(images, folder, progress):
        for record in estimator(image).to_coco_results(image_id, category_id):
            # With a bbox, pycocotools takes a person's area from it and not from the keypoints.
            yield {key: record[key] for key in ("image_id", "category_id", "keypoints", "score")}
