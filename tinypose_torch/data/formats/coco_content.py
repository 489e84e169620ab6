"""Builds the content of a COCO keypoint file from annotations in other formats, and takes it apart for writers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.geometry.flip_pairs import find_flip_pairs
from tinypose_torch.utils.images import IMAGE_SUFFIXES

Point = tuple[float, float, int]  # x, y in pixels, and COCO's visibility: 0 not labelled, 1 hidden, 2 visible
_QUARTER_TURNS = (5, 6, 7, 8)  # values of EXIF's orientation
Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


@dataclass
class Person:
    """One annotated person, animal or thing.

    Attributes:
        points: One per keypoint of the category.
        box: The keypoints' extent unless given.
        score: Of a prediction.
    """

    points: list[Point]
    box: Box | None = None
    score: float | None = None


@dataclass
class ImageAnnotations:
    """The people of one image.

    Attributes:
        file_name: Relative to the folder of images, with forward slashes.
    """

    file_name: str
    width: int
    height: int
    people: list[Person] = field(default_factory=list)


@dataclass(frozen=True)
class Category:
    """What is annotated.

    Attributes:
        links: Pairs of keypoints to be joined, from 0.
        flip_pairs: Left and right keypoints, from 0; ``None`` where they follow from the names.
    """

    name: str
    keypoints: tuple[str, ...]
    links: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] | None = None


def to_coco(images: Sequence[ImageAnnotations], category: Category) -> dict[str, Any]:
    """The content of a COCO file with ids from 1."""
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, 1):
        for person in image.people:
            x1, y1, x2, y2 = person.box or extent(person.points)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "keypoints": [number for point in person.points for number in point],
                    "num_keypoints": sum(visibility > 0 for _, _, visibility in person.points),
                    **({} if person.score is None else {"score": person.score}),
                }
            )
    listed = [
        {"id": index, "file_name": image.file_name, "width": image.width, "height": image.height}
        for index, image in enumerate(images, 1)
    ]
    kind: dict[str, Any] = {"id": 1, "name": category.name, "keypoints": list(category.keypoints)}
    kind["skeleton"] = [[first + 1, second + 1] for first, second in category.links]
    if category.flip_pairs is not None:
        kind["flip_pairs"] = [list(pair) for pair in category.flip_pairs]
    return {"images": listed, "annotations": annotations, "categories": [kind]}


def from_coco(coco: Any) -> tuple[list[ImageAnnotations], Category]:
    """The images of a `CocoFile` with their people, and the category."""
    people: dict[Any, list[Person]] = {identity: [] for identity in coco.images}
    for annotation in coco.annotations:
        x, y, width, height = map(float, annotation["bbox"])
        numbers = annotation["keypoints"]
        points = [
            (float(px), float(py), min(int(v), 2))
            for px, py, v in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
        ]
        if annotation["image_id"] in people:
            person = Person(points, (x, y, x + width, y + height), annotation.get("score"))
            people[annotation["image_id"]].append(person)
    images = [
        ImageAnnotations(image["file_name"], image["width"], image["height"], people[identity])
        for identity, image in coco.images.items()
    ]
    skeleton = coco.skeleton
    return images, Category(skeleton.name, skeleton.keypoint_names, skeleton.links, skeleton.flip_pairs)


def has_own_flip_pairs(category: Category) -> bool:
    """Whether the flip pairs are others than those that follow from the names."""
    pairs = find_flip_pairs(category.keypoints).pairs
    return category.flip_pairs is not None and set(category.flip_pairs) != set(pairs)


def extent(points: Sequence[Point]) -> Box:
    """The smallest box around the labelled keypoints; zeros without any."""
    labelled = [(x, y) for x, y, visibility in points if visibility > 0] or [(0.0, 0.0)]
    xs, ys = zip(*labelled, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def images_by_stem(folder: Path) -> Mapping[str, Path]:
    """The images of a folder by path relative to it, without suffix.

    Raises:
        DatasetError: No such folder; two images differ in the suffix only.
    """
    if not folder.is_dir():
        raise DatasetError(f"no image folder {str(folder)!r}")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in found:
                raise DatasetError(f"{found[stem]} and {path} differ in the suffix only; rename one")
            found[stem] = path
    return found


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image as tools show it, with its EXIF rotation.

    Raises:
        DatasetError: It is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
        return (height, width) if turned else (width, height)
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path}: {error}") from None


def people_of(images: Sequence[ImageAnnotations]) -> Iterator[Person]:
    """All people."""
    for image in images:
        yield from image.people
