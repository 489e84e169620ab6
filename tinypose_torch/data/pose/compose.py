"""Composition of the transforms of one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import albumentations as A
import numpy as np

Array = np.ndarray
_COLUMNS = 5  # of albumentations' keypoints, before the caller's own: x, y, z, angle, scale


class PersonCompose(A.Compose):
    """`albumentations.Compose` for the samples of `PoseDataset`, with the same results in less time.

    Calls take ``image``, ``keypoints`` ``(K, 3)`` x, y, visibility, and ``region`` ``(4, 2)``, see
    `tinypose_torch.data.pose.transforms`. These formats are fixed, so that no call checks and converts them generically.

    Args:
        transforms: Of `tinypose_torch.data.pose.transforms`, or any of albumentations in `KeepKeypoints`.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform | A.BaseCompose]) -> None:
        super().__init__(
            list(transforms),
            keypoint_params=A.KeypointParams("xy", remove_invisible=False, check_each_transform=False),
            additional_targets={"region": "keypoints"},
            is_check_shapes=False,
        )

    def preprocess(self, data: dict[str, Any]) -> None:
        """Give keypoints and region albumentations' columns."""
        for name in ("keypoints", "region"):
            points = data[name]
            data[name] = columns = np.zeros((len(points), _COLUMNS - 2 + points.shape[1]), np.float32)
            columns[:, :2], columns[:, _COLUMNS:] = points[:, :2], points[:, 2:]

    def postprocess(self, data: dict[str, Any]) -> dict[str, Any]:
        """Remove the columns that `preprocess` added."""
        for name in ("keypoints", "region"):
            data[name] = np.concatenate([data[name][:, :2], data[name][:, _COLUMNS:]], axis=1)
        return data
