"""Reader of COCO keypoint files with any skeleton."""

from __future__ import annotations

import json
import os
import reprlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.fields import MAX_NUMBER, check_fields, is_id
from tinypose_torch.geometry.flip_pairs import find_flip_pairs
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.utils.messages import escaped

# For keypoints that COCO has no constant for: the middle of COCO's, as usual for new skeletons.
DEFAULT_SIGMA = 0.072
_TOO_LARGE = 1e300
_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_MAX_SIDE = 2**31 - 1  # pixels


@dataclass(frozen=True)
class CocoFile:
    """Contents of a COCO keypoint file.

    Attributes:
        path: Of the file.
        images: By id: ``file_name``, ``width`` and ``height``, in the file's order.
        annotations: Of the category that has keypoints, in the file's order.
        category_id: That category.
        skeleton: Its keypoints.
    """

    path: Path
    images: dict[int, dict[str, Any]]
    annotations: list[dict[str, Any]]
    category_id: int
    skeleton: Skeleton


def read_coco(
    path: str | os.PathLike[str], default: Skeleton | None = None, content: dict[str, Any] | None = None
) -> CocoFile:
    """Read and check a COCO keypoint file.

    Args:
        default: Skeleton of files that do not name their keypoints.
        content: The file's JSON object, if it was read before.

    Raises:
        DatasetError: No such file, not JSON, not of this form, ids that occur twice, or keypoints that do not fit the
            skeleton.
    """
    path = Path(path)
    content = check_lists(path, content, ("images", "annotations"))
    images = index_images(path, content["images"])
    category_id, skeleton = _find_category(path, content.get("categories"), default)
    annotations = [
        _check_annotation(path, annotation, len(skeleton))
        for annotation in content["annotations"]
        if not _is_of_other(annotation, category_id)
    ]
    check_unique(path, "annotation", [annotation["id"] for annotation in annotations if "id" in annotation])
    return CocoFile(path, images, annotations, category_id, skeleton)


def skeleton_of_names(
    name: str,
    names: list[str],
    links: list[tuple[int, int]],
    sigmas: list[float],
    flip_pairs: list[tuple[int, int]] | None = None,
) -> Skeleton:
    """A skeleton of named keypoints.

    Args:
        sigmas: Empty for COCO's where the names are COCO's, and `DEFAULT_SIGMA` elsewhere.
        flip_pairs: Left and right keypoints; they follow from the names unless given, see `find_flip_pairs`.

    Raises:
        ValueError: A name twice, or links or sigmas that do not fit.
    """
    if tuple(names) == COCO17.keypoint_names:
        return COCO17
    if len(set(names)) != len(names):
        raise ValueError(f"a keypoint is named twice: {reprlib.repr(sorted(names))}")
    known = dict(zip(COCO17.keypoint_names, COCO17.sigmas, strict=True))
    if not sigmas:
        sigmas = [known.get(keypoint, DEFAULT_SIGMA) for keypoint in names]
    pairs = find_flip_pairs(names).pairs if flip_pairs is None else tuple(flip_pairs)
    return Skeleton(name, tuple(names), pairs, tuple(links), tuple(sigmas))


def check_lists(path: Path, content: dict[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any]:
    """The object in a JSON file, which must have lists under the given keys.

    Args:
        content: The object, if it was read before.

    Raises:
        DatasetError: No such file, no object in it, or a key without a list.
    """
    content = read_json(path) if content is None else content
    for key in keys:
        if not isinstance(content.get(key), list):
            raise DatasetError(f"{path}: no list {key!r}; expected a COCO file")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file.

    Raises:
        DatasetError: No such file, or no object in it.
    """
    if not path.is_file():
        raise DatasetError(f"no annotation file {str(path)!r}")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        what = "empty file" if path.stat().st_size == 0 else f"not JSON: {error}"
        raise DatasetError(f"{path}: {what}") from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: holds a {type(content).__name__}; expected a COCO keypoint file, an object")
    return content


def index_images(path: Path, images: list[Any]) -> dict[int, dict[str, Any]]:
    """A COCO file's images by id.

    Raises:
        DatasetError: One without id, name or size, an id twice, or ids of several types.
    """
    for index, image in enumerate(images):
        if not isinstance(image, dict) or "id" not in image or not isinstance(image.get("file_name"), str):
            raise DatasetError(f"{path}: image {index} has no id or no file_name")
        if not is_id(image["id"]):
            raise DatasetError(f"{path}: image {index}: id {reprlib.repr(image['id'])}; expected an id")
        if not all(type(image.get(side)) is int and 0 < image[side] <= MAX_NUMBER for side in ("width", "height")):
            width, height = (reprlib.repr(image.get(side)) for side in ("width", "height"))
            raise DatasetError(
                f"{path}: image {reprlib.repr(image['id'])}: width {width}, height {height}; expected pixels"
            )
    check_unique(path, "image", [image["id"] for image in images])
    by_id = {image["id"]: image for image in images}
    if len({type(identity) for identity in by_id}) > 1:  # they are sorted
        raise DatasetError(f"{path}: the image ids {reprlib.repr(list(by_id))} are of several types; expected integers")
    return by_id


def check_unique(path: Path, kind: str, ids: list[Any]) -> None:
    """Refuse ids that occur twice."""
    try:
        twice = [identity for identity, count in Counter(ids).items() if count > 1]
    except TypeError:
        raise DatasetError(f"{path}: an {kind} id is not a number") from None
    if twice:
        raise DatasetError(f"{path}: {kind} id {twice[0]} occurs more than once ({len(twice)} such ids)")


def _find_category(path: Path, categories: Any, default: Skeleton | None) -> tuple[int, Skeleton]:
    if not isinstance(categories, list) or not all(isinstance(c, dict) and is_id(c.get("id")) for c in categories):
        raise DatasetError(f"{path}: no list 'categories' of objects with an id; expected a COCO keypoint file")
    with_keypoints = [category for category in categories if category.get("keypoints")]
    if len(with_keypoints) > 1:
        several = reprlib.repr([category.get("name") for category in with_keypoints])
        raise DatasetError(f"{path}: several categories have keypoints: {several}; make one file of each")
    if not with_keypoints:
        if default is None or not categories:
            raise DatasetError(f"{path}: no category names its keypoints")
        return categories[0]["id"], default
    category = with_keypoints[0]
    try:
        links = [(int(a) - 1, int(b) - 1) for a, b in category.get("skeleton", [])]
        sigmas = [float(sigma) for sigma in category.get("sigmas", [])]
        names = category["keypoints"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"keypoints {reprlib.repr(names)}; expected a list of names")
        if not all(0 < sigma <= MAX_NUMBER for sigma in sigmas):
            raise ValueError(f"sigmas {reprlib.repr(sigmas)}; expected numbers above 0")
        flips = category.get("flip_pairs")  # not COCO's own; other formats know them
        pairs = None if flips is None else [(int(a), int(b)) for a, b in flips]
        return category["id"], skeleton_of_names(str(category.get("name", "custom")), names, links, sigmas, pairs)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{path}: the category's keypoints, skeleton or sigmas: {escaped(str(error))}") from None


def _is_of_other(annotation: Any, category_id: int) -> bool:
    """Whether an annotation is of another category, whose fields need no check."""
    other = annotation.get("category_id", category_id) if isinstance(annotation, dict) else category_id
    return is_id(other) and other != category_id


def _check_annotation(path: Path, annotation: Any, count: int) -> dict[str, Any]:
    if not isinstance(annotation, dict) or "image_id" not in annotation:
        raise DatasetError(f"{path}: an annotation without image_id")
    name = f"{path}: annotation {reprlib.repr(annotation.get('id'))}"
    check_fields(name, annotation, keypoints=True, finite=False)
    numbers = len(annotation["keypoints"])
    if numbers != 3 * count:
        raise DatasetError(f"{name}: {numbers} keypoint numbers; {count} keypoints need {3 * count} (x, y, v)")
    return annotation


def fit_float32(values: Any) -> bool:
    """Whether all numbers are finite as float32."""
    return bool((np.abs(np.asarray(values, np.float64)) <= _MAX_FLOAT32).all())
