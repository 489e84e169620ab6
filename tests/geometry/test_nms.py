import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from recordings import Recording

from tinypose_torch.geometry.nms import GRAPH_NMS, NUMPY_NMS, NMSConfig, multiclass_nms
from tinypose_torch.models.picodet import LevelOutput, decode_levels

IMAGES = ["ped192.image0", "ped192.image1", "ped192.image2", "coco320.image0", "coco320.image1"]
GRAPH = re.compile(r"nms\.s([\d.]+)_n([\d.]+)_pre(\d+)_keep(\d+)\.sf([\d.]+)_([\d.]+)")
# Survivor of two overlapping boxes of exactly equal score: the reference README says that either is right.
TIED_ROWS = {"coco320.image1.numpy_postprocess.s0.4_n0.5": 1}


def decoded(recorded, image):
    levels = [
        LevelOutput(
            torch.from_numpy(recorded[f"{image}.level{i}.cls_logit"]),
            torch.from_numpy(recorded[f"{image}.level{i}.box_logit"]),
            None,
        )
        for i in range(4)
    ]
    sizes = tuple(level.cls_logit[0, 0].numel() for level in levels)
    scores, boxes = decode_levels(levels)
    return scores[0].numpy(), boxes[0].numpy(), sizes


def unmatched(found, expected):
    """Rows of `expected` without a row of the same class, score and box in `found`."""
    free = list(range(len(found)))
    missing = 0
    for row in expected:
        same = [
            i
            for i in free
            if found[i, 0] == row[0]
            and abs(found[i, 1] - row[1]) < 1e-5
            and np.abs(found[i, 2:] - row[2:]).max() < 1e-3
        ]
        if same:
            free.remove(same[0])
        else:
            missing += 1
    return missing


@pytest.mark.parametrize("image", IMAGES)
def test_recorded_cases(image):
    recorded = Recording("postprocess/picodet_nms.npz")
    scores, boxes, sizes = decoded(recorded, image)
    assert np.abs(boxes - recorded[f"{image}.boxes_input_pixels"][0]).max() < 1e-3
    cases = [key for key in recorded if key.startswith((f"{image}.nms.", f"{image}.numpy_postprocess."))]
    assert len(cases) == 9
    for case in cases:
        match = GRAPH.search(case)
        if match:
            score, iou, candidates, keep, *scale = map(float, match.groups())
            rule = replace(
                GRAPH_NMS,
                score_threshold=score,
                iou_threshold=iou,
                candidates_per_class=int(candidates),
                max_detections=int(keep),
            )
            result = multiclass_nms(scores, boxes, rule, tuple(scale))
        else:
            score, iou = map(float, re.search(r"\.s([\d.]+)_n([\d.]+)$", case).groups())
            rule = replace(NUMPY_NMS, score_threshold=score, iou_threshold=iou)
            size = recorded["numpy_postprocess_original_shape_hw"][int(image.startswith("coco"))]
            scale = recorded["numpy_postprocess_scale_factor_yx"]
            result = multiclass_nms(scores, boxes, rule, tuple(scale), tuple(size), sizes)
        found = np.column_stack([result[2], result[1], result[0]])
        expected = recorded[case]
        assert len(found) == len(expected), case
        assert unmatched(found, expected) <= TIED_ROWS.get(case, 0), case
        assert (np.diff(found[:, 0]) >= 0).all(), "rows are grouped by class"


def test_nothing_above_the_threshold():
    chosen = multiclass_nms(np.zeros((5, 3), np.float32), np.ones((5, 4), np.float32), NMSConfig())
    assert chosen.boxes.shape == (0, 4)
    assert chosen.scores.shape == chosen.class_ids.shape == chosen.rows.shape == (0,)


def test_nms_is_per_class():
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (2, 1))
    chosen = multiclass_nms(np.array([[0.9, 0.0], [0.0, 0.8]], np.float32), boxes, NMSConfig())
    assert chosen.class_ids.tolist() == [0, 1]


def test_limits_keep_the_best():
    boxes = np.stack([np.array([20 * i, 0, 20 * i + 10, 10], np.float32) for i in range(8)])
    scores = np.linspace(0.2, 0.9, 8, dtype=np.float32)[:, None]
    chosen = multiclass_nms(scores, boxes, NMSConfig(max_detections=3))
    assert np.allclose(chosen.scores, [0.9, 0.8, 0.7])
    chosen = multiclass_nms(scores, boxes, NMSConfig(candidates_per_level=1), level_sizes=(4, 4))
    assert np.allclose(chosen.scores, [0.9, 0.5])
    assert chosen.rows.tolist() == [7, 3]
