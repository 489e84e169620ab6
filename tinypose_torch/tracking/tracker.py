"""Multi-object tracking: association of detections with tracks, frame by frame.

With embeddings (FairMOT), the association follows PaddleDetection's JDETracker. With boxes alone it follows Zhang et al.,
"ByteTrack", ECCV 2022, which also associates detections of low score with existing tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinypose_torch.geometry.boxes import pairwise_iou
from tinypose_torch.geometry.linear_assignment import linear_assignment
from tinypose_torch.tracking import kalman_filter
from tinypose_torch.tracking.kalman_filter import KalmanState

Array = np.ndarray
_GATING_THRESHOLD = 9.4877  # 0.95 quantile of the chi-square distribution with 4 degrees of freedom
_MOTION_WEIGHT = 0.02
_EMBEDDING_MOMENTUM = 0.9
DUPLICATE_DISTANCE = 0.15  # 1 - IoU below which two tracks are duplicates
_MAX_COST = 1e6


@dataclass(frozen=True)
class TrackerSettings:
    """Thresholds of `Tracker`; the defaults are PaddleDetection's.

    Attributes:
        high_thresh: Score from which a detection can match any track or start a new one.
        low_thresh: Score from which a detection can match a track that the first association left unmatched. Equal to
            ``high_thresh``: no second association of low scores.
        match_thresh: Maximum cost of the first association: embedding distance, or without embeddings 1 - IoU with the
            predicted box.
        second_match_thresh: Maximum 1 - IoU of the second association.
        unconfirmed_match_thresh: Maximum 1 - IoU for tracks that were detected once.
        track_buffer: Frames that a lost track is kept; one more is added, as in PaddleDetection.
        keep_crossing: Keep two overlapping tracks if both were detected before the later of them was lost, for example
            people who cross. PaddleDetection removes the shorter one.
        greedy: Match pairs in the order of their cost, instead of minimising the total cost.
        max_tracks: Maximum number of tracks, lost ones included, and of detections per frame, highest score first. New
            tracks replace those that were lost the longest. ``None`` for no limit.
    """

    high_thresh: float = 0.4
    low_thresh: float = 0.4
    match_thresh: float = 0.4
    second_match_thresh: float = 0.5
    unconfirmed_match_thresh: float = 0.7
    track_buffer: int = 30
    keep_crossing: bool = False
    greedy: bool = False
    max_tracks: int | None = None

    def __post_init__(self) -> None:
        if self.max_tracks is not None and self.max_tracks < 1:
            raise ValueError(f"max_tracks={self.max_tracks}; at least 1 is needed")


BYTETRACK_SETTINGS = TrackerSettings(high_thresh=0.5, low_thresh=0.1, match_thresh=0.8, keep_crossing=True)


def bytetrack_settings(threshold: float, *, greedy: bool = False, max_tracks: int | None = None) -> TrackerSettings:
    """ByteTrack's settings for a detector whose people score above a threshold."""
    low = min(BYTETRACK_SETTINGS.low_thresh, threshold)
    return replace(BYTETRACK_SETTINGS, high_thresh=threshold, low_thresh=low, greedy=greedy, max_tracks=max_tracks)


class Track:
    """One tracked person.

    Attributes:
        id: Unique in the video, from 1.
        score: Score of the last detection.
        detection: Index of the matched detection in the last frame; ``None`` if there is none.
    """

    def __init__(self, identity: int, frame: int, state: KalmanState, score: float, embedding: Array | None) -> None:
        self.id, self.score, self.embedding = identity, score, embedding
        self.state = state
        self.start_frame = self.last_frame = frame
        self.confirmed = frame == 1
        self.lost = False
        self.detection: int | None = None

    @property
    def box(self) -> Array:
        """x1, y1, x2, y2 in pixels."""
        return kalman_filter.means_to_boxes(self.state.means)[0]

    def update(self, box: Array, score: float, embedding: Array | None, frame: int, detection: int) -> None:
        """Extend the track by a detection of the next frame."""
        self.state = kalman_filter.update(self.state, box[None])
        if not self.lost:  # PaddleDetection keeps the old score of a track that is found again
            self.score = score
        if embedding is not None and self.embedding is not None:
            mixed = _EMBEDDING_MOMENTUM * self.embedding + (1 - _EMBEDDING_MOMENTUM) * embedding
            self.embedding = mixed / np.linalg.norm(mixed)
        self.last_frame, self.detection = frame, detection
        self.confirmed, self.lost = True, False


class Tracker:
    """Associates the detections of successive frames with tracks.

    Args:
        settings: Thresholds; see `TrackerSettings`.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self.tracked: list[Track] = []
        self.lost: list[Track] = []
        self._frame = self._num_ids = 0

    def update(self, boxes: Array, scores: Array, embeddings: Array | None = None) -> list[Track]:
        """Process the detections of the next frame.

        Args:
            boxes: ``(N, 4)`` x1, y1, x2, y2, pixels.
            scores: ``(N,)``.
            embeddings: ``(N, D)``; ``None`` in all frames or in none.

        Returns:
            The confirmed tracks of this frame. A track is confirmed by its second detection, or by one in the first frame.
        """
        self._frame += 1
        settings = self.settings
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        if embeddings is not None:
            embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(1e-12)
        used = np.argsort(-np.asarray(scores), kind="stable")[: settings.max_tracks]
        high = np.sort(used[scores[used] > settings.high_thresh])
        low = np.sort(used[(scores[used] > settings.low_thresh) & (scores[used] <= settings.high_thresh)])
        known = [track for track in self.tracked if track.confirmed]
        unconfirmed = [track for track in self.tracked if not track.confirmed]
        for track in (*self.tracked, *self.lost):
            track.detection = None
        candidates = known + self.lost
        _predict(candidates)

        def match(
            tracks: Sequence[Track], detections: Array, cost: Array, max_cost: float
        ) -> tuple[list[Track], Array]:
            """Match tracks with detections; return the unmatched tracks and detections."""
            pairs = (assign_greedily if settings.greedy else assign)(cost, max_cost)
            for row, column in pairs:
                index = int(detections[column])
                embedding = None if embeddings is None else embeddings[index]
                tracks[row].update(boxes[index], float(scores[index]), embedding, self._frame, index)
            rows, columns = {row for row, _ in pairs}, [column for _, column in pairs]
            return [t for i, t in enumerate(tracks) if i not in rows], np.delete(detections, columns)

        cost = self._first_cost(candidates, boxes[high], None if embeddings is None else embeddings[high])
        found_again = [track for track in candidates if track.lost]
        unmatched, high = match(candidates, high, cost, settings.match_thresh)
        found_again = [track for track in found_again if not track.lost]
        still = [track for track in unmatched if not track.lost]
        if embeddings is None:  # ByteTrack's second association uses only the detections of low score
            still, _ = match(still, low, iou_distances(still, boxes[low]), settings.second_match_thresh)
        else:
            still, high = match(still, high, iou_distances(still, boxes[high]), settings.second_match_thresh)
        distances = iou_distances(unconfirmed, boxes[high])
        gone, high = match(unconfirmed, high, distances, settings.unconfirmed_match_thresh)
        for track in still:
            track.lost = True
        kept = [t for t in self.tracked if not t.lost and t not in gone]
        started = [
            self._start(boxes[i], float(scores[i]), None if embeddings is None else embeddings[i], int(i))
            for i in high[: self._room(len(kept) + len(found_again))]
        ]
        self.tracked = kept + started + found_again
        self.lost = [t for t in self.lost if t.lost and self._frame - t.last_frame <= settings.track_buffer + 1] + still
        if settings.max_tracks is not None:
            latest = sorted(self.lost, key=lambda t: (t.last_frame, t.id), reverse=True)[
                : self._room(len(self.tracked))
            ]
            self.lost = [t for t in self.lost if t in latest]
        self._drop_duplicates()
        return [track for track in self.tracked if track.confirmed]

    def carry(self, boxes: Mapping[int, Array]) -> None:
        """Process a frame without detection: tracks continue at the given boxes, and no track starts.

        Args:
            boxes: ``(4,)`` x1, y1, x2, y2, by id. Tracks without a box are lost. Unconfirmed tracks are not confirmed.
        """
        self._frame += 1
        for track in self.lost:
            track.detection = None
        _predict([*self.tracked, *self.lost])
        for index, track in enumerate(self.tracked):
            confirmed = track.confirmed
            if track.id in boxes:
                track.update(np.asarray(boxes[track.id], np.float64), track.score, None, self._frame, index)
                track.confirmed = confirmed
            else:
                track.detection, track.lost = None, True
        self.lost += [track for track in self.tracked if track.lost and track.confirmed]
        self.tracked = [track for track in self.tracked if not track.lost]

    def _room(self, used: int) -> int | None:
        """Number of tracks that can be added to those used; ``None`` for any number."""
        return None if self.settings.max_tracks is None else self.settings.max_tracks - used

    def _start(self, box: Array, score: float, embedding: Array | None, detection: int) -> Track:
        self._num_ids += 1
        track = Track(self._num_ids, self._frame, kalman_filter.initiate(box[None]), score, embedding)
        track.detection = detection
        return track

    def _first_cost(self, tracks: Sequence[Track], boxes: Array, embeddings: Array | None) -> Array:
        if embeddings is None or not tracks or not len(boxes):
            return iou_distances(tracks, boxes)
        own = np.stack([track.embedding for track in tracks if track.embedding is not None])
        apart = np.maximum(0, 1 - own @ embeddings.T)
        motion = kalman_filter.gating_distance(_joined(tracks), boxes)
        cost = (1 - _MOTION_WEIGHT) * apart + _MOTION_WEIGHT * motion
        return np.where(motion > _GATING_THRESHOLD, np.inf, cost)

    def _drop_duplicates(self) -> None:
        """Remove the shorter of a tracked and a lost track at the same place."""
        dropped: set[int] = set()
        distances = iou_distances(self.tracked, np.stack([t.box for t in self.lost]) if self.lost else np.zeros((0, 4)))
        for row, column in np.argwhere(distances < DUPLICATE_DISTANCE):
            one, two = self.tracked[row], self.lost[column]
            if self.settings.keep_crossing and one.start_frame <= two.last_frame:
                continue
            older = one.last_frame - one.start_frame > two.last_frame - two.start_frame
            dropped.add(two.id if older else one.id)
        self.tracked = [track for track in self.tracked if track.id not in dropped]
        self.lost = [track for track in self.lost if track.id not in dropped]


def assign(cost: Array, max_cost: float) -> list[tuple[int, int]]:
    """Pairs of rows and columns with the minimum total cost, where an unmatched row or column costs ``max_cost / 2``.

    Args:
        cost: ``(N, M)``; infinite where a pair is impossible.
    """
    rows, columns = cost.shape
    if not rows or not columns:
        return []
    extended = np.full((rows + columns, rows + columns), max_cost / 2)
    extended[:rows, :columns] = np.minimum(cost, _MAX_COST)
    extended[rows:, columns:] = 0
    return [(row, column) for row, column in linear_assignment(extended) if row < rows and column < columns]


def assign_greedily(cost: Array, max_cost: float) -> list[tuple[int, int]]:
    """Pairs of rows and columns of a cost matrix ``(N, M)``, the lowest cost below ``max_cost`` first."""
    left, pairs = np.array(cost, np.float64), []
    while left.size and left.min() < max_cost:
        row, column = map(int, np.unravel_index(left.argmin(), left.shape))
        pairs.append((row, column))
        left[row], left[:, column] = np.inf, np.inf
    return pairs


def iou_distances(tracks: Sequence[Track], boxes: Array) -> Array:
    """1 - IoU of tracks and boxes, ``(N, M)``; boxes include their last pixel."""
    if not tracks or not len(boxes):
        return np.zeros((len(tracks), len(boxes)))
    return 1 - pairwise_iou(np.stack([track.box for track in tracks]), boxes, last_pixel=1, epsilon=0)


def _joined(tracks: Sequence[Track]) -> KalmanState:
    states = [track.state for track in tracks]
    return KalmanState(np.concatenate([s.means for s in states]), np.concatenate([s.covariances for s in states]))


def _predict(tracks: Sequence[Track]) -> None:
    """Predict the tracks for the next frame; the height of lost tracks stays constant."""
    for track in tracks:
        if track.lost:
            track.state.means[0, 7] = 0
        track.state = kalman_filter.predict(track.state)
