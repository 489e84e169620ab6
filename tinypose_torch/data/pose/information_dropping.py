"""Information dropping augmentation (AID): erase parts of a person, so that the network learns to infer them.

Huang et al., "AID: Pushing the Performance Boundary of Human Pose Estimation with Information Dropping Augmentation", 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tinypose_torch.data.pose.transforms import PersonTransform

Array = np.ndarray
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Disc:
    """Pixels of an image within a disc.

    Attributes:
        x, y, radius: Pixels.
        rows, columns: The part of the image that the disc is in.
        inside: Which of that part's pixels are in it, ``(rows, columns)``.
    """

    x: float
    y: float
    radius: float
    rows: slice
    columns: slice
    inside: Array

    @classmethod
    def of(cls, x: float, y: float, radius: float, shape: Shape) -> Disc:
        """The disc in an image of the given ``(height, width, ...)``."""
        rows, columns = _within(y, radius, shape[0]), _within(x, radius, shape[1])
        dx, dy = (np.arange(*columns) - x) / radius, (np.arange(*rows) - y) / radius
        inside = (dx * dx)[None] + (dy * dy)[:, None] <= 1
        return cls(x, y, radius, slice(*rows), slice(*columns), inside)


class Cutout(PersonTransform):
    """Information dropping as in PaddleDetection: erase a disc near one labelled keypoint.

    Its place and radius are in pixels of the source image, relative to the network's input and not to the person.

    Args:
        input_width: Of the network, pixels.
        offset: Standard deviation of the disc's offset from the keypoint, as a fraction of the input width.
        radius: Minimum and maximum radius, as fractions of the input width.
        in_place: Modify the given image instead of a copy.
    """

    def __init__(
        self,
        input_width: int,
        offset: float = 0.05,
        radius: tuple[float, float] = (0.1, 0.2),
        p: float = 0.5,
        in_place: bool = False,
    ) -> None:
        super().__init__(p=p)
        self.input_width, self.offset, self.radius, self.in_place = input_width, offset, radius, in_place

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        labelled = self.labelled(data)
        if not labelled:
            return {"disc": None}
        (x, y), (dx, dy) = data["keypoints"][self.py_random.choice(labelled), :2], self.random_generator.normal(size=2)
        spread = self.input_width * self.offset
        radius = self.py_random.uniform(*self.radius) * self.input_width
        return {"disc": Disc.of(float(x) + dx * spread, float(y) + dy * spread, radius, params["shape"])}

    def apply(self, img: Array, *args: Any, disc: Disc | None = None, **params: Any) -> Array:
        if disc is None:
            return img
        img = img if self.in_place else img.copy()
        part = img[disc.rows, disc.columns]
        if part.size:
            cv2.copyTo(np.zeros_like(part), disc.inside.view(np.uint8), part)  # a tenth of a masked assignment's time
        return img


def _within(center: float, radius: float, length: int) -> tuple[int, int]:
    """The range of pixels of an axis that are at most ``radius`` from ``center``."""
    first = min(max(math.ceil(center - radius), 0), length)
    return first, max(min(math.floor(center + radius) + 1, length), first)


class _BoxDropping(PersonTransform):
    """Base class of transforms that erase patches of the region that is cropped."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        center, size = self.center_and_size(data)
        corner = center - size / 2
        return {"patches": [(corner + start * size, corner + end * size) for start, end in self.sample_patches()]}

    def sample_patches(self) -> list[tuple[Array, Array]]:
        """Sample the patches' corners (x, y), relative to the region."""
        raise NotImplementedError

    def apply(self, img: Array, *args: Any, patches: Sequence[tuple[Array, Array]] = (), **params: Any) -> Array:
        limit = np.array(img.shape[1::-1])
        img = img.copy()
        for start, end in patches:
            x1, y1 = np.clip(np.round(start), 0, limit).astype(int)
            x2, y2 = np.clip(np.round(end), 0, limit).astype(int)
            img[y1:y2, x1:x2] = 0
        return img


class HideAndSeek(_BoxDropping):
    """Information dropping after Singh and Lee, "Hide-and-Seek", ICCV 2017: erase random cells of a grid.

    Args:
        cells: Numbers of cells along each side of the region; one is sampled.
        share: Probability with which each cell is dropped.
    """

    def __init__(self, cells: Sequence[int] = (4, 6, 8), share: float = 0.2, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.cells, self.share = tuple(cells), share

    def sample_patches(self) -> list[tuple[Array, Array]]:
        count = int(self.random_generator.choice(self.cells))
        dropped = np.argwhere(self.random_generator.random((count, count)) < self.share)
        return [(cell / count, (cell + 1) / count) for cell in dropped]


class GridMask(_BoxDropping):
    """Information dropping after Chen et al., "GridMask", 2020: a regular grid of squares at a random phase.

    Args:
        cells: Minimum and maximum number of squares along the region.
        share: Side of a square relative to its period.
    """

    def __init__(self, cells: tuple[int, int] = (3, 7), share: float = 0.5, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.cells, self.share = cells, share

    def sample_patches(self) -> list[tuple[Array, Array]]:
        count = int(self.random_generator.integers(self.cells[0], self.cells[1] + 1))
        phase = self.random_generator.random(2)
        corners = (
            np.stack(np.meshgrid(np.arange(-1, count), np.arange(-1, count)), axis=-1).reshape(-1, 2) + phase
        ) / count
        return [(np.clip(corner, 0, 1), np.clip(corner + self.share / count, 0, 1)) for corner in corners]
