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
        scale: ``(2,)`` float32 width and height of the box in units of 200 pixels.
        rotation: Rotation of the box, degrees.
    """

    joints: Array
    visible: Array
    center: Array
    scale: Array
    rotation: float = 0.0

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def labelled(self) -> list[int]:
        """Indices of the labelled keypoints."""
        return [index for index, visible in enumerate(self.visible.tolist()) if visible > 0]

    def moved(
        self,
        joints: Array | None = None,
        visible: Array | None = None,
        center: Array | None = None,
        scale: Array | None = None,
        rotation: float | None = None,
    ) -> PoseSample:
        """Copy with other values; faster than `dataclasses.replace`."""
        return PoseSample(
            self.joints if joints is None else joints,
            self.visible if visible is None else visible,
            self.center if center is None else center,
            self.scale if scale is None else scale,
            self.rotation if rotation is None else rotation,
        )
