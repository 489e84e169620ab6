"""Bottom-up augmentation: albumentations transforms of an image and all its people, with HigherHRNet's distributions.

They take ``image``, ``(H, W, 3)`` uint8 in any colour order, and ``people``, a `BottomUpSample`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np

from tinypose_torch.data.bottom_up.samples import BottomUpSample
from tinypose_torch.geometry.crops import square_matrix
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.geometry.warp import warp

Array = np.ndarray
BORDER = (114, 114, 114)
MAP_STRIDES = (4, 2)


class BottomUpTransform(A.BasicTransform):
    """Base class of transforms of an image and its people."""

    _targets = ()

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        return {"image": self.apply, "people": self.apply_to_sample}

    def apply(self, img: Array, *args: Any, **params: Any) -> Array:
        return img

    def apply_to_sample(self, people: BottomUpSample, **params: Any) -> BottomUpSample:
        """Return the transformed people; ``params`` are the sampled parameters."""
        return people


class BottomUpAffine(BottomUpTransform):
    """Rotate, scale and shift the image and crop a square, by one bilinear warp with a grey border.

    Keypoints outside the square are no longer labelled. Heatmaps are not learned where the image does not reach.

    Args:
        size: Side of the square, pixels.
        degrees: Maximum rotation in either direction.
        scale: Minimum and maximum side of the square, as a fraction of the image's shorter side.
        shift: Maximum shift of the square's centre along each axis, as a fraction of its side.
    """

    def __init__(
        self, size: int, degrees: float = 30.0, scale: tuple[float, float] = (0.75, 1.5), shift: float = 0.2
    ) -> None:
        super().__init__(p=1.0)
        self.size, self.degrees, self.scale, self.shift = size, degrees, scale, shift

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = data["image"].shape[:2]
        generator = self.random_generator
        degrees = generator.uniform(-self.degrees, self.degrees)
        side = generator.uniform(*self.scale) * min(height, width)
        # whole pixels; as in PaddleDetection, the lower bound is rounded towards zero and the upper bound is exclusive
        least, greatest = int(-self.shift * side), max(int(self.shift * side), int(-self.shift * side) + 1)
        center = np.array([width, height]) / 2 + generator.integers(least, greatest, 2)
        return {"matrix": square_matrix(center, side, degrees, self.size)}

    def apply(self, img: Array, *args: Any, matrix: Array | None = None, **params: Any) -> Array:
        assert matrix is not None
        return warp(img, matrix, (self.size, self.size), border=BORDER)

    def apply_to_sample(
        self, people: BottomUpSample, matrix: Array | None = None, shape: tuple[int, ...] = (), **params: Any
    ) -> BottomUpSample:
        assert matrix is not None
        joints = people.joints @ matrix[:, :2].T + matrix[:, 2]
        inside = ((joints >= 0) & (joints <= self.size)).all(axis=2)
        joints = np.where(inside[..., None], joints, 0).astype(np.float32)
        source = people.masks[0] if people.masks else np.full(shape[:2], 255, np.uint8)
        masks = tuple(_reached(source, matrix / stride, self.size // stride) for stride in MAP_STRIDES)
        return BottomUpSample(joints, people.visible * inside, masks)


class BottomUpRandomFlip(BottomUpTransform):
    """Flip the image and swap left and right keypoints. x becomes width - x, not width - 1 - x, as in PaddleDetection."""

    def __init__(self, skeleton: Skeleton, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.order = skeleton.mirrored_order()

    def apply(self, img: Array, *args: Any, **params: Any) -> Array:
        return cv2.flip(img, 1)

    def apply_to_sample(self, people: BottomUpSample, shape: Sequence[int] = (), **params: Any) -> BottomUpSample:
        joints = people.joints[:, self.order]
        joints[..., 0] = shape[1] - joints[..., 0]
        masks = tuple(np.ascontiguousarray(mask[:, ::-1]) for mask in people.masks)
        return dataclasses.replace(people, joints=joints, visible=people.visible[:, self.order], masks=masks)


def _reached(source: Array, matrix: Array, size: int) -> Array:
    """Mask of the cells of a square map that are covered by the source by more than half."""
    return warp(source, matrix, (size, size)) > 127
