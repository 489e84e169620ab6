"""How far the answers of an app are from those of the estimator in Python."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.estimators.preprocessing import crop_people, resize_for_detector
from tinypose_torch.estimators.results import Poses
from tinypose_torch.export.receipt import latency_ratio
from tinypose_torch.runtime.app import AppRunner, People
from tinypose_torch.utils.defaults import VISIBLE


def compare_app(
    app: AppRunner, estimator: PoseEstimator, frames: Sequence[np.ndarray], described: str, made: dict[str, Any]
) -> dict[str, Any]:
    """Compare an app with an estimator of the same networks, with portable resizes, on the same frames.

    Args:
        frames: RGB, of the app's size.
        described: What the frames are.
        made: Facts about how the file was made.

    Raises:
        ValueError: An output is NaN or infinite, which a receipt cannot hold.
    """
    metadata = app.metadata
    name = f"{metadata.detector.config.name}+{metadata.pose.config.name}"
    given = [metadata.pixel_format.from_rgb(frame) for frame in frames]
    frames = [metadata.pixel_format.to_rgb(frame) for frame in given]
    expected = [estimator(frame) for frame in frames]
    totals = compare_people(app, given, expected)
    if not all(map(math.isfinite, totals.values())):
        raise ValueError(f"{name}: NaN or infinite outputs on {described}; check the weights")
    most = max(range(len(frames)), key=lambda index: len(expected[index]))
    return {
        "model": name,
        "images": described,
        "differences": totals,
        "latency_ratio_to_eager": latency_ratio(lambda _: app(given[most]), estimator, frames[most]),
        "latency_ratios_of_parts": _ratios_of_parts(app, given[most], estimator, frames[most], expected[most].boxes),
        "made": made,
        "description": json.loads(metadata.to_json()),
    }


def compare_people(app: AppRunner, frames: Sequence[np.ndarray], expected: Sequence[Poses]) -> dict[str, float]:
    """Differences between the people of an app and those of an estimator, in the same frames.

    Args:
        frames: Of the app's pixel format.

    Returns:
        Numbers of people, of those missing or extra, and of keypoints compared, which are those scored above 0.2; the
        largest differences of a side of a box and of a coordinate of a keypoint, pixels.
    """
    totals = {
        "people": 0,
        "people missing or extra": 0,
        "box, pixels": 0.0,
        "keypoint, pixels": 0.0,
        "keypoints compared": 0,
    }
    for frame, people in zip(frames, expected, strict=True):
        _add(totals, app(frame), people)
    return totals


def _ratios_of_parts(
    app: AppRunner, given: np.ndarray, estimator: PoseEstimator, frame: np.ndarray, found: np.ndarray
) -> dict[str, float]:
    """Times of ``detect``, and of ``pose`` for the people in a frame, over those of the eager networks alone.

    Args:
        given: The frame in the app's pixel format.
        frame: The same as RGB.
        found: Boxes ``(N, 4)`` of the people; without people ``pose`` is timed for one who fills the frame.
    """
    detector, config = estimator.detector_runner, estimator.detector_config
    assert detector is not None
    assert config is not None
    resized = resize_for_detector(frame, config)
    ratios = {}
    if app.has_method("detect"):
        ratios["detect"] = latency_ratio(lambda _: app.detect(given), detector, resized)
    if app.has_method("pose"):
        slots, size = app.metadata.max_people, app.metadata.frame_size
        boxes = found[:slots] if len(found) else np.array([[0, 0, size[1], size[0]]], np.float32)
        padded = np.concatenate([boxes, np.zeros((slots - len(boxes), 4), np.float32)])
        crops = crop_people(frame, estimator.make_crops(frame, boxes), estimator.pose_config)
        ratios["pose"] = latency_ratio(lambda _: app.pose(given, padded, len(boxes)), estimator.pose_runner, crops)
    return ratios


def _add(totals: dict[str, Any], found: People, expected: Poses) -> None:
    """Add the differences of one frame."""
    wanted = min(len(found.scores), len(expected))
    count = int((found.scores > 0).sum())
    totals["people"] += wanted
    totals["people missing or extra"] += abs(count - wanted)
    both = min(count, wanted)
    visible = expected.keypoint_scores[:both] > VISIBLE
    boxes = np.abs(found.boxes[:both] - expected.boxes[:both])
    keypoints = np.abs(found.keypoints[:both, :, :2] - expected.keypoints[:both])[visible]
    totals["box, pixels"] = max(totals["box, pixels"], float(boxes.max(initial=0)))
    totals["keypoint, pixels"] = max(totals["keypoint, pixels"], float(keypoints.max(initial=0)))
    totals["keypoints compared"] += int(visible.sum())
