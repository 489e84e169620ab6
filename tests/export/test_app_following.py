"""Method ``follow`` of apps: its tensor parts beside the tracker and the smoother in Python."""

import numpy as np
import pytest
import torch
from conftest import DEMO_WEIGHTS

from tinypose_torch import AppEstimator, CheckpointError, Poses, PoseTracker
from tinypose_torch.estimators import app as app_module
from tinypose_torch.export import export_app
from tinypose_torch.export.app.following import Filter, NextBoxes, OneEuroFilter
from tinypose_torch.export.app.tracks import Tracks, TrackUpdate
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.tracking.pose_tracker import _own_poses, boxes_around
from tinypose_torch.tracking.smoothing import KeypointSmoother, Smoothing
from tinypose_torch.tracking.tracker import Tracker, bytetrack_settings
from tinypose_torch.utils.defaults import VISIBLE
from train.synthetic.videos import render_video

from .app_helpers import EagerApp, check_followed, describe, estimator, networks

FRAME = (120, 160)


class Walkers:
    """Random detections of people who move, hide, leave and return; the score falls when they are hidden."""

    def __init__(self, seed, people):
        self.rng = np.random.default_rng(seed)
        self.centers = self.rng.uniform(0, 160, (people, 2))
        self.speeds = self.rng.uniform(-4, 4, (people, 2))
        self.sizes = self.rng.uniform(20, 50, (people, 2))

    def detect(self):
        """Boxes ``(N, 4)`` and scores ``(N,)`` float32, highest score first."""
        self.centers = (self.centers + self.speeds) % 180
        centers = self.centers + self.rng.normal(0, 1, self.centers.shape)
        boxes = np.concatenate([centers - self.sizes / 2, centers + self.sizes / 2], axis=1).astype(np.float32)
        scores = self.rng.uniform(0.0, 1.0, len(boxes)).astype(np.float32) ** 0.5
        order = np.argsort(-scores)[: self.rng.integers(0, len(boxes) + 1)]
        return boxes[order], scores[order]


@torch.inference_mode()
@pytest.mark.parametrize(("people", "rows", "detect_every"), [(6, 4, 1), (5, 3, 3), (2, 1, 1)])
def test_tracks_are_the_trackers(people, rows, detect_every):
    """With more people than rows, too: ids, scores, boxes of the filter, and lost tracks, in every frame."""
    settings = bytetrack_settings(0.5, greedy=True, max_tracks=rows)
    tracker, update, walkers = Tracker(settings), TrackUpdate(settings, FRAME), Walkers(people, people)
    tracks, num_ids = Tracks.unpack(torch.zeros(rows, 31, dtype=torch.float64)), torch.zeros(1, 1, dtype=torch.float64)
    lost = 0
    for index in range(80):
        frame = torch.full((1, 1), index + 1.0, dtype=torch.float64)
        boxes, scores = walkers.detect()
        if index % detect_every:
            carried = tracks.boxes.numpy() + walkers.rng.normal(0, 2, (rows, 4))
            inside = (carried[:, 2:] > 0).all(axis=1) & (carried[:, :2] < FRAME[::-1]).all(axis=1)
            trusted = tracks._replace(boxes=torch.from_numpy(carried), trusted=torch.ones_like(tracks.trusted))
            ids = tracks.ids[:, 0].tolist()
            tracker.carry({int(ids[row]): carried[row] for row in np.flatnonzero(inside)})
            tracks = update.carry(trusted, frame)
        else:
            padded = np.zeros((rows, 4), np.float32), np.zeros(rows, np.float32)
            count = min(rows, len(boxes))
            padded[0][:count], padded[1][:count] = boxes[:count], scores[:count]
            tracker.update(boxes, scores)
            tracks, num_ids = update.detect(tracks, frame, num_ids, *map(torch.from_numpy, padded))
        found = {int(row[0]): row for row in tracks.pack().numpy() if row[0] > 0}
        expected = {track.id: track for track in (*tracker.tracked, *tracker.lost)}
        assert found.keys() == expected.keys(), index
        for identity, track in expected.items():
            row = found[identity]
            assert (row[1], row[2]) == (track.confirmed, track.lost)
            assert row[3] == np.float32(track.score)
            assert (row[4], row[5]) == (track.start_frame, track.last_frame)
            assert np.allclose(row[6:14], track.state.means[0], atol=1e-9)
        lost += len(tracker.lost)
    assert lost > 10
    assert int(num_ids) == tracker._num_ids > people


@torch.inference_mode()
def test_smoothing_is_the_smoothers():
    """Of three people with keypoints that come and go, and a time that stands still once."""
    rng, people, count = np.random.default_rng(0), 3, 5
    smoothers, smoothing = [KeypointSmoother() for _ in range(people)], OneEuroFilter(Smoothing())
    filters = Filter(*torch.zeros(people, 2 + 5 * count, dtype=torch.float64).split([1, 1, count, 10, 10], dim=1))
    heights, time = rng.uniform(20, 100, people), 5.0
    points = rng.uniform(0, 100, (people, count, 2))
    for index in range(30):
        time += 0.0 if index == 20 else rng.uniform(0.01, 0.1)
        points += rng.normal(0, 3, points.shape)
        found = rng.random((people, count)) > 0.3
        columns = torch.from_numpy(points.transpose(0, 2, 1).reshape(people, -1).copy())
        given = columns, torch.from_numpy(found.astype(float)), torch.from_numpy(heights[:, None])
        filters = smoothing(filters, *given, torch.full((1, 1), time, dtype=torch.float64))
        result = filters.positions.numpy().reshape(people, 2, count).transpose(0, 2, 1)
        for row, smoother in enumerate(smoothers):
            assert np.allclose(result[row], smoother(points[row], found[row], heights[row], time), atol=1e-9)
        assert np.abs(result - points).max() > 1 or index in (0, 20)


@torch.inference_mode()
def test_boxes_for_the_next_frame():
    """From enough keypoints, of poses that do not duplicate a better one."""
    rng, people = np.random.default_rng(1), 8
    next_boxes, kinds = NextBoxes(COCO17, people), set()
    for _ in range(20):
        bodies = rng.uniform(0, 100, (3, 17, 2))[rng.integers(0, 3, people)]  # so that there are duplicates
        keypoints = np.concatenate([bodies + rng.normal(0, 2, bodies.shape), rng.random((people, 17, 1)) ** 3], axis=2)
        keypoints[rng.integers(people), :, 2] = 0.1
        keypoints = keypoints.astype(np.float32)
        boxes = np.concatenate([bodies.min(axis=1), bodies.max(axis=1)], axis=1).astype(np.float32)
        present = rng.random(people) > 0.2
        given = torch.from_numpy(keypoints), torch.from_numpy(boxes.astype(float)), torch.from_numpy(present[:, None])
        found, trusted = (each.numpy() for each in next_boxes(*given))
        poses = Poses(boxes, np.ones(people), keypoints[..., :2], keypoints[..., 2])[present]
        expected, shown = boxes_around(poses.keypoints, poses.keypoint_scores > VISIBLE)
        own = np.isin(np.arange(len(poses)), list(_own_poses(poses)))
        assert np.array_equal(trusted[present, 0], shown & own)
        assert np.array_equal(found[present][shown & own], expected[shown & own])
        assert not trusted[~present].any()
        kinds |= set(zip(shown.tolist(), own.tolist(), strict=True))
    assert {(True, True), (True, False), (False, True)} <= kinds


@pytest.fixture(scope="module")
def demo_networks():
    return networks(DEMO_WEIGHTS.get)


@pytest.fixture(scope="module")
def demo_app(demo_networks):
    pose, detector = demo_networks
    return EagerApp(describe(pose, detector, FRAME, 2, detect_every=4), pose, detector)


def test_follow_is_the_tracker(demo_app, monkeypatch):
    """A few frames with more people than rows; the slow tests follow 300 frames with every format."""
    monkeypatch.setattr(app_module, "open_app", lambda path, threads: demo_app)
    video = list(render_video(np.random.default_rng(7), FRAME, 3, 6))
    python = PoseTracker(estimator(DEMO_WEIGHTS.get), 4, demo_app.metadata.tracker_settings)
    tracker, shown = AppEstimator("app.pte").create_tracker(), 0
    for index, (frame, _) in enumerate(video):
        shown += check_followed(tracker(frame, index / 30), python(frame, index / 30))
    assert shown >= len(video)
    again = AppEstimator("app.pte").create_tracker()(video[0][0], 0.0)
    assert again.ids.tolist() == list(range(1, len(again) + 1)), "a new tracker starts anew"


def test_rows_of_follow(demo_app):
    """People first; zeros behind them, and with no one there."""
    frame, _ = next(iter(render_video(np.random.default_rng(7), FRAME, 1, 1)))
    found = demo_app.follow(frame, None, 0.0)
    assert found.ids.tolist() == [1, 0]
    assert found.ids.dtype == np.int64
    for values in found[:4]:
        assert values[0].any()
        assert not values[1].any()
    assert found.state.shape == demo_app.metadata.state_shape == (3, 118)
    empty = demo_app.follow(np.zeros_like(frame), None, 0.0)
    assert not any(values.any() for values in empty[:4])


@pytest.mark.parametrize(
    ("state", "time", "message"),
    [
        (np.zeros((5, 118)), 0.0, r"state of shape \(5, 118\); expected \(3, 118\)"),
        (np.full((3, 118), np.nan), 0.0, "finite numbers, from the call before"),
        (None, float("nan"), "time=nan; expected seconds"),
    ],
)
def test_wrong_states(demo_app, state, time, message):
    with pytest.raises(ValueError, match=message):
        demo_app.follow(np.zeros((*FRAME, 3), np.uint8), state, time)


def test_files_without_the_method(demo_networks, monkeypatch, tmp_path):
    pose, detector = demo_networks
    app = EagerApp(describe(pose, detector, FRAME), pose, detector)
    monkeypatch.setattr(app_module, "open_app", lambda path, threads: app)
    with pytest.raises(ValueError, match="this app has no method follow; export it as executorch or torchscript"):
        AppEstimator("app.onnx").create_tracker()
    for options, message in (
        (
            {"format": "onnx", "detect_every": 3},
            "detect_every=3 is for the method follow, which onnx files do not have",
        ),
        ({"detect_every": 0}, "detect_every=0; expected 1 to"),
    ):
        with pytest.raises(ValueError, match=message):
            export_app(pose, detector, tmp_path / "app", FRAME, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"detect_every": 4', '"detect_every": 0', "detect_every"),
        ('"state": [3, 118]', '"state": [3, 117]', r"a state of shape \[3, 117\]; expected \(3, 118\)"),
        ('"follow": {', '"follow": 1, "unused": {', "follow"),
    ],
)
def test_damaged_descriptions(demo_app, old, new, message):
    text = demo_app.metadata.to_json()
    assert AppMetadata.from_json(text) == demo_app.metadata
    assert old in text
    with pytest.raises(CheckpointError, match=message):
        AppMetadata.from_json(text.replace(old, new, 1))
