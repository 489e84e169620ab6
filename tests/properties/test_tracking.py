"""People through time: numbers that are given once, and smoothing that stays finite."""

import numpy as np
import pytest
from hypothesis import strategies as st

pytest.importorskip("scipy")

from properties.checks import holds
from tinypose_torch.tracking.smoothing import PaddleDetectionSmoothing, Smoothing
from tinypose_torch.tracking.tracker import BYTETRACK_SETTINGS, Tracker, TrackerSettings
from tinypose_torch.video.times import FrameTimes

box = st.tuples(st.floats(-100, 900), st.floats(-100, 700), st.floats(0.01, 500), st.floats(0.01, 500))
frames = st.lists(st.lists(st.tuples(box, st.floats(0, 1)), max_size=6), min_size=1, max_size=12)


def arrays(frame):
    boxes = np.array([values for values, _ in frame], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes, np.array([score for _, score in frame], np.float64)


@holds(
    video=frames, settings=st.sampled_from([BYTETRACK_SETTINGS, TrackerSettings()]), carried=st.sets(st.integers(0, 11))
)
def test_identities(video, settings, carried):
    """Unique in every frame, never given again, each of a detection of its own; boxes are finite."""
    tracker, known, ended = Tracker(settings), set(), set()
    for number, frame in enumerate(video):
        boxes, scores = arrays(frame)
        before = {track.id for track in (*tracker.tracked, *tracker.lost)}
        if number in carried:
            tracker.carry({track.id: track.box for track in tracker.tracked[::2]})
        else:
            shown = tracker.update(boxes, scores)
            assert {track.id for track in shown} <= {track.id for track in tracker.tracked}
            seen = [track.detection for track in tracker.tracked if track.detection is not None]
            assert len(set(seen)) == len(seen)
            assert all(0 <= index < len(boxes) for index in seen)
        everyone = [track.id for track in (*tracker.tracked, *tracker.lost)]
        assert len(set(everyone)) == len(everyone)
        assert not ended & set(everyone)
        assert all(identity > max(known, default=0) for identity in set(everyone) - known)
        known |= set(everyone)
        ended |= before - set(everyone)
        assert all(np.isfinite(track.box).all() for track in (*tracker.tracked, *tracker.lost))


@holds(seed=st.integers(0, 999), count=st.integers(1, 6))
def test_identities_do_not_depend_on_the_order(seed, count):
    """Of the detections of a frame."""
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 600, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(30, 120, (count, 2))], axis=1)
    scores = generator.uniform(0.6, 1, count)
    one, other = Tracker(BYTETRACK_SETTINGS), Tracker(BYTETRACK_SETTINGS)
    one.update(boxes, scores)
    other.update(boxes, scores)
    order = generator.permutation(count)
    moved = boxes + 2
    by_box = {track.id: moved[track.detection].tolist() for track in one.update(moved, scores)}
    shuffled = moved[order]
    assert {track.id: shuffled[track.detection].tolist() for track in other.update(shuffled, scores[order])} == by_box


@holds(
    seed=st.integers(0, 9999),
    count=st.integers(1, 20),
    settings=st.one_of(
        st.just(PaddleDetectionSmoothing()),
        st.builds(Smoothing, st.floats(0.01, 50), st.floats(0, 100), st.floats(0.01, 50)),
    ),
    steps=st.lists(st.floats(-1, 100) | st.sampled_from([0.0, 1e-9, 1e9]), min_size=1, max_size=10),
    height=st.sampled_from([0.0, 1e-9, 1.0, 300.0, 1e9]),
)
def test_smoothing(seed, count, settings, steps, height):
    """Finite, and within what was found since the beginning; still keypoints stay where they are."""
    generator = np.random.default_rng(seed)
    smoother, still = settings.create_smoother((640, 480)), settings.create_smoother((640, 480))
    places, time = [generator.uniform(-1e4, 1e4, (count, 2))], 0.0
    found = np.ones(count, bool)
    smoother(places[0], found, height, time)
    still(places[0], found, height, time)
    for step in steps:
        time += step
        places.append(generator.uniform(-1e4, 1e4, (count, 2)))
        smooth = smoother(places[-1], found, height, time)
        assert np.isfinite(smooth).all()
        assert (smooth >= np.min(places, axis=0) - 1e-6).all()
        assert (smooth <= np.max(places, axis=0) + 1e-6).all()
        assert np.allclose(still(places[0], found, height, time), places[0])


@holds(
    rate=st.floats(1e-5, 1000),
    stamps=st.lists(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([float("nan"), float("inf")]), max_size=30),
)
def test_times(rate, stamps):
    """Finite and increasing, whatever a stream says."""
    clock = FrameTimes(rate)
    times = [clock.add(stamp) for stamp in stamps]
    assert np.isfinite(times).all()
    assert (np.diff(times) > 0).all()
    assert all(time >= 0 for time in times)
