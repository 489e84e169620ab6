"""Poses through time: who is who, steady keypoints, and a detector that need not look at every frame."""

from __future__ import annotations

import dataclasses

import numpy as np

from tinypose_torch.data.coco import DEFAULT_SIGMA
from tinypose_torch.estimators.bottom_up import BottomUpEstimator
from tinypose_torch.estimators.results import Detections, Poses
from tinypose_torch.estimators.top_down import PoseEstimator
from tinypose_torch.evaluation.coco import KeypointPrediction, oks_nms, rescore
from tinypose_torch.tracking import kalman_filter
from tinypose_torch.tracking.smoothing import (
    KeypointSmoother,
    PaddleDetectionSmoother,
    PaddleDetectionSmoothing,
    Smoothing,
)
from tinypose_torch.tracking.tracker import BY_BOXES, Track, Tracker, TrackerSettings
from tinypose_torch.utils.defaults import VISIBLE
from tinypose_torch.video.lookahead import Lookahead, complete

Array = np.ndarray
_GROWN = 0.15  # of the keypoints' extent, on every side: the head and the feet reach beyond them
_MIN_FOUND_SHARE = 0.25  # share of keypoints that a person must show to be followed
_SAME_POSE = 0.5  # similarity above which two poses are one person's
_LEAST_AREA, _WIDEST = 200, 1.6  # square pixels, and width to height: what PaddleDetection shows of FairMOT's tracks
_MIN_BOTTOM_UP_SCORE = 0.2  # of bottom-up people, whose score is their mean heat, to begin a track


class PoseTracker:
    """Follows the people of one video, frame by frame.

    Args:
        estimator: What finds them.
        detect_every: The detector looks at every so manyth frame; in between, boxes follow from the poses of the frame
            before. More than 1 needs a `PoseEstimator` with a detector.
        tracking: Thresholds; unless given those for boxes, or for what tells people apart by their appearance the
            original's, with the estimator's own least score of a person.
        smoothing: How much keypoints are smoothed; ``None``: not at all.

    Raises:
        ValueError: ``detect_every`` below 1, or above it without a detector.
    """

    def __init__(
        self,
        estimator: PoseEstimator | BottomUpEstimator,
        detect_every: int = 1,
        tracking: TrackerSettings | None = None,
        smoothing: Smoothing | PaddleDetectionSmoothing | None = Smoothing(),  # noqa: B008 - it cannot be changed
    ) -> None:
        if detect_every < 1:
            raise ValueError(f"detect_every={detect_every}; at least 1 is needed")
        if detect_every > 1 and not _has_detector(estimator):
            raise ValueError(f"detect_every={detect_every}: this {type(estimator).__name__} has no detector")
        self.estimator, self.detect_every, self.smoothing = estimator, detect_every, smoothing
        self._tracking = tracking or _thresholds_of(estimator)
        self._tracker = Tracker(self._tracking)
        self._smoothers: dict[int, KeypointSmoother | PaddleDetectionSmoother] = {}
        self._frame = 0
        self._before: Poses | None = None
        self._tracks: list[Track] = []

    @property
    def least_score(self) -> float:
        """Score from which detections matter."""
        return self._tracking.weak

    def __call__(self, image: Array, time: float, seen: Lookahead | None = None) -> Poses:
        """People of the next frame with their ``ids``; whoever comes later than the first frame appears a frame late.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            time: Seconds, later than the frame's before.
            seen: What `iter_lookahead` gives for this frame and ``least_score``, if somebody has looked already.
        """
        estimator = self.estimator
        tracker = self._tracker
        if isinstance(estimator, BottomUpEstimator) or not _has_detector(estimator):
            poses = estimator(image)
            tracker.update(poses.boxes, poses.scores)
            self._tracks = [track for track in tracker.tracked if track.detection is not None]
            poses = poses[[track.detection for track in self._tracks]]
        else:
            people, rows = self._follow(estimator, image, seen)
            poses = complete(image, estimator, people, rows)
            poses.scores = np.array([track.score for track in self._tracks], np.float32)
        poses.ids = np.array([track.id for track in self._tracks], np.int64)
        self._frame, self._before = self._frame + 1, poses
        known = poses[np.array([track.confirmed for track in self._tracks], bool)]
        if self.smoothing is not None:
            self._smooth(known, time, self.smoothing, (image.shape[1], image.shape[0]))
        return known

    def _follow(self, estimator: PoseEstimator, image: Array, seen: Lookahead | None) -> tuple[Lookahead, list[int]]:
        """Who is in the next frame: detected, or carried on from the poses of the frame before; and which of them are followed."""
        tracker = self._tracker
        if self._frame % self.detect_every:
            boxes = self._carried((image.shape[1], image.shape[0]))
            tracker.carry(boxes)
            self._tracks = [track for track in tracker.tracked if track.id in boxes]
            count = len(self._tracks)
            carried = np.array([boxes[track.id] for track in self._tracks])
            return Lookahead(Detections(carried, np.ones(count), np.zeros(count)), []), list(range(count))
        seen = Lookahead(estimator.find_people(image, self.least_score), []) if seen is None else seen
        people = seen.people
        tracker.update(people.boxes, people.scores, people.embeddings)
        self._tracks = [track for track in tracker.tracked if track.detection is not None]
        if people.embeddings is not None:
            self._tracks = [track for track in self._tracks if _upright(track.box)]
        return seen, [track.detection for track in self._tracks if track.detection is not None]

    def _carried(self, image_size: tuple[int, int]) -> dict[int, Array]:
        """Boxes of those who are still in the picture, by id.

        Whose pose shows too little, or is somebody else's who hides them, goes on as before.
        """
        assert self._before is not None
        poses = self._before
        boxes, shown = boxes_around(poses.keypoints, poses.keypoint_scores > VISIBLE)
        own = _own_poses(poses)
        carried = {}
        for row, track in enumerate(self._tracks):
            trusted = shown[row] and row in own
            box = boxes[row] if trusted else kalman_filter.boxes_of(kalman_filter.predict(track.belief).means)[0]
            if (box[2:] > 0).all() and (box[:2] < image_size).all():
                carried[track.id] = box
        return carried

    def _smooth(
        self, poses: Poses, time: float, smoothing: Smoothing | PaddleDetectionSmoothing, image_size: tuple[int, int]
    ) -> None:
        followed = {track.id for track in (*self._tracker.tracked, *self._tracker.lost)}
        self._smoothers = {identity: s for identity, s in self._smoothers.items() if identity in followed}
        assert poses.ids is not None
        for row, identity in enumerate(poses.ids.tolist()):
            if identity not in self._smoothers:
                self._smoothers[identity] = smoothing.begin(image_size)
            smoother = self._smoothers[identity]
            height = float(poses.boxes[row, 3] - poses.boxes[row, 1])
            found = poses.keypoint_scores[row] > VISIBLE
            poses.keypoints[row] = smoother(poses.keypoints[row], found, height, time)


def _own_poses(poses: Poses) -> set[int]:
    """Rows of the poses that are not too similar to a better one."""
    if not len(poses):
        return set()
    triples = np.concatenate([poses.keypoints, poses.keypoint_scores[..., None]], axis=2)
    areas = (poses.boxes[:, 2:] - poses.boxes[:, :2]).prod(axis=1)
    people = [KeypointPrediction(0, one, 1.0, float(area)) for one, area in zip(triples, areas, strict=True)]
    sigmas = poses.skeleton.sigmas or (DEFAULT_SIGMA,) * len(poses.skeleton)
    scores = np.array([rescore(person) for person in people])
    return set(oks_nms(people, scores, np.asarray(sigmas), _SAME_POSE))


def _thresholds_of(estimator: PoseEstimator | BottomUpEstimator) -> TrackerSettings:
    if isinstance(estimator, BottomUpEstimator):
        strong = _MIN_BOTTOM_UP_SCORE
    elif estimator.detector_config is None:
        return BY_BOXES
    else:
        assert estimator.detection_threshold is not None
        strong = estimator.detection_threshold
        if estimator.detector_config.embeddings:
            return TrackerSettings(strong=strong, weak=strong)
    return dataclasses.replace(BY_BOXES, strong=strong, weak=min(BY_BOXES.weak, strong))


def _has_detector(estimator: PoseEstimator | BottomUpEstimator) -> bool:
    return isinstance(estimator, PoseEstimator) and estimator.detector_config is not None


def _upright(box: Array) -> bool:
    """Whether a box x1, y1, x2, y2 is large and narrow enough for somebody who walks."""
    width, height = box[2:] - box[:2]
    return bool(width * height > _LEAST_AREA and width <= _WIDEST * height)


def boxes_around(keypoints: Array, found: Array) -> tuple[Array, Array]:
    """Boxes for the next frame from the poses of this one.

    Args:
        keypoints: ``(N, K, 2)`` x, y, pixels.
        found: ``(N, K)`` bool: those that count.

    Returns:
        Boxes ``(N, 4)`` x1, y1, x2, y2: the extent of the keypoints, grown; and ``(N,)`` bool: who shows enough of them.
    """
    shown = found.mean(axis=1) >= _MIN_FOUND_SHARE
    low = np.where(found[..., None], keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(found[..., None], keypoints, -np.inf).max(axis=1, initial=-np.inf)
    low[~shown], high[~shown] = 0, 1
    margin = _GROWN * (high - low).max(axis=1, keepdims=True)
    return np.concatenate([low - margin, high + margin], axis=1).astype(np.float32), shown
