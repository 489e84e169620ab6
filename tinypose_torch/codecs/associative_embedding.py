"""Associative embedding codec: keypoints of all people to training targets, and heatmaps with tags to people.

Newell et al., "Associative Embedding", NeurIPS 2017; Cheng et al., "HigherHRNet", CVPR 2020. Decoding assigns the peaks of
one joint after the other to the person with the nearest mean tag, by the Hungarian method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tinypose_torch.geometry.linear_assignment import linear_assignment

Array = np.ndarray
_PEAK_WINDOW = np.ones((5, 5), np.uint8)
_QUARTER = 0.25
_MIN_CELL_SCORE = 0.02  # cells below are searched only if no other cell can be better
_NO_PERSON_COST = 1e-10  # of a peak that is assigned to no existing person
_SIGMA = 2.0
MISSING = -1


@dataclass(frozen=True)
class GroupingConfig:
    """Options of grouping peaks into people.

    Attributes:
        max_people: Peaks per joint, and people that peaks are assigned to. More people can result, since a peak without a
            matching person starts a new one, but later peaks are not assigned to people beyond this number.
        score_threshold: Score that a peak must exceed.
        tag_threshold: Distance of tags below which a peak matches a person.
    """

    max_people: int = 30
    score_threshold: float = 0.1
    tag_threshold: float = 1.0


def encode_joint_heatmaps(joints: Array, visible: Array, size: int) -> Array:
    """Encode the keypoints of all people as Gaussians, one map per joint, with the maximum where they overlap.

    A Gaussian is centred at the keypoint's cell, has standard deviation 2 and is cut off beyond 7 cells along either axis,
    regardless of the person's size.

    Args:
        joints: ``(P, K, 2)`` x, y in cells.
        visible: ``(P, K)``, above 0 where a keypoint is labelled.
        size: Side of the maps.

    Returns:
        ``(K, size, size)`` float32.
    """
    reach = int(3 * _SIGMA + 1)
    maps = np.zeros((joints.shape[1], size, size), np.float32)
    offsets = np.arange(-reach, reach + 1)
    bell = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    gaussian = np.outer(bell, bell).astype(np.float32)
    for person, kind in np.argwhere(_in_maps(joints, visible, size)):
        x, y = joints[person, kind].astype(np.int64)
        rows, columns = slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1)
        part = maps[kind, rows, columns]
        top, left = rows.start - (y - reach), columns.start - (x - reach)
        np.maximum(part, gaussian[top : top + part.shape[0], left : left + part.shape[1]], out=part)
    return maps


def tag_places(joints: Array, visible: Array, size: int) -> Array:
    """Cell of every labelled keypoint, row * size + column, ``(P, K)``; `MISSING` for the others.

    See `encode_joint_heatmaps` for arguments.
    """
    cells = joints.astype(np.int64)
    return np.where(_in_maps(joints, visible, size), cells[..., 1] * size + cells[..., 0], MISSING)


def _in_maps(joints: Array, visible: Array, size: int) -> Array:
    cells = joints.astype(np.int64)
    return (visible > 0) & ((cells >= 0) & (cells < size)).all(axis=2)


@dataclass(frozen=True)
class Peaks:
    """The highest peaks of every joint.

    Attributes:
        scores: ``(K, M)``, descending; 0 where there are fewer.
        places: ``(K, M)`` row * width + column.
    """

    scores: Array
    places: Array


def find_peaks(heatmaps: Array, count: int) -> Peaks:
    """Return the cells that are the maximum of the 5 x 5 window around them.

    Args:
        heatmaps: ``(K, h, w)`` float32.
        count: Maximum number of peaks per joint, M.
    """
    shape = (len(heatmaps), count)
    scores, places = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    for joint, heatmap in enumerate(heatmaps):
        found = np.flatnonzero((heatmap == cv2.dilate(heatmap, _PEAK_WINDOW)) & (heatmap > 0))
        values = heatmap.reshape(-1)[found]
        order = np.argsort(-values, kind="stable")[:count]
        scores[joint, : len(order)], places[joint, : len(order)] = values[order], found[order]
    return Peaks(scores, places)


def group_joints(heatmaps: Array, tags: Array, options: GroupingConfig | None = None) -> tuple[Array, Array]:
    """Group the peaks of one image into people.

    Args:
        heatmaps: ``(K, h, w)`` float32.
        tags: ``(T, K, h, w)`` float32: one value per joint and cell, or more.

    Returns:
        Poses ``(P, K, 3)`` float32: x, y in cells and score; and person scores ``(P,)`` float64: the mean score of the
        grouped joints, where missing joints count as 0.
    """
    options = options or GroupingConfig()
    people = _people(heatmaps, tags, options)
    poses = np.zeros((len(people), len(heatmaps), 3), np.float32)
    for pose, person in zip(poses, people, strict=True):
        for joint, (place, score) in person.joints.items():
            pose[joint] = *divmod(place, heatmaps.shape[2])[::-1], score
    scores = poses[..., 2].mean(axis=1, dtype=np.float64)
    cells = [_ScoredCells.of(heatmap, tags[:, joint]) for joint, heatmap in enumerate(heatmaps)] if people else []
    for pose, person in zip(poses, people, strict=True):
        found = np.array(list(person.joints))
        pose[found, :2] = _adjusted(heatmaps, found, pose[found, :2])
        _fill(pose, found, heatmaps, tags, cells)
    return poses, scores


class _Person:
    """Peaks that belong together.

    Attributes:
        joints: Place and score of the peak, by joint.
        tags: Of the peaks.
    """

    def __init__(self) -> None:
        self.joints: dict[int, tuple[int, float]] = {}
        self.tags: list[Array] = []


def _people(heatmaps: Array, tags: Array, options: GroupingConfig) -> Sequence[_Person]:
    peaks = find_peaks(heatmaps, options.max_people)
    people: dict[float, _Person] = {}  # by the first value of their first tag, as in PaddleDetection
    for joint in range(len(heatmaps)):
        kept = peaks.scores[joint] > options.score_threshold
        scores, places = peaks.scores[joint][kept], peaks.places[joint][kept]
        values = tags[:, joint].reshape(len(tags), -1)[:, places].T
        chosen = _assign(list(people.values())[: options.max_people], scores, values, options)
        for place, score, tag, person in zip(places.tolist(), scores.tolist(), values, chosen, strict=True):
            if person is None:
                person = people.setdefault(float(tag[0]), _Person())
                person.tags = []
            person.joints[joint] = (place, score)
            person.tags.append(tag)
    return list(people.values())


def _assign(people: Sequence[_Person], scores: Array, tags: Array, options: GroupingConfig) -> list[_Person | None]:
    """Person of every peak of a joint; ``None`` for a peak that matches no person."""
    chosen: list[_Person | None] = [None] * len(scores)
    if not people or not len(scores):
        return chosen
    means = np.stack([np.mean(person.tags, axis=0) for person in people])
    distances = np.linalg.norm(tags[:, None] - means[None], axis=2)
    cost = np.round(distances) * 100 - scores[:, None]
    spare = max(0, len(scores) - len(people))
    cost = np.concatenate([cost, np.full((len(scores), spare), _NO_PERSON_COST)], axis=1)
    for peak, number in linear_assignment(cost):
        if number < len(people) and distances[peak, number] < options.tag_threshold:
            chosen[peak] = people[number]
    return chosen


def _adjusted(heatmaps: Array, joints: Array, places: Array) -> Array:
    """Places moved by a quarter of a cell towards the greater neighbour, and from a cell's corner to its centre.

    Args:
        joints: ``(M,)``.
        places: ``(M, 2)`` x, y, whole cells.
    """
    height, width = heatmaps.shape[1:]
    x, y = places.astype(np.int64).T
    right, left = heatmaps[joints, y, np.minimum(x + 1, width - 1)], heatmaps[joints, y, np.maximum(x - 1, 0)]
    below, above = heatmaps[joints, np.minimum(y + 1, height - 1), x], heatmaps[joints, np.maximum(y - 1, 0), x]
    moves = np.stack(
        [np.where(right > left, _QUARTER, -_QUARTER), np.where(below > above, _QUARTER, -_QUARTER)], axis=1
    )
    return places + moves + 0.5


@dataclass(frozen=True)
class _ScoredCells:
    """The cells of a joint's map above a minimum score; most searches need only these.

    Attributes:
        places: ``(M,)``, ascending.
        scores: ``(M,)``, all above `_MIN_CELL_SCORE`.
        tags: ``(T, M)``.
        maximum: Highest score of the whole map.
    """

    places: Array
    scores: Array
    tags: Array
    maximum: float

    @classmethod
    def of(cls, heatmap: Array, tags: Array) -> _ScoredCells:
        flat = heatmap.reshape(-1)
        places = np.flatnonzero(flat > _MIN_CELL_SCORE)
        return cls(places, flat[places], tags.reshape(len(tags), -1)[:, places], float(flat.max()))

    def best(self, mean: Array) -> tuple[int, float] | None:
        """Cell with the highest score whose tag rounds to ``mean`` ``(T,)``; ``None`` if a cell elsewhere can be better."""
        near = np.round(np.sqrt(np.square(self.tags - mean[:, None]).sum(axis=0))) == 0
        index = int(np.where(near, self.scores, -np.inf).argmax()) if len(near) else 0
        if not near.any() or self.scores[index] <= self.maximum - 1:
            return None
        return int(self.places[index]), float(self.scores[index])


def _fill(pose: Array, found: Array, heatmaps: Array, tags: Array, cells: Sequence[_ScoredCells]) -> None:
    """Add the missing joints of a person: the cell with the highest score whose tag matches the person's."""
    width = heatmaps.shape[2]
    columns, rows = pose[found, :2].astype(np.int64).T
    mean = tags[:, found, rows, columns].mean(axis=1)
    filled, places = [], []
    for joint in np.setdiff1d(np.arange(len(heatmaps)), found).tolist():
        place, score = cells[joint].best(mean) or _best_cell(heatmaps[joint], tags[:, joint], mean)
        if score > 0:
            filled.append(joint)
            places.append((place % width, place // width))
            pose[joint, 2] = score
    if filled:
        pose[filled, :2] = _adjusted(heatmaps, np.array(filled), np.array(places))


def _best_cell(heatmap: Array, tags: Array, mean: Array) -> tuple[int, float]:
    """Cell with the highest score minus the rounded distance of its tag, and that difference."""
    likely = heatmap - np.round(np.sqrt(np.square(tags - mean[:, None, None]).sum(axis=0)))
    place = int(likely.argmax())
    return place, float(likely.reshape(-1)[place])
