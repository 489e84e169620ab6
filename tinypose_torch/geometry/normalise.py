"""Images to network inputs."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def normalise(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """RGB images ``(N, H, W, 3)`` uint8 to a normalised batch ``(N, 3, H, W)`` float32.

    A table of the 256 values per channel gives the very numbers of the original, which rounds to float32 after
    scaling, after subtracting the mean and after dividing.
    """
    scaled = (np.arange(256, dtype=np.float32) * np.float32(1 / 255)).astype(np.float64)
    centred = (scaled[:, None] - np.array(mean)).astype(np.float32)
    table = (centred / np.array(std)).astype(np.float32)
    count, height, width, _ = images.shape
    batch = np.empty((count, 3, height, width), np.float32)
    for index, image in enumerate(images):
        batch[index] = cv2.LUT(image, table[None]).transpose(2, 0, 1)
    return batch
