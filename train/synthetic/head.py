"""Rendering of heads: skull, hair and face."""

from __future__ import annotations

import numpy as np

from train.synthetic.body import Body, head_radii
from train.synthetic.painting import Array, Canvas, Clothes, Colour

HEAD_PART = 100


class Head:
    """Head: skull, hair, and the visible parts of the face.

    Attributes:
        facing: 1 towards the camera, -1 away from it.
    """

    def __init__(
        self, space: dict[str, Array], pixels: dict[str, Array], size: float, body: Body, clothes: Clothes
    ) -> None:
        self.space, self.pixels, self.clothes = space, pixels, clothes
        forwards = space["nose"] - space["head"]
        self.facing = float(forwards[2] / np.linalg.norm(forwards))
        radii = head_radii(body) * size
        across = space["left_ear"] - space["right_ear"]
        width = np.hypot(np.hypot(*across[:2]) * size / 2, radii[2] * np.sqrt(max(0.0, 1 - self.facing**2)))
        self.axes = (float(min(width, radii[0] * 1.3)), float(radii[1] * 0.98))
        self.centre, self.nose = pixels["head"], pixels["nose"]
        self.up = pixels["crown"] - self.centre
        self.angle = float(np.degrees(np.arctan2(self.up[1], self.up[0]))) + 90
        self.dot = max(0.7, size * 0.011)

    def paint_long_hair(self, canvas: Canvas, owner: int) -> None:
        """Paint long hair; before the body of people who face the camera, otherwise after it."""
        if self.clothes.long_hair:
            below = self.centre - (self.nose - self.centre) * 0.25 - self.up * 0.45
            self._ellipse(canvas, below, (self.axes[0] * 1.1, self.axes[1] * 1.25), self.clothes.hair, owner)

    def paint(self, canvas: Canvas, owner: int) -> None:
        """Paint skull, hair and face."""
        clothes, axes, dot = self.clothes, self.axes, self.dot
        forwards = self.nose - self.centre
        if self.facing <= 0:
            self.paint_long_hair(canvas, owner)
        self._ellipse(canvas, self.centre, axes, clothes.skin, owner)
        if self.facing < 0.15:
            self._ellipse(canvas, self.centre - forwards * 0.1, axes, clothes.hair, owner)
        cap = self.centre + self.up * 0.42 - forwards * 0.3
        self._ellipse(canvas, cap, (axes[0] * 1.06, axes[1] * 0.66), clothes.hair, owner)
        skin = np.array(clothes.skin)
        for name in self._seen("left_ear", "right_ear"):
            self._ellipse(canvas, self.pixels[name], (dot * 1.3, dot * 2.3), tuple(skin * 0.86), owner)
        for name in self._seen("left_eye", "right_eye"):
            eye = self.pixels[name]
            self._ellipse(canvas, eye, (dot * 1.6, dot * 1.1), (245, 245, 245), owner)
            self._ellipse(canvas, eye, (dot * 0.9, dot * 0.9), (35, 28, 24), owner)
            self._ellipse(canvas, eye + self.up * 0.16, (dot * 1.8, dot * 0.5), clothes.hair, owner)
        for name in self._seen("nose"):
            nose = self.pixels[name]
            self._ellipse(canvas, nose, (dot, dot * 1.5), tuple(skin * 0.8), owner)
            self._ellipse(canvas, nose - self.up * 0.32, (dot * 2.0, dot * 0.6), (160, 60, 60), owner)

    def _seen(self, *names: str) -> list[str]:
        return [name for name in names if looks_at_camera(self.space, name)]

    def _ellipse(self, canvas: Canvas, centre: Array, axes: tuple[float, float], colour: Colour, owner: int) -> None:
        canvas.paint_ellipse(centre, axes, self.angle, colour, owner, HEAD_PART)


def looks_at_camera(space: dict[str, Array], name: str) -> bool:
    """Whether a point of the face is on the side of the head that faces the camera."""
    return bool((space[name] - space["head"])[2] > (-0.02 if name.endswith("ear") else 0.0))
