"""Photos in, poses out, by an app file that holds the whole pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np

from tinypose_torch.estimators.results import Poses
from tinypose_torch.runtime.app import open_app
from tinypose_torch.utils.images import image_errors, load_image
from tinypose_torch.video.frames import Frame, map_frames

Array = np.ndarray


@dataclass(frozen=True)
class FittedImage:
    """An image as a frame.

    Attributes:
        frame: ``(H, W, 3)`` uint8 RGB: the image as large as it fits in, with black to the right or below.
        scale: Frame pixels per image pixel, (x, y).
    """

    frame: Array
    scale: Array

    def boxes_in_image(self, boxes: Array) -> Array:
        """Boxes ``(N, 4)`` of the frame in pixels of the image."""
        return (boxes / np.tile(self.scale, 2)).astype(np.float32)

    def points_in_image(self, points: Array) -> Array:
        """Points ``(..., 2)`` of the frame in pixels of the image. Pixel centres are at whole numbers."""
        return (points + 0.5) / self.scale - 0.5


def fit_image(image: Array, frame_size: tuple[int, int]) -> FittedImage:
    """Fit an RGB image into a frame; one of the frame's size stays as it is.

    Args:
        frame_size: (height, width), pixels.
    """
    height, width = image.shape[:2]
    if (height, width) == frame_size:
        return FittedImage(image, np.ones(2))
    ratio = min(frame_size[0] / height, frame_size[1] / width)
    inner_height, inner_width = max(1, round(height * ratio)), max(1, round(width * ratio))
    interpolation = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    frame = np.zeros((*frame_size, 3), np.uint8)
    frame[:inner_height, :inner_width] = cv2.resize(image, (inner_width, inner_height), interpolation=interpolation)
    return FittedImage(frame, np.array([inner_width / width, inner_height / height]))


class AppEstimator:
    """Finds people and their keypoints with a file of `tinypose_torch.export.export_app`.

    Photos of other sizes than the file's frames are fitted in, and the results are mapped back.

    Args:
        path: ``.pte``, ``.torchscript`` or ``.onnx``.
        threads: Inference threads; the runtime's own default unless given.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It holds no app, is damaged or altered, or its runtime is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        self.runner = open_app(Path(path), threads)
        self.metadata = self.runner.metadata
        self._arguments = (path, threads)

    def __reduce__(self) -> tuple[Any, ...]:
        path, threads = self._arguments
        return _reopened, (Path(path).absolute(), threads)

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Poses]: ...

    @overload
    def __call__(self, image: Any) -> Poses: ...

    def __call__(self, image: Any) -> Poses | list[Poses]:
        """Find the poses in one image, or in each of a list; at most as many people as the file has slots.

        Args:
            image: A path, an array ``(H, W, 3)`` uint8 RGB, a PIL image, or a list of them.

        Raises:
            ImageError, FileNotFoundError: See `load_image`.
        """
        if isinstance(image, (list, tuple)):
            return [self._estimate(load_image(one)) for one in image]
        return self._estimate(load_image(image))

    def stream(
        self, sources: str | Iterable[str], on_error: Callable[[str, Exception], None] | None = None
    ) -> Iterator[tuple[Frame, Poses]]:
        """Poses in photos, folders, glob patterns, videos and cameras, one image at a time.

        Args:
            sources, on_error: See `map_frames`.
        """
        yield from map_frames(sources, self._estimate, on_error)

    @image_errors()
    def _estimate(self, image: Array) -> Poses:
        fitted = fit_image(image, self.metadata.frame_size)
        people = self.runner(fitted.frame)
        found = people.scores > 0
        keypoints = people.keypoints[found]
        return Poses(
            fitted.boxes_in_image(people.boxes[found]),
            people.scores[found],
            fitted.points_in_image(keypoints[..., :2].astype(np.float64)),
            keypoints[..., 2],
            self.metadata.pose_config.skeleton,
        )


def _reopened(path: Path, threads: int | None) -> AppEstimator:
    return AppEstimator(path, threads=threads)
