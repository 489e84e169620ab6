"""Look-ahead estimation: detections of a video frame, and the poses computed before the frame was requested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinypose_torch.estimators.base import Estimator
from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.estimators.results import Detections, Poses


@dataclass(frozen=True)
class Lookahead:
    """Look-ahead results of one video frame.

    Attributes:
        people: All detections, highest score first.
        poses: The poses computed so far: one `Poses` of one person each, for the first detections.
    """

    people: Detections
    poses: list[Poses]


def iter_lookahead(image: np.ndarray, estimator: PoseEstimator, threshold: float | None) -> Iterator[Lookahead]:
    """Yield successively more complete results for an RGB image: the detections, then one more pose each time.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        threshold: Minimum score of detections. Poses are estimated above the estimator's own threshold only.
    """
    people = estimator.detect_people(image, threshold)
    lookahead = Lookahead(people, [])
    yield lookahead
    assert estimator.detection_threshold is not None
    for row in range(int((people.scores > estimator.detection_threshold).sum())):
        lookahead.poses.append(estimator.estimate_keypoints(image, people.boxes[[row]], people.scores[[row]]))
        yield lookahead


def complete_poses(image: np.ndarray, estimator: Estimator, lookahead: Lookahead, rows: Sequence[int]) -> Poses:
    """Return the poses of the detections in ``rows``; estimate those that the look-ahead did not reach."""
    missing = [row for row in rows if row >= len(lookahead.poses)]
    found = estimator.estimate_keypoints(image, lookahead.people.boxes[missing], lookahead.people.scores[missing])
    if len(missing) == len(rows):
        return found
    added = {row: found[[index]] for index, row in enumerate(missing)}
    return Poses.joined([lookahead.poses[row] if row not in added else added[row] for row in rows], found.skeleton)
