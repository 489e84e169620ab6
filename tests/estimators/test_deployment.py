"""The deployed pipeline's steps after its networks, on numbers that the official weights gave for photos."""

import numpy as np
import pytest
import torch
from recordings import Recording, read_json

from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.geometry.crops import make_crops
from tinypose_torch.geometry.nms import multiclass_nms
from tinypose_torch.models.picodet import LevelOutput, decode_levels
from tinypose_torch.models.registry import get_config

PHOTOS = ("hrnet_demo", "coco_000000000785")
PAIRS = {192: "picodet192_tinypose128x96", 320: "picodet320_tinypose256x192"}
VISIBLE = 0.2


def facts_of(size, photo):
    (facts,) = (
        facts for facts in read_json("deployment/answers.json")[PAIRS[size]] if facts["image"] == f"{photo}.jpg"
    )
    return facts


@pytest.mark.parametrize("photo", PHOTOS)
def test_keypoints_in_the_photo(photo):
    facts = facts_of(192, photo)
    heatmaps = Recording("deployment/tensors_192.npz")[f"192_{photo}_heatmaps"]
    boxes = np.array([person["box_int"] for person in facts["persons"]], float)
    assert len(boxes) == len(heatmaps)
    crops = make_crops(boxes, (facts["height"], facts["width"]), (128, 96), (32, 24), "deploy", udp=False)
    coordinates, scores = decode_heatmaps(heatmaps)
    expected = np.array([person["keypoints"] for person in facts["persons"]])
    visible = expected[..., 2] > VISIBLE
    assert visible.sum() > 10
    assert np.abs(crops.to_image(coordinates) - expected[..., :2])[visible].max() <= 0.0004
    assert np.abs(scores - expected[..., 2]).max() <= 6e-5


@pytest.mark.parametrize("photo", PHOTOS)
def test_boxes_of_raw_outputs(photo):
    recorded = Recording("deployment/tensors_192.npz")
    levels = []
    for level, side in enumerate((24, 12, 6, 3)):
        logits = recorded[f"192_{photo}_det_raw_reg_l{level}"].transpose(0, 2, 1).reshape(1, 32, side, side)
        levels.append(LevelOutput(torch.zeros(1, 1, side, side), torch.from_numpy(logits), None))
    boxes = decode_levels(levels).boxes.numpy()
    assert recorded.difference(f"192_{photo}_det_boxes_px", boxes) <= 0.001


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("size", PAIRS)
def test_people_of_all_boxes(size, photo):
    facts = facts_of(size, photo)
    recorded = Recording(f"deployment/tensors_{size}.npz")
    scores, boxes = recorded[f"{size}_{photo}_det_scores"][0].T, recorded[f"{size}_{photo}_det_boxes_px"][0]
    rule = get_config(f"picodet_s_{size}_lcnet_pedestrian").nms
    found = multiclass_nms(scores, boxes, rule, (size / facts["height"], size / facts["width"]))
    expected = np.array(facts["detections_all"])
    assert len(found.boxes) == len(expected) > 0
    assert np.abs(found.boxes - expected[:, 2:]).max() <= 0.003
    assert np.abs(found.scores - expected[:, 1]).max() <= 1e-4
