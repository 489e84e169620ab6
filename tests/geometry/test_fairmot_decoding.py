"""FairMOT's decoding against the recorded answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recordings import Recording

from tinypose_torch.estimators.detection import select_detections
from tinypose_torch.models.fairmot import FairMOTMaps, decode_centres
from tinypose_torch.models.registry import get_config


@pytest.fixture(scope="module")
def recorded():
    return Recording("postprocess/fairmot_decode.npz")


@pytest.fixture(scope="module")
def maps(recorded):
    return FairMOTMaps(*(torch.from_numpy(recorded[key]) for key in ("heatmap", "size_ltrb", "offset", "reid_raw")))


@pytest.mark.parametrize("case", [0, 1, 2])
def test_detections_in_the_image(recorded, maps, case):
    """In three letterboxes; peaks of one score come in any order."""
    inner, scale = recorded[f"case{case}.im_shape"][0], recorded[f"case{case}.scale_factor"][0]
    image_size = tuple(round(float(side)) for side in inner / scale)
    entry = replace(get_config("fairmot_dla34"), input_size=(160, 288))
    outputs = [output[0].numpy() for output in decode_centres(maps, 500)]
    found = select_detections(outputs[0], outputs[1], entry, image_size, outputs[2])
    expected, embeddings = recorded[f"case{case}.detections"], recorded[f"case{case}.embeddings"]
    assert len(found) == len(expected) == 160
    assert np.abs(found.scores - expected[:, 1]).max() < 1e-6
    nearest = np.abs(found.boxes[:, None] - expected[None, :, 2:]).max(axis=2).argmin(axis=1)
    assert sorted(nearest) == list(range(160))
    assert np.abs(found.boxes - expected[nearest, 2:]).max() < 1e-3
    assert np.abs(found.scores - expected[nearest, 1]).max() < 1e-6
    assert np.abs(found.embeddings - embeddings[nearest]).max() < 1e-5


def test_networks_that_tell_width_and_height(recorded, maps):
    expected = recorded["wh_mode_top50.detections"]
    decoded = decode_centres(maps._replace(size=maps.size[:, :2]), 50)
    assert np.abs(decoded.scores[0, :, 0].numpy() - expected[:, 1]).max() < 1e-6
    unlike = np.abs(decoded.boxes[0].numpy()[:, None] - expected[None, :, 2:]).max(axis=2).min(axis=1)
    assert unlike.max() < 1e-3


def test_several_classes():
    heat = torch.zeros(1, 2, 4, 4)
    heat[0, 0, 1, 1], heat[0, 1, 3, 2] = 0.5, 0.75
    flat = torch.zeros(1, 2, 4, 4)
    decoded = decode_centres(FairMOTMaps(heat, torch.ones(1, 4, 4, 4), flat, torch.ones(1, 8, 4, 4)), 500)
    assert decoded.scores[0, :2].tolist() == [[0.0, 0.75], [0.5, 0.0]]
    assert decoded.boxes[0, :2].tolist() == [[4, 8, 12, 16], [0, 0, 8, 8]]
    assert decoded.scores[0, 2:].max() == 0
