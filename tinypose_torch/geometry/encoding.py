"""Keypoints to the heatmaps that a network is trained on: DARK, the usual rounded Gaussians, and UDP's.

The arithmetic is float32 and in PaddleDetection's order, so that targets are equal to its.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Array = np.ndarray
Size = tuple[int, int]
Encoder = Callable[[Array, Array, Size, Size, float], tuple[Array, Array]]


def encode_dark(
    joints: Array, visible: Array, input_size: Size, heatmap_size: Size, sigma: float
) -> tuple[Array, Array]:
    """Gaussians over the whole map around the exact place (Zhang et al., "DARK", CVPR 2020).

    Args:
        joints: ``(..., K, 2)`` x, y in pixels of the network's input.
        visible: ``(..., K)``, above 0.5 where a keypoint is labelled.
        input_size, heatmap_size: (height, width).
        sigma: Cells.

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
    """Gaussians of three sigma around the nearest cell, as HRNet is trained. Arguments as for `encode_dark`."""
    places = joints.astype(np.float32) / _stride(input_size, heatmap_size)
    weights = _weights(places, visible, heatmap_size, sigma)
    cells = np.trunc(places + np.float32(0.5))
    maps = _gaussians(_distances(cells, heatmap_size), weights, sigma)
    return _windowed(maps, cells, heatmap_size, sigma), weights


def encode_udp(
    joints: Array, visible: Array, input_size: Size, heatmap_size: Size, sigma: float
) -> tuple[Array, Array]:
    """Gaussians of three sigma around the exact place, sizes counted between pixel centres (Huang et al., CVPR 2020).

    Arguments as for `encode_dark`.
    """
    stride = [(i - 1) / (h - 1) for i, h in zip(input_size[::-1], heatmap_size[::-1], strict=True)]
    places = joints / np.array(stride)
    weights = _weights(places, visible, heatmap_size, sigma)
    cells, reach = np.trunc(places + 0.5), 3 * sigma
    # PaddleDetection counts from the window's first cell, and rounds to float32 there.
    window = (reach + (places - cells)).astype(np.float32)
    maps = _gaussians(_distances(window, heatmap_size, cells - reach), weights, sigma)
    return _windowed(maps, cells, heatmap_size, sigma), weights


ENCODERS: dict[str, Encoder] = {"dark": encode_dark, "standard": encode_standard, "udp": encode_udp}


def _stride(input_size: Size, heatmap_size: Size) -> Array:
    return np.array([i / h for i, h in zip(input_size[::-1], heatmap_size[::-1], strict=True)], np.float32)


def _weights(places: Array, visible: Array, heatmap_size: Size, sigma: float) -> Array:
    """Visibility, and 0 where the box of three sigma around a keypoint misses the map."""
    reach = 3 * sigma
    cells = np.trunc(places + np.float32(0.5))
    width_height = np.array(heatmap_size[::-1])
    outside = ((cells - reach >= width_height) | (cells + reach + 1 < 0)).any(axis=-1)
    return np.where(outside | (visible <= 0.5), 0, visible).astype(np.float32)


def _distances(places: Array, heatmap_size: Size, first: Array | None = None) -> tuple[Array, Array]:
    """From keypoints to the columns ``(..., K, w)`` and the rows ``(..., K, h)`` of the map, in cells.

    Args:
        places: ``(..., K, 2)``, counted from the map's first cell, or from ``first``.
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
    # PyTorch adds rows to columns in a quarter of NumPy's time, and takes exponents in twice its time.
    exponents = (torch.from_numpy(x[..., None, :]) + torch.from_numpy(y[..., :, None])).numpy()
    return np.exp(exponents, out=exponents)


def _windowed(maps: Array, cells: Array, heatmap_size: Size, sigma: float) -> Array:
    """Maps with zeros further than three sigma from a cell along either axis."""
    reach = 3 * sigma
    x = np.abs(np.arange(heatmap_size[1]) - cells[..., 0, None]) <= reach
    y = np.abs(np.arange(heatmap_size[0]) - cells[..., 1, None]) <= reach
    return maps * (x[..., None, :] & y[..., :, None])
