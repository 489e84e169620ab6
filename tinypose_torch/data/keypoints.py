"""Keypoints in albumentations' compositions: their visibility, order and sides."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import albumentations as A
import numpy as np

Array = np.ndarray
Shape = tuple[int, ...]
_FIRST_FIELD = 5  # columns of albumentations' keypoints: x, y, z, angle, scale, then the caller's


def visible_column(keypoints: Array, processor: Any) -> int | None:
    """Column of the visibility in albumentations' keypoints; ``None`` where the caller gives none."""
    fields = list(processor.params.label_fields or ()) if processor is not None else []
    if fields:
        return _FIRST_FIELD + fields.index("visibility") if "visibility" in fields else None
    return _FIRST_FIELD if keypoints.shape[1] > _FIRST_FIELD else None


@functools.cache
def mirrored_order(flip_pairs: tuple[tuple[int, int], ...], count: int) -> list[int]:
    """The order of keypoints in which left and right ones have swapped places."""
    other = dict(flip_pairs) | {right: left for left, right in flip_pairs}
    return [other.get(index, index) for index in range(count)]


class KeepKeypoints(A.Sequential):
    """Apply any albumentations transforms to a person, and keep the number, order and sides of the keypoints.

    Keypoints that leave the image, or that a transform removes, become invisible. Where the image was mirrored, left and
    right keypoints swap.

    Args:
        flip_pairs: Indices of the keypoints that swap.
        num_keypoints: Keypoints of each person, where ``keypoints`` has those of several people; default: all.
    """

    def __init__(
        self,
        transforms: Sequence[A.BasicTransform | A.BaseCompose],
        flip_pairs: Sequence[tuple[int, int]] = (),
        num_keypoints: int | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(list(transforms), p=p)
        self.flip_pairs, self.num_keypoints = tuple(flip_pairs), num_keypoints

    def __call__(self, *args: Any, **data: Any) -> dict[str, Any]:
        keypoints, region = data.get("keypoints"), data.get("region")
        if keypoints is None or not len(keypoints):
            return super().__call__(*args, **data)
        boxes = data.get("bboxes")
        if region is not None and boxes is None:  # for crops around boxes
            data["bboxes"] = _enclosing_box(region, data["image"].shape)
        data["keypoints"] = _numbered(keypoints, data["image"].shape)
        data = super().__call__(*args, **data)
        if region is not None and boxes is None:
            del data["bboxes"]
        data["keypoints"] = self._restored(keypoints, data["keypoints"], data["image"].shape)
        if region is not None and len(data["region"]) != len(region):  # a transform removed corners outside the image
            data["region"] = region
        return data

    def _restored(self, given: Array, found: Array, shape: Shape) -> Array:
        """The given keypoints at the places where they were found."""
        keypoints, order = given.copy(), found[:, -1].round().astype(int) - 1
        inside = (found[:, :2] >= 0).all(axis=1) & (found[:, 0] <= shape[1] - 1) & (found[:, 1] <= shape[0] - 1)
        column = visible_column(given, self.processors.get("keypoints"))
        if column is not None:
            keypoints[:, column] = 0
            found[~inside, column] = 0
        own = order < len(given)
        keypoints[order[own]] = found[own, :-1]
        if not _is_mirrored(found[~own]):
            return keypoints
        count = self.num_keypoints or len(given)
        people = keypoints.reshape(-1, count, keypoints.shape[1])
        return people[:, mirrored_order(self.flip_pairs, count)].reshape(keypoints.shape)


def _enclosing_box(region: Array, shape: Shape) -> Array:
    """Box around a region, within the image, as albumentations' transforms get it."""
    corners = np.clip(region[:, :2] / shape[1::-1], 0, 1)
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])[None]


def _numbered(keypoints: Array, shape: Shape) -> Array:
    """Keypoints with a last column that counts them, and three more in the middle of the image that show mirroring."""
    corner = np.zeros((3, keypoints.shape[1]), np.float32)
    x, y = shape[1] // 2, shape[0] // 2
    corner[:, :2] = [[x, y], [x + 1, y], [x, y + 1]]
    rows = np.concatenate([keypoints, corner])
    return np.column_stack([rows, np.arange(1, len(rows) + 1, dtype=np.float32)])


def _is_mirrored(corner: Array) -> bool:
    if len(corner) < 3:
        return False
    origin, right, down = corner[corner[:, -1].argsort(), :2]
    (a, b), (c, d) = right - origin, down - origin
    return bool(a * d < b * c)
