"""CVAT's "CVAT for images 1.1": XML with a skeleton element per person.

https://docs.cvat.ai/docs/manual/advanced/xml_format. A keypoint is hidden if it is ``occluded`` and not labelled if it is
``outside``. CVAT's skeletons have no boxes: a person's box is the extent of the keypoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from tinypose_torch.data.errors import DatasetError
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

_MAX_BYTES = 1 << 30
_TOLERANCE = 0.01  # pixels


def is_cvat(start: bytes) -> bool:
    """Whether a file begins as one of this format."""
    return re.match(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>)?\s*<annotations>", start) is not None


def read_cvat(path: Path) -> dict[str, Any]:
    """The content of a COCO file.

    Raises:
        DatasetError: The file is missing or malformed, or has skeletons of several kinds.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise DatasetError(f"{path}: more than {_MAX_BYTES} bytes")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "<!" in text.replace("<!--", "").replace("<![CDATA[", ""):  # the way to entities that grow without end
            raise DatasetError(f"{path}: document type declarations are not accepted")
        root = ElementTree.fromstring(text)  # noqa: S314 - there is no document type
        category = _read_category(path, root)
        images = [_read_image(element, category) for element in root.iter("image")]
    except (ElementTree.ParseError, UnicodeDecodeError, KeyError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        missing = f"attribute {error} is missing" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path}: {missing}") from None
    return to_coco(images, category)


def write_cvat(images: list[ImageAnnotations], category: Category, path: Path) -> list[str]:
    """Write a file that CVAT imports into a task whose label is a skeleton of these keypoints.

    Returns:
        What the format cannot express.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _lines(images, category))
    lost = ["flip pairs"] if has_own_flip_pairs(category) else []
    people = list(people_of(images))
    lost += ["boxes that are not the keypoints' extent"] if any(map(_has_own_box, people)) else []
    return lost + (["scores"] if any(person.score is not None for person in people) else [])


def _has_own_box(person: Person) -> bool:
    box, around = person.box, extent(person.points)
    return box is not None and any(abs(a - b) > _TOLERANCE for a, b in zip(box, around, strict=True))


def _read_category(path: Path, root: ElementTree.Element) -> Category:
    used = {element.attrib["label"] for element in root.iter("skeleton")}
    if len(used) > 1:
        raise DatasetError(f"{path}: skeletons of several labels, {', '.join(sorted(used))}; export one label")
    labels = [
        {name: label.findtext(name, "") for name in ("name", "parent", "svg")}
        for label in root.iter("label")
        if label.find("name") is not None
    ]
    parents = [label for label in labels if label["svg"] and (not used or label["name"] in used)]
    if len(parents) == 1:
        name, svg = parents[0]["name"], parents[0]["svg"]
        points = [label["name"] for label in labels if label["parent"] == name]
        return Category(name, tuple(points), tuple(_links(svg, points)))
    names: dict[str, None] = {}  # a file without its description of labels
    for element in root.iter("skeleton"):
        names.update(dict.fromkeys(point.attrib["label"] for point in element.iter("points")))
    if not names:
        raise DatasetError(f"{path}: no skeletons; expected CVAT's export of a label with a skeleton")
    return Category(next(iter(used)), tuple(names))


def _links(svg: str, points: list[str]) -> Iterator[tuple[int, int]]:
    """Pairs of keypoints that the drawing of the label joins; none where it is no XML."""
    try:
        drawing = ElementTree.fromstring(f"<svg>{svg}</svg>")  # noqa: S314 - there is no document type
    except ElementTree.ParseError:
        return
    names = {circle.get("data-node-id"): circle.get("data-label-name") for circle in drawing.iter("circle")}
    for line in drawing.iter("line"):
        first, second = (names.get(line.get(f"data-node-{end}")) for end in ("from", "to"))
        if first in points and second in points:
            yield points.index(first), points.index(second)


def _read_image(element: ElementTree.Element, category: Category) -> ImageAnnotations:
    facts = element.attrib
    image = ImageAnnotations(facts["name"], int(facts["width"]), int(facts["height"]))
    for skeleton in element.iter("skeleton"):
        points: list[Point] = [(0.0, 0.0, 0)] * len(category.keypoints)
        for point in skeleton.iter("points"):
            label = point.attrib["label"]
            if label not in category.keypoints:
                raise DatasetError(f"image {facts['name']!r}: keypoint {label!r} is not one of the label's")
            if point.get("outside", "0") != "1":
                x, y = map(float, point.attrib["points"].split(","))
                points[category.keypoints.index(label)] = (x, y, 1 if point.get("occluded") == "1" else 2)
        image.people.append(Person(points))
    return image


def _lines(images: list[ImageAnnotations], category: Category) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield "<annotations>"
    yield "  <version>1.1</version>"
    yield "  <meta><task><labels>"
    yield f"    <label><name>{_text(category.name)}</name><type>skeleton</type><svg>{_text(_svg(category))}</svg></label>"
    for name in category.keypoints:
        yield f"    <label><name>{_text(name)}</name><type>points</type><parent>{_text(category.name)}</parent></label>"
    yield "  </labels></task></meta>"
    for index, image in enumerate(images):
        name = quoteattr(image.file_name)
        yield f'  <image id="{index}" name={name} width="{image.width}" height="{image.height}">'
        for person in image.people:
            yield f'    <skeleton label={quoteattr(category.name)} source="auto" occluded="0" z_order="0">'
            for label, (x, y, visibility) in zip(category.keypoints, person.points, strict=True):
                state = f'outside="{int(visibility == 0)}" occluded="{int(visibility == 1)}"'
                yield f'      <points label={quoteattr(label)} {state} points="{x:.4f},{y:.4f}"></points>'
            yield "    </skeleton>"
        yield "  </image>"
    yield "</annotations>"


def _svg(category: Category) -> str:
    """The drawing of the label: a circle per keypoint on a ring, and the lines between them."""
    circles = [
        f'<circle r="1.5" cx="50" cy="50" data-type="element node" data-element-id="{number}" data-node-id="{number}" '
        f"data-label-name={quoteattr(name)}></circle>"
        for number, name in enumerate(category.keypoints, 1)
    ]
    lines = [
        f'<line data-type="edge" data-node-from="{first + 1}" data-node-to="{second + 1}"></line>'
        for first, second in category.links
    ]
    return "".join([*lines, *circles])


def _text(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
