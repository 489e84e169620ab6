"""Photos in, poses out, by an app file that holds the whole pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinypose_torch.estimators.base import PoseMethod
from tinypose_torch.estimators.preprocessing import letterbox_size
from tinypose_torch.estimators.results import Poses
from tinypose_torch.geometry.crops import Crops
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.runtime.app import AppRunner, FollowedPeople, People, open_app

Array = np.ndarray
_NO_BOXES = "an app finds people's boxes itself; leave boxes out"


@dataclass(frozen=True)
class LetterboxedImage:
    """An image in a frame.

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


def letterbox(image: Array, frame_size: tuple[int, int]) -> LetterboxedImage:
    """Fit an RGB image into a frame; one of the frame's size stays as it is.

    Args:
        frame_size: (height, width), pixels.
    """
    height, width = image.shape[:2]
    if (height, width) == frame_size:
        return LetterboxedImage(image, np.ones(2))
    inner_height, inner_width = letterbox_size((height, width), frame_size)
    shrinks = frame_size[0] < height or frame_size[1] < width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    frame = np.zeros((*frame_size, 3), np.uint8)
    frame[:inner_height, :inner_width] = cv2.resize(image, (inner_width, inner_height), interpolation=interpolation)
    return LetterboxedImage(frame, np.array([inner_width / width, inner_height / height]))


class AppMethod(PoseMethod):
    """Finds people and their keypoints with a file of `tinypose_torch.export.export_app`.

    Args:
        path: ``.pte``, ``.torchscript`` or ``.onnx``.
        threads: Inference threads; the runtime's own default unless given.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It holds no app, is damaged or altered, or its runtime is not installed.
    """

    app: AppRunner

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.app = open_app(path, threads)
        self.config = self.app.metadata.pose_config
        self._arguments = (path.absolute(), threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return AppMethod, self._arguments

    @property
    def track_threshold(self) -> float | None:
        return self.app.metadata.threshold

    def estimate(self, images: Sequence[Array], boxes: Sequence[Any]) -> list[Poses]:
        if any(given is not None for given in boxes):
            raise ValueError(_NO_BOXES)
        return [self._estimate_frame(image) for image in images]

    def estimate_keypoints(self, image: Array, boxes: Array, scores: Array | None = None) -> Poses:
        raise ValueError(_NO_BOXES)

    def make_crops(self, image: Array, boxes: Array) -> Crops:
        raise ValueError(_NO_BOXES)

    def _estimate_frame(self, image: Array) -> Poses:
        metadata = self.app.metadata
        fitted = letterbox(image, metadata.frame_size)
        return _poses_in_image(self.app(metadata.pixel_format.from_rgb(fitted.frame)), fitted, self.config.skeleton)


class AppTracker:
    """Tracks the people of one video, frame by frame, by the method ``follow`` of an app file; see `PoseTracker`.

    Detections, identities and smoothing are computed in the file.

    Args:
        runner: The app file.

    Raises:
        ValueError: The file has no method ``follow``.
    """

    min_score = None  # there is no look-ahead

    def __init__(self, runner: AppRunner) -> None:
        runner.check_follow()
        self._runner = runner
        self._state: Array | None = None

    def __call__(self, image: Array, time: float, lookahead: None = None) -> Poses:
        """Return the people of the next frame with their ``ids``, in ascending order.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            time: Seconds, greater than that of the frame before.
            lookahead: Not used.
        """
        metadata = self._runner.metadata
        fitted = letterbox(image, metadata.frame_size)
        people = self._runner.follow(metadata.pixel_format.from_rgb(fitted.frame), self._state, time)
        self._state = people.state
        poses = _poses_in_image(people, fitted, metadata.pose_config.skeleton)
        poses.ids = people.ids[people.scores > 0]
        return poses


def _poses_in_image(people: People | FollowedPeople, fitted: LetterboxedImage, skeleton: Skeleton) -> Poses:
    """Poses in pixels of the image."""
    found = people.scores > 0
    keypoints = people.keypoints[found]
    points = fitted.points_in_image(keypoints[..., :2].astype(np.float64))
    return Poses(fitted.boxes_in_image(people.boxes[found]), people.scores[found], points, keypoints[..., 2], skeleton)
