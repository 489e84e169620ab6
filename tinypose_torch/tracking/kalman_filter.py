"""Where a moving box is, and how fast: a Kalman filter of constant velocity, for many boxes at once.

Wojke et al., "Simple Online and Realtime Tracking with a Deep Association Metric" (DeepSORT), ICIP 2017. The state is centre x
and y, aspect (width by height), height, and the change of each per frame; uncertainties are in proportion to the height.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray

_POSITION = 1 / 20
_VELOCITY = 1 / 160
_MEASURED_ASPECT = 0.1
_MOTION = np.eye(8) + np.eye(8, k=4)


class KalmanState(NamedTuple):
    """States of N boxes.

    Attributes:
        means: ``(N, 8)``.
        covariances: ``(N, 8, 8)``.
    """

    means: Array
    covariances: Array


def begin(boxes: Array) -> KalmanState:
    """Boxes ``(N, 4)`` x1, y1, x2, y2 that were seen for the first time; nothing is known of their motion."""
    measured = measurements(boxes)
    return KalmanState(np.concatenate([measured, np.zeros_like(measured)], axis=1), _noise(measured[:, 3], 2, 10))


def predict(beliefs: KalmanState) -> KalmanState:
    """One frame later."""
    covariances = _MOTION @ beliefs.covariances @ _MOTION.T + _noise(beliefs.means[:, 3], 1, 1)
    return KalmanState(beliefs.means @ _MOTION.T, covariances)


def correct(beliefs: KalmanState, boxes: Array) -> KalmanState:
    """After every box was seen at ``boxes`` ``(N, 4)``."""
    spread = _measured_spread(beliefs)
    gains = np.linalg.solve(spread, beliefs.covariances[:, :4]).transpose(0, 2, 1)
    surprise = measurements(boxes) - beliefs.means[:, :4]
    means = beliefs.means + (gains @ surprise[..., None])[..., 0]
    return KalmanState(means, beliefs.covariances - gains @ spread @ gains.transpose(0, 2, 1))


def gating_distance(beliefs: KalmanState, boxes: Array) -> Array:
    """Squared Mahalanobis distances of N states from M boxes, ``(N, M)``."""
    surprise = measurements(boxes)[None] - beliefs.means[:, None, :4]
    solved = np.linalg.solve(_measured_spread(beliefs), surprise.transpose(0, 2, 1))
    return (surprise * solved.transpose(0, 2, 1)).sum(axis=2)


def measurements(boxes: Array) -> Array:
    """Boxes ``(N, 4)`` x1, y1, x2, y2 as centre x, y, aspect and height."""
    boxes = np.asarray(boxes, np.float64)
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + size / 2, size[:, :1] / size[:, 1:], size[:, 1:]], axis=1)


def boxes_of(means: Array) -> Array:
    """States ``(N, 8)`` as boxes ``(N, 4)`` x1, y1, x2, y2."""
    center, height = means[:, :2], means[:, 3]
    half = np.stack([means[:, 2] * height, height], axis=1) / 2
    return np.concatenate([center - half, center + half], axis=1)


def _measured_spread(beliefs: KalmanState) -> Array:
    """Covariances ``(N, 4, 4)`` of what is measured."""
    heights = beliefs.means[:, 3]
    aspect = np.full_like(heights, _MEASURED_ASPECT)
    deviations = np.stack([_POSITION * heights, _POSITION * heights, aspect, _POSITION * heights], axis=1)
    return beliefs.covariances[:, :4, :4] + _diagonal(deviations)


def _noise(heights: Array, position: float, velocity: float) -> Array:
    """Covariances ``(N, 8, 8)`` that a frame adds, by factors of the usual ones."""
    place, speed = position * _POSITION * heights, velocity * _VELOCITY * heights
    aspect, change = np.full_like(heights, 1e-2), np.full_like(heights, 1e-5)
    return _diagonal(np.stack([place, place, aspect, place, speed, speed, change, speed], axis=1))


def _diagonal(deviations: Array) -> Array:
    return np.square(deviations)[..., None] * np.eye(deviations.shape[1])
