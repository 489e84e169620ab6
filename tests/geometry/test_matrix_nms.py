"""Matrix NMS and PP-YOLOv2's decoding against the recorded answers."""

import json

import numpy as np
import pytest
import torch
from recordings import Recording

from tinypose_torch.geometry.matrix_nms import MatrixNMSConfig, in_image, matrix_nms
from tinypose_torch.models.ppyolov2 import decode_yolo, object_scores, split_level
from tinypose_torch.models.registry import get_config

SETTINGS = ("ppyolov2", "linear_topk", "gaussian", "background0", "normalized", "all_kept", "nothing")


def assert_same_rows(chosen, expected, tolerance=1e-3):
    """Every row has its like: class, score and box; scores fall."""
    assert len(chosen.rows) == len(expected)
    found = np.column_stack([chosen.class_ids, chosen.scores, chosen.boxes])
    free = list(range(len(found)))
    for row in expected:
        close = np.abs(found[free] - row) < (0.5, 1e-5, *(tolerance,) * 4)
        matches = np.flatnonzero(close.all(axis=1))
        assert len(matches), row
        free.pop(int(matches[0]))
    assert (np.diff(chosen.scores) <= 0).all()


@pytest.mark.parametrize("block", [256, 7])
@pytest.mark.parametrize("name", SETTINGS)
def test_recorded_settings(name, block, monkeypatch):
    monkeypatch.setattr("tinypose_torch.geometry.matrix_nms._BLOCK", block)
    recorded = Recording("postprocess/matrix_nms.npz")
    facts = json.loads(str(recorded[f"settings.{name}"]))
    scores = recorded["scores"][0].T.copy()
    if facts["background_label"] >= 0:
        scores[:, facts["background_label"]] = 0
    rule = MatrixNMSConfig(
        facts["score_threshold"],
        facts["post_threshold"],
        facts["nms_top_k"] if facts["nms_top_k"] > 0 else None,
        facts["keep_top_k"] if facts["keep_top_k"] > 0 else None,
        facts["gaussian_sigma"] if facts.get("use_gaussian") else None,
        not facts["normalized"],
    )
    assert_same_rows(matrix_nms(scores, recorded["boxes"][0], rule), recorded[f"out.{name}"])


def test_decoding_and_detections_of_recorded_heads():
    recorded = Recording("postprocess/ppyolo_decode.npz")
    levels = [torch.from_numpy(recorded[f"head_raw.{level}"]) for level in range(3)]
    for level, raw in enumerate(levels):
        iou, prediction = split_level(raw)
        logit = object_scores(iou, prediction[:, :, 4]).logit().flatten(2)
        assert np.abs(logit.numpy() - recorded[f"object_logit_after_iou.{level}"].reshape(logit.shape)).max() < 1e-4
    decoded = decode_yolo(levels)
    scores = decoded.scores.numpy()
    seen = recorded["scores"].transpose(0, 2, 1)
    assert np.abs(scores - seen).max() < 1e-6
    counts = recorded["detections_num"]
    rule = get_config("ppyolov2_r50vd_dcn").nms
    for image, scale in enumerate(recorded["scale_factor"]):
        boxes = in_image(decoded.boxes[image].numpy(), (128, 128), tuple(scale))
        likely = scores[image].max(axis=1) > 0
        assert np.abs(boxes - recorded["boxes"][image])[likely].max() < 1e-3
        start = int(counts[:image].sum())
        expected = recorded["detections"][start : start + counts[image]]
        assert_same_rows(matrix_nms(scores[image], boxes, rule), expected)


def test_an_image_that_single_precision_makes_smaller():
    """640 / (640 / 427) is 426.99997 in single precision, which PaddleDetection cuts to 426."""
    sizes = [size for size in range(300, 500) if int(np.float32(640) / np.float32(640 / size)) != size]
    assert sizes
    box = np.array([[0, 0, 640, 640]], np.float32)
    size = sizes[0]
    assert in_image(box, (640, 640), (640 / size, 1.0)).tolist() == [[0, 0, 639, size - 2]]
