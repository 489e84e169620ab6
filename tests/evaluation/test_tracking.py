"""Identity scores on cases that can be counted by hand; rendered videos."""

from itertools import pairwise

import numpy as np
import pytest

from tinypose_torch.evaluation.tracking import People, score_tracking
from train.synthetic.videos import draw_video


def people(**places):
    """Ids and boxes of 10 x 20 pixels at x."""
    ids = np.array([int(name[1:]) for name in places])
    boxes = np.array([[x, 0, x + 10, 20] for x in places.values()], float).reshape(-1, 4)
    return People(ids, boxes)


def test_perfect():
    frames = [people(_1=0, _2=50), people(_1=3, _2=47)]
    assert score_tracking(frames, frames) == (1.0, 0, 1.0)


def test_a_switch():
    """Four frames of one person, the last under another id: 3 of 4 kept."""
    truth = [people(_1=x) for x in range(4)]
    found = [people(_7=x) for x in range(3)] + [people(_8=3)]
    assert score_tracking(truth, found) == (pytest.approx(2 * 3 / 8), 1, 1.0)


def test_missed_and_false():
    truth = [people(_1=0), people(_1=0)]
    found = [people(), people(_4=0, _5=200)]
    assert score_tracking(truth, found) == (pytest.approx(2 * 1 / 4), 0, 0.5)


def test_swapped_people():
    truth = [people(_1=0, _2=50)] * 2
    found = [people(_1=0, _2=50), people(_1=50, _2=0)]
    scores = score_tracking(truth, found)
    assert scores.switches == 2
    assert scores.idf1 == pytest.approx(0.5)


def test_nothing_at_all():
    assert score_tracking([people()], [people()]) == (0.0, 0, 0.0)


def test_rendered_videos_are_the_same_again_and_keep_identities():
    first, again = (list(draw_video(np.random.default_rng(4), (120, 160), 3, 6)) for _ in range(2))
    assert all(np.array_equal(one, two) for (one, _), (two, _) in zip(first, again, strict=True))
    still = [frame[1].keypoints for _, frame in first]
    assert all(np.array_equal(places[:, :2], still[0][:, :2]) for places in still), "the first one stands still"
    moved = [
        abs(one[identity].bbox[0] - other[identity].bbox[0])
        for (_, one), (_, other) in pairwise(first)
        for identity in one.keys() & other.keys()
        if identity > 1
    ]
    assert moved
    assert max(moved) < 12
