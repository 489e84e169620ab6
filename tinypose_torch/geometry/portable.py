"""Resizing and warping with OpenCV's arithmetic in NumPy, which gives the same bits on every machine.

OpenCV's own results depend on the machine: its x86 builds resize with a library of Intel's, in which a few percent of the
values are one grey level off. `resize_cubic` and `warp_affine` give the values of OpenCV 4 without such libraries
(``cv2.setUseOptimized(False)`` on x86).
"""

from __future__ import annotations

import numpy as np

from tinypose_torch.geometry.crops import Size

Array = np.ndarray

_CUBIC_A = np.float32(-0.75)
COEFFICIENT_SCALE = 2048  # 11-bit coefficients of resizes
POSITION_SCALE = 1024  # warps compute positions in 1024ths of a pixel,
FRACTIONS = 32  # and interpolate between 32nds
_REMAP_BITS = 15  # weights of warps


def resize_cubic(image: Array, size: Size) -> Array:
    """Resize an image with bicubic interpolation.

    Equal to ``cv2.resize`` bit for bit if the result's width is a multiple of 8.

    Args:
        image: ``(H, W, 3)`` uint8.
        size: (height, width) of the result.
    """
    rows, row_weights = cubic_taps(image.shape[0], size[0])
    columns, column_weights = cubic_taps(image.shape[1], size[1])
    needed, places = np.unique(rows, return_inverse=True)
    part = image[needed]
    across = np.zeros((len(needed), size[1], image.shape[2]), np.float32)
    for index, weights in zip(columns, column_weights, strict=True):
        across += part[:, index] * weights[:, None]  # whole numbers below 2^20
    scale = np.float32(1 / COEFFICIENT_SCALE**2)
    terms = [
        across[index] * (weights * scale)[:, None, None]
        for index, weights in zip(places.reshape(rows.shape), row_weights, strict=True)
    ]
    result = terms[0] + (terms[1] + (terms[2] + terms[3]))  # in OpenCV's order, which decides how floats round
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


def cubic_taps(source: int, target: int) -> tuple[Array, Array]:
    """Indices and weights ``(4, target)`` with which a cubic resize reads one axis.

    Args:
        source, target: Sizes before and after, pixels.

    Returns:
        int64 indices, and float32 weights: whole numbers that sum to about 2048.
    """
    scale = 1 / (target / source)
    place = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(place)
    x = place - first
    weights = np.rint(_cubic_coefficients(x) * np.float32(COEFFICIENT_SCALE))
    indices = np.clip(first.astype(np.int64) + np.arange(-1, 3)[:, None], 0, source - 1)
    return indices, weights


def _cubic_coefficients(x: Array) -> Array:
    """The four coefficients ``(4, N)`` for fractions ``(N,)``, float32 throughout as in OpenCV."""
    a, one = _CUBIC_A, np.float32(1)
    y, z = x + one, one - x
    first = ((a * y - 5 * a) * y + 8 * a) * y - 4 * a
    second = ((a + 2) * x - (a + 3)) * x * x + one
    third = ((a + 2) * z - (a + 3)) * z * z + one
    return np.stack([first, second, third, one - first - second - third])


def warp_affine(
    image: Array, matrix: Array, size: Size, *, inverse: bool = False, border: tuple[int, ...] = (0, 0, 0)
) -> Array:
    """Warp an image by an affine transform with bilinear interpolation. Equal to ``cv2.warpAffine`` bit for bit.

    Args:
        image: ``(H, W, 3)`` uint8.
        matrix: ``(2, 3)``, pixels of the image to pixels of the result; the other way with ``inverse``.
        size: (height, width) of the result.
        border: Colour outside of the image.
    """
    matrix = np.asarray(matrix, np.float64)
    x, y = _positions(matrix if inverse else _inverted(matrix), size)
    left, top = x // FRACTIONS, y // FRACTIONS
    right_weight, lower_weight = x % FRACTIONS, y % FRACTIONS
    total = np.zeros((*size, image.shape[2]), np.int64)
    for dy, row_weight in ((0, FRACTIONS - lower_weight), (1, lower_weight)):
        for dx, column_weight in ((0, FRACTIONS - right_weight), (1, right_weight)):
            total += _read(image, left + dx, top + dy, border) * (row_weight * column_weight)[..., None]
    total *= (1 << _REMAP_BITS) // FRACTIONS**2
    return ((total + (1 << (_REMAP_BITS - 1))) >> _REMAP_BITS).astype(np.uint8)


def _inverted(matrix: Array) -> Array:
    """The inverse transform; zeros if there is none."""
    (a, b, x), (c, d, y) = matrix.tolist()
    determinant = a * d - b * c
    factor = 1 / determinant if determinant != 0 else 0.0
    a, b, c, d = d * factor, -b * factor, -c * factor, a * factor
    return np.array([[a, b, -a * x - b * y], [c, d, -c * x - d * y]])


def _positions(matrix: Array, size: Size) -> tuple[Array, Array]:
    """x and y ``(H, W)`` in the image for every pixel of the result, in 32nds of a pixel, rounded up from the middle."""
    rows, columns = (np.arange(length, dtype=np.float64) for length in size)
    step = POSITION_SCALE // FRACTIONS
    x, y = (
        np.rint((across * rows + shift) * POSITION_SCALE)[:, None] + np.rint(along * columns * POSITION_SCALE)
        for along, across, shift in matrix
    )
    return (x.astype(np.int64) + step // 2) // step, (y.astype(np.int64) + step // 2) // step


def _read(image: Array, x: Array, y: Array, border: tuple[int, ...]) -> Array:
    """Pixels of the image, or the border's colour."""
    height, width = image.shape[:2]
    values = image[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(inside[..., None], values, np.array(border[: image.shape[2]], np.uint8))
