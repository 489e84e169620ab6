"""Keypoints without jitter: Casiez et al., "1 Euro Filter", CHI 2012.

A low-pass filter whose cutoff rises with the speed: still joints stay still, fast ones are hardly delayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Smoothing:
    """How much is smoothed.

    Attributes:
        least_cutoff: Of a still joint, Hz: less is steadier.
        speed_factor: Hz by which the cutoff rises for every body height per second: more follows faster.
        speed_cutoff: Of the estimate of the speed, Hz.
    """

    least_cutoff: float = 1.0
    speed_factor: float = 8.0
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if min(self.least_cutoff, self.speed_cutoff) <= 0 or self.speed_factor < 0:
            raise ValueError(f"{self}: cutoffs above 0 and a factor of at least 0 are needed")


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
        speeds = self._speeds + _share(settings.speed_cutoff, passed) * (speeds - self._speeds)
        heights_per_second = np.linalg.norm(speeds, axis=1, keepdims=True) / max(height, 1e-6)
        cutoffs = settings.least_cutoff + settings.speed_factor * heights_per_second
        places = self._places + _share(cutoffs, passed) * (keypoints - self._places)
        self._places = np.where(going_on, places, keypoints)
        self._speeds = np.where(going_on, speeds, 0.0)
        self._known, self._time = found.copy(), time
        return self._places.copy()


def _share(cutoff: Array | float, passed: float) -> Array | float:
    """How much of the way to a new value is gone."""
    turned = 2 * np.pi * cutoff * passed
    return turned / (turned + 1)
