"""Tracking: PaddleDetection's recorded sequences, and people who cross, hide and come back."""

import json
import re
import sys

import numpy as np
import pytest
from recordings import Recording

from tinypose_torch.tracking.tracker import (
    BYTETRACK_SETTINGS,
    Tracker,
    TrackerSettings,
    assign,
    assign_greedily,
    bytetrack_settings,
)
from tinypose_torch.utils.hints import install_hint


@pytest.mark.parametrize("sequence", ["seq0", "seq1"])
def test_recorded_sequences(sequence):
    arrays = Recording("postprocess/jde_tracker.npz")
    track_buffer = json.loads(str(arrays[f"{sequence}.settings"]))["max_time_lost"]
    tracker = Tracker(TrackerSettings(track_buffer=track_buffer))
    for frame in range(20):
        detections, embeddings, ids, tlwh, scores, lost = (
            arrays[f"{sequence}.frame{frame:02}.{key}"]
            for key in ("dets", "embs", "track_ids", "tlwh", "scores", "lost_ids")
        )
        tracks = tracker.update(detections[:, 2:], detections[:, 1], embeddings)
        assert [track.id for track in tracks] == ids.tolist(), frame
        found = np.array([track.box for track in tracks]).reshape(-1, 4)
        np.testing.assert_allclose(found[:, :2], tlwh[:, :2], atol=1e-3)
        np.testing.assert_allclose(found[:, 2:] - found[:, :2], tlwh[:, 2:], atol=1e-3)
        np.testing.assert_allclose([track.score for track in tracks], scores, atol=1e-6)
        assert sorted(track.id for track in tracker.lost) == sorted(lost.tolist()), frame


def walk(frames, starts, steps, size=(40, 90)):
    """Boxes ``(frames, people, 4)`` of people who walk straight on."""
    places = np.asarray(starts, float)[None] + np.arange(frames)[:, None, None] * np.asarray(steps, float)[None]
    return np.concatenate([places, places + np.array(size)], axis=2)


def ids_by_person(tracker, boxes, scores=None, seen=None):
    """The id that every person has in every frame, 0 for none; whoever is not seen is left out of the detections."""
    given = np.zeros(boxes.shape[:2], int)
    for frame, people in enumerate(boxes):
        there = np.flatnonzero(seen[frame]) if seen is not None else np.arange(len(people))
        frame_scores = np.full(len(there), 0.9) if scores is None else scores[frame][there]
        for track in tracker.update(people[there], frame_scores):
            if track.detection is not None:
                given[frame, there[track.detection]] = track.id
    return given


@pytest.mark.parametrize("settings", [BYTETRACK_SETTINGS, bytetrack_settings(0.5, greedy=True, max_tracks=2)])
def test_people_who_cross_keep_their_ids(settings):
    boxes = walk(60, [(0, 0), (300, 6)], [(5, 0), (-5, 0)])
    seen = np.ones((60, 2), bool)
    seen[28:31, 1] = False  # behind the other one
    given = ids_by_person(Tracker(settings), boxes, seen=seen)
    assert set(given[:, 0]) == {1}
    assert set(given[seen[:, 1], 1]) == {2}


def test_hidden_for_a_while_and_for_too_long():
    boxes = walk(120, [(0, 0)], [(1, 0)])
    for hidden, ids in ((20, {1}), (40, {1, 2})):
        seen = np.ones((120, 1), bool)
        seen[30 : 30 + hidden] = False
        given = ids_by_person(Tracker(BYTETRACK_SETTINGS), boxes, seen=seen)
        assert set(given[given > 0]) == ids


def test_weak_detections_go_on_a_track_but_begin_none():
    boxes = walk(20, [(0, 0), (200, 0)], [(2, 0), (2, 0)])
    scores = np.full((20, 2), 0.9)
    scores[5:15, 0] = 0.2
    scores[:, 1] = 0.2
    given = ids_by_person(Tracker(BYTETRACK_SETTINGS), boxes, scores)
    assert set(given[:, 0]) == {1}
    assert not given[:, 1].any()


def test_one_false_detection_is_no_person():
    boxes = walk(10, [(0, 0)], [(2, 0)])
    tracker = Tracker(BYTETRACK_SETTINGS)
    for frame, people in enumerate(boxes):
        extra = np.array([[400.0, 50, 440, 140]]) if frame == 4 else np.zeros((0, 4))
        tracks = tracker.update(np.concatenate([people, extra]), np.full(1 + len(extra), 0.9))
        assert [track.id for track in tracks] == [1]


def test_greedy_matching():
    """The best pair first, even where the total cost is higher; nothing from the maximum cost on."""
    cost = np.array([[0.1, 0.2], [0.3, 0.9]])
    assert sorted(assign(cost, 1.0)) == [(0, 1), (1, 0)]
    assert assign_greedily(cost, 1.0) == [(0, 0), (1, 1)]
    assert assign_greedily(cost, 0.9) == [(0, 0)]
    assert assign_greedily(np.zeros((0, 3)), 0.9) == []


def test_limited_number_of_tracks():
    """A new person takes the place of the one who was lost the longest, and none where all are tracked."""
    boxes = walk(40, [(0, 0), (100, 0), (200, 0), (300, 0)], [(0, 0)] * 4)
    scores = np.tile([0.9, 0.8, 0.7, 0.6], (40, 1))
    seen = np.ones((40, 4), bool)
    seen[10:, 0] = seen[:5, 3] = False
    seen[15:20, 1] = False
    given = ids_by_person(Tracker(bytetrack_settings(0.5, max_tracks=3)), boxes, scores, seen)
    assert set(given[:10, 3]) == {0}, "all three places are taken"
    assert set(given[11:, 3]) == {4}, "the place of the first person"
    assert set(given[20:, 1]) == {2}
    with pytest.raises(ValueError, match="max_tracks=0; at least 1 is needed"):
        TrackerSettings(max_tracks=0)


def test_empty_frames():
    tracker = Tracker(BYTETRACK_SETTINGS)
    for _ in range(3):
        assert tracker.update(np.zeros((0, 4)), np.zeros(0)) == []
    assert len(tracker.update(np.array([[0, 0, 10.0, 30]]), np.array([0.9]))) == 0, "confirmed when seen again"
    assert len(tracker.update(np.array([[0, 0, 10.0, 30]]), np.array([0.9]))) == 1


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    tracker = Tracker(BYTETRACK_SETTINGS)
    tracker.update(np.array([[0, 0, 10.0, 30]]), np.array([0.9]))
    with pytest.raises(RuntimeError, match=re.escape(install_hint("track"))):
        tracker.update(np.array([[0, 0, 10.0, 30]]), np.array([0.9]))
