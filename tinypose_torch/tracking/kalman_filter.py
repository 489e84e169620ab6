"""Kalman filter with a constant-velocity model for bounding boxes, batched.

Wojke et al., "Simple Online and Realtime Tracking with a Deep Association Metric" (DeepSORT), ICIP 2017. The state is the
centre x and y, aspect ratio (width / height) and height, and the change of each per frame. Deviations scale with the height.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray

# Standard deviations: of positions, and of their change per frame, per pixel of the height; and of the aspect ratio.
POSITION = 1 / 20
VELOCITY = 1 / 160
MEASURED_ASPECT = 0.1
ASPECT_POSITION = 1e-2
ASPECT_CHANGE = 1e-5
_MOTION = np.eye(8) + np.eye(8, k=4)


class KalmanState(NamedTuple):
    """Means and covariances of N boxes.

    Attributes:
        means: ``(N, 8)``.
        covariances: ``(N, 8, 8)``.
    """

    means: Array
    covariances: Array


def initiate(boxes: Array) -> KalmanState:
    """State of newly detected boxes ``(N, 4)`` x1, y1, x2, y2, with zero velocity."""
    measured = boxes_to_measurements(boxes)
    return KalmanState(np.concatenate([measured, np.zeros_like(measured)], axis=1), _noise(measured[:, 3], 2, 10))


def predict(state: KalmanState) -> KalmanState:
    """State one frame later."""
    covariances = _MOTION @ state.covariances @ _MOTION.T + _noise(state.means[:, 3], 1, 1)
    return KalmanState(state.means @ _MOTION.T, covariances)


def update(state: KalmanState, boxes: Array) -> KalmanState:
    """State after the measurement of ``boxes`` ``(N, 4)``."""
    covariance = _measurement_covariances(state)
    gains = np.linalg.solve(covariance, state.covariances[:, :4]).transpose(0, 2, 1)
    innovation = boxes_to_measurements(boxes) - state.means[:, :4]
    means = state.means + (gains @ innovation[..., None])[..., 0]
    return KalmanState(means, state.covariances - gains @ covariance @ gains.transpose(0, 2, 1))


def gating_distance(state: KalmanState, boxes: Array) -> Array:
    """Squared Mahalanobis distances of N states from M boxes, ``(N, M)``."""
    innovation = boxes_to_measurements(boxes)[None] - state.means[:, None, :4]
    solved = np.linalg.solve(_measurement_covariances(state), innovation.transpose(0, 2, 1))
    return (innovation * solved.transpose(0, 2, 1)).sum(axis=2)


def boxes_to_measurements(boxes: Array) -> Array:
    """Convert boxes ``(N, 4)`` x1, y1, x2, y2 to centre x, y, aspect ratio and height."""
    boxes = np.asarray(boxes, np.float64)
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + size / 2, size[:, :1] / size[:, 1:], size[:, 1:]], axis=1)


def means_to_boxes(means: Array) -> Array:
    """Convert state means ``(N, 8)`` to boxes ``(N, 4)`` x1, y1, x2, y2."""
    center, height = means[:, :2], means[:, 3]
    half = np.stack([means[:, 2] * height, height], axis=1) / 2
    return np.concatenate([center - half, center + half], axis=1)


def _measurement_covariances(state: KalmanState) -> Array:
    """Covariances ``(N, 4, 4)`` of the measurements."""
    heights = state.means[:, 3]
    aspect = np.full_like(heights, MEASURED_ASPECT)
    deviations = np.stack([POSITION * heights, POSITION * heights, aspect, POSITION * heights], axis=1)
    return state.covariances[:, :4, :4] + _diagonal(deviations)


def _noise(heights: Array, position: float, velocity: float) -> Array:
    """Process noise ``(N, 8, 8)`` of one frame, scaled by ``position`` and ``velocity``."""
    place, speed = position * POSITION * heights, velocity * VELOCITY * heights
    aspect, change = np.full_like(heights, ASPECT_POSITION), np.full_like(heights, ASPECT_CHANGE)
    return _diagonal(np.stack([place, place, aspect, place, speed, speed, change, speed], axis=1))


def _diagonal(deviations: Array) -> Array:
    return np.square(deviations)[..., None] * np.eye(deviations.shape[1])
