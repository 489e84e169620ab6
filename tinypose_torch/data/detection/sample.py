"""Training sample of a detector: the boxes of one image, transformed together with the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class DetectionSample:
    """Labelled boxes.

    Attributes:
        boxes: ``(N, 4)`` float32 x1, y1, x2, y2, pixels of the image.
        labels: ``(N,)`` int64, indices of classes.
    """

    boxes: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def none(cls) -> DetectionSample:
        """A sample without boxes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
