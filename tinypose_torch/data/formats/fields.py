"""Checks of the fields of COCO annotations, for training and evaluation."""

from __future__ import annotations

import math
import reprlib
from typing import Any

from tinypose_torch.data.errors import DatasetError

MAX_NUMBER = 1e15  # larger ones lose their digits as floats


def is_id(value: Any) -> bool:
    """Whether a value can be the id of an image, an annotation or a category."""
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def is_number(value: Any, *, finite: bool = True) -> bool:
    """Whether it is an int or float of a usable size, or with ``finite=False`` also NaN or infinite."""
    if type(value) is float and not math.isfinite(value):
        return not finite
    return type(value) in (int, float) and -MAX_NUMBER <= value <= MAX_NUMBER


def check_fields(name: str, annotation: dict[str, Any], *, keypoints: bool, finite: bool) -> None:
    """Check the fields that an annotation has, and that it has a box and, where they are needed, keypoints.

    Args:
        name: How messages name the annotation.
        keypoints: Whether its keypoints are needed.
        finite: Whether NaN and infinite numbers are an error.

    Raises:
        DatasetError: A field is not of COCO's form.
    """
    for field in ("image_id", "category_id", "id"):
        if field in annotation and not is_id(annotation[field]):
            raise DatasetError(f"{name}: {field} {reprlib.repr(annotation[field])}; expected an id")
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(value, finite=finite) for value in box):
        raise DatasetError(f"{name}: bbox {reprlib.repr(box)}; expected x, y, width, height")
    if "area" in annotation and not is_number(annotation["area"], finite=finite):
        raise DatasetError(f"{name}: area {reprlib.repr(annotation['area'])}; expected square pixels, or no such field")
    if annotation.get("iscrowd", 0) not in (0, 1):
        raise DatasetError(f"{name}: iscrowd {reprlib.repr(annotation['iscrowd'])}; expected 0 or 1")
    if keypoints:
        _check_keypoints(name, annotation, finite)


def _check_keypoints(name: str, annotation: dict[str, Any], finite: bool) -> None:
    points = annotation.get("keypoints")
    if not isinstance(points, list):
        raise DatasetError(f"{name}: keypoints {reprlib.repr(points)}; expected a list of numbers (x, y, v)")
    wrong = [value for value in points if not is_number(value, finite=finite)]
    if wrong:
        expected = "finite numbers" if finite else "numbers"
        raise DatasetError(f"{name}: {reprlib.repr(wrong[0])} in keypoints; expected {expected} (x, y, v)")
    wrong = [value for value in points[2::3] if value < 0]  # above 2 is visible, as in PaddleDetection
    if wrong:
        raise DatasetError(
            f"{name}: visibility {wrong[0]} in keypoints; expected 0 (not labelled), 1 (hidden) or 2 (visible)"
        )
    count = annotation.get("num_keypoints", 0)
    if type(count) is not int or not 0 <= count <= MAX_NUMBER:
        raise DatasetError(f"{name}: num_keypoints {reprlib.repr(count)}; expected a count, or no such field")
