"""Samples for bottom-up training: images with the keypoints of all people."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import CocoFile, fit_float32
from tinypose_torch.geometry.skeletons import Skeleton

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class BottomUpSample:
    """Keypoints of all people of an image, transformed together with the image.

    Attributes:
        joints: ``(P, K, 2)`` float32 x, y, pixels of the image.
        visible: ``(P, K)`` float32, 1 where a keypoint is labelled.
        masks: ``(h, w)`` bool each, where heatmaps of that size are learned. Before `BottomUpAffine` none, or one uint8 mask,
            255 where the image has been photographed.
    """

    joints: Array
    visible: Array
    masks: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.joints)

    @classmethod
    def of(cls, keypoints: Array, shape: tuple[int, ...], mask: Array) -> BottomUpSample:
        """A sample of keypoints as `flat` returns them, for joints of the given shape."""
        keypoints = keypoints.astype(np.float32).reshape(-1, 3)
        return cls(keypoints[:, :2].reshape(shape), keypoints[:, 2].reshape(shape[:2]), (mask,))

    def flat(self) -> Array:
        """x, y, visibility of all keypoints one after the other, ``(P * K, 3)``: albumentations' ``keypoints``."""
        return np.concatenate([self.joints, self.visible[..., None]], axis=2).reshape(-1, 3)


@dataclass(frozen=True)
class BottomUpImage:
    """An image and its people.

    Attributes:
        image_size: (height, width) that the annotations give.
    """

    file_name: str
    image_id: int
    image_size: tuple[int, int]
    people: BottomUpSample


@dataclass(frozen=True)
class BottomUpImages:
    """The images of a dataset.

    Attributes:
        skipped: Annotation ids that are not used, by reason.
        empty: Number of images that are not used, since they have no annotations.
    """

    items: list[BottomUpImage]
    skeleton: Skeleton
    skipped: dict[str, list[Any]] = field(default_factory=dict)
    empty: int = 0

    def __len__(self) -> int:
        return len(self.items)


def load_bottom_up_annotations(coco: CocoFile, keep_empty: bool = False) -> BottomUpImages:
    """Load the images of a COCO keypoint file with the people who have keypoints.

    An image whose people have no keypoints is kept as a negative sample, as in PaddleDetection.

    Args:
        keep_empty: Keep images without any annotation, too, as evaluation does.

    Raises:
        DatasetError: No annotation can be used.
    """
    found: dict[int, list[Array]] = defaultdict(list)
    annotated: set[int] = set()
    skipped: dict[str, list[Any]] = defaultdict(list)
    for annotation in coco.annotations:
        reason = _reason_to_skip(annotation, coco)
        if reason is None:
            found[annotation["image_id"]].append(np.array(annotation["keypoints"], np.float32).reshape(-1, 3))
        else:
            skipped[reason].append(annotation.get("id"))
        if not annotation.get("iscrowd"):
            annotated.add(annotation["image_id"])
    if not found:
        reasons = ", ".join(f"{len(ids)} {reason}" for reason, ids in skipped.items())
        raise DatasetError(
            f"{coco.path}: no usable person annotations"
            + (f" (skipped: {reasons})" if reasons else "; the file is empty")
        )
    items = [
        BottomUpImage(
            facts["file_name"],
            identity,
            (facts["height"], facts["width"]),
            _sample(found[identity], len(coco.skeleton)),
        )
        for identity, facts in coco.images.items()
        if keep_empty or identity in annotated
    ]
    return BottomUpImages(items, coco.skeleton, dict(skipped), len(coco.images) - len(items))


def _reason_to_skip(annotation: dict[str, Any], coco: CocoFile) -> str | None:
    if annotation["image_id"] not in coco.images:
        return "of images that are not in the file"
    if annotation.get("iscrowd"):
        return "iscrowd"
    if not fit_float32(annotation["keypoints"]):
        return "with NaN or infinite numbers"
    labelled = sum(visible > 0 for visible in annotation["keypoints"][2::3])
    if annotation.get("num_keypoints", labelled) <= 0:
        return "without keypoints"
    return None


def _sample(people: list[Array], num_keypoints: int) -> BottomUpSample:
    keypoints = np.stack(people) if people else np.zeros((0, num_keypoints, 3), np.float32)
    return BottomUpSample(keypoints[..., :2].copy(), np.minimum(keypoints[..., 2], 1))
