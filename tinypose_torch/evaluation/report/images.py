"""Images of a report, with annotated and with predicted people or boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.images import read_or_fail
from tinypose_torch.estimators.drawing import draw_poses
from tinypose_torch.evaluation.images import ImageFile
from tinypose_torch.evaluation.report.matching import KeypointEvaluation, Matches
from tinypose_torch.evaluation.report.page import ImagePair
from tinypose_torch.evaluation.report.statistics import mean_oks_by_image
from tinypose_torch.geometry.boxes import boxes_of_points
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.utils.defaults import VISIBLE
from tinypose_torch.utils.images import ImageError

Array = np.ndarray
TILE = 320  # pixels, the longer side
_IMAGES = 6


@dataclass(frozen=True)
class Labelled:
    """An image with boxes, keypoints, or both.

    Attributes:
        labels: N texts for the boxes.
        keypoints: ``(N, K, 2)``.
        visible: ``(N, K)``.
    """

    file_name: str
    image_size: tuple[int, int] | None
    boxes: Array
    labels: Sequence[str]
    keypoints: Array
    visible: Array


def draw_labelled(image: Array, labelled: Labelled, skeleton: Skeleton) -> Array:
    """A copy of an RGB image whose longer side has ``TILE`` pixels, with its people or boxes."""
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return draw_poses(
        small, labelled.boxes * scale, labelled.labels, labelled.keypoints * scale, labelled.visible, skeleton
    )


def worst_and_best(evaluation: KeypointEvaluation, matches: Matches) -> tuple[list[ImagePair], list[ImagePair]]:
    """The images with the lowest and with the highest mean OKS of their people; up to six each, none twice."""
    oks = mean_oks_by_image(matches)
    order = sorted(oks, key=lambda identity: (oks[identity], identity))
    worst = order[: min(_IMAGES, (len(order) + 1) // 2)]
    best = order[::-1][: min(_IMAGES, len(order) // 2)]
    return tuple(list(_pairs(evaluation, matches, part, oks)) for part in (worst, best))  # type: ignore[return-value]


def _pairs(
    evaluation: KeypointEvaluation, matches: Matches, chosen: Sequence[int], oks: dict[int, float]
) -> Iterable[ImagePair]:
    """Images that can be read; the others are listed as failed by the evaluation."""
    files = evaluation.image_files()
    for identity in chosen:
        file = files[identity]
        try:
            image = read_or_fail(file, evaluation.folder)
        except (DatasetError, ImageError):
            continue
        of_image = matches.image_ids == identity
        annotated = Labelled(
            file.file_name,
            file.image_size,
            matches.boxes[of_image],
            [""] * int(of_image.sum()),
            matches.keypoints[of_image],
            matches.labelled[of_image],
        )
        predicted = _predicted(file, matches, of_image)
        tiles = (draw_labelled(image, labelled, evaluation.skeleton) for labelled in (annotated, predicted))
        yield ImagePair(f"{file.file_name}: OKS {oks[identity]:.2f}", *tiles)


def _predicted(file: ImageFile, matches: Matches, of_image: Array) -> Labelled:
    """The matched predictions of an image, with their OKS."""
    found = matches.predicted[of_image & (matches.oks > 0)]
    labels = [f"{oks:.2f}" for oks in matches.oks[of_image & (matches.oks > 0)]]
    everywhere = np.ones(found.shape[:2], bool)
    boxes = boxes_of_points(found[..., :2], everywhere)
    return Labelled(file.file_name, file.image_size, boxes, labels, found[..., :2], found[..., 2] > VISIBLE)
