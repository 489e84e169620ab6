"""Keypoints of everybody to what a bottom-up network is trained on: joint heatmaps, and where whose tags are."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
_SIGMA = 2.0
MISSING = -1


def encode_joint_heatmaps(joints: Array, visible: Array, size: int) -> Array:
    """Gaussians around everybody's keypoints, one map per kind of keypoint, the greater value where they overlap.

    Each is of the cell that the keypoint is in, standard deviation 2, cut off beyond 7 cells along either axis, whatever
    the size of the person (Cheng et al., "HigherHRNet", CVPR 2020).

    Args:
        joints: ``(P, K, 2)`` x, y in cells.
        visible: ``(P, K)``, above 0 where a keypoint is labelled.
        size: Side of the maps.

    Returns:
        ``(K, size, size)`` float32.
    """
    reach = int(3 * _SIGMA + 1)
    maps = np.zeros((joints.shape[1], size, size), np.float32)
    offsets = np.arange(-reach, reach + 1)
    bell = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    gaussian = np.outer(bell, bell).astype(np.float32)
    for person, kind in np.argwhere(_in_maps(joints, visible, size)):
        x, y = joints[person, kind].astype(np.int64)
        rows, columns = slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1)
        part = maps[kind, rows, columns]
        top, left = rows.start - (y - reach), columns.start - (x - reach)
        np.maximum(part, gaussian[top : top + part.shape[0], left : left + part.shape[1]], out=part)
    return maps


def tag_places(joints: Array, visible: Array, size: int) -> Array:
    """The cell of every labelled keypoint, row * size + column, ``(P, K)``; `MISSING` elsewhere. Arguments as above."""
    cells = joints.astype(np.int64)
    return np.where(_in_maps(joints, visible, size), cells[..., 1] * size + cells[..., 0], MISSING)


def _in_maps(joints: Array, visible: Array, size: int) -> Array:
    cells = joints.astype(np.int64)
    return (visible > 0) & ((cells >= 0) & (cells < size)).all(axis=2)
