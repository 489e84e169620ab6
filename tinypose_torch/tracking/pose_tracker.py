"""Pose tracking in videos: identities, temporal smoothing, and detection in every n-th frame only."""

from __future__ import annotations

import numpy as np

from tinypose_torch.data.formats.coco import DEFAULT_SIGMA
from tinypose_torch.estimators.base import Estimator
from tinypose_torch.estimators.results import Detections, Poses
from tinypose_torch.evaluation.coco import KeypointPrediction, oks_nms, rescore
from tinypose_torch.geometry.boxes import box_area, boxes_of_points, expand_boxes
from tinypose_torch.tracking import kalman_filter
from tinypose_torch.tracking.smoothing import (
    KeypointSmoother,
    PaddleDetectionSmoother,
    PaddleDetectionSmoothing,
    Smoothing,
)
from tinypose_torch.tracking.tracker import BYTETRACK_SETTINGS, Track, Tracker, TrackerSettings, bytetrack_settings
from tinypose_torch.utils.defaults import VISIBLE
from tinypose_torch.video.lookahead import Lookahead, complete_poses

Array = np.ndarray
BOX_MARGIN = 0.15  # fraction of the keypoints' extent on every side, since head and feet reach beyond the keypoints
MIN_FOUND_SHARE = 0.25  # minimum fraction of keypoints found for tracking without detection
DUPLICATE_OKS = 0.5  # object keypoint similarity above which two poses belong to one person
_MIN_AREA, _MAX_ASPECT = 200, 1.6  # square pixels, width / height: PaddleDetection's filter of FairMOT's tracks


class PoseTracker:
    """Tracks the people of one video, frame by frame.

    Args:
        estimator: Estimator of the poses of a frame.
        detect_every: Run the detector in every n-th frame. In between, boxes are derived from the poses of the frame before.
            Values above 1 need an estimator with a detector.
        tracking: Thresholds of the tracker. Default: ByteTrack's, or PaddleDetection's for detectors with embeddings, with
            the estimator's detection threshold.
        smoothing: Options of keypoint smoothing; ``None`` for no smoothing.

    Raises:
        ValueError: ``detect_every`` below 1, or above it without a detector.
    """

    def __init__(
        self,
        estimator: Estimator,
        detect_every: int = 1,
        tracking: TrackerSettings | None = None,
        smoothing: Smoothing | PaddleDetectionSmoothing | None = Smoothing(),  # noqa: B008 - it cannot be changed
    ) -> None:
        if detect_every < 1:
            raise ValueError(f"detect_every={detect_every}; at least 1 is needed")
        if detect_every > 1 and estimator.detector is None:
            raise ValueError(f"detect_every={detect_every}: this {type(estimator).__name__} has no detector")
        self.estimator, self.detect_every, self.smoothing = estimator, detect_every, smoothing
        self._tracking = tracking or _thresholds_of(estimator)
        self._tracker = Tracker(self._tracking)
        self._smoothers: dict[int, KeypointSmoother | PaddleDetectionSmoother] = {}
        self._frame = 0
        self._before: Poses | None = None
        self._tracks: list[Track] = []

    @property
    def min_score(self) -> float:
        """Minimum score of detections that are used."""
        return self._tracking.low_thresh

    def __call__(self, image: Array, time: float, lookahead: Lookahead | None = None) -> Poses:
        """Return the people of the next frame with their ``ids``. New people appear one frame late, except in the first frame.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            time: Seconds, greater than that of the frame before.
            lookahead: Result of `iter_lookahead` for this frame with ``min_score``, if available.
        """
        estimator = self.estimator
        tracker = self._tracker
        if estimator.detector is None:
            poses = estimator(image)
            tracker.update(poses.boxes, poses.scores)
            self._tracks = [track for track in tracker.tracked if track.detection is not None]
            poses = poses[[track.detection for track in self._tracks]]
        else:
            people, rows = self._follow(estimator, image, lookahead)
            poses = complete_poses(image, estimator, people, rows)
            poses.scores = np.array([track.score for track in self._tracks], np.float32)
        poses.ids = np.array([track.id for track in self._tracks], np.int64)
        self._frame, self._before = self._frame + 1, poses
        known = poses[np.array([track.confirmed for track in self._tracks], bool)]
        if self.smoothing is not None:
            self._smooth(known, time, self.smoothing, (image.shape[1], image.shape[0]))
        return known

    def _follow(self, estimator: Estimator, image: Array, lookahead: Lookahead | None) -> tuple[Lookahead, list[int]]:
        """Detections of the next frame, or boxes from the poses of the frame before; and the rows of tracked people."""
        tracker = self._tracker
        if self._frame % self.detect_every:
            boxes = self._carried((image.shape[1], image.shape[0]))
            tracker.carry(boxes)
            self._tracks = [track for track in tracker.tracked if track.id in boxes]
            count = len(self._tracks)
            carried = np.array([boxes[track.id] for track in self._tracks])
            return Lookahead(Detections(carried, np.ones(count), np.zeros(count)), []), list(range(count))
        if lookahead is None:
            lookahead = Lookahead(estimator.detect_people(image, self.min_score), [])
        people = lookahead.people
        tracker.update(people.boxes, people.scores, people.embeddings)
        self._tracks = [track for track in tracker.tracked if track.detection is not None]
        if people.embeddings is not None:
            self._tracks = [track for track in self._tracks if _upright(track.box)]
        return lookahead, [track.detection for track in self._tracks if track.detection is not None]

    def _carried(self, image_size: tuple[int, int]) -> dict[int, Array]:
        """Boxes of the people who are still in the image, by id.

        The box is predicted by the Kalman filter if too few keypoints were found, or if the pose duplicates another one.
        """
        assert self._before is not None
        poses = self._before
        boxes, shown = boxes_around(poses.keypoints, poses.keypoint_scores > VISIBLE)
        own = _own_poses(poses)
        carried = {}
        for row, track in enumerate(self._tracks):
            trusted = shown[row] and row in own
            box = boxes[row] if trusted else kalman_filter.means_to_boxes(kalman_filter.predict(track.state).means)[0]
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
                self._smoothers[identity] = smoothing.create_smoother(image_size)
            smoother = self._smoothers[identity]
            height = float(poses.boxes[row, 3] - poses.boxes[row, 1])
            found = poses.keypoint_scores[row] > VISIBLE
            poses.keypoints[row] = smoother(poses.keypoints[row], found, height, time)


def _own_poses(poses: Poses) -> set[int]:
    """Rows of the poses that do not duplicate one with a higher score."""
    if not len(poses):
        return set()
    triples = np.concatenate([poses.keypoints, poses.keypoint_scores[..., None]], axis=2)
    areas = box_area(poses.boxes)
    people = [KeypointPrediction(0, one, 1.0, float(area)) for one, area in zip(triples, areas, strict=True)]
    sigmas = poses.skeleton.sigmas or (DEFAULT_SIGMA,) * len(poses.skeleton)
    scores = np.array([rescore(person) for person in people])
    return set(oks_nms(people, scores, np.asarray(sigmas), DUPLICATE_OKS))


def _thresholds_of(estimator: Estimator) -> TrackerSettings:
    threshold = estimator.track_threshold
    if threshold is None:
        return BYTETRACK_SETTINGS
    if estimator.detector is not None and estimator.detector.config.embeddings:
        return TrackerSettings(high_thresh=threshold, low_thresh=threshold)
    return bytetrack_settings(threshold)


def _upright(box: Array) -> bool:
    """Whether a box x1, y1, x2, y2 is large and narrow enough for a pedestrian."""
    width, height = box[2:] - box[:2]
    return bool(width * height > _MIN_AREA and width <= _MAX_ASPECT * height)


def boxes_around(keypoints: Array, found: Array) -> tuple[Array, Array]:
    """Boxes for the next frame from the poses of this frame.

    Args:
        keypoints: ``(N, K, 2)`` x, y, pixels.
        found: ``(N, K)`` bool: keypoints that are used.

    Returns:
        Boxes ``(N, 4)`` x1, y1, x2, y2: the extent of the keypoints with a margin; and ``(N,)`` bool: whether enough
        keypoints were found.
    """
    shown = found.mean(axis=1) >= MIN_FOUND_SHARE
    boxes = boxes_of_points(keypoints, found)
    boxes[~shown] = (0, 0, 1, 1)
    margin = BOX_MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    return expand_boxes(boxes, margin).astype(np.float32), shown
