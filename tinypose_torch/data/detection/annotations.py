"""Reader of COCO box files with any classes, with PaddleDetection's rules for invalid boxes."""

from __future__ import annotations

import os
import reprlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.data.detection.sample import DetectionSample
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import check_lists, check_unique, fit_float32, index_images
from tinypose_torch.data.formats.fields import check_fields, is_id

_SMALLEST = 1e-5  # pixels


@dataclass(frozen=True)
class DetectionAnnotation:
    """An image and its objects.

    Attributes:
        image_size: (height, width) that the annotations give.
    """

    file_name: str
    image_id: int
    image_size: tuple[int, int]
    objects: DetectionSample


@dataclass(frozen=True)
class DetectionAnnotations:
    """The images of a dataset.

    Attributes:
        path: Of the annotation file.
        items: In ascending order of their ids.
        category_ids: The file's category of each class.
        skipped: Annotation ids that are not used, by reason.
        empty: Images without an object.
    """

    path: Path
    items: list[DetectionAnnotation]
    category_ids: tuple[int, ...]
    skipped: dict[str, list[Any]] = field(default_factory=dict)
    empty: int = 0

    def __len__(self) -> int:
        return len(self.items)


def load_detection_annotations(
    path: str | os.PathLike[str],
    class_names: tuple[str, ...] | None = None,
    keep_empty: bool = False,
    content: dict[str, Any] | None = None,
    allow_unannotated: bool = False,
) -> tuple[DetectionAnnotations, tuple[str, ...]]:
    """Read and check a COCO box file.

    Args:
        class_names: Categories to use, in this order; default: all categories of the file.
        keep_empty: Keep images without an object, as evaluation does.
        content: The file's JSON object, if it was read before.
        allow_unannotated: Accept an empty list of annotations.

    Returns:
        The images, and the class names.

    Raises:
        DatasetError: No such file, not of this form, a class that the file does not have, or nothing to use.
    """
    path = Path(path)
    content = check_lists(path, content, ("images", "annotations", "categories"))
    images = index_images(path, content["images"])
    annotations = content["annotations"]
    used = [a["category_id"] for a in annotations if isinstance(a, dict) and is_id(a.get("category_id"))]
    names, category_ids = _classes(path, content["categories"], class_names, set(used))
    index_of = {category: index for index, category in enumerate(category_ids)}
    found: dict[int, list[tuple[list[float], int]]] = defaultdict(list)
    skipped: dict[str, list[Any]] = defaultdict(list)
    check_unique(path, "annotation", [a["id"] for a in annotations if isinstance(a, dict) and "id" in a])
    for annotation in annotations:
        reason = _reason_to_skip(path, annotation, images, index_of)
        if reason is None:
            x, y, w, h = annotation["bbox"]
            box = [round(value, 3) for value in (x, y, x + w, y + h)]
            found[annotation["image_id"]].append((box, index_of[annotation["category_id"]]))
        else:
            skipped[reason].append(annotation.get("id"))
    items = [_labelled(images[identity], found[identity]) for identity in sorted(images)]
    kept = [item for item in items if keep_empty or len(item.objects)]
    if not any(len(item.objects) for item in kept) and (annotations or not allow_unannotated):
        reasons = ", ".join(f"{len(ids)} {reason}" for reason, ids in skipped.items())
        raise DatasetError(f"{path}: no usable annotations" + (f" ({reasons})" if reasons else ""))
    empty = sum(len(item.objects) == 0 for item in items)
    return DetectionAnnotations(path, kept, category_ids, dict(skipped), empty), names


def _classes(
    path: Path, categories: list[Any], wanted: tuple[str, ...] | None, used: set[Any]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and ids of the classes.

    Args:
        used: The annotations' category ids. Of categories with the same name, only one may be used.
    """
    try:
        pairs = [(_category_name(category), int(category["id"])) for category in categories]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DatasetError(f"{path}: a category without id or name") from None
    check_unique(path, "category", [identity for _, identity in pairs])
    by_name: dict[str, int] = {}
    for name, identity in pairs:
        if name in by_name and {by_name[name], identity} <= used:
            raise DatasetError(f"{path}: categories {by_name[name]} and {identity} are both named {name!r}; rename one")
        if name not in by_name or identity in used:
            by_name[name] = identity
    if not by_name:
        raise DatasetError(f"{path}: no categories")
    names = wanted if wanted is not None else tuple(by_name)
    missing = [name for name in names if name not in by_name]
    if missing:
        raise DatasetError(f"{path}: no category {missing[0]!r} among {', '.join(by_name)}")
    if not names:
        raise DatasetError(f"{path}: no classes are chosen among {', '.join(by_name)}")
    return tuple(names), tuple(by_name[name] for name in names)


def _category_name(category: Any) -> str:
    name = category["name"]
    if not is_id(name):
        raise TypeError(f"name {name!r}")
    return str(name)


def _reason_to_skip(path: Path, annotation: Any, images: dict[int, Any], index_of: dict[int, int]) -> str | None:
    if not isinstance(annotation, dict) or not {"image_id", "category_id"} <= annotation.keys():
        raise DatasetError(f"{path}: an annotation without image_id or category_id")
    name = f"{path}: annotation {reprlib.repr(annotation.get('id'))}"
    check_fields(name, annotation, keypoints=False, finite=False)
    bbox = annotation["bbox"]
    if annotation["category_id"] not in index_of:
        return "of other classes"
    if annotation["image_id"] not in images:
        return "of images that are not in the file"
    if annotation.get("iscrowd") or annotation.get("ignore"):
        return "iscrowd or to be ignored"
    if not fit_float32([*bbox, annotation.get("area", 1.0)]) or not fit_float32(np.add(bbox[:2], bbox[2:])):
        return "with NaN or infinite numbers"
    if annotation.get("area", 1.0) <= 0 or min(bbox[2:]) <= _SMALLEST:
        return "without area"
    image = images[annotation["image_id"]]
    x, y, w, h = bbox
    if x >= image["width"] or y >= image["height"] or x + w <= 0 or y + h <= 0:
        return "outside their image"
    return None


def _labelled(image: dict[str, Any], found: list[tuple[list[float], int]]) -> DetectionAnnotation:
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label in found], np.int64)
    return DetectionAnnotation(
        image["file_name"], image["id"], (image["height"], image["width"]), DetectionSample(boxes, labels)
    )
