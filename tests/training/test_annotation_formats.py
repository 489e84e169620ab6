"""Training on MPII's annotations: recognised, read with their own centres, and scored by PCKh."""

import json

import numpy as np
import pytest
from conftest import DEMO_WEIGHTS
from PIL import Image
from scipy.io import savemat

from tinypose_torch.cli import main as tinypose
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.evaluation.coco import KeypointPrediction
from tinypose_torch.models.registry import get_config
from train.config import ConfigError, load_config
from train.pose import load_annotations

MODEL = "hrnet_w32_256x256_mpii"
JOINTS = np.random.default_rng(0).uniform(10, 90, (3, 16, 2))  # pixels from 1


@pytest.fixture
def mpii(tmp_path, monkeypatch):
    """The working folder with people.json and gt_valid.mat of three people; returns the annotations of a configuration."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (100, 100)).save("a.jpg")
    row = {"image": "a.jpg", "joints_vis": [1] * 16, "center": [50, 50], "scale": 0.5}
    (tmp_path / "people.json").write_text(json.dumps([{**row, "joints": joints.tolist()} for joints in JOINTS]))
    write_truth(3)

    def load(*overrides):
        options = ["data.train=people.json", "data.val=people.json", "data.images=.", "data.truth=gt_valid.mat"]
        return load_annotations(load_config("finetune", [f"model={MODEL}", *options, *overrides]), get_config(MODEL))

    return load


def write_truth(people):
    heads = np.stack([np.zeros((2, people)), np.full((2, people), 10.0)])
    joints = JOINTS[:people].transpose(1, 2, 0)
    savemat("gt_valid.mat", {"pos_gt_src": joints, "jnt_missing": np.zeros((16, people)), "headboxes_src": heads})


def test_people_and_their_score(mpii):
    people = mpii()
    assert (len(people.train), len(people.val), people.metric) == (3, 3, "PCKh")
    right = np.concatenate([JOINTS - 1, np.ones((3, 16, 1))], axis=2)
    found = [KeypointPrediction(1, keypoints, 1.0, 1.0, index) for index, keypoints in enumerate(right)]
    assert people.score(found)["PCKh"] == pytest.approx(100)
    found[0].keypoints[:, 0] += 50
    assert people.score(found)["PCKh"] == pytest.approx(200 / 3)
    assert mpii("data.val=null").score is None


def test_what_does_not_fit(mpii, tmp_path):
    with pytest.raises(ConfigError, match="data.truth is missing"):
        mpii("data.truth=null")
    (tmp_path / "coco.json").write_text("{}")
    with pytest.raises(ConfigError, match="data.train is of a format for PCKh, data.val of one for AP"):
        mpii("data.val=coco.json")
    write_truth(2)
    with pytest.raises(DatasetError, match="gt_valid.mat is of 2 people, people.json of 3"):
        mpii()


def test_evaluation_needs_the_truth(mpii, capsys):
    options = ["--weights", str(DEMO_WEIGHTS["tinypose_128x96"]), "--annotations", "people.json", "--images", "."]
    assert tinypose(["evaluate", *options]) == 2
    assert "--truth is missing: MPII's gt_valid.mat" in capsys.readouterr().err
