"""Label Studio's JSON: tasks with rectangles, and keypoints whose parent is a rectangle.

https://labelstud.io/guide/export and https://labelstud.io/guide/predictions. Coordinates are percent of the image.
The format has no visibility: keypoints that are there are visible, others not labelled.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tinypose_torch.data.errors import DatasetError, malformation
from tinypose_torch.data.formats.coco_content import (
    Category,
    ImageAnnotations,
    Person,
    Point,
    extent,
    has_own_flip_pairs,
    people_of,
    to_coco,
)
from tinypose_torch.utils.atomic import replacing

_POINT_SIZE = 0.5  # percent of the width, as it is drawn


def is_label_studio(start: str) -> bool:
    """Whether a file begins as one of this format."""
    return start.startswith("[") and '"data"' in start and ('"annotations"' in start or '"predictions"' in start)


def read_label_studio(path: Path) -> dict[str, Any]:
    """The content of a COCO file: of every task the first annotation that was not cancelled, else the first prediction.

    Keypoints are in the order in which they occur first. The name of an image is the last part of its address.

    Raises:
        DatasetError: The file is malformed, or keypoints have no parent and there are several people in an image.
    """
    try:
        tasks = json.loads(path.read_bytes())
        results = [(_file_name(task), _results_of(task)) for task in tasks]
        names: dict[str, None] = {}
        for _, rows in results:
            names.update(dict.fromkeys(_label(row) for row in rows if row["type"] == "keypointlabels"))
        if not names:
            raise DatasetError(f"{path}: no keypoints; expected tasks with KeyPointLabels")
        kinds = {_label(row): None for _, rows in results for row in rows if row["type"] == "rectanglelabels"}
        category = Category(next(iter(kinds), "person"), tuple(names))
        images = [_read_image(name, rows, category) for name, rows in results if rows]
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}: not an export of Label Studio: {malformation(error)}") from None
    return to_coco(images, category)


def write_label_studio(images: list[ImageAnnotations], category: Category, path: Path) -> list[str]:
    """Write tasks with predictions, which people correct in Label Studio.

    Returns:
        What the format cannot express.
    """
    tasks = [
        {
            "data": {"image": f"/data/local-files/?d={image.file_name}"},
            "predictions": [{"model_version": "tinypose-torch", "result": _write_image(image, category)}],
        }
        for image in images
    ]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(tasks, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    lost = (["the links of the skeleton"] if category.links else []) + (
        ["flip pairs"] if has_own_flip_pairs(category) else []
    )
    hidden = any(visibility == 1 for person in people_of(images) for _, _, visibility in person.points)
    return lost + (["that keypoints are hidden"] if hidden else [])


def _file_name(task: dict[str, Any]) -> str:
    """The image's path below the storage, or the last part of its address."""
    addresses = [value for value in task["data"].values() if isinstance(value, str)]
    address = urlsplit(addresses[0])
    local = parse_qs(address.query).get("d")
    if local:
        return local[0]
    name = PurePosixPath(unquote(address.path)).name
    first, dash, rest = name.partition("-")
    return rest if dash and len(first) == 8 and "/upload/" in address.path else name  # uploads get a random prefix


def _results_of(task: dict[str, Any]) -> list[dict[str, Any]]:
    done = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    chosen = (done or task.get("predictions") or [{}])[0]
    kinds = ("keypointlabels", "rectanglelabels")
    return [row for row in chosen.get("result", []) if row.get("type") in kinds]


def _label(row: dict[str, Any]) -> str:
    label = row["value"][row["type"]][0]
    if not isinstance(label, str):
        raise TypeError(f"label {label!r}")
    return label


def _read_image(name: str, rows: list[dict[str, Any]], category: Category) -> ImageAnnotations:
    image = ImageAnnotations(name, int(rows[0]["original_width"]), int(rows[0]["original_height"]))
    people: dict[Any, Person] = {}
    for row in rows:
        if row["type"] == "rectanglelabels":
            value = row["value"]
            x, y = value["x"] * image.width / 100, value["y"] * image.height / 100
            box = (x, y, x + value["width"] * image.width / 100, y + value["height"] * image.height / 100)
            people[row["id"]] = Person(_no_points(category), box, row.get("score"))
    alone = next(iter(people)) if len(people) == 1 else None
    for row in rows:
        if row["type"] == "keypointlabels":
            parent = row.get("parentID") or alone
            if parent not in people and people:
                raise DatasetError(f"{name}: keypoint {_label(row)!r} belongs to none of {len(people)} rectangles")
            person = people.setdefault(parent, Person(_no_points(category)))
            x, y = row["value"]["x"] * image.width / 100, row["value"]["y"] * image.height / 100
            person.points[category.keypoints.index(_label(row))] = (float(x), float(y), 2)
    image.people = list(people.values())
    return image


def _no_points(category: Category) -> list[Point]:
    return [(0.0, 0.0, 0)] * len(category.keypoints)


def _write_image(image: ImageAnnotations, category: Category) -> list[dict[str, Any]]:
    rows = []
    for number, person in enumerate(image.people):
        x1, y1, x2, y2 = person.box or extent(person.points)
        shared = {
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
            "to_name": "image",
        }
        value: dict[str, Any] = {
            "x": 100 * x1 / image.width,
            "y": 100 * y1 / image.height,
            "width": 100 * (x2 - x1) / image.width,
            "height": 100 * (y2 - y1) / image.height,
            "rotation": 0,
            "rectanglelabels": [category.name],
        }
        parent = f"person{number}"
        score = {} if person.score is None else {"score": person.score}
        rows.append({"id": parent, "type": "rectanglelabels", "from_name": "box", **shared, "value": value, **score})
        for index, (x, y, visibility) in enumerate(person.points):
            if visibility:
                place = {"x": 100 * x / image.width, "y": 100 * y / image.height, "width": _POINT_SIZE}
                value = {**place, "keypointlabels": [category.keypoints[index]]}
                kind = {"type": "keypointlabels", "from_name": "keypoints", "parentID": parent}
                rows.append({"id": f"{parent}point{index}", **kind, **shared, "value": value})
    return rows
