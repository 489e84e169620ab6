"""What is seen ahead and what is found afterwards make the same poses."""

import numpy as np
import pytest

from tinypose_torch import COCO17, Detections, Poses
from tinypose_torch.video.lookahead import Lookahead, complete_poses, iter_lookahead

BOXES = np.arange(16, dtype=np.float32).reshape(4, 4)
SCORES = np.float32([0.9, 0.7, 0.6, 0.2])


class Stub:
    """Poses that can be told from their boxes."""

    detection_threshold = 0.5

    def __init__(self):
        self.asked = []

    def detect_people(self, image, threshold):
        found = threshold < SCORES
        return Detections(BOXES[found], SCORES[found], np.zeros(found.sum()))

    def estimate_keypoints(self, image, boxes, scores):
        self.asked += boxes[:, 0].tolist()
        places = np.repeat(boxes[:, None, :2], len(COCO17), axis=1)
        return Poses(boxes, scores, places, places[..., 0], COCO17)


def test_better_with_time():
    looks = [len(seen.poses) for seen in iter_lookahead(None, Stub(), 0.1)]
    assert looks == [0, 1, 2, 3], "the fourth is below the estimator's threshold"


@pytest.mark.parametrize("ahead", range(4))
@pytest.mark.parametrize("rows", [[], [0], [3, 1], [0, 1, 2, 3], [2, 3, 0]])
def test_completed(ahead, rows):
    estimator = Stub()
    sights = iter_lookahead(None, estimator, 0.1)
    for _ in range(ahead + 1):
        seen = next(sights)
    found = complete_poses(None, estimator, seen, rows)
    assert np.array_equal(found.boxes, BOXES[rows])
    assert np.array_equal(found.scores, SCORES[rows])
    assert np.array_equal(found.keypoints[:, 0], BOXES[rows][:, :2])
    assert estimator.asked == [4 * row for row in [*range(ahead), *(row for row in rows if row >= ahead)]]


def test_no_people():
    no_people = Lookahead(Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0)), [])
    assert len(complete_poses(None, Stub(), no_people, [])) == 0
