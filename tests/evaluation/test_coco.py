"""The recorded evaluation: which people remain, their scores, and the ten numbers."""

import numpy as np
import pytest
from recordings import Recording, read_json, recording

pytest.importorskip("pycocotools")

from tinypose_torch.evaluation.coco import (
    STATISTICS,
    KeypointPrediction,
    keypoint_accuracy,
    keypoint_results,
    rescore,
)

VARIANTS = {"default": ({}, None), "score1": ({}, 1.0), "vis0.5_oks0.6": ({"visible": 0.5, "threshold": 0.6}, None)}


def predictions(box_score=None):
    recorded = Recording("evaluation/topdown_predictions.npz")
    return [
        KeypointPrediction(int(image), keypoints, float(score) if box_score is None else box_score, float(area))
        for image, keypoints, score, area in zip(
            recorded["image_id"],
            recorded["keypoints"],
            recorded["score"],
            np.prod(recorded["scale"].astype(np.float64) * 200, axis=1),
            strict=True,
        )
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_recorded_results(variant):
    options, box_score = VARIANTS[variant]
    records = keypoint_results(predictions(box_score), **options)
    expected = read_json(f"evaluation/keypoints_results_{variant}.json")
    assert len(records) == len(expected)
    for one, two in zip(records, expected, strict=True):
        assert one["image_id"] == two["image_id"]
        assert one["score"] == pytest.approx(two["score"], rel=1e-6)
        assert np.allclose(one["keypoints"], two["keypoints"], rtol=1e-6)
    found = keypoint_accuracy(recording("evaluation/coco_gt.json"), records)
    stats = read_json("evaluation/expected.json")[f"topdown_{variant}"]["stats"]
    assert np.allclose([found[name] for name in STATISTICS], stats, atol=1e-6)


def test_no_visible_keypoints_score_zero():
    assert rescore(KeypointPrediction(1, np.full((17, 3), 0.2), 0.9, 100.0)) == 0.0


def test_nothing_found(tmp_path):
    assert keypoint_accuracy(tmp_path / "x.json", []) == dict.fromkeys(STATISTICS, 0.0)
