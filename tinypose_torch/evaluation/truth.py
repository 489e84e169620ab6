"""Ground-truth annotations for COCO's evaluation: validated, with missing fields derived."""

from __future__ import annotations

import os
import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import check_lists, index_images
from tinypose_torch.data.formats.fields import check_fields, is_id, is_number
from tinypose_torch.utils.hints import install_hint


@dataclass(frozen=True)
class Truth:
    """The annotations of a COCO file, each with all fields that COCO's evaluation reads.

    Attributes:
        path: Of the file.
        content: ``images``, ``annotations`` and ``categories``.
        derived: Number of annotations without a field, by its name; the evaluation's values are derived.
    """

    path: Path
    content: dict[str, Any]
    derived: Mapping[str, int]

    def to_coco(self) -> Any:
        """``pycocotools.coco.COCO`` of copies of the annotations.

        Ids are numbered from 1, because COCOeval takes a match with annotation 0 for no match.
        """
        COCO, _ = import_pycocotools()  # noqa: N806
        coco = COCO()
        coco.dataset = {
            **self.content,
            "annotations": [{**row, "id": number} for number, row in enumerate(self.content["annotations"], start=1)],
        }
        coco.createIndex()
        return coco


def import_pycocotools() -> tuple[Any, Any]:
    """``COCO`` and ``COCOeval``.

    Raises:
        RuntimeError: It is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise RuntimeError(f"{error}; {install_hint('train')}") from None
    return COCO, COCOeval


def read_truth(
    path: str | os.PathLike[str],
    *,
    keypoint_category: int | None = None,
    content: dict[str, Any] | None = None,
) -> Truth:
    """Read the annotations of a COCO file and derive the fields that are missing, as COCO defines them.

    ``area`` is that of the segmentation, of the box where there is none; ``iscrowd`` is 0; ``num_keypoints`` is the
    number of keypoints with v above 0.

    Args:
        keypoint_category: Category whose keypoints are evaluated; annotations of others are left out. ``None`` for the
            evaluation of boxes.
        content: The file's JSON object, if it was read before.

    Raises:
        DatasetError: No such file, no annotations, or a field that is not of COCO's form; the message names the
            annotation.
    """
    path = Path(path)
    content = check_lists(path, content, ("images", "annotations", "categories"))
    images = index_images(path, content["images"])
    derived: Counter[str] = Counter()
    rows = []
    for number, annotation in enumerate(content["annotations"], start=1):
        name = _checked_name(path, number, annotation)
        if keypoint_category is not None and annotation.get("category_id", keypoint_category) != keypoint_category:
            continue
        check_fields(name, annotation, keypoints=keypoint_category is not None, finite=True)
        missing = _missing_fields(name, annotation, images, keypoint_category)
        derived.update(missing.keys() if "id" in annotation else [*missing, "id"])
        rows.append({**annotation, **missing})
    return Truth(path, {**content, "annotations": rows}, derived)


def _checked_name(path: Path, number: int, annotation: Any) -> str:
    """Name of an annotation in error messages; checks its ids."""
    if not isinstance(annotation, dict):
        raise DatasetError(f"{path}: annotation number {number} is {reprlib.repr(annotation)}; expected an object")
    name = f"{path}: annotation " + (reprlib.repr(annotation["id"]) if "id" in annotation else f"number {number}")
    for field, value in (("image_id", annotation.get("image_id")), ("category_id", annotation.get("category_id", 0))):
        if not is_id(value):
            raise DatasetError(f"{name}: {field} {reprlib.repr(value)}; expected an id")
    return name


def _missing_fields(
    name: str, annotation: dict[str, Any], images: Mapping[Any, dict[str, Any]], keypoint_category: int | None
) -> dict[str, Any]:
    """Values of an annotation's missing fields."""
    values: dict[str, Any] = {}
    if "area" not in annotation:
        values["area"] = _area(name, annotation, images)
    if "iscrowd" not in annotation:
        values["iscrowd"] = 0
    if keypoint_category is not None:
        if "category_id" not in annotation:
            values["category_id"] = keypoint_category
        if "num_keypoints" not in annotation:
            values["num_keypoints"] = sum(visibility > 0 for visibility in annotation["keypoints"][2::3])
    return values


def _area(name: str, annotation: dict[str, Any], images: Mapping[Any, dict[str, Any]]) -> float:
    """Area of the segmentation, or of the box, in square pixels."""
    segmentation, image = annotation.get("segmentation"), images.get(annotation["image_id"])
    if not segmentation or image is None:
        return annotation["bbox"][2] * annotation["bbox"][3]
    COCO, _ = import_pycocotools()  # noqa: N806
    from pycocotools import mask

    coco = COCO()
    coco.imgs = {annotation["image_id"]: image}
    limit = 2 * max(image["width"], image["height"])  # pycocotools allocates memory in proportion to the coordinates
    try:
        for polygon in segmentation if isinstance(segmentation, list) else []:
            if len(polygon) < 6 or not all(is_number(value) and abs(value) <= limit for value in polygon):
                raise ValueError(f"polygon {reprlib.repr(polygon)}")
        return float(mask.area(coco.annToRLE(annotation)))
    except Exception as error:  # pycocotools raises bare Exceptions
        raise DatasetError(
            f"{name}: segmentation {reprlib.repr(segmentation)} has no area ({error}); correct it, or add 'area'"
        ) from None
