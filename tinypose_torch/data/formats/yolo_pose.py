"""Ultralytics' YOLO pose format: a ``.txt`` file per image, with a ``data.yaml`` that describes the keypoints.

https://docs.ultralytics.com/datasets/pose: every line is a class, a box as centre and size, and the keypoints, all divided by
the image's width and height. ``flip_idx`` gives for every keypoint the one that a mirrored image has in its place.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco_content import (
    Category,
    ImageAnnotations,
    Person,
    Point,
    images_by_stem,
    people_of,
    size_of,
    to_coco,
)
from tinypose_torch.geometry.flip_pairs import side_of
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.utils.atomic import replacing

_MAX_YAML = 1 << 20
_PARENTS = 3


def is_yolo(path: Path) -> bool:
    """Whether a folder holds labels of this format."""
    return path.is_dir() and any(path.glob("*.txt")) and _find_yaml(path) is not None


def read_yolo(path: Path, images: Path) -> dict[str, Any]:
    """The content of a COCO file.

    Args:
        path: Folder of the ``.txt`` files, ``labels/train``; the ``.yaml`` with ``kpt_shape`` lies there or in one of the
            three folders above.
        images: Folder of the images, which gives their sizes. Images without a file of labels have no people.

    Raises:
        DatasetError: A file is missing or malformed.
    """
    description = _find_yaml(path)
    if description is None:
        raise DatasetError(f"{path}: no .yaml with kpt_shape in it or in the {_PARENTS} folders above")
    category, dimensions = _read_category(description)
    found = images_by_stem(images)
    labels = {file.relative_to(path).with_suffix("").as_posix(): file for file in path.rglob("*.txt")}
    unknown = sorted(set(labels) - set(found))
    if unknown:
        raise DatasetError(f"{labels[unknown[0]]}: no image {unknown[0]!r} in {images}")
    content = []
    for stem, image in found.items():
        width, height = size_of(image)
        annotations = ImageAnnotations(image.relative_to(images).as_posix(), width, height)
        if stem in labels:
            annotations.people = _read_labels(labels[stem], category, dimensions, (width, height))
        content.append(annotations)
    return to_coco(content, category)


def write_yolo(images: list[ImageAnnotations], category: Category, path: Path) -> list[str]:
    """Write a folder with ``data.yaml`` and ``labels/``; the images belong into ``images/`` beside it.

    Returns:
        What the format cannot express.
    """
    written: dict[Path, str] = {}
    for image in images:
        if not image.file_name or Path(image.file_name).is_absolute() or ".." in Path(image.file_name).parts:
            raise DatasetError(f"image {image.file_name!r} lies outside of the images' folder")
        target = path / "labels" / Path(image.file_name).with_suffix(".txt")
        if target in written:
            raise DatasetError(f"{written[target]} and {image.file_name} would share {target}; rename one")
        written[target] = image.file_name
        with replacing(target, durable=False) as temporary:
            temporary.write_text("".join(map(_line(image), image.people)), encoding="utf-8")
    mirrored = list(range(len(category.keypoints)))
    for first, second in category.flip_pairs or ():
        mirrored[first], mirrored[second] = second, first
    facts = {
        "path": ".",
        "train": "images",
        "val": "images",
        "kpt_shape": [len(category.keypoints), 3],
        "flip_idx": mirrored,
        "names": {0: category.name},
        "kpt_names": {0: list(category.keypoints)},
    }
    with replacing(path / "data.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), encoding="utf-8")
    lost = ["the links of the skeleton"] if category.links else []
    return lost + (["scores"] if any(person.score is not None for person in people_of(images)) else [])


def _find_yaml(path: Path) -> Path | None:
    """The description of the keypoints."""
    folder = path.absolute()
    for candidate in (folder, *list(folder.parents)[:_PARENTS]):
        for file in sorted((*candidate.glob("*.yaml"), *candidate.glob("*.yml"))):
            if file.is_file() and file.stat().st_size <= _MAX_YAML and b"kpt_shape" in file.read_bytes():
                return file
    return None


def _read_category(path: Path) -> tuple[Category, int]:
    """The category, and the numbers per keypoint."""
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
        count, dimensions = facts["kpt_shape"]
        names = facts.get("kpt_names")
        names = (names[0] if isinstance(names, dict) else names) or _default_names(count)
        classes = facts.get("names") or ["person"]
        label = classes[0]
        order = facts.get("flip_idx")
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, KeyError, IndexError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path}: kpt_shape, names, kpt_names or flip_idx: {reason}") from None
    if dimensions not in (2, 3) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise DatasetError(
            f"{path}: kpt_shape {[count, dimensions]} with {len(names)} names; expected one per keypoint"
        )
    if order is not None and sorted(order) != list(range(count)):
        raise DatasetError(f"{path}: flip_idx {order}; expected every number from 0 to {count - 1} once")
    pairs = None
    if order is not None:
        if any(order[other] != index for index, other in enumerate(order)):
            raise DatasetError(f"{path}: flip_idx {order}; expected keypoints in pairs")
        pairs = tuple(
            (index, other)
            for index, other in enumerate(order)
            if index < other or (index == other and side_of(names[index]))  # which its name would pair
        )
    links = COCO17.links if tuple(names) == COCO17.keypoint_names else ()
    return Category(str(label), tuple(names), links, pairs), dimensions


def _default_names(count: int) -> tuple[str, ...]:
    if count == len(COCO17):
        return COCO17.keypoint_names
    return tuple(f"keypoint_{index}" for index in range(count))


def _read_labels(path: Path, category: Category, dimensions: int, size: tuple[int, int]) -> list[Person]:
    people = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: {error}") from None
        expected = 5 + dimensions * len(category.keypoints)
        if len(values) != expected or not all(map(math.isfinite, values)):
            raise DatasetError(f"{path}, line {number}: {len(values)} numbers; expected {expected} finite ones")
        if values[0] == 0:  # the first class; others have keypoints of their own
            people.append(_person(values, dimensions, size))
    return people


def _person(values: list[float], dimensions: int, size: tuple[int, int]) -> Person:
    width, height = size
    x, y, w, h = values[1] * width, values[2] * height, values[3] * width, values[4] * height
    points: list[Point] = []
    for start in range(5, len(values), dimensions):
        px, py, *rest = values[start : start + dimensions]
        visibility = int(rest[0]) if rest else 2 * int(px > 0 or py > 0)
        points.append((px * width, py * height, max(0, min(visibility, 2))) if visibility > 0 else (0.0, 0.0, 0))
    return Person(points, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))


def _line(image: ImageAnnotations) -> Any:
    def write(person: Person) -> str:
        width, height = image.width, image.height
        x1, y1, x2, y2 = person.box or (0, 0, 0, 0)
        numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
        words = [f"{number:.9g}" for number in numbers]
        for x, y, visibility in person.points:
            words += [f"{x / width:.9g}", f"{y / height:.9g}", str(visibility)] if visibility else ["0", "0", "0"]
        return " ".join(["0", *words]) + "\n"

    return write
