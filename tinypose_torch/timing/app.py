"""The parts of an app beside its two networks alone, and beside the estimator in Python, on one frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.estimators.preprocessing import crop_people, resize_for_detector
from tinypose_torch.runtime.app import open_app
from tinypose_torch.timing.processes import Run

Array = np.ndarray
Call = Callable[[], object]


@dataclass(frozen=True)
class FrameWork:
    """What is timed: ``forward``, ``detect``, and ``pose`` for several numbers of people. It can be pickled.

    Attributes:
        app: The app file.
        detector, pose: Files of the two networks, images in, scores and boxes or keypoints out.
        frame: ``(H, W, 3)`` uint8 RGB of the app's size.
        found: Boxes ``(N, 4)`` of the people that the app finds in the frame.
        boxes: Boxes ``(M, 4)`` for each call of ``pose``.
        threads: Inference threads.
    """

    app: Path
    detector: Path
    pose: Path
    frame: Array
    found: Array
    boxes: Sequence[Array]
    threads: int

    @property
    def parts(self) -> list[tuple[str, int | None]]:
        """Names of the parts, with their numbers of people, in the order of the seconds of a run."""
        return [("forward", len(self.found)), ("detect", None), *(("pose", len(some)) for some in self.boxes)]


def prepare_app(work: FrameWork) -> Run:
    """Returns a function that runs the parts of the app; one that the file does not have takes NaN seconds."""
    torch.set_num_threads(work.threads)
    app = open_app(work.app, work.threads)
    slots, given = app.metadata.max_people, app.metadata.pixel_format.from_rgb(work.frame)

    def estimate(some: Array) -> Call:
        padded = np.concatenate([some, np.zeros((slots - len(some), 4))]).astype(np.float32)
        return lambda: app.pose(given, padded, len(some))

    calls: list[Call | None] = [lambda: app(given), lambda: app.detect(given)]
    calls += [estimate(some) if app.has_method("pose") else None for some in work.boxes]
    return _timed(calls)


def prepare_networks(work: FrameWork) -> Run:
    """Returns a function that runs the networks alone, with their inputs made before."""
    estimator = _estimator(work)
    detector = estimator.detector_runner
    assert detector is not None
    assert estimator.detector_config is not None
    resized = resize_for_detector(work.frame, estimator.detector_config)

    def estimate(some: Array) -> Call:
        crops = crop_people(work.frame, estimator.make_crops(work.frame, some), estimator.pose_config)
        return lambda: estimator.pose_runner(crops) if len(some) else None

    found = estimate(work.found)
    return _timed([lambda: (detector(resized), found()), lambda: detector(resized), *map(estimate, work.boxes)])


def prepare_estimator(work: FrameWork) -> Run:
    """Returns a function that runs the parts of `PoseEstimator`, with the networks' files."""
    estimator = _estimator(work)

    def estimate(some: Array) -> Call:
        return lambda: estimator.estimate_keypoints(work.frame, some)

    def detect() -> object:
        return estimator.detect_people(work.frame)

    found = estimate(work.found)
    return _timed([lambda: (detect(), found()), detect, *map(estimate, work.boxes)])


def _estimator(work: FrameWork) -> PoseEstimator:
    torch.set_num_threads(work.threads)
    return PoseEstimator(detector_weights=work.detector, pose_weights=work.pose, threads=work.threads)


def _timed(calls: Sequence[Call | None]) -> Run:
    def run() -> list[float]:
        return [float("nan") if call is None else _seconds(call) for call in calls]

    return run


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
