"""What is found in a frame ahead of time: its people, and as many of their poses as there was time for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinypose_torch.estimators.results import Detections, Poses
from tinypose_torch.estimators.top_down import PoseEstimator


@dataclass(frozen=True)
class Lookahead:
    """What was found in one frame.

    Attributes:
        people: Everybody, best first.
        poses: One each of the first of them.
    """

    people: Detections
    poses: list[Poses]


def iter_lookahead(image: np.ndarray, estimator: PoseEstimator, threshold: float | None) -> Iterator[Lookahead]:
    """The people of an RGB image, then with one pose more every time.

    Args:
        threshold: Score from which people matter; poses are found of those whom the estimator itself would keep.
    """
    people = estimator.find_people(image, threshold)
    seen = Lookahead(people, [])
    yield seen
    assert estimator.detection_threshold is not None
    for row in range(int((people.scores > estimator.detection_threshold).sum())):
        seen.poses.append(estimator.estimate_keypoints(image, people.boxes[[row]], people.scores[[row]]))
        yield seen


def complete(image: np.ndarray, estimator: PoseEstimator, seen: Lookahead, rows: Sequence[int]) -> Poses:
    """The poses of the people in these rows, those that are missing found now."""
    missing = [row for row in rows if row >= len(seen.poses)]
    found = estimator.estimate_keypoints(image, seen.people.boxes[missing], seen.people.scores[missing])
    if len(missing) == len(rows):
        return found
    late = {row: found[[place]] for place, row in enumerate(missing)}
    return Poses.joined([seen.poses[row] if row not in late else late[row] for row in rows], found.skeleton)
