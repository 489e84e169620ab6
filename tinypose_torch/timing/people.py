"""From photo to poses, for given numbers of people; and what the networks take of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.estimators.preprocessing import crop_people, resize_for_detector
from tinypose_torch.timing.processes import Run

SIZE = (480, 640)


def prepare_pipeline(names: tuple[str, str], files: tuple[Path, Path], threads: int, people: Sequence[int]) -> Run:
    """What goes from a photo to poses once for every number of people.

    The photo is made up, and so are the boxes: the detector's work does not depend on what it sees.

    Returns:
        Of which a run gives the seconds of the detector alone, then for every number of people those of everything, and
        those of the pose network alone.
    """
    torch.set_num_threads(threads)
    estimator = PoseEstimator(*names, *files, threads=threads)
    image = made_up_photo()
    detector = estimator.detector_runner
    assert detector is not None
    assert estimator.detector_config is not None
    resized = resize_for_detector(image, estimator.detector_config)
    boxes = [boxes_of(count) for count in people]
    crops = [crop_people(image, estimator.make_crops(image, some), estimator.pose_config) for some in boxes]

    def whole(some: np.ndarray) -> None:
        estimator.detect_people(image)
        estimator.estimate_keypoints(image, some)

    def run() -> list[float]:
        return [
            _seconds(detector, resized),
            *(_seconds(whole, some) for some in boxes),
            *(_seconds(estimator.pose_runner, some) for some in crops),
        ]

    return run


def made_up_photo(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Coarse noise of a size (height, width), RGB."""
    height, width = size
    noise = np.random.default_rng(0).integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.ascontiguousarray(noise.repeat(8, axis=0).repeat(8, axis=1)[:height, :width])


def boxes_of(people: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Boxes ``(N, 4)`` x1, y1, x2, y2 side by side, as high as most of a photo of a size (height, width)."""
    left = np.linspace(20, SIZE[1] - 140, people)
    boxes = np.stack([left, np.full(people, 60), left + 120, np.full(people, 420)], axis=1)
    scale = np.array(size[::-1]) / np.array(SIZE[::-1])
    return (boxes * np.tile(scale, 2)).astype(np.float32)


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start
