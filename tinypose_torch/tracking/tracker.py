"""Who is who from frame to frame.

With appearance (FairMOT's embeddings) as PaddleDetection does it; with boxes alone after Zhang et al., "ByteTrack", ECCV 2022,
which gives weak detections to the people who are known already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinypose_torch.geometry.linear_assignment import linear_assignment
from tinypose_torch.tracking import kalman_filter
from tinypose_torch.tracking.kalman_filter import KalmanState

Array = np.ndarray
_GATE = 9.4877  # squared Mahalanobis distance that 95 % of four-dimensional measurements fall below
_MOTION_SHARE = 0.02
_SMOOTHING = 0.9  # of a track's appearance
_SAME = 0.15  # IoU distance below which two tracks are one
_IMPOSSIBLE = 1e6


@dataclass(frozen=True)
class TrackerSettings:
    """Thresholds; the defaults are PaddleDetection's.

    Attributes:
        strong: Score from which a detection may go to any track, or begin one.
        weak: Score from which a detection may go on a track that nothing else fits; as ``strong`` to leave weak ones out.
        match_thresh: Of the first association: of embeddings, or without them 1 - IoU with the predicted box.
        second_match_thresh: Of the second one: 1 - IoU.
        unconfirmed_match_thresh: 1 - IoU for tracks that were seen once.
        patience: Frames that a track may be out of sight; PaddleDetection gives it one more.
        spare_crossing: Never take two tracks for one that were seen before the later of them was lost; PaddleDetection drops
            the shorter-lived of two at one place even so, for example of people who cross.
    """

    strong: float = 0.4
    weak: float = 0.4
    match_thresh: float = 0.4
    second_match_thresh: float = 0.5
    unconfirmed_match_thresh: float = 0.7
    patience: int = 30
    spare_crossing: bool = False


BY_BOXES = TrackerSettings(strong=0.5, weak=0.1, match_thresh=0.8, spare_crossing=True)


class Track:
    """A person through time.

    Attributes:
        id: From 1, never used again.
        score: Of the last detection.
        detection: Its index in the last frame, if the person was seen there; else ``None``.
    """

    def __init__(self, identity: int, frame: int, belief: KalmanState, score: float, appearance: Array | None) -> None:
        self.id, self.score, self.appearance = identity, score, appearance
        self.belief = belief
        self.begun = self.last_seen = frame
        self.confirmed = frame == 1
        self.lost = False
        self.detection: int | None = None

    @property
    def box(self) -> Array:
        """x1, y1, x2, y2 in pixels."""
        return kalman_filter.boxes_of(self.belief.means)[0]

    def see(self, box: Array, score: float, appearance: Array | None, frame: int, detection: int) -> None:
        """Go on with a detection."""
        self.belief = kalman_filter.correct(self.belief, box[None])
        if not self.lost:  # as in PaddleDetection, which leaves the score of one that is found again
            self.score = score
        if appearance is not None and self.appearance is not None:
            mixed = _SMOOTHING * self.appearance + (1 - _SMOOTHING) * appearance
            self.appearance = mixed / np.linalg.norm(mixed)
        self.last_seen, self.detection = frame, detection
        self.confirmed, self.lost = True, False


class Tracker:
    """Gives detections of one frame after the other to tracks.

    Args:
        settings: Thresholds.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self.tracked: list[Track] = []
        self.lost: list[Track] = []
        self._frame = self._given = 0

    def update(self, boxes: Array, scores: Array, embeddings: Array | None = None) -> list[Track]:
        """The next frame.

        Args:
            boxes: ``(N, 4)`` x1, y1, x2, y2, pixels.
            scores: ``(N,)``.
            embeddings: ``(N, D)`` embeddings, or none in any frame.

        Returns:
            The confirmed tracks of this frame. One begins to be confirmed when it was seen a second time, or in the very
            first frame.
        """
        self._frame += 1
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        if embeddings is not None:
            embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(1e-12)
        strong = np.flatnonzero(scores > self.settings.strong)
        weak = np.flatnonzero((scores > self.settings.weak) & (scores <= self.settings.strong))
        known = [track for track in self.tracked if track.confirmed]
        newcomers = [track for track in self.tracked if not track.confirmed]
        for track in (*self.tracked, *self.lost):
            track.detection = None
        candidates = known + self.lost
        _predict(candidates)

        def see(tracks: Sequence[Track], detections: Array, cost: Array, limit: float) -> tuple[list[Track], Array]:
            """Associate; gives the tracks and detections that are left."""
            pairs = assign(cost, limit)
            for row, column in pairs:
                index = int(detections[column])
                appearance = None if embeddings is None else embeddings[index]
                tracks[row].see(boxes[index], float(scores[index]), appearance, self._frame, index)
            rows, columns = {row for row, _ in pairs}, [column for _, column in pairs]
            return [t for i, t in enumerate(tracks) if i not in rows], np.delete(detections, columns)

        settings = self.settings
        cost = self._first_cost(candidates, boxes[strong], None if embeddings is None else embeddings[strong])
        found_again = [track for track in candidates if track.lost]
        left, strong = see(candidates, strong, cost, settings.match_thresh)
        found_again = [track for track in found_again if not track.lost]
        still = [track for track in left if not track.lost]
        if embeddings is None:  # to the boxes that the first association left, ByteTrack adds only weak ones
            still, _ = see(still, weak, overlap_distances(still, boxes[weak]), settings.second_match_thresh)
        else:
            still, strong = see(still, strong, overlap_distances(still, boxes[strong]), settings.second_match_thresh)
        distances = overlap_distances(newcomers, boxes[strong])
        gone, strong = see(newcomers, strong, distances, settings.unconfirmed_match_thresh)
        begun = [
            self._begin(boxes[i], float(scores[i]), None if embeddings is None else embeddings[i], int(i))
            for i in strong
        ]
        for track in still:
            track.lost = True
        self.tracked = [t for t in self.tracked if not t.lost and t not in gone] + begun + found_again
        self.lost = [t for t in self.lost if t.lost and self._frame - t.last_seen <= settings.patience + 1] + still
        self._drop_duplicates()
        return [track for track in self.tracked if track.confirmed]

    def carry(self, boxes: Mapping[int, Array]) -> None:
        """The next frame, in which nobody looked: tracks go on where they are said to be, and no new ones begin.

        Args:
            boxes: ``(4,)`` x1, y1, x2, y2, by id. Tracks of no box are lost. A newcomer is not confirmed by this.
        """
        self._frame += 1
        for track in self.lost:
            track.detection = None
        _predict([*self.tracked, *self.lost])
        for index, track in enumerate(self.tracked):
            confirmed = track.confirmed
            if track.id in boxes:
                track.see(np.asarray(boxes[track.id], np.float64), track.score, None, self._frame, index)
                track.confirmed = confirmed
            else:
                track.detection, track.lost = None, True
        self.lost += [track for track in self.tracked if track.lost and track.confirmed]
        self.tracked = [track for track in self.tracked if not track.lost]

    def _begin(self, box: Array, score: float, appearance: Array | None, detection: int) -> Track:
        self._given += 1
        track = Track(self._given, self._frame, kalman_filter.begin(box[None]), score, appearance)
        track.detection = detection
        return track

    def _first_cost(self, tracks: Sequence[Track], boxes: Array, embeddings: Array | None) -> Array:
        if embeddings is None or not tracks or not len(boxes):
            return overlap_distances(tracks, boxes)
        own = np.stack([track.appearance for track in tracks if track.appearance is not None])
        apart = np.maximum(0, 1 - own @ embeddings.T)
        motion = kalman_filter.gating_distance(_joined(tracks), boxes)
        cost = (1 - _MOTION_SHARE) * apart + _MOTION_SHARE * motion
        return np.where(motion > _GATE, np.inf, cost)

    def _drop_duplicates(self) -> None:
        """Of a tracked and a lost one at the same place the younger goes."""
        dropped: set[int] = set()
        distances = overlap_distances(
            self.tracked, np.stack([t.box for t in self.lost]) if self.lost else np.zeros((0, 4))
        )
        for row, column in np.argwhere(distances < _SAME):
            one, two = self.tracked[row], self.lost[column]
            if self.settings.spare_crossing and one.begun <= two.last_seen:
                continue
            older = one.last_seen - one.begun > two.last_seen - two.begun
            dropped.add(two.id if older else one.id)
        self.tracked = [track for track in self.tracked if track.id not in dropped]
        self.lost = [track for track in self.lost if track.id not in dropped]


def assign(cost: Array, limit: float) -> list[tuple[int, int]]:
    """Pairs of rows and columns of least cost in all, where one that stays alone costs half the limit.

    Args:
        cost: ``(N, M)``; infinite where a pair is impossible.
    """
    rows, columns = cost.shape
    if not rows or not columns:
        return []
    extended = np.full((rows + columns, rows + columns), limit / 2)
    extended[:rows, :columns] = np.minimum(cost, _IMPOSSIBLE)
    extended[rows:, columns:] = 0
    return [(row, column) for row, column in linear_assignment(extended) if row < rows and column < columns]


def overlap_distances(tracks: Sequence[Track], boxes: Array) -> Array:
    """1 - IoU of tracks and boxes, ``(N, M)``, a box reaching to the end of its last pixel."""
    if not tracks or not len(boxes):
        return np.zeros((len(tracks), len(boxes)))
    own = np.stack([track.box for track in tracks])
    low = np.maximum(own[:, None, :2], boxes[None, :, :2])
    high = np.minimum(own[:, None, 2:], boxes[None, :, 2:])
    overlap = np.clip(high - low + 1, 0, None).prod(axis=2)
    areas = [(some[:, 2:] - some[:, :2] + 1).prod(axis=1) for some in (own, boxes)]
    return 1 - overlap / (areas[0][:, None] + areas[1][None] - overlap)


def _joined(tracks: Sequence[Track]) -> KalmanState:
    beliefs = [track.belief for track in tracks]
    return KalmanState(np.concatenate([b.means for b in beliefs]), np.concatenate([b.covariances for b in beliefs]))


def _predict(tracks: Sequence[Track]) -> None:
    """One frame later; the height of one that is out of sight no longer changes."""
    for track in tracks:
        if track.lost:
            track.belief.means[0, 7] = 0
        track.belief = kalman_filter.predict(track.belief)
