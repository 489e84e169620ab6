"""Rendering of figures: shaded, tapered capsules in clothes, painted from far to near.

Beside the picture goes a map of who was painted last at every pixel and with which part, which tells what is visible.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from train.synthetic.body import SIDES, Body

Array = np.ndarray
Colour = tuple[float, float, float]

# Radii of the limbs in units of the height, at their beginning and their end.
_RADII = {
    "upper_arm": (0.036, 0.028),
    "forearm": (0.028, 0.021),
    "hand": (0.023, 0.017),
    "thigh": (0.058, 0.04),
    "shin": (0.039, 0.024),
    "foot": (0.028, 0.023),
    "neck": (0.032, 0.03),
}
SKIN = ((236, 200, 174), (222, 178, 146), (190, 138, 104), (145, 98, 68), (104, 68, 48), (72, 48, 36))
HAIR = ((30, 24, 20), (70, 48, 30), (120, 84, 48), (190, 150, 90), (150, 70, 40), (150, 150, 150))
_SHIFT = 4  # fractional bits of OpenCV's coordinates


@dataclass(frozen=True)
class Clothes:
    """Clothes and skin of a person.

    Attributes:
        sleeves, trousers: Length: 0 none, 1 to elbow or knee, 2 full.
        pattern: ``"plain"``, ``"stripes"``, ``"checks"`` or ``"noise"``, of the shirt.
        crease: Brightness of elbows, wrists, knees and ankles relative to the limb.
    """

    skin: Colour
    hair: Colour
    shirt: Colour
    trouser: Colour
    shoe: Colour
    sleeves: int
    trousers: int
    pattern: str
    long_hair: bool
    crease: float

    @classmethod
    def sample(cls, generator: np.random.Generator) -> Clothes:
        """Random clothes."""

        def colour() -> Colour:
            hue, saturation, value = generator.uniform(0, 180), generator.uniform(10, 220), generator.uniform(40, 235)
            rgb = cv2.cvtColor(np.array([[[hue, saturation, value]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
            return tuple(map(float, rgb))  # type: ignore[return-value]

        return cls(
            skin=tuple(np.array(SKIN[generator.integers(len(SKIN))]) * generator.uniform(0.9, 1.08)),
            hair=HAIR[generator.integers(len(HAIR))],
            shirt=colour(),
            trouser=colour(),
            shoe=colour(),
            sleeves=int(generator.integers(0, 3)),
            trousers=int(generator.integers(1, 3)),
            pattern=str(generator.choice(["plain", "plain", "stripes", "checks", "noise"])),
            long_hair=bool(generator.random() < 0.4),
            crease=float(generator.uniform(0.45, 0.75)),
        )


@dataclass(frozen=True)
class Part:
    """A tapered capsule through points of the image, in one colour.

    Attributes:
        points: ``(M, 2)`` pixels.
        radii: ``(M,)`` pixels.
        depth: Position towards the camera; nearer parts cover farther ones.
        joints: COCO names of the keypoints inside.
    """

    points: Array
    radii: Array
    depth: float
    colour: Colour
    joints: tuple[str, ...]
    pattern: str = "plain"
    hull: bool = False


def body_parts(
    space: dict[str, Array], pixels: dict[str, Array], size: float, body: Body, clothes: Clothes
) -> list[Part]:
    """Parts of a person except the face, from far to near.

    Args:
        space: Joints, camera axes; see `joints_in_space`.
        pixels: Joints in the image.
        size: Pixels per unit of height.
    """
    parts = [_torso(space, pixels, size, body, clothes)]
    for side, _ in SIDES:
        sleeve = [clothes.shirt if clothes.sleeves > reach else clothes.skin for reach in (0, 1)]
        trouser = [clothes.trouser, clothes.trouser if clothes.trousers > 1 else clothes.skin]
        limbs = (
            ("upper_arm", "shoulder", "elbow", sleeve[0], ("shoulder", "elbow")),
            ("forearm", "elbow", "wrist", sleeve[1], ("elbow", "wrist")),
            ("hand", "wrist", "hand", clothes.skin, ("wrist",)),
            ("thigh", "hip", "knee", trouser[0], ("hip", "knee")),
            ("shin", "knee", "ankle", trouser[1], ("knee", "ankle")),
            ("foot", "ankle", "toes", clothes.shoe, ("ankle",)),
        )
        above = clothes.shirt
        for name, start, end, colour, joints in limbs:
            ends = [f"{side}_{start}", f"{side}_{end}"]
            nearer = 0.02 if name in ("hand", "foot", "forearm") else 0.0
            parts.append(
                Part(
                    np.array([pixels[end_] for end_ in ends]),
                    np.array(_RADII[name]) * size * body.girth,
                    float(np.mean([space[end_][2] for end_ in ends])) + nearer,
                    colour,
                    tuple(f"{side}_{joint}" for joint in joints),
                    clothes.pattern if colour == clothes.shirt else "plain",
                )
            )
            if name in ("forearm", "hand", "shin", "foot"):
                parts.append(_crease(parts[-1], colour if name in ("forearm", "shin") else above, clothes.crease))
            above = colour
    neck = np.array([pixels["neck"], pixels["head"]])
    depth = float(space["neck"][2])
    parts.append(Part(neck, np.array(_RADII["neck"]) * size * body.girth, depth - 0.01, clothes.skin, ()))
    return sorted(parts, key=lambda part: part.depth)


def _crease(limb: Part, colour: Colour, brightness: float) -> Part:
    """A crease at the start of a limb, across its width and a third as long."""
    along = limb.points[1] - limb.points[0]
    length = float(np.hypot(*along))
    across = np.array([-along[1], along[0]]) / max(length, 1e-6) * limb.radii[0] * 0.6
    ends = np.array([limb.points[0] - across, limb.points[0] + across])
    folded = tuple(brightness * channel for channel in colour)
    return Part(ends, np.full(2, limb.radii[0] * 0.4), limb.depth + 0.001, folded, limb.joints[:1])  # type: ignore[arg-type]


def _torso(space: dict[str, Array], pixels: dict[str, Array], size: float, body: Body, clothes: Clothes) -> Part:
    corners = ("left_shoulder", "right_shoulder", "right_hip", "left_hip")
    radii = np.array([0.04, 0.04, 0.06, 0.06]) * size * body.girth
    depth = float(np.mean([space[corner][2] for corner in corners]))
    points = np.array([pixels[corner] for corner in corners])
    return Part(points, radii, depth, clothes.shirt, corners, clothes.pattern, hull=True)


class Canvas:
    """An image and the map of the painted parts.

    Attributes:
        image: ``(H, W, 3)`` float32 RGB.
        owner: ``(H, W)`` int16: number of the person painted last, -1 for the background.
        part: ``(H, W)`` int16: index of that person's part.
    """

    def __init__(self, background: Array, light: Array) -> None:
        self.image = background.astype(np.float32)
        self.owner = np.full(background.shape[:2], -1, np.int16)
        self.part = np.full(background.shape[:2], -1, np.int16)
        self.light = light

    def paint(self, part: Part, owner: int, index: int, texture: Array) -> None:
        """Paint a capsule, lighter towards the light and darker away from it."""
        reach = float(part.radii.max()) + 2
        x1, y1 = np.maximum(np.floor(part.points.min(axis=0) - reach), 0).astype(int)
        x2, y2 = np.minimum(np.ceil(part.points.max(axis=0) + reach) + 1, self.image.shape[1::-1]).astype(int)
        if x1 >= x2 or y1 >= y2:
            return
        points = part.points - (x1, y1)
        mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
        _fill(mask, points, part.radii, part.hull)
        radius = float(part.radii.mean())
        shade = np.zeros(mask.shape, np.uint8)
        _fill(shade, points + self.light * radius * 0.45, part.radii * 0.75, part.hull)
        spread = max(1.0, radius * 0.45)
        bright = cv2.GaussianBlur(shade, (0, 0), spread).astype(np.float32) / 255
        colour = np.array(part.colour, np.float32) * _pattern(part.pattern, texture, (y1, x1), mask.shape, radius)
        colour = colour * (0.55 + 0.55 * bright)[..., None]
        self._cover(mask, colour, (x1, y1), owner, index)

    def paint_ellipse(
        self, centre: Array, axes: tuple[float, float], angle: float, colour: Colour, owner: int, index: int
    ) -> None:
        """Paint a ball or a disc, darker towards its edge."""
        reach = max(axes) + 2
        x1, y1 = np.maximum(np.floor(centre - reach), 0).astype(int)
        x2, y2 = np.minimum(np.ceil(centre + reach) + 1, self.image.shape[1::-1]).astype(int)
        if x1 >= x2 or y1 >= y2:
            return
        mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
        scaled = tuple(round(max(0.5, axis) * 2**_SHIFT) for axis in axes)
        place = tuple(int(v) for v in np.round((centre - (x1, y1)) * 2**_SHIFT))
        cv2.ellipse(mask, place, scaled, angle, 0, 360, 255, -1, cv2.LINE_AA, _SHIFT)
        bright = cv2.GaussianBlur(mask, (0, 0), max(1.0, min(axes) * 0.5)).astype(np.float32) / 255
        self._cover(mask, np.array(colour, np.float32) * (0.8 + 0.25 * bright)[..., None], (x1, y1), owner, index)

    def _cover(self, mask: Array, colour: Array, corner: tuple[int, int], owner: int, index: int) -> None:
        (x1, y1), (height, width) = corner, mask.shape
        region = np.s_[y1 : y1 + height, x1 : x1 + width]
        self.image[region] += (mask.astype(np.float32) / 255)[..., None] * (colour - self.image[region])
        solid = mask > 127
        self.owner[region][solid] = owner
        self.part[region][solid] = index


def _fill(mask: Array, points: Array, radii: Array, hull: bool) -> None:
    """Fill the hull of discs."""
    groups = [range(len(points))] if hull else [(i, i + 1) for i in range(len(points) - 1)]
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for group in groups:
        outline = np.concatenate([points[i] + radii[i] * ring for i in group])
        corners = cv2.convexHull(np.round(outline * 2**_SHIFT).astype(np.int32))
        cv2.fillConvexPoly(mask, corners, 255, cv2.LINE_AA, _SHIFT)


def _pattern(kind: str, texture: Array, start: tuple[int, int], shape: tuple[int, int], radius: float) -> Array:
    """Pattern of a cloth: factors ``(h, w, 1)`` of its colour."""
    height, width = shape
    if kind == "noise":
        y, x = start[0] % 64, start[1] % 64
        rows, columns = (np.arange(height) + y) % texture.shape[0], (np.arange(width) + x) % texture.shape[1]
        return 0.75 + 0.5 * texture[np.ix_(rows, columns)][..., None]
    period = max(2.0, radius * 0.6)
    rows = ((np.arange(height) // period) % 2)[:, None]
    columns = ((np.arange(width) // period) % 2)[None]
    if kind == "stripes":
        return (1 - 0.4 * rows * np.ones((1, width)))[..., None].astype(np.float32)
    if kind == "checks":
        return (1 - 0.3 * rows - 0.25 * columns)[..., None].astype(np.float32)
    return np.ones((1, 1, 1), np.float32)
