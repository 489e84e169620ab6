"""Heatmaps to keypoints: plain quarter-cell refinement and DARK.

DARK: Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020. The details
follow PaddleDetection, on whose answers the published accuracies rest; they are noted where they are unusual.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# Pixels of the network's input per heatmap cell, unless a model's config says otherwise.
HEATMAP_STRIDE = 4

# A DARK step is computed from the blurred logarithm within two cells of the peak; blurring reaches one cell further.
_REACH = 3
_PATCH = np.arange(-_REACH, _REACH + 1)
# Steps longer than this are sensitive to rounding, and are computed with PaddleDetection's float32 intermediates.
_LONG_STEP = 1.0


def decode_heatmaps(heatmaps: Array, method: str = "dark") -> tuple[Array, Array]:
    """Locate the peak of every heatmap.

    Args:
        heatmaps: ``(N, K, h, w)`` float32.
        method: ``"dark"``, ``"plain"``, or ``"none"`` for the integer peak.

    Returns:
        Coordinates ``(N, K, 2)`` (x, y) in heatmap cells, float64, cell centres at integers; and the peak values
        ``(N, K)``. A map whose maximum is not positive gives (0, 0).

    Raises:
        ValueError: Unknown method, or an array of another shape.
    """
    if heatmaps.ndim != 4:
        raise ValueError(f"heatmaps of shape {heatmaps.shape}; expected (N, K, h, w)")
    if method not in ("dark", "plain", "none"):
        raise ValueError(f"unknown decoding {method!r}; choose 'dark', 'plain' or 'none'")
    n, k, h, w = heatmaps.shape
    maps = np.ascontiguousarray(heatmaps, np.float32).reshape(n * k, h, w)
    if len(maps) == 0:
        return np.zeros((n, k, 2)), np.zeros((n, k), np.float32)
    index = maps.reshape(n * k, h * w).argmax(axis=1)
    peak = maps.reshape(n * k, h * w)[np.arange(n * k), index]
    y, x = np.divmod(np.where(peak > 0, index, 0), w)
    coordinates = np.stack([x, y], axis=1).astype(np.float64)
    if method == "plain":
        _add_quarter_steps(coordinates, maps, x, y)
    elif method == "dark":
        _add_dark_steps(coordinates, maps, x, y, peak)
    return coordinates.reshape(n, k, 2), peak.reshape(n, k)


def _add_quarter_steps(coordinates: Array, maps: Array, x: Array, y: Array) -> None:
    """Move a quarter cell towards the higher neighbour; not within a cell of the border."""
    _, h, w = maps.shape
    rows = np.flatnonzero((x > 1) & (x < w - 1) & (y > 1) & (y < h - 1))
    xs, ys = x[rows], y[rows]
    right_left = maps[rows, ys, xs + 1] - maps[rows, ys, xs - 1]
    below_above = maps[rows, ys + 1, xs] - maps[rows, ys - 1, xs]
    coordinates[rows] += 0.25 * np.sign(np.stack([right_left, below_above], axis=1))


def _add_dark_steps(coordinates: Array, maps: Array, x: Array, y: Array, peak: Array) -> None:
    """One Newton step on the logarithm of the blurred map, from the peak of the original map."""
    _, h, w = maps.shape
    rows = np.flatnonzero((x > 1) & (x < w - 2) & (y > 1) & (y < h - 2))
    if len(rows) == 0:
        return
    blurred = _blurred_patches(maps, rows, x[rows], y[rows])
    steps = _newton_steps(_log(blurred, np.float32(1)))
    # PaddleDetection rescales the blurred map to the old maximum before it takes the logarithm. That adds a constant,
    # which no derivative sees, unless values are clamped or rounding is amplified; only then is it worth its price.
    delicate = (blurred < 1e-10).any(axis=(1, 2)) | (np.abs(steps).max(axis=1) > _LONG_STEP)
    again = np.flatnonzero(delicate)
    if len(again):
        maxima = _blurred_maxima(maps[rows[again]])
        factor = peak[rows[again]] / maxima
        steps[again] = _newton_steps(_log(blurred[again], factor[:, None, None]))
    coordinates[rows] += steps


def _blurred_patches(maps: Array, rows: Array, x: Array, y: Array) -> Array:
    """Maps blurred by [1/4, 1/2, 1/4] in both axes, within two cells of (x, y): ``(n, 5, 5)`` float32."""
    _, h, w = maps.shape
    ys = y[:, None] + _PATCH
    xs = x[:, None] + _PATCH
    patches = maps[
        rows[:, None, None],
        np.clip(ys, 0, h - 1)[:, :, None],
        np.clip(xs, 0, w - 1)[:, None, :],
    ].astype(np.float64)
    patches *= ((ys >= 0) & (ys < h))[:, :, None] & ((xs >= 0) & (xs < w))[:, None, :]
    return _blur(patches).astype(np.float32)


def _blur(maps: Array) -> Array:
    """Separable [1/4, 1/2, 1/4]; the result is one cell smaller on each side."""
    columns = maps[:, :, :-2] + 2 * maps[:, :, 1:-1] + maps[:, :, 2:]
    return (columns[:, :-2] + 2 * columns[:, 1:-1] + columns[:, 2:]) / 16


def _blurred_maxima(maps: Array) -> Array:
    """Maximum of each blurred map, with zeros outside: ``(n,)`` float32."""
    padded = np.pad(maps.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    return _blur(padded).astype(np.float32).max(axis=(1, 2))


def _log(blurred: Array, factor: Array | np.float32) -> Array:
    return np.log(np.maximum(blurred * factor, np.float32(1e-10)))


def _newton_steps(log_patch: Array) -> Array:
    """-(Hessian)^-1 gradient at the middle of 5 x 5 patches, by central differences: ``(n, 2)`` (x, y).

    There is no limit on the step, as in PaddleDetection: flat maps can jump by many cells.
    """
    p = log_patch.astype(np.float64)
    dx = 0.5 * (p[:, 2, 3] - p[:, 2, 1])
    dy = 0.5 * (p[:, 3, 2] - p[:, 1, 2])
    dxx = 0.25 * (p[:, 2, 4] - 2 * p[:, 2, 2] + p[:, 2, 0])
    dyy = 0.25 * (p[:, 4, 2] - 2 * p[:, 2, 2] + p[:, 0, 2])
    dxy = 0.25 * (p[:, 3, 3] - p[:, 1, 3] - p[:, 3, 1] + p[:, 1, 1])
    determinant = dxx * dyy - dxy * dxy
    regular = determinant != 0
    divisor = np.where(regular, determinant, 1.0)
    steps = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1) / divisor[:, None]
    return np.where(regular[:, None], steps, 0.0)
