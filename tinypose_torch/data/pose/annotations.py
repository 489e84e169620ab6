"""Person annotations for top-down training and evaluation, filtered by PaddleDetection's rules."""

from __future__ import annotations

import json
import os
import reprlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import CocoFile, fit_float32
from tinypose_torch.data.formats.fields import is_number
from tinypose_torch.data.pose.sample import PoseSample
from tinypose_torch.geometry.crops import EVALUATION_MARGIN, center_and_scale
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.utils.messages import escaped

Array = np.ndarray
Size = tuple[int, int]


@dataclass(frozen=True)
class PoseAnnotation:
    """One annotated or detected person of an image.

    Attributes:
        file_name: Of the image, relative to the images' folder.
        box: ``(4,)`` x1, y1, x2, y2 in pixels.
        score: Of the detection; 1 for annotated boxes.
        annotation_id: ``None`` for detections.
        image_size: (height, width) that the annotations give; ``None`` if they give none.
    """

    file_name: str
    image_id: int
    person: PoseSample
    box: Array
    score: float = 1.0
    annotation_id: int | None = None
    image_size: Size | None = None


@dataclass(frozen=True)
class PoseAnnotations:
    """The people of a dataset.

    Attributes:
        skipped: Annotation ids (or rows of a detection file) that are not used, by reason.
    """

    items: list[PoseAnnotation]
    skeleton: Skeleton
    skipped: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)


def load_pose_annotations(coco: CocoFile, input_size: Size) -> PoseAnnotations:
    """Load the annotated people of a COCO file for a network of the given (height, width).

    Raises:
        DatasetError: No annotation can be used.
    """
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    skipped: dict[str, list[Any]] = defaultdict(list)
    for annotation in coco.annotations:
        reason = _reason_to_skip(annotation, coco)
        if reason is None:
            by_image[annotation["image_id"]].append(annotation)
        else:
            skipped[reason].append(annotation.get("id"))
    items = [
        _record(annotation, image, input_size)
        for identity, image in coco.images.items()
        for annotation in by_image[identity]
    ]
    if not items:
        reasons = ", ".join(f"{len(ids)} {reason}" for reason, ids in skipped.items())
        raise DatasetError(
            f"{coco.path}: no usable person annotations"
            + (f" (skipped: {reasons})" if reasons else "; the file is empty")
        )
    return PoseAnnotations(items, coco.skeleton, dict(skipped))


def load_detections(
    coco: CocoFile,
    detections: str | os.PathLike[str],
    input_size: Size,
    threshold: float = 0.0,
    allow_empty: bool = False,
) -> PoseAnnotations:
    """Load the boxes of a COCO detection file (``image_id``, ``category_id``, ``bbox`` x, y, w, h, ``score``) as annotations.

    Args:
        allow_empty: Accept an empty list, and one whose boxes all score below the threshold.

    Raises:
        DatasetError: Not such a file, or no boxes are left.
    """
    path = Path(detections)
    try:
        rows = json.loads(path.read_bytes())
        if not isinstance(rows, list):
            raise TypeError("expected a list")
        skipped: dict[str, list[Any]] = defaultdict(list)
        low = f"scored below {threshold}"
        items = []
        for index, row in enumerate(rows):
            image = coco.images.get(row["image_id"])
            if image is None:
                skipped["of images that are not in the annotation file"].append(index)
            elif row["category_id"] != coco.category_id:
                skipped["of other categories"].append(index)
            elif row["score"] < threshold:
                skipped[low].append(index)
            elif not fit_float32([*row["bbox"], row["score"]]) or max(row["bbox"][2:]) <= 0:
                skipped["without area, or with NaN or infinite numbers"].append(index)
            else:
                items.append(_detected(row, image, input_size, len(coco.skeleton)))
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = escaped(f"{type(error).__name__} {error}")
        raise DatasetError(f"{path}: not a COCO detection file: {reason}") from None
    if not items and not (allow_empty and skipped.keys() <= {low}):
        raise DatasetError(f"{path}: no usable detections")
    return PoseAnnotations(items, coco.skeleton, dict(skipped))


def clean_box(bbox: list[float], width: int, height: int) -> Array | None:
    """Convert an annotated x, y, w, h to x1, y1, x2, y2, one pixel smaller and clipped; ``None`` for an empty box."""
    x1, y1 = max(0.0, bbox[0]), max(0.0, bbox[1])
    x2 = min(width - 1, x1 + max(0.0, bbox[2] - 1))
    y2 = min(height - 1, y1 + max(0.0, bbox[3] - 1))
    return np.array([x1, y1, x2, y2]) if x2 >= x1 and y2 >= y1 else None


def _reason_to_skip(annotation: dict[str, Any], coco: CocoFile) -> str | None:
    if annotation["image_id"] not in coco.images:
        return "of images that are not in the file"
    if annotation.get("iscrowd"):
        return "iscrowd"
    numbers = [*annotation["bbox"], *annotation["keypoints"], annotation.get("area", 1.0)]
    if not fit_float32(numbers):
        return "with NaN or infinite numbers"
    image = coco.images[annotation["image_id"]]
    box = clean_box(annotation["bbox"], image["width"], image["height"])
    if annotation.get("area", 1.0) <= 0 or box is None or not (box[2:] > box[:2]).any():
        return "without area"
    if max(annotation["keypoints"]) == 0:
        return "without keypoints"
    return None


def _record(annotation: dict[str, Any], image: dict[str, Any], input_size: Size) -> PoseAnnotation:
    box = clean_box(annotation["bbox"], image["width"], image["height"])
    assert box is not None
    keypoints = np.array(annotation["keypoints"], np.float32).reshape(-1, 3)
    visible = np.minimum(keypoints[:, 2], 1)
    person = _person(box, input_size, keypoints[:, :2].copy(), visible)
    return PoseAnnotation(image["file_name"], image["id"], person, box, 1.0, annotation.get("id"), _size(image))


def _detected(row: dict[str, Any], image: dict[str, Any], input_size: Size, count: int) -> PoseAnnotation:
    numbers = [*row["bbox"], row["score"]]
    if not all(map(is_number, numbers)):
        raise ValueError(f"bbox and score {reprlib.repr(numbers)}; expected finite numbers")
    x, y, w, h = (float(value) for value in row["bbox"])
    box = np.array([x, y, x + w, y + h])
    blank = np.zeros((count, 2), np.float32)
    person = _person(box, input_size, blank, np.ones(count, np.float32))
    return PoseAnnotation(image["file_name"], image["id"], person, box, float(row["score"]), None, _size(image))


def _size(image: dict[str, Any]) -> Size:
    return image["height"], image["width"]


def _person(box: Array, input_size: Size, joints: Array, visible: Array) -> PoseSample:
    centers, scales = center_and_scale(box[None], input_size)
    if centers[0, 0] == -1:  # in PaddleDetection, -1 means a missing centre, and no margin is added
        scales /= np.float32(EVALUATION_MARGIN)
    return PoseSample(joints, visible, centers[0], scales[0])
