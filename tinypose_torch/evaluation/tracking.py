"""Tracking accuracy: CLEAR MOT and identity metrics, by py-motmetrics.

Bernardin and Stiefelhagen, "The CLEAR MOT Metrics", 2008; Ristani et al., "Performance Measures ...", ECCV Workshops 2016.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinypose_torch.data.errors import DatasetError, malformation
from tinypose_torch.geometry.boxes import pairwise_iou
from tinypose_torch.utils.hints import install_hint

Array = np.ndarray
_MIN_IOU = 0.5  # of a match
_METRICS = ("mota", "idf1", "num_switches", "recall", "precision")
_PERSON = 1  # class in MOTChallenge's files


class People(NamedTuple):
    """Identities and boxes of one frame.

    Attributes:
        ids: ``(N,)`` integers.
        boxes: ``(N, 4)`` x1, y1, x2, y2.
    """

    ids: Array
    boxes: Array


class TrackingScores(NamedTuple):
    """Metrics of a video; undefined ones are 0.

    Attributes:
        mota: 1 less the boxes missed, false and switched, per true box.
        idf1: Share of boxes, true and found, that belong together if every person is given to the one track that is
            theirs longest.
        switches: Number of identity switches.
        recall: Fraction of ground-truth boxes that were matched.
        precision: Fraction of predicted boxes that were matched.
    """

    mota: float
    idf1: float
    switches: int
    recall: float
    precision: float


def score_tracking(truth: Sequence[People], found: Sequence[People]) -> TrackingScores:
    """Compare frames.

    Raises:
        ValueError: Different numbers of frames.
        RuntimeError: py-motmetrics is not installed.
    """
    try:
        import motmetrics
    except ImportError as error:
        raise RuntimeError(f"{error}; MOTA and IDF1 need it: {install_hint('train')}") from None
    events = motmetrics.MOTAccumulator(auto_id=True)
    for true, seen in zip(truth, found, strict=True):
        iou = pairwise_iou(true.boxes, seen.boxes)
        events.update(true.ids, seen.ids, np.where(iou >= _MIN_IOU, 1 - iou, np.nan))
    if events.mot_events.empty:
        return TrackingScores(0.0, 0.0, 0, 0.0, 0.0)
    figures = motmetrics.metrics.create().compute(events, metrics=_METRICS, return_dataframe=False)
    known = [0.0 if math.isnan(value) or math.isinf(value) else float(value) for value in map(figures.get, _METRICS)]
    return TrackingScores(known[0], known[1], int(known[2]), known[3], known[4])


def read_mot(path: str | Path) -> dict[int, People]:
    """The people of a MOTChallenge file by frame, from 0: ``frame, id, left, top, width, height[, counts, class, ...]``.

    Rows that do not count, and those of other classes than pedestrians, are left out.

    Raises:
        DatasetError: Not such a file, or one without people.
    """
    file = Path(path)
    if not file.is_file():
        raise DatasetError(f"no annotation file {str(path)!r}")
    rows: dict[int, list[tuple[int, Array]]] = defaultdict(list)
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = [float(value) for value in line.split(",")]
            frame, identity, left, top, width, height = values[:6]
        except ValueError:
            raise DatasetError(
                f"{path}, line {number}: {line[:60]!r}; expected frame, id, left, top, width, height"
            ) from None
        if not all(map(math.isfinite, values)) or frame < 1:
            raise DatasetError(f"{path}, line {number}: {line[:60]!r}; expected finite numbers, and frames from 1")
        counts = len(values) < 7 or values[6] != 0
        if counts and (len(values) < 8 or values[7] == _PERSON):
            rows[int(frame) - 1].append((int(identity), np.array([left, top, left + width, top + height])))
    if not rows:
        raise DatasetError(f"{path}: no people in the file")
    return {frame: _people(members) for frame, members in rows.items()}


def read_tracks(path: str | Path) -> dict[int, People]:
    """The people of one video by frame, as ``tinypose predict --track --json`` wrote them.

    Raises:
        DatasetError: Not such a file, one of several videos, or of people who were not followed.
    """
    file = Path(path)
    if not file.is_file():
        raise DatasetError(f"no file {str(path)!r}")
    try:
        text = file.read_text()
        records = [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)
        videos = {record["image"] for record in records}
        if len(videos) > 1:
            raise DatasetError(f"{path} is of {len(videos)} videos ({', '.join(sorted(videos)[:3])}); one is needed")
        return {
            int(record["frame"]): _people([(int(pose["id"]), np.array(pose["box"], float)) for pose in record["poses"]])
            for record in records
        }
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}: not what tinypose predict --track --json writes: {malformation(error)}") from None


def score_files(truth: str | Path, found: str | Path) -> TrackingScores:
    """Compare what `read_mot` and `read_tracks` read."""
    true, seen = read_mot(truth), read_tracks(found)
    frames = range(max([*true, *seen]) + 1)
    no_people = _people([])
    return score_tracking(*([people.get(frame, no_people) for frame in frames] for people in (true, seen)))


def _people(members: list[tuple[int, Any]]) -> People:
    boxes = np.array([box for _, box in members], float).reshape(-1, 4)
    return People(np.array([identity for identity, _ in members], int), boxes)
