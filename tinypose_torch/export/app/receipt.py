"""How far the answers of an app are from those of the estimator in Python."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinypose_torch.estimators.pose_estimator import PoseEstimator
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
    totals = {
        "people": 0,
        "people missing or extra": 0,
        "box, pixels": 0.0,
        "keypoint, pixels": 0.0,
        "keypoints compared": 0,
    }
    pixels = metadata.pixel_format
    first = pixels.from_rgb(frames[0])
    for frame in frames:
        given = pixels.from_rgb(frame)
        _add(totals, app(given), estimator(pixels.to_rgb(given)))
    if not all(map(math.isfinite, totals.values())):
        raise ValueError(f"{name}: NaN or infinite outputs on {described}; check the weights")
    return {
        "model": name,
        "images": described,
        "differences": totals,
        "latency_ratio_to_eager": latency_ratio(lambda _: app(first), estimator, frames[0]),
        "made": made,
        "description": json.loads(metadata.to_json()),
    }


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
