"""From heatmaps and tags of everybody to people.

Newell et al., "Associative Embedding", NeurIPS 2017, in the form that HigherHRNet gave it: peaks are taken joint by
joint and given to the person whose mean tag is nearest, by the Hungarian method.
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
_WARM = 0.02
_NO_PERSON = 1e-10  # cost of a peak that is given to nobody


@dataclass(frozen=True)
class GroupingConfig:
    """How peaks become people.

    Attributes:
        max_people: Peaks of each joint, and people among whom they are divided. More people than that can be found,
            since a peak that fits nobody begins another one, but none of the later peaks joins those.
        score_threshold: Heat that a peak must exceed.
        tag_threshold: Distance of tags below which a peak fits a person.
    """

    max_people: int = 30
    score_threshold: float = 0.1
    tag_threshold: float = 1.0


@dataclass(frozen=True)
class Peaks:
    """The strongest peaks of every joint.

    Attributes:
        heats: ``(K, M)``, descending; 0 where there are fewer.
        places: ``(K, M)`` row * width + column.
    """

    heats: Array
    places: Array


def find_peaks(heatmaps: Array, count: int) -> Peaks:
    """Cells that are the greatest of the 5 x 5 around them.

    Args:
        heatmaps: ``(K, h, w)`` float32.
        count: Most peaks per joint, M.
    """
    shape = (len(heatmaps), count)
    heats, places = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    for joint, heatmap in enumerate(heatmaps):
        found = np.flatnonzero((heatmap == cv2.dilate(heatmap, _PEAK_WINDOW)) & (heatmap > 0))
        values = heatmap.reshape(-1)[found]
        order = np.argsort(-values, kind="stable")[:count]
        heats[joint, : len(order)], places[joint, : len(order)] = values[order], found[order]
    return Peaks(heats, places)


def group(heatmaps: Array, tags: Array, options: GroupingConfig | None = None) -> tuple[Array, Array]:
    """People in the maps of one image.

    Args:
        heatmaps: ``(K, h, w)`` float32.
        tags: ``(T, K, h, w)`` float32: one value per joint and cell, or more.

    Returns:
        Poses ``(P, K, 3)`` float32: x, y in cells and heat; and scores ``(P,)`` float64: the mean heat of the joints
        that were grouped, those that were not counting 0.
    """
    options = options or GroupingConfig()
    people = _people(heatmaps, tags, options)
    poses = np.zeros((len(people), len(heatmaps), 3), np.float32)
    for pose, person in zip(poses, people, strict=True):
        for joint, (place, heat) in person.joints.items():
            pose[joint] = *divmod(place, heatmaps.shape[2])[::-1], heat
    scores = poses[..., 2].mean(axis=1, dtype=np.float64)
    warm = [_WarmCells.of(heatmap, tags[:, joint]) for joint, heatmap in enumerate(heatmaps)] if people else []
    for pose, person in zip(poses, people, strict=True):
        found = np.array(list(person.joints))
        pose[found, :2] = _adjusted(heatmaps, found, pose[found, :2])
        _fill(pose, found, heatmaps, tags, warm)
    return poses, scores


class _Person:
    """Peaks that belong together.

    Attributes:
        joints: Joint to the place and heat of its peak.
        tags: Of the peaks.
    """

    def __init__(self) -> None:
        self.joints: dict[int, tuple[int, float]] = {}
        self.tags: list[Array] = []


def _people(heatmaps: Array, tags: Array, options: GroupingConfig) -> Sequence[_Person]:
    peaks = find_peaks(heatmaps, options.max_people)
    people: dict[float, _Person] = {}  # by the first value of their first tag, as PaddleDetection keeps them
    for joint in range(len(heatmaps)):
        strong = peaks.heats[joint] > options.score_threshold
        heats, places = peaks.heats[joint][strong], peaks.places[joint][strong]
        values = tags[:, joint].reshape(len(tags), -1)[:, places].T
        chosen = _assign(list(people.values())[: options.max_people], heats, values, options)
        for place, heat, tag, person in zip(places.tolist(), heats.tolist(), values, chosen, strict=True):
            if person is None:
                person = people.setdefault(float(tag[0]), _Person())
                person.tags = []
            person.joints[joint] = (place, heat)
            person.tags.append(tag)
    return list(people.values())


def _assign(people: Sequence[_Person], heats: Array, tags: Array, options: GroupingConfig) -> list[_Person | None]:
    """For every peak of a joint the person whose it is; ``None`` for nobody's."""
    chosen: list[_Person | None] = [None] * len(heats)
    if not people or not len(heats):
        return chosen
    means = np.stack([np.mean(person.tags, axis=0) for person in people])
    distances = np.linalg.norm(tags[:, None] - means[None], axis=2)
    cost = np.round(distances) * 100 - heats[:, None]
    spare = max(0, len(heats) - len(people))
    cost = np.concatenate([cost, np.full((len(heats), spare), _NO_PERSON)], axis=1)
    for peak, number in linear_assignment(cost):
        if number < len(people) and distances[peak, number] < options.tag_threshold:
            chosen[peak] = people[number]
    return chosen


def _adjusted(heatmaps: Array, joints: Array, places: Array) -> Array:
    """Places moved by a quarter of a cell towards the greater neighbour, from a cell's corner to its middle.

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
class _WarmCells:
    """The cells of a joint's map with some heat: few, among whom most searches end.

    Attributes:
        places: ``(M,)``, ascending.
        heats: ``(M,)``, all above `_WARM`.
        tags: ``(T, M)``.
        hottest: Of the whole map.
    """

    places: Array
    heats: Array
    tags: Array
    hottest: float

    @classmethod
    def of(cls, heatmap: Array, tags: Array) -> _WarmCells:
        flat = heatmap.reshape(-1)
        places = np.flatnonzero(flat > _WARM)
        return cls(places, flat[places], tags.reshape(len(tags), -1)[:, places], float(flat.max()))

    def best(self, mean: Array) -> tuple[int, float] | None:
        """The hottest cell whose tag is within a half of ``mean`` ``(T,)`` and its heat, if no other can be better."""
        near = np.round(np.sqrt(np.square(self.tags - mean[:, None]).sum(axis=0))) == 0
        index = int(np.where(near, self.heats, -np.inf).argmax()) if len(near) else 0
        if not near.any() or self.heats[index] <= self.hottest - 1:
            return None
        return int(self.places[index]), float(self.heats[index])


def _fill(pose: Array, found: Array, heatmaps: Array, tags: Array, warm: Sequence[_WarmCells]) -> None:
    """Give a person the missing joints: for each the cell with the most heat whose tag is like the person's."""
    width = heatmaps.shape[2]
    columns, rows = pose[found, :2].astype(np.int64).T
    mean = tags[:, found, rows, columns].mean(axis=1)
    filled, places = [], []
    for joint in np.setdiff1d(np.arange(len(heatmaps)), found).tolist():
        place, heat = warm[joint].best(mean) or _best_of_all(heatmaps[joint], tags[:, joint], mean)
        if heat > 0:
            filled.append(joint)
            places.append((place % width, place // width))
            pose[joint, 2] = heat
    if filled:
        pose[filled, :2] = _adjusted(heatmaps, np.array(filled), np.array(places))


def _best_of_all(heatmap: Array, tags: Array, mean: Array) -> tuple[int, float]:
    """The cell with the most heat, less the rounded distance of its tag, and that difference."""
    likely = heatmap - np.round(np.sqrt(np.square(tags - mean[:, None, None]).sum(axis=0)))
    place = int(likely.argmax())
    return place, float(likely.reshape(-1)[place])
