"""Top-down augmentation: albumentations transforms (2.0.8) with PaddleDetection's distributions.

They stand in any `albumentations.Compose`, beside albumentations' own transforms:

    transform = A.Compose(
        [RandomHalfBody(range(11)), RandomFlip(COCO17.flip_pairs), TopDownAffine((256, 192)), A.GaussNoise()],
        keypoint_params=A.KeypointParams("xy", remove_invisible=False),
        bbox_params=A.BboxParams("pascal_voc"),
    )
    crop = transform(image=image, keypoints=keypoints, bboxes=boxes)

``keypoints`` is ``(K, 3)`` in the skeleton's order: x, y, visibility (0: not labelled). Visibility may also be a label field
named ``visibility``. ``bboxes`` has one row, the person's box, which is enlarged by 25 % for the crop. Albumentations clips it
to the image. Instead of it, ``region`` has the four corners of the region to crop, which may reach beyond the image, see
`region_corners`; it needs ``additional_targets={"region": "keypoints"}``.

Only `TopDownAffine` resamples, once. Information dropping: `tinypose_torch.data.pose.information_dropping`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np

from tinypose_torch.data.keypoints import mirrored_order, visible_column
from tinypose_torch.geometry.crops import EVALUATION_MARGIN, PIXEL_STD, person_matrix
from tinypose_torch.geometry.warp import warp

Array = np.ndarray
Shape = tuple[int, ...]
_ROUNDED = 1e-3  # relative difference to the crop's aspect ratio that is left as it is


def region_corners(center: Sequence[float] | Array, size: Sequence[float] | Array) -> Array:
    """The target ``region``: corners ``(4, 2)`` of a region, clockwise from the upper left.

    Args:
        center, size: x, y of its centre, and its width and height, pixels.
    """
    (x, y), (width, height) = map(float, center), map(float, size)
    x1, y1, x2, y2 = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


class PersonTransform(A.DualTransform):
    """Base class of transforms of an image and one person; changes nothing."""

    _declared = False

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        return {
            "image": self.apply,
            "mask": self.apply_to_mask,
            "keypoints": self.apply_to_keypoints,
            "bboxes": self.apply_to_bboxes,
            "region": self.apply_to_region,
        }

    def add_targets(self, additional_targets: dict[str, str]) -> None:
        """Take note of the target ``region``; see albumentations for the others."""
        self._declared = self._declared or additional_targets.get("region") == "keypoints"
        super().add_targets({name: kind for name, kind in additional_targets.items() if name != "region"})

    def set_processors(self, processors: dict[str, Any]) -> None:
        """Refuse a composition without keypoints, or one that removes some."""
        keypoints = processors.get("keypoints")
        if keypoints is None or keypoints.params.remove_invisible:  # the index of a keypoint is its meaning
            remedy = "A.Compose(..., keypoint_params=A.KeypointParams('xy', remove_invisible=False))"
            raise ValueError(f"{type(self).__name__} needs all keypoints: pass {remedy}")
        super().set_processors(processors)

    def apply(self, img: Array, *args: Any, **params: Any) -> Array:
        return img

    def apply_to_mask(self, mask: Array, *args: Any, **params: Any) -> Array:
        return mask

    def apply_to_keypoints(self, keypoints: Array, *args: Any, **params: Any) -> Array:
        return keypoints

    def apply_to_bboxes(self, bboxes: Array, *args: Any, **params: Any) -> Array:
        return bboxes

    def apply_to_region(self, region: Array, *args: Any, **params: Any) -> Array:
        """Return the transformed corners ``(4, 2 or more)``."""
        return region

    def labelled(self, data: dict[str, Any]) -> list[int]:
        """Indices of the labelled keypoints."""
        keypoints = data.get("keypoints")
        if keypoints is None:
            raise ValueError(f"{type(self).__name__} needs keypoints")
        column = visible_column(keypoints, self.get_processor("keypoints"))
        if column is None:
            return list(range(len(keypoints)))
        return [index for index, visible in enumerate(keypoints[:, column].tolist()) if visible > 0]

    def center_and_size(self, data: dict[str, Any]) -> tuple[Array, Array]:
        """Centre (x, y) and size (width, height) of the region to crop, pixels.

        Of a region that other transforms have turned: of the box around the ellipse that fills it.

        Raises:
            ValueError: The call has no box, several boxes, or a ``region`` that the composition does not transform.
        """
        sides = self._corners(data).T.tolist()  # plain numbers take a tenth of the time of small arrays
        center = np.array([sum(values) / 4 for values in sides])
        return center, np.array([math.hypot(b + c - a - d, c + d - a - b) / 2 for a, b, c, d in sides])

    def _corners(self, data: dict[str, Any]) -> Array:
        name, boxes = type(self).__name__, data.get("bboxes")
        if "region" in data:
            if not self._declared:
                raise ValueError(f"{name}: region needs A.Compose(..., additional_targets={{'region': 'keypoints'}})")
            return data["region"][:, :2]
        if boxes is None:
            raise ValueError(f"{name} needs the person's box: pass bboxes with one row, or region")
        if len(boxes) > 1:
            raise ValueError(f"{name} transforms one person: pass one box, not {len(boxes)}")
        box = boxes[0] if len(boxes) else np.array([0.0, 0.0, 1.0, 1.0])  # other transforms moved it out of the image
        sides = np.array(data["image"].shape[1::-1])
        return region_corners((box[:2] + box[2:4]) / 2 * sides, (box[2:4] - box[:2]) * sides * EVALUATION_MARGIN)


class RandomHalfBody(PersonTransform):
    """Replace the region by that of the upper or the lower half of a body of which enough keypoints are labelled.

    The upper half is preferred if a standard normal draw falls below 0.5, that is in 69 of 100 cases; either needs more
    than two labelled keypoints. The region is centred at the mean of the half's keypoints.

    Args:
        upper_body: Indices of the upper body's keypoints; the others are the lower body's.
        min_keypoints: Labelled keypoints that a person needs.
        margin: Size of the region relative to the extent of its keypoints.
    """

    def __init__(self, upper_body: Sequence[int], min_keypoints: int = 9, margin: float = 1.5, p: float = 0.3) -> None:
        super().__init__(p=p)
        self.upper_body, self.min_keypoints, self.margin = frozenset(upper_body), min_keypoints, margin

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        self._corners(data)  # fails without the person's box
        labelled = self.labelled(data)
        if len(labelled) < self.min_keypoints:
            return {"half": None}
        chosen = self.choose(labelled, self.random_generator.standard_normal() < 0.5)
        return {"half": None if chosen is None else self.region_of(data["keypoints"][chosen, :2])}

    def choose(self, labelled: Sequence[int], prefer_upper: bool) -> list[int] | None:
        """Which of the labelled keypoints are cut out; ``None`` if too few."""
        above = [index for index in labelled if index in self.upper_body]
        below = [index for index in labelled if index not in self.upper_body]
        if prefer_upper and len(above) > 2:
            chosen = above
        else:
            chosen = below if len(below) > 2 else above
        return chosen if len(chosen) >= 2 else None

    def region_of(self, points: Array) -> Array | None:
        """Corners of the region of some keypoints; ``None`` if all are in one place."""
        center = np.add.reduce(points) / np.float32(len(points))  # in float32, as PaddleDetection
        width, height = (self.margin * (max(side) - min(side)) for side in points.T.tolist())
        return region_corners(center, (width, height)) if width or height else None

    def apply_to_region(self, region: Array, *args: Any, half: Array | None = None, **params: Any) -> Array:
        return region if half is None else np.concatenate([half, region[:, 2:]], axis=1)

    def apply_to_bboxes(
        self, bboxes: Array, *args: Any, half: Array | None = None, shape: Shape = (), **params: Any
    ) -> Array:
        if half is None or not len(bboxes):
            return bboxes
        box = half.mean(axis=0) + (half[[0, 2]] - half.mean(axis=0)) / EVALUATION_MARGIN
        return np.concatenate([(box / shape[1::-1]).reshape(1, 4), bboxes[:1, 4:]], axis=1)


class RandomFlip(PersonTransform):
    """Mirror the image horizontally and swap left and right keypoints.

    Args:
        flip_pairs: Indices of the keypoints that swap.
    """

    def __init__(self, flip_pairs: Sequence[tuple[int, int]], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.flip_pairs = tuple((int(left), int(right)) for left, right in flip_pairs)

    def apply(self, img: Array, *args: Any, **params: Any) -> Array:
        return cv2.flip(img, 1)

    def apply_to_mask(self, mask: Array, *args: Any, **params: Any) -> Array:
        return cv2.flip(mask, 1)

    def apply_to_keypoints(self, keypoints: Array, *args: Any, shape: Shape = (), **params: Any) -> Array:
        return _mirrored(keypoints[mirrored_order(self.flip_pairs, len(keypoints))], shape)

    def apply_to_bboxes(self, bboxes: Array, *args: Any, **params: Any) -> Array:
        return np.concatenate([1 - bboxes[:, 2:3], bboxes[:, 1:2], 1 - bboxes[:, :1], bboxes[:, 3:]], axis=1)

    def apply_to_region(self, region: Array, *args: Any, shape: Shape = (), **params: Any) -> Array:
        return _mirrored(region[[1, 0, 3, 2]], shape)


def _mirrored(points: Array, shape: Shape) -> Array:
    """Mirror points in place."""
    points[:, 0] = np.float32(shape[1] - 1) - points[:, 0]
    return points


class TopDownAffine(PersonTransform):
    """Crop the person, scaled, rotated and shifted: one bilinear warp, black outside. Keypoints are then the crop's.

    The region is extended to the crop's aspect ratio.

    Args:
        size: (height, width) of the crop.
        udp: Unbiased (see `tinypose_torch.geometry.crops`), or the usual transform.
        scale_factor: The region is scaled by ``1 + scale_factor * z``, z standard normal, within ``1 +- scale_factor``.
        rotate_factor: It is rotated by ``rotate_factor * z`` degrees, within twice as much.
        rotate_prob: Probability of the rotation.
        shift_factor: It is shifted along both axes by up to this share of its sides.
        shift_prob: Probability of the shift; PaddleDetection's for hands is 0.3.
    """

    def __init__(
        self,
        size: tuple[int, int],
        udp: bool = True,
        scale_factor: float = 0.25,
        rotate_factor: float = 30.0,
        rotate_prob: float = 0.6,
        shift_factor: float = 0.16,
        shift_prob: float = 0.0,
    ) -> None:
        super().__init__(p=1.0)
        self.size, self.udp, self.scale_factor = (int(size[0]), int(size[1])), udp, scale_factor
        self.rotate_factor, self.rotate_prob = rotate_factor, rotate_prob
        self.shift_factor, self.shift_prob = shift_factor, shift_prob

    def get_params(self) -> dict[str, Any]:
        """Sample ``scale``, a factor, ``rotation``, degrees, and ``shift``, in sides of the region, or ``None``."""
        rotation, shift = 0.0, None
        if self.py_random.random() < self.shift_prob:
            shift = self.shift_factor * self.random_generator.uniform(-1, 1, 2)
        scale = 1 + self.scale_factor * _clipped(self.random_generator.standard_normal(), 1)
        if self.py_random.random() < self.rotate_prob:
            rotation = self.rotate_factor * _clipped(self.random_generator.standard_normal(), 2)
        return {"scale": scale, "rotation": rotation, "shift": shift}

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        center, size = self.center_and_size(data)
        return {"matrix": self.matrix(center, size, params["scale"], params["rotation"], params["shift"])}

    def matrix(self, center: Array, size: Array, scale: float, rotation: float, shift: Array | None) -> Array:
        """``(2, 3)`` transform of the image to the crop, for a region and the parameters of `get_params`."""
        (width, height), aspect = size.tolist(), self.size[1] / self.size[0]
        if abs(width - height * aspect) > _ROUNDED * width:
            width, height = max(width, height * aspect), max(height, width / aspect)
        scales = np.array([width / PIXEL_STD, height / PIXEL_STD], np.float32)
        center = center if shift is None else center + PIXEL_STD * scales * shift
        center = center.astype(np.float32)  # as PaddleDetection keeps it
        return person_matrix(center, scales * np.float32(scale), rotation, self.size, self.udp)

    def apply(self, img: Array, *args: Any, matrix: Array, **params: Any) -> Array:
        return warp(img, matrix, self.size)

    def apply_to_mask(self, mask: Array, *args: Any, matrix: Array, **params: Any) -> Array:
        return cv2.warpAffine(mask, matrix, self.size[::-1], flags=cv2.INTER_NEAREST)

    def apply_to_keypoints(self, keypoints: Array, *args: Any, matrix: Array, **params: Any) -> Array:
        keypoints = keypoints.copy()
        keypoints[:, :2] = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return keypoints

    def apply_to_region(self, region: Array, *args: Any, matrix: Array, **params: Any) -> Array:
        return self.apply_to_keypoints(region, matrix=matrix)

    def apply_to_bboxes(self, bboxes: Array, *args: Any, matrix: Array, shape: Shape, **params: Any) -> Array:
        bboxes, width, height = bboxes.copy(), shape[1], shape[0]
        for row in bboxes:
            corners = row[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2) * (width, height) @ matrix[:, :2].T + matrix[:, 2]
            row[:4] = np.concatenate([corners.min(axis=0), corners.max(axis=0)]) / np.tile(self.size[::-1], 2)
        return bboxes


def _clipped(drawn: float, limit: float) -> float:
    return min(max(drawn, -limit), limit)
