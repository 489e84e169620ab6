"""Temporal smoothing of keypoints: Casiez et al., "1 Euro Filter", CHI 2012.

The filter is a low-pass filter whose cutoff frequency rises with speed: little jitter at rest, little lag in motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinypose_torch.geometry.skeletons import COCO17

Array = np.ndarray
_NUM_FACE_KEYPOINTS = 5  # the first keypoints of COCO


@dataclass(frozen=True)
class Smoothing:
    """Options of the 1 Euro filter.

    Attributes:
        min_cutoff: Cutoff frequency at rest, Hz. Lower values reduce jitter.
        beta: Increase of the cutoff frequency, Hz per (body height per second). Higher values reduce lag.
        d_cutoff: Cutoff frequency of the speed estimate, Hz.
    """

    min_cutoff: float = 1.0
    beta: float = 8.0
    d_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if min(self.min_cutoff, self.d_cutoff) <= 0 or self.beta < 0:
            raise ValueError(f"{self}: min_cutoff and d_cutoff must be above 0, beta at least 0")

    def create_smoother(self, image_size: tuple[int, int]) -> KeypointSmoother:
        """Smoother of one person in images of the given (width, height)."""
        return KeypointSmoother(self)


@dataclass(frozen=True)
class PaddleDetectionSmoothing:
    """Options of PaddleDetection's deployment, in frames and pixels.

    Attributes:
        min_cutoff: Cutoff frequency at rest, per frame.
        beta: Increase of the cutoff frequency per (pixel per frame), for x and y separately.
        d_cutoff: Cutoff frequency of the speed estimate, per frame.
        dead_zone: Movement below which a keypoint stays in place, as a fraction of the image size; halved for the five
            keypoints of the face in COCO.
    """

    min_cutoff: float = 0.1
    beta: float = 0.1
    d_cutoff: float = 0.1
    dead_zone: float = 0.003

    def create_smoother(self, image_size: tuple[int, int]) -> PaddleDetectionSmoother:
        """Smoother of one person in images of the given (width, height)."""
        return PaddleDetectionSmoother(self, image_size)


class KeypointSmoother:
    """Smooths the keypoints of one person.

    Args:
        settings: Options of the filter.
    """

    def __init__(self, settings: Smoothing | None = None) -> None:
        self.settings = settings or Smoothing()
        self._time: float | None = None
        self._positions = self._speeds = np.zeros((0, 2))
        self._known = np.zeros(0, bool)

    def __call__(self, keypoints: Array, found: Array, height: float, time: float) -> Array:
        """Smooth the keypoints of the next frame.

        Args:
            keypoints: ``(K, 2)`` x, y, pixels.
            found: ``(K,)`` bool. Keypoints that were not found are returned unchanged, and restart when they are found.
            height: Height of the person, pixels; the unit of speed.
            time: Seconds. The filter restarts if it is not later than that of the last call.
        """
        keypoints, found = np.asarray(keypoints, np.float64), np.asarray(found, bool)
        if self._time is None or time <= self._time or len(found) != len(self._known):
            self._positions, self._speeds = keypoints.copy(), np.zeros_like(keypoints)
            self._known, self._time = found.copy(), time
            return keypoints.copy()
        elapsed, settings = time - self._time, self.settings
        continued = (self._known & found)[:, None]
        speeds = (keypoints - self._positions) / elapsed
        speeds = self._speeds + _smoothing_factor(settings.d_cutoff, elapsed) * (speeds - self._speeds)
        heights_per_second = np.linalg.norm(speeds, axis=1, keepdims=True) / max(height, 1e-6)
        cutoffs = settings.min_cutoff + settings.beta * heights_per_second
        positions = self._positions + _smoothing_factor(cutoffs, elapsed) * (keypoints - self._positions)
        self._positions = np.where(continued, positions, keypoints)
        self._speeds = np.where(continued, speeds, 0.0)
        self._known, self._time = found.copy(), time
        return self._positions.copy()


class PaddleDetectionSmoother:
    """Smooths the keypoints of one person as PaddleDetection does for videos of a single person.

    Args:
        settings: Options of the filter.
        image_size: (width, height), pixels.
    """

    def __init__(self, settings: PaddleDetectionSmoothing, image_size: tuple[int, int]) -> None:
        self.settings, self._size = settings, np.array(image_size, np.float64)
        self._positions: Array | None = None
        self._speeds = np.zeros((0, 2))

    def __call__(self, keypoints: Array, found: Array, height: float, time: float) -> Array:
        """Smooth all keypoints of the next frame, regardless of ``found``; see `KeypointSmoother`."""
        keypoints, settings = np.asarray(keypoints, np.float64), self.settings
        if self._positions is None:
            self._positions, self._speeds = keypoints.copy(), np.zeros_like(keypoints)
            return keypoints.copy()
        moved = np.linalg.norm((keypoints - self._positions) / self._size, axis=1)
        dead_zone = np.full(len(keypoints), settings.dead_zone)
        if len(keypoints) == len(COCO17):
            dead_zone[:_NUM_FACE_KEYPOINTS] /= 2
        speeds = self._speeds + _smoothing_factor(settings.d_cutoff, 1) * (keypoints - self._positions - self._speeds)
        cutoffs = settings.min_cutoff + settings.beta * np.abs(speeds)
        positions = self._positions + _smoothing_factor(cutoffs, 1) * (keypoints - self._positions)
        still = (moved < dead_zone)[:, None]
        self._positions = np.where(still, self._positions, positions)
        self._speeds = np.where(still, self._speeds, speeds)
        return self._positions.copy()


def _smoothing_factor(cutoff: Array | float, seconds: float) -> Array | float:
    """Weight of the new value in exponential smoothing."""
    ratio = 2 * np.pi * cutoff * seconds
    return ratio / (ratio + 1)
