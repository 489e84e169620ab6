"""Training sample of a top-down network: one person, transformed together with the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class PoseSample:
    """Keypoints and box of one person.

    Attributes:
        joints: ``(K, 2)`` float32 x, y, pixels of the image.
        visible: ``(K,)`` float32, 1 where a keypoint is labelled.
        center: ``(2,)`` float32 x, y of the box.
        scale: ``(2,)`` float32 width and height of the box with its margin, in units of 200 pixels.
    """

    joints: Array
    visible: Array
    center: Array
    scale: Array

    def __len__(self) -> int:
        return len(self.joints)
