"""Normalization of images to network inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np


def normalize(images: np.ndarray | Sequence[np.ndarray], mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Convert RGB images ``(N, H, W, 3)`` uint8, or a sequence of images, to a normalized batch ``(N, 3, H, W)`` float32."""
    table = _table(tuple(mean), tuple(std))
    height, width, _ = images.shape[1:] if isinstance(images, np.ndarray) else images[0].shape
    batch = np.empty((len(images), 3, height, width), np.float32)
    channels = list(np.empty((3, height, width), np.uint8))
    for planes, image in zip(batch, images, strict=True):
        cv2.split(image, channels)
        for plane, channel, values in zip(planes, channels, table, strict=True):
            cv2.LUT(channel, values, dst=plane)
    return batch


@lru_cache
def _table(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """The 256 values of each channel, ``(3, 256)``.

    They are the very numbers of PaddleDetection, which rounds to float32 after scaling, after subtracting the mean and after
    dividing.
    """
    scaled = (np.arange(256, dtype=np.float32) * np.float32(1 / 255)).astype(np.float64)
    centred = (scaled - np.array(mean)[:, None]).astype(np.float32)
    return (centred / np.array(std)[:, None]).astype(np.float32)
