"""Choice of the images whose labels would teach a network most: uncertain ones that differ from each other."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tinypose_torch.estimators.results import Poses

Array = np.ndarray
_FAR = 0.05  # fraction of a box's longer side; farther keypoints count as wrong
_GRID = 4  # colours of an image are compared on so many fields per side


def image_uncertainty(poses: Poses) -> float:
    """Expected share of wrong keypoints among the people found in an image; 0 if there are none.

    A keypoint is wrong that lies farther than 5 % of the box's longer side from the truth. Without a calibration of the
    network its probability is 1 minus the score.
    """
    if not len(poses):
        return 0.0
    if poses.uncertainty is None:
        return float(1 - np.clip(poses.keypoint_scores, 0, 1).mean())
    sides = (poses.boxes[:, 2:] - poses.boxes[:, :2]).max(axis=1, keepdims=True)
    return float(1 - poses.uncertainty.probability_within(_FAR * sides).mean())


def image_features(image: Array, poses: Poses) -> Array:
    """What an image is compared with others by: the mean pose of its people, relative to their boxes, and its colours.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.

    Returns:
        ``(D,)`` float64.
    """
    colours = cv2.resize(image, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float64).ravel() / 255
    count = len(poses.skeleton)
    places = np.zeros((count, 2))
    if len(poses):
        sides = np.maximum((poses.boxes[:, 2:] - poses.boxes[:, :2]).max(axis=1), 1.0)
        middles = (poses.boxes[:, 2:] + poses.boxes[:, :2]) / 2
        places = ((poses.keypoints - middles[:, None]) / sides[:, None, None]).mean(axis=0)
    return np.concatenate([places.ravel() / np.sqrt(count), colours / _GRID])


def select_images(uncertainties: Array, features: Array, number: int, labelled: Array | None = None) -> list[int]:
    """Indices of images to label, most useful first.

    Each next image has the largest product of its uncertainty and its distance from the nearest image that is labelled or
    chosen already.

    Args:
        uncertainties: ``(N,)``.
        features: ``(N, D)``; see `image_features`.
        number: How many are chosen at most.
        labelled: ``(M, D)`` features of images that have labels.
    """
    distances = np.full(len(features), np.inf)
    for known in labelled if labelled is not None else ():
        distances = np.minimum(distances, np.linalg.norm(features - known, axis=1))
    chosen: list[int] = []
    while len(chosen) < min(number, len(features)):
        values = uncertainties * np.where(np.isinf(distances), 1.0, distances)
        values[chosen] = -1.0
        best = int(values.argmax())
        chosen.append(best)
        distances = np.minimum(distances, np.linalg.norm(features - features[best], axis=1))
    return chosen


def stack_features(features: Sequence[Array]) -> Array:
    """``(N, D)`` of N features; ``(0, 0)`` without any."""
    return np.stack(features) if features else np.zeros((0, 0))
