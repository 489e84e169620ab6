"""Rendered scenes: background, people, occluding objects, and their annotations."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tinypose_torch.geometry.skeletons import COCO17
from train.synthetic.body import Body, Pose, joints_in_space, sample_pose
from train.synthetic.head import HEAD_PART, Head, looks_at_camera
from train.synthetic.painting import Canvas, Clothes, Part, body_parts

Array = np.ndarray
NAMES = COCO17.keypoint_names
_FACE = frozenset(NAMES[:5])
_MIN_PIXELS = 150  # minimum visible pixels of an annotated person
_MIN_VISIBLE = 6  # keypoints
_HEIGHTS = (0.45, 1.05)
_NEAR = 0.06  # of the height; maximum distance of a hidden joint from a visible part of its limb


@dataclass(frozen=True)
class Annotation:
    """COCO annotation of one person.

    Attributes:
        keypoints: ``(17, 3)``: x, y, and 2 where visible, 1 where hidden by the person's own body beside a part of
            the limb that can be seen, 0 where not labelled: deeper behind the body, hidden by something else, outside,
            or on the far side of the head.
        bbox: x, y, width, height of what can be seen.
        area: Number of visible pixels.
    """

    keypoints: Array
    bbox: tuple[float, float, float, float]
    area: int


@dataclass(frozen=True)
class Painted:
    """A rendered person: joints in the image and in space, and the painted parts."""

    pixels: dict[str, Array]
    parts: list[Part]
    space: dict[str, Array]
    height: float


def render_scene(
    generator: np.random.Generator,
    size: tuple[int, int] = (240, 320),
    people_count: int | None = None,
    heights: tuple[float, float] | None = None,
) -> tuple[Array, list[Annotation]]:
    """Render an image ``(H, W, 3)`` uint8 RGB of the given (height, width); return it with its people.

    Args:
        people_count: Number of people; default: 1 to 4. People with too few visible pixels are not annotated.
        heights: Minimum and maximum height of a person, as fractions of the image's height.
    """
    height, _ = size
    canvas = Canvas(render_background(generator, size), sample_light(generator))
    people = []
    count = people_count or int(generator.choice([1, 2, 3, 4], p=[0.4, 0.35, 0.17, 0.08]))
    shrunk = 0.8 if heights is None and count > 2 else 1.0
    # Nearer people are larger, lower, and painted later. Positions are evenly spaced with jitter.
    in_pixels = np.sort(generator.uniform(*(heights or _HEIGHTS), count)) * height * shrunk
    places = (generator.permutation(count) + 0.5 + generator.uniform(-0.4, 0.4, count)) / count
    for owner, (person_height, place) in enumerate(zip(in_pixels.tolist(), places.tolist(), strict=True)):
        people.append(paint_figure(canvas, Figure.sample(generator), owner, person_height, 0.08 + 0.84 * place))
    for _ in range(int(generator.choice([0, 1, 2], p=[0.65, 0.25, 0.1]))):
        _paint_thing(canvas, generator, len(people))
    annotations = [
        annotation for owner, person in enumerate(people) if (annotation := annotate(canvas, owner, person)) is not None
    ]
    return photograph(canvas.image, generator), annotations


def render_background(generator: np.random.Generator, size: tuple[int, int]) -> Array:
    """Render walls, floor, clutter and texture: ``(H, W, 3)`` float32."""
    height, width = size
    low, high = generator.uniform(20, 230, (2, 3))
    ramp = np.linspace(0, 1, height)[:, None, None]
    image = np.broadcast_to(low * (1 - ramp) + high * ramp, (height, width, 3)).astype(np.float32)
    horizon = int(generator.uniform(0.35, 0.85) * height)
    image[horizon:] = image[horizon:] * 0.4 + generator.uniform(20, 220, 3) * 0.6
    image = np.ascontiguousarray(image, np.float32)
    for _ in range(int(generator.integers(0, 18))):
        colour = tuple(map(float, generator.uniform(0, 255, 3)))
        x, y = (int(v) for v in generator.uniform(0, 1, 2) * (width, height))
        w, h = (int(v) for v in generator.uniform(0.02, 0.35, 2) * (width, height))
        kind = generator.integers(4)
        if kind == 0:
            cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.ellipse(image, (x, y), (w // 2 + 1, h // 2 + 1), float(generator.uniform(0, 180)), 0, 360, colour, -1)
        elif kind == 2:
            end = tuple(int(v) for v in generator.uniform(0, 1, 2) * (width, height))
            cv2.line(image, (x, y), end, colour, int(generator.integers(1, 12)), cv2.LINE_AA)
        else:
            corners = generator.uniform(-0.5, 0.5, (int(generator.integers(3, 7)), 2)) * (w, h) + (x, y)
            cv2.fillConvexPoly(image, cv2.convexHull(corners.astype(np.int32)), colour, cv2.LINE_AA)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(generator.uniform(0.3, 2.5))), np.float32)
    strength = generator.uniform(0, 40)
    for cells in (4, 16, 64):
        noise = generator.normal(0, 1, (cells, cells)).astype(np.float32)
        spread = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.add(image, cv2.merge([spread * np.float32(strength / np.sqrt(cells) * 2)] * 3), dst=image)
    return np.clip(image, 0, 255)


@dataclass(frozen=True)
class Figure:
    """Parameters of a person.

    Attributes:
        ground: Lowest point of the body, as a fraction of the image's height.
        distance: Distance of the camera, in heights of the person.
        texture: Pattern of the shirt.
    """

    body: Body
    clothes: Clothes
    pose: Pose
    ground: float
    distance: float
    texture: Array

    @classmethod
    def sample(cls, generator: np.random.Generator) -> Figure:
        """A person of random body, clothes, pose and place."""
        body, clothes, pose = Body.sample(generator), Clothes.sample(generator), sample_pose(generator)
        ground, distance = generator.uniform(0.82, 1.08), generator.uniform(2.5, 6.0)
        noise = generator.random((24, 24)).astype(np.float32)
        texture = np.asarray(cv2.resize(noise, (96, 96), interpolation=cv2.INTER_LINEAR))
        return cls(body, clothes, pose, ground, distance, texture)


def paint_figure(canvas: Canvas, figure: Figure, owner: int, person_height: float, place: float) -> Painted:
    """Paint a person of the given height in pixels at a horizontal position, as a fraction of the image's width."""
    height, width = canvas.image.shape[:2]
    space = joints_in_space(figure.body, figure.pose)
    lowest = min(point[1] for point in space.values())
    origin = np.array([place * width, height * figure.ground + lowest * person_height])
    distance = figure.distance
    pixels = {
        name: origin + np.array([point[0], -point[1]]) * person_height * distance / (distance - point[2])
        for name, point in space.items()
    }
    parts = body_parts(space, pixels, person_height, figure.body, figure.clothes)
    head = Head(space, pixels, person_height, figure.body, figure.clothes)
    if head.facing > 0:
        head.paint_long_hair(canvas, owner)
    before_head = sum(part.depth <= float(space["head"][2]) + 0.06 for part in parts)
    for index, part in enumerate(parts):
        if index == before_head:
            head.paint(canvas, owner)
        canvas.paint(part, owner, index, figure.texture)
    if before_head == len(parts):
        head.paint(canvas, owner)
    return Painted(pixels, parts, space, person_height)


def _paint_thing(canvas: Canvas, generator: np.random.Generator, owner: int) -> None:
    """Paint an occluding object in front of all people."""
    height, width = canvas.image.shape[:2]
    w, h = generator.uniform(0.06, 0.25, 2) * (width, height)
    x, y = generator.uniform(0, 1, 2) * (width, height)
    corners = cv2.convexHull((generator.uniform(-0.5, 0.5, (6, 2)) * (w, h) + (x, y)).astype(np.int32))
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, corners, 255, cv2.LINE_AA)
    cover = (mask.astype(np.float32) / 255)[..., None]
    canvas.image += cover * (generator.uniform(10, 245, 3).astype(np.float32) - canvas.image)
    canvas.owner[mask > 127] = owner


def annotate(canvas: Canvas, owner: int, person: Painted) -> Annotation | None:
    """Annotation of a person as an annotator would make it; ``None`` if too little is visible."""
    height, width = canvas.image.shape[:2]
    mine = canvas.owner == owner
    area = int(mine.sum())
    if area < _MIN_PIXELS:
        return None
    keypoints = np.zeros((len(NAMES), 3))
    for index, name in enumerate(NAMES):
        x, y = person.pixels[name]
        column, row = round(float(x)), round(float(y))
        if not (0 <= column < width and 0 <= row < height) or not mine[row, column]:
            continue
        if name in _FACE and not looks_at_camera(person.space, name):
            continue
        part = int(canvas.part[row, column])
        holds = name in _FACE if part == HEAD_PART else name in person.parts[part].joints
        if holds or _limb_is_near(canvas, mine, name, (column, row), person):
            keypoints[index] = round(float(x), 2), round(float(y), 2), 2 if holds else 1
    if (keypoints[:, 2] == 2).sum() < _MIN_VISIBLE:
        return None
    rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
    x1, y1, x2, y2 = (int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return Annotation(keypoints, (x1, y1, x2 - x1, y2 - y1), area)


def _limb_is_near(canvas: Canvas, mine: Array, name: str, place: tuple[int, int], person: Painted) -> bool:
    """Whether a visible part of the joint's limb is close to a hidden joint."""
    reach = max(1, round(_NEAR * person.height))
    column, row = place
    window = np.s_[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
    holders = [HEAD_PART] if name in _FACE else [i for i, part in enumerate(person.parts) if name in part.joints]
    return bool((np.isin(canvas.part[window], holders) & mine[window]).any())


def sample_light(generator: np.random.Generator) -> Array:
    """Sample the direction of the light."""
    angle = generator.uniform(-np.pi, 0)
    return np.array([np.cos(angle), np.sin(angle)]) * generator.uniform(0.2, 1.0)


def photograph(image: Array, generator: np.random.Generator) -> Array:
    """Apply exposure, white balance, blur and noise of a camera."""
    image = image * generator.uniform(0.75, 1.2) * generator.uniform(0.93, 1.07, 3) + generator.uniform(-15, 15)
    if generator.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), float(generator.uniform(0.3, 1.0)))
    noise = generator.normal(0, generator.uniform(1, 6), image.shape[:2])
    return np.clip(image + noise[..., None], 0, 255).astype(np.uint8)
