"""Affine warps of images of any size."""

from __future__ import annotations

import cv2
import numpy as np

Array = np.ndarray
_MAX_SIDE = 32766  # pixels; OpenCV's warps do not accept larger images


def warp(
    image: Array, matrix: Array, size: tuple[int, int], *, inverse: bool = False, border: tuple[int, ...] = (0, 0, 0)
) -> Array:
    """Warp an image to the network's input by an affine transform with bilinear interpolation.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)`` uint8, of any size.
        matrix: ``(2, 3)``, pixels of the image to pixels of the result; the other way with ``inverse``.
        size: (height, width) of the result.
        border: Colour outside of the image.
    """
    if max(image.shape[:2]) <= _MAX_SIDE:
        flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if inverse else 0)
        return cv2.warpAffine(image, matrix, size[::-1], flags=flags, borderValue=border)
    result = np.empty((*size, *image.shape[2:]), np.uint8)
    matrix = np.asarray(matrix, np.float64)
    _warp_tile(image, matrix if inverse else cv2.invertAffineTransform(matrix), result, border)
    return result


def _warp_tile(image: Array, matrix: Array, tile: Array, border: tuple[int, ...]) -> None:
    """Compute one tile of a warp from the part of the image that the tile reads.

    Args:
        matrix: ``(2, 3)``, pixels of the tile to pixels of the image.
    """
    height, width = tile.shape[:2]
    corners = matrix @ np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    first, last = np.floor(corners.min(axis=1)) - 1, np.ceil(corners.max(axis=1)) + 2
    left, top = np.clip(first, 0, None)
    right, bottom = np.minimum(last, image.shape[1::-1])
    if left >= right or top >= bottom:
        tile[:] = border[: tile.shape[2]] if tile.ndim == 3 else border[0]
    elif max(last - first) > _MAX_SIDE:  # of a single pixel it never is
        rows = height >= width
        middle = height // 2 if rows else width // 2
        one, other = (tile[:middle], tile[middle:]) if rows else (tile[:, :middle], tile[:, middle:])
        _warp_tile(image, matrix, one, border)
        moved = matrix[:, 2] + matrix[:, 1 if rows else 0] * middle
        _warp_tile(image, np.column_stack([matrix[:, :2], moved]), other, border)
    else:
        part = image[int(top) : int(bottom), int(left) : int(right)]
        shifted = np.column_stack([matrix[:, :2], matrix[:, 2] - (left, top)])
        tile[:] = warp(part, shifted, (height, width), inverse=True, border=border)
