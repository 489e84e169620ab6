"""How well people were followed: identities by Ristani et al., "Performance Measures ...", ECCV Workshops 2016."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from tinypose_torch.geometry.assignment import least_cost_pairs
from tinypose_torch.losses.boxes import pairwise_iou

Array = np.ndarray
_SAME = 0.5  # IoU from which a found box is somebody's
_IMPOSSIBLE = 1e6


class People(NamedTuple):
    """Who is where in a frame.

    Attributes:
        ids: ``(N,)`` integers.
        boxes: ``(N, 4)`` x1, y1, x2, y2.
    """

    ids: Array
    boxes: Array


class TrackingScores(NamedTuple):
    """Figures of a video.

    Attributes:
        idf1: Share of boxes, true and found, that belong together if every person is given to the one track that is
            theirs longest.
        switches: How often a person goes on under another id.
        found: Share of the true boxes that were found.
    """

    idf1: float
    switches: int
    found: float


def score_tracking(truth: Sequence[People], found: Sequence[People]) -> TrackingScores:
    """Compare frames.

    Raises:
        ValueError: Different numbers of frames.
    """
    matches = [match_boxes(true.boxes, seen.boxes) for true, seen in zip(truth, found, strict=True)]
    shared: dict[tuple[int, int], int] = {}
    last: dict[int, int] = {}
    switches = 0
    for true, seen, pairs in zip(truth, found, matches, strict=True):
        for row, column in pairs:
            person, track = int(true.ids[row]), int(seen.ids[column])
            shared[person, track] = shared.get((person, track), 0) + 1
            switches += last.get(person, track) != track
            last[person] = track
    people, tracks = ({key[side] for key in shared} for side in (0, 1))
    together = np.array([[shared.get((person, track), 0) for track in sorted(tracks)] for person in sorted(people)])
    kept = sum(int(together[row, column]) for row, column in least_cost_pairs(-together)) if shared else 0
    true_boxes, found_boxes = (sum(len(frame.ids) for frame in frames) for frames in (truth, found))
    matched = sum(map(len, matches))
    return TrackingScores(2 * kept / max(true_boxes + found_boxes, 1), switches, matched / max(true_boxes, 1))


def match_boxes(true: Array, found: Array) -> list[tuple[int, int]]:
    """Rows of boxes ``(N, 4)`` and ``(M, 4)`` that belong together: as many as overlap enough, the greatest overlaps."""
    iou = pairwise_iou(torch.from_numpy(true), torch.from_numpy(found)).numpy()
    cost = np.where(iou >= _SAME, -iou, _IMPOSSIBLE)
    return [(row, column) for row, column in least_cost_pairs(cost) if iou[row, column] >= _SAME]
