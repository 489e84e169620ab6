"""Keypoints without jitter: Casiez et al., "1 Euro Filter", CHI 2012.

A low-pass filter whose cutoff rises with the speed: still joints stay still, fast ones are hardly delayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinypose_torch.geometry.skeletons import COCO17

Array = np.ndarray
_FACE = 5  # of COCO's keypoints, the first ones


@dataclass(frozen=True)
class Smoothing:
    """How much is smoothed.

    Attributes:
        min_cutoff: Of a still joint, Hz: less is steadier.
        beta: Hz by which the cutoff rises for every body height per second: more follows faster.
        d_cutoff: Of the estimate of the speed, Hz.
    """

    min_cutoff: float = 1.0
    beta: float = 8.0
    d_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if min(self.min_cutoff, self.d_cutoff) <= 0 or self.beta < 0:
            raise ValueError(f"{self}: cutoffs above 0 and a factor of at least 0 are needed")

    def begin(self, image_size: tuple[int, int]) -> KeypointSmoother:
        """For a person who begins to be followed in images of the given (width, height)."""
        return KeypointSmoother(self)


@dataclass(frozen=True)
class PaddleDetectionSmoothing:
    """The settings of PaddleDetection's deployment: it counts in frames and pixels, however long and large they are.

    Attributes:
        min_cutoff: Of a still joint, per frame.
        beta: By which the cutoff rises for every pixel per frame, for x and y apart.
        d_cutoff: Of the estimate of the speed, per frame.
        dead_zone: In shares of the image: a joint that moves less does not move; half of that for COCO's five in the face.
    """

    min_cutoff: float = 0.1
    beta: float = 0.1
    d_cutoff: float = 0.1
    dead_zone: float = 0.003

    def begin(self, image_size: tuple[int, int]) -> PaddleDetectionSmoother:
        """For a person who begins to be followed in images of the given (width, height)."""
        return PaddleDetectionSmoother(self, image_size)


class KeypointSmoother:
    """Smooths the keypoints of one person.

    Args:
        settings: How much.
    """

    def __init__(self, settings: Smoothing | None = None) -> None:
        self.settings = settings or Smoothing()
        self._time: float | None = None
        self._places = self._speeds = np.zeros((0, 2))
        self._known = np.zeros(0, bool)

    def __call__(self, keypoints: Array, found: Array, height: float, time: float) -> Array:
        """The keypoints of the next frame, smoothed.

        Args:
            keypoints: ``(K, 2)`` x, y, pixels.
            found: ``(K,)`` bool: others are given back as they are, and begin anew when they are found again.
            height: Of the person, pixels, in which speeds are measured.
            time: Seconds, later than at the last call; if not, everything begins anew.
        """
        keypoints, found = np.asarray(keypoints, np.float64), np.asarray(found, bool)
        if self._time is None or time <= self._time or len(found) != len(self._known):
            self._places, self._speeds = keypoints.copy(), np.zeros_like(keypoints)
            self._known, self._time = found.copy(), time
            return keypoints.copy()
        passed, settings = time - self._time, self.settings
        going_on = (self._known & found)[:, None]
        speeds = (keypoints - self._places) / passed
        speeds = self._speeds + _share(settings.d_cutoff, passed) * (speeds - self._speeds)
        heights_per_second = np.linalg.norm(speeds, axis=1, keepdims=True) / max(height, 1e-6)
        cutoffs = settings.min_cutoff + settings.beta * heights_per_second
        places = self._places + _share(cutoffs, passed) * (keypoints - self._places)
        self._places = np.where(going_on, places, keypoints)
        self._speeds = np.where(going_on, speeds, 0.0)
        self._known, self._time = found.copy(), time
        return self._places.copy()


class PaddleDetectionSmoother:
    """Smooths the keypoints of one person as PaddleDetection does where exactly one is in view.

    Args:
        settings: How much.
        image_size: (width, height), pixels.
    """

    def __init__(self, settings: PaddleDetectionSmoothing, image_size: tuple[int, int]) -> None:
        self.settings, self._size = settings, np.array(image_size, np.float64)
        self._places: Array | None = None
        self._speeds = np.zeros((0, 2))

    def __call__(self, keypoints: Array, found: Array, height: float, time: float) -> Array:
        """The keypoints of the next frame, smoothed, whether they were ``found`` or not; see `KeypointSmoother`."""
        keypoints, settings = np.asarray(keypoints, np.float64), self.settings
        if self._places is None:
            self._places, self._speeds = keypoints.copy(), np.zeros_like(keypoints)
            return keypoints.copy()
        moved = np.linalg.norm((keypoints - self._places) / self._size, axis=1)
        dead_zone = np.full(len(keypoints), settings.dead_zone)
        if len(keypoints) == len(COCO17):
            dead_zone[:_FACE] /= 2
        speeds = self._speeds + _share(settings.d_cutoff, 1) * (keypoints - self._places - self._speeds)
        cutoffs = settings.min_cutoff + settings.beta * np.abs(speeds)
        places = self._places + _share(cutoffs, 1) * (keypoints - self._places)
        still = (moved < dead_zone)[:, None]
        self._places = np.where(still, self._places, places)
        self._speeds = np.where(still, self._speeds, speeds)
        return self._places.copy()


def _share(cutoff: Array | float, passed: float) -> Array | float:
    """How much of the way to a new value is gone."""
    turned = 2 * np.pi * cutoff * passed
    return turned / (turned + 1)
