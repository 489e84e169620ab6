"""PCKh against PaddleDetection's evaluator."""

import numpy as np
import pytest
from recordings import Recording, read_json

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.evaluation.coco import KeypointPrediction
from tinypose_torch.evaluation.mpii import MpiiTruth, pckh, pckh_of_predictions, read_mpii_truth


@pytest.fixture
def recorded():
    arrays = Recording("evaluation/mpii.npz")
    truth = MpiiTruth.from_arrays(arrays["pos_gt_src"], arrays["jnt_missing"], arrays["headboxes_src"])
    return arrays, truth


def test_recorded(recorded):
    arrays, truth = recorded
    expected = read_json("evaluation/expected.json")["mpii"]["result"]
    found = pckh(arrays["preds"], truth)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_predictions_come_in_any_order(recorded):
    arrays, truth = recorded
    people = [KeypointPrediction(0, keypoints, 1.0, 1.0, index) for index, keypoints in enumerate(arrays["preds"])]
    assert pckh_of_predictions(people[::-1], truth) == pckh(arrays["preds"], truth)


def test_other_number_of_people(recorded):
    arrays, truth = recorded
    with pytest.raises(ValueError, match="for the truth's"):
        pckh(arrays["preds"][:-1], truth)


def test_mat_file(tmp_path):
    savemat = pytest.importorskip("scipy.io").savemat
    generator = np.random.default_rng(0)
    arrays = {
        "pos_gt_src": generator.uniform(0, 100, (16, 2, 3)),
        "jnt_missing": np.zeros((16, 3)),
        "headboxes_src": np.stack([np.zeros((2, 3)), np.full((2, 3), 30.0)]),
    }
    savemat(tmp_path / "gt_valid.mat", arrays)
    truth = read_mpii_truth(tmp_path / "gt_valid.mat")
    assert pckh(arrays["pos_gt_src"].transpose(2, 0, 1) - 1, truth)["PCKh"] == 100
    for content in (b"", b"no mat file" * 50):
        (tmp_path / "bad.mat").write_bytes(content)
        with pytest.raises(DatasetError, match=r"not MPII's gt_valid\.mat"):
            read_mpii_truth(tmp_path / "bad.mat")
