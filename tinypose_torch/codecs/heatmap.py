"""Heatmap codec: keypoints to training heatmaps, and predicted heatmaps to keypoints.

DARK: Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020. UDP: Huang et al.,
"The Devil Is in the Details: Delving into Unbiased Data Processing", CVPR 2020. Rounding and border cases follow
PaddleDetection, since the published accuracies depend on them. Comments mark where it differs from the papers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Array = np.ndarray
Size = tuple[int, int]
Encoder = Callable[[Array, Array, Size, Size, float], tuple[Array, Array]]

# Pixels of the network's input per heatmap cell, unless a model's config says otherwise.
HEATMAP_STRIDE = 4

# A DARK step reads the blurred logarithm within two cells of the peak; blurring reads one more cell.
_REACH = 3
_PATCH = np.arange(-_REACH, _REACH + 1)
_LONG_STEP = 1.0  # cells; longer steps are sensitive to rounding and repeat PaddleDetection's float32 arithmetic


def decode_heatmaps(heatmaps: Array, method: str = "dark") -> tuple[Array, Array]:
    """Return the peak of every heatmap with subpixel refinement.

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
    """One Newton step on the logarithm of the blurred map, from the peak of the map before blurring."""
    _, h, w = maps.shape
    rows = np.flatnonzero((x > 1) & (x < w - 2) & (y > 1) & (y < h - 2))
    if len(rows) == 0:
        return
    blurred = _blurred_patches(maps, rows, x[rows], y[rows])
    steps = _newton_steps(_log(blurred, np.float32(1)))
    # PaddleDetection rescales the blurred map to the maximum before blurring. In the logarithm this adds a constant, which
    # changes the step only if values are clamped or rounding is amplified. The rescaling is computed in those cases only.
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

    The step is not limited, as in PaddleDetection: on flat maps it can span many cells.
    """
    dx, dy, dxx, dyy, dxy = _derivatives(log_patch)
    determinant = dxx * dyy - dxy * dxy
    regular = determinant != 0
    divisor = np.where(regular, determinant, 1.0)
    steps = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1) / divisor[:, None]
    return np.where(regular[:, None], steps, 0.0)


def _derivatives(log_patch: Array) -> tuple[Array, Array, Array, Array, Array]:
    """First and second derivatives (x, y, xx, yy, xy) at the middle of 5 x 5 patches, by central differences."""
    p = log_patch.astype(np.float64)
    dx = 0.5 * (p[:, 2, 3] - p[:, 2, 1])
    dy = 0.5 * (p[:, 3, 2] - p[:, 1, 2])
    dxx = 0.25 * (p[:, 2, 4] - 2 * p[:, 2, 2] + p[:, 2, 0])
    dyy = 0.25 * (p[:, 4, 2] - 2 * p[:, 2, 2] + p[:, 0, 2])
    dxy = 0.25 * (p[:, 3, 3] - p[:, 1, 3] - p[:, 3, 1] + p[:, 1, 1])
    return dx, dy, dxx, dyy, dxy


def heatmap_covariances(heatmaps: Array, sigma: float) -> Array:
    """Covariances of the peaks: of the Gaussian with the Hessian of the blurred map's logarithm, as in a DARK step.

    Args:
        heatmaps: ``(N, K, h, w)``.
        sigma: Standard deviation of the training heatmaps, cells. Standard deviations along the principal axes are
            limited to 1/4 to 4 of it; maps without a peak of their own get the upper limit, peaks at the border ``sigma``.

    Returns:
        ``(N, K, 2, 2)`` float64, square cells; the axes are x, y.
    """
    n, k, h, w = heatmaps.shape
    maps = np.ascontiguousarray(heatmaps, np.float32).reshape(n * k, h, w)
    covariances = np.tile(np.eye(2) * sigma**2, (n * k, 1, 1))
    if len(maps) == 0:
        return covariances.reshape(n, k, 2, 2)
    y, x = np.divmod(maps.reshape(n * k, h * w).argmax(axis=1), w)
    rows = np.flatnonzero((x > 1) & (x < w - 2) & (y > 1) & (y < h - 2))
    patches = _blurred_patches(maps, rows, x[rows], y[rows])
    _, _, dxx, dyy, dxy = _derivatives(_log(patches, np.float32(1)))
    values, vectors = np.linalg.eigh(-np.stack([dxx, dxy, dxy, dyy], axis=1).reshape(-1, 2, 2))
    variances = 1 / np.clip(values, 1 / (4 * sigma) ** 2, 1 / (sigma / 4) ** 2)
    covariances[rows] = (vectors * variances[:, None, :]) @ vectors.transpose(0, 2, 1)
    return covariances.reshape(n, k, 2, 2)


def encode_dark(
    joints: Array, visible: Array, input_size: Size, heatmap_size: Size, sigma: float
) -> tuple[Array, Array]:
    """Encode keypoints as Gaussians over the whole map, centred at the exact position (DARK).

    Args:
        joints: ``(..., K, 2)`` x, y in pixels of the network's input.
        visible: ``(..., K)``, above 0.5 where a keypoint is labelled.
        input_size, heatmap_size: (height, width).
        sigma: Standard deviation, heatmap cells.

    Returns:
        Heatmaps ``(..., K, h, w)`` and weights ``(..., K)``, float32. A keypoint has weight 0 and an empty map if it is not
        labelled or lies more than three sigma outside the map.
    """
    places = joints.astype(np.float32) / _stride(input_size, heatmap_size)
    weights = _weights(places, visible, heatmap_size, sigma)
    return _gaussians(_distances(places, heatmap_size), weights, sigma), weights


def encode_standard(
    joints: Array, visible: Array, input_size: Size, heatmap_size: Size, sigma: float
) -> tuple[Array, Array]:
    """Encode keypoints as Gaussians cut off at three sigma, centred at the nearest cell (HRNet).

    See `encode_dark` for arguments.
    """
    places = joints.astype(np.float32) / _stride(input_size, heatmap_size)
    weights = _weights(places, visible, heatmap_size, sigma)
    cells = np.trunc(places + np.float32(0.5))
    maps = _gaussians(_distances(cells, heatmap_size), weights, sigma)
    return _windowed(maps, cells, heatmap_size, sigma), weights


def encode_udp(
    joints: Array, visible: Array, input_size: Size, heatmap_size: Size, sigma: float
) -> tuple[Array, Array]:
    """Encode keypoints as Gaussians cut off at three sigma, centred at the exact position, in UDP's coordinates.

    Sizes are measured between pixel centres. See `encode_dark` for arguments.
    """
    stride = [(i - 1) / (h - 1) for i, h in zip(input_size[::-1], heatmap_size[::-1], strict=True)]
    places = joints / np.array(stride)
    weights = _weights(places, visible, heatmap_size, sigma)
    cells, reach = np.trunc(places + 0.5), 3 * sigma
    # PaddleDetection measures from the window's first cell, and rounds to float32 there.
    window = (reach + (places - cells)).astype(np.float32)
    maps = _gaussians(_distances(window, heatmap_size, cells - reach), weights, sigma)
    return _windowed(maps, cells, heatmap_size, sigma), weights


ENCODERS: dict[str, Encoder] = {"dark": encode_dark, "standard": encode_standard, "udp": encode_udp}


def _stride(input_size: Size, heatmap_size: Size) -> Array:
    return np.array([i / h for i, h in zip(input_size[::-1], heatmap_size[::-1], strict=True)], np.float32)


def _weights(places: Array, visible: Array, heatmap_size: Size, sigma: float) -> Array:
    """Visibility; 0 where the window of three sigma around a keypoint is outside the map."""
    reach = 3 * sigma
    cells = np.trunc(places + np.float32(0.5))
    width_height = np.array(heatmap_size[::-1])
    outside = ((cells - reach >= width_height) | (cells + reach + 1 < 0)).any(axis=-1)
    return np.where(outside | (visible <= 0.5), 0, visible).astype(np.float32)


def _distances(places: Array, heatmap_size: Size, first: Array | None = None) -> tuple[Array, Array]:
    """Distances of the map's columns ``(..., K, w)`` and rows ``(..., K, h)`` from the keypoints, in cells.

    Args:
        places: ``(..., K, 2)``, relative to the map's first cell, or to ``first``.
    """
    columns, rows = (np.arange(length, dtype=np.float32) for length in heatmap_size[::-1])
    if first is not None:
        columns = (columns - first[..., 0, None]).astype(np.float32)
        rows = (rows - first[..., 1, None]).astype(np.float32)
    return columns - places[..., 0, None], rows - places[..., 1, None]


def _gaussians(distances: tuple[Array, Array], weights: Array, sigma: float) -> Array:
    """``exp(-d^2 / 2 sigma^2)`` of every cell; empty maps where the weight is 0."""
    factor = np.float32(-2 * sigma**2)
    x, y = (distance * distance / factor for distance in distances)
    y[weights == 0] = -np.inf
    # PyTorch's broadcast addition takes a quarter of NumPy's time; its exp takes twice NumPy's.
    exponents = (torch.from_numpy(x[..., None, :]) + torch.from_numpy(y[..., :, None])).numpy()
    return np.exp(exponents, out=exponents)


def _windowed(maps: Array, cells: Array, heatmap_size: Size, sigma: float) -> Array:
    """Set cells further than three sigma from the centre along either axis to zero."""
    reach = 3 * sigma
    x = np.abs(np.arange(heatmap_size[1]) - cells[..., 0, None]) <= reach
    y = np.abs(np.arange(heatmap_size[0]) - cells[..., 1, None]) <= reach
    return maps * (x[..., None, :] & y[..., :, None])
