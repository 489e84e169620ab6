"""Smoothing: less jitter, little lag."""

import numpy as np
import pytest

from tinypose_torch.tracking.smoothing import KeypointSmoother, PaddleDetectionSmoothing, Smoothing

FPS, HEIGHT = 30, 200.0


def smoothed(places, settings=None):
    """A joint's way ``(T, 2)`` through the smoother."""
    smoother = KeypointSmoother(settings)
    return np.stack([smoother(place[None], [True], HEIGHT, frame / FPS)[0] for frame, place in enumerate(places)])


def jitter(places):
    """Mean acceleration, pixels per frame squared."""
    return np.linalg.norm(np.diff(places, 2, axis=0), axis=1).mean()


@pytest.mark.parametrize("noise", [0.5, 2.0, 5.0])
def test_a_still_joint(noise):
    places = 100 + np.random.default_rng(0).normal(0, noise, (300, 2))
    assert jitter(smoothed(places)[10:]) < 0.5 * jitter(places[10:])
    assert np.abs(smoothed(places)[10:].mean(axis=0) - 100).max() < noise


@pytest.mark.parametrize("speed", [0.5, 1.0, 3.0])  # heights per second
def test_a_moving_joint_lags_at_most_a_frame(speed):
    step = speed * HEIGHT / FPS
    places = np.arange(90)[:, None] * np.array([step, 0.0])
    behind = places - smoothed(places)
    assert 0 <= behind[45:, 0].max() <= step


def test_a_joint_that_is_not_found_begins_anew():
    smoother = KeypointSmoother()
    both = np.array([[10.0, 10], [50, 50]])
    smoother(both, [True, True], HEIGHT, 0.0)
    jumped = both + 30
    seen = smoother(jumped, [True, False], HEIGHT, 1 / FPS)
    assert (seen[0] < jumped[0]).all()
    assert np.array_equal(seen[1], jumped[1])
    again = smoother(jumped + 30, [True, True], HEIGHT, 2 / FPS)
    assert np.array_equal(again[1], jumped[1] + 30)


def test_time_that_stands_still_begins_anew():
    smoother = KeypointSmoother()
    smoother(np.zeros((1, 2)), [True], HEIGHT, 1.0)
    assert np.array_equal(smoother(np.full((1, 2), 9.0), [True], HEIGHT, 1.0), [[9, 9]])


def test_the_originals_settings():
    """Frame by frame: a dead zone of 0.3 % of the image, half of it for the face, and cutoffs for x and y apart."""
    smoother = PaddleDetectionSmoothing().create_smoother((1000, 500))
    first = np.tile([100.0, 200.0], (17, 1))
    all_found = np.ones(17, bool)
    assert np.array_equal(smoother(first, all_found, HEIGHT, 0), first)
    little = first + np.array([2.0, 0])  # 0.2 % of the width
    second = smoother(little, all_found, HEIGHT, 0)
    assert np.array_equal(second[5:], first[5:])

    def share(cutoff):
        return 2 * np.pi * cutoff / (2 * np.pi * cutoff + 1)

    speed = share(0.1) * 2
    assert second[:5, 0] == pytest.approx(100 + share(0.1 + 0.1 * speed) * 2)
    assert np.array_equal(second[:5, 1], first[:5, 1])
    third = smoother(little + np.array([0, 10.0]), all_found, HEIGHT, 0)
    rise = share(0.1) * 10
    assert third[5:, 1] == pytest.approx(200 + share(0.1 + 0.1 * rise) * 10)
    assert third[5:, 0] == pytest.approx(100 + share(0.1 + 0.1 * speed) * 2)


def test_settings():
    with pytest.raises(ValueError, match="must be above 0"):
        Smoothing(min_cutoff=0)
    places = np.random.default_rng(0).normal(0, 1, (100, 2))
    assert jitter(smoothed(places, Smoothing(min_cutoff=0.5))) < jitter(smoothed(places))
