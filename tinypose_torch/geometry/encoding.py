"""Keypoints to the heatmaps that a network is trained on: DARK, the usual rounded Gaussians, and UDP's.

The arithmetic is float32 and in the original's order, so that targets are equal to its to the last bit or two.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Size = tuple[int, int]
Encoder = Callable[[Array, Array, Size, Size, float], tuple[Array, Array]]


def encode_dark(
    joints: Array, visible: Array, input_size: Size, heatmap_size: Size, sigma: float
) -> tuple[Array, Array]:
    """Gaussians over the whole map around the exact place (Zhang et al., "DARK", CVPR 2020).

    Args:
        joints: ``(K, 2)`` x, y in pixels of the network's input.
        visible: ``(K,)``, above 0.5 where a keypoint is labelled.
        input_size, heatmap_size: (height, width).
        sigma: Cells.

    Returns:
        Heatmaps ``(K, h, w)`` and weights ``(K,)``, float32. A keypoint has weight 0 and an empty map if it is not
        labelled or lies more than three sigma outside the map.
    """
    places = joints.astype(np.float32) / _stride(input_size, heatmap_size)
    weights = _weights(places, visible, heatmap_size, sigma)
    return _gaussians(places, weights, heatmap_size, sigma), weights


def encode_standard(
    joints: Array, visible: Array, input_size: Size, heatmap_size: Size, sigma: float
) -> tuple[Array, Array]:
    """Gaussians of three sigma around the nearest cell, as HRNet is trained. Arguments as for `encode_dark`."""
    places = joints.astype(np.float32) / _stride(input_size, heatmap_size)
    weights = _weights(places, visible, heatmap_size, sigma)
    cells = np.trunc(places + np.float32(0.5))
    maps = _gaussians(cells, weights, heatmap_size, sigma)
    return _windowed(maps, cells, heatmap_size, sigma), weights


def encode_udp(
    joints: Array, visible: Array, input_size: Size, heatmap_size: Size, sigma: float
) -> tuple[Array, Array]:
    """Gaussians of three sigma around the exact place, sizes counted between pixel centres (Huang et al., CVPR 2020).

    Arguments as for `encode_dark`.
    """
    stride = np.array(
        [(i - 1) / (h - 1) for i, h in zip(input_size[::-1], heatmap_size[::-1], strict=True)], np.float32
    )
    places = joints.astype(np.float32) / stride
    weights = _weights(places, visible, heatmap_size, sigma)
    maps = _gaussians(places, weights, heatmap_size, sigma)
    return _windowed(maps, np.trunc(places + np.float32(0.5)), heatmap_size, sigma), weights


ENCODERS: dict[str, Encoder] = {"dark": encode_dark, "standard": encode_standard, "udp": encode_udp}


def _stride(input_size: Size, heatmap_size: Size) -> Array:
    return np.array([i / h for i, h in zip(input_size[::-1], heatmap_size[::-1], strict=True)], np.float32)


def _weights(places: Array, visible: Array, heatmap_size: Size, sigma: float) -> Array:
    """Visibility, and 0 where the box of three sigma around a keypoint misses the map."""
    reach = 3 * sigma
    cells = np.trunc(places + np.float32(0.5))
    width_height = np.array(heatmap_size[::-1])
    outside = ((cells - reach >= width_height) | (cells + reach + 1 < 0)).any(axis=1)
    return np.where(outside | (visible <= 0.5), 0, visible).astype(np.float32)


def _gaussians(places: Array, weights: Array, heatmap_size: Size, sigma: float) -> Array:
    """``exp(-d^2 / 2 sigma^2)`` of every cell; empty maps where the weight is 0."""
    x = np.arange(heatmap_size[1], dtype=np.float32) - places[:, 0, None]
    y = np.arange(heatmap_size[0], dtype=np.float32) - places[:, 1, None]
    squared = (x * x)[:, None, :] + (y * y)[:, :, None]
    np.divide(squared, np.float32(-2 * sigma**2), out=squared)
    maps = np.exp(squared, out=squared)
    maps[weights == 0] = 0
    return maps


def _windowed(maps: Array, cells: Array, heatmap_size: Size, sigma: float) -> Array:
    """Maps with zeros further than three sigma from a cell along either axis."""
    reach = 3 * sigma
    x = np.abs(np.arange(heatmap_size[1]) - cells[:, 0, None]) <= reach
    y = np.abs(np.arange(heatmap_size[0]) - cells[:, 1, None]) <= reach
    return maps * (x[:, None, :] & y[:, :, None])
