"""`PoseEstimator` with top-down and bottom-up networks."""

import pickle

import numpy as np
import pytest
import torch
from conftest import ROOT

pytest.importorskip("timm")

from tinypose_torch import BottomUpEstimator, PoseEstimator, create_model
from tinypose_torch.checkpoints.files import save_safetensors
from tinypose_torch.estimators import pose_estimator
from tinypose_torch.tracking.pose_tracker import PoseTracker

NAME = "higherhrnet_w16_192"
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
TOP_DOWN = {"pose": "tinypose_128x96", "pose_weights": ROOT / "weights/tinypose_128x96_demo.safetensors"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = create_model(NAME)
    with torch.no_grad():  # high values everywhere, so that there are peaks
        network.fine.bias.fill_(0.5)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_safetensors(network, path, {"model": NAME})
    return path


@pytest.fixture(scope="module")
def bottom_up(weights):
    return PoseEstimator(pose=NAME, pose_weights=weights, flip=False)


def test_a_bottom_up_network(bottom_up, weights):
    """By its name and by its weights; with `BottomUpEstimator`, too."""
    poses = bottom_up(IMAGE)
    assert len(poses)
    assert bottom_up.pose_config.name == NAME
    for same in (PoseEstimator(pose_weights=weights), BottomUpEstimator(weights=weights)):
        assert isinstance(same, PoseEstimator)
        assert same.pose_config == bottom_up.pose_config
    assert bottom_up.detector is bottom_up.detector_runner is bottom_up.detector_config is None
    again, other = pickle.loads(pickle.dumps(bottom_up)).batch([IMAGE, IMAGE[:, ::-1]])
    assert np.array_equal(again.keypoints, poses.keypoints)
    assert not np.array_equal(other.keypoints, poses.keypoints)


@pytest.mark.parametrize(
    "given",
    [
        {"detector": "picodet_s_192_lcnet_pedestrian"},
        {"detector_weights": "x.safetensors"},
        {"detection_threshold": 0.0},
        {"person_class": "person"},
        {"crop": "deploy"},
        {"decoding": "dark"},
        {"resize": "opencv"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_arguments_without_effect(given, bottom_up, monkeypatch):
    ((name, value),) = given.items()
    monkeypatch.setattr(pose_estimator, "load_runner", lambda *_: bottom_up.pose_runner)
    with pytest.raises(
        ValueError, match=f"{name}={value!r} has no effect on {NAME}, a bottom-up network; leave it out"
    ):
        PoseEstimator(pose=NAME, **given)


def test_flip_of_a_top_down_network():
    with pytest.raises(ValueError, match="flip=False has no effect on tinypose_128x96, a top-down pose network"):
        PoseEstimator(None, **TOP_DOWN, flip=False)


def test_a_bottom_up_network_uses_no_boxes(bottom_up):
    boxes = np.array([[1, 1, 50, 50]])
    for ask in (
        lambda: bottom_up(IMAGE, boxes),
        lambda: bottom_up.estimate_keypoints(IMAGE, boxes),
        lambda: bottom_up.make_crops(IMAGE, boxes),
    ):
        with pytest.raises(ValueError, match=f"{NAME} is a bottom-up network, which does not use boxes"):
            ask()
    with pytest.raises(ValueError, match="this PoseEstimator has no detector"):
        bottom_up.detect(IMAGE)


def test_neither_a_pose_network():
    with pytest.raises(ValueError, match="is not a pose network, but a detector"):
        PoseEstimator(pose="picodet_s_192_lcnet_pedestrian")


def test_following_people(bottom_up):
    pytest.importorskip("scipy")
    with pytest.raises(ValueError, match="detect_every=2: this PoseEstimator has no detector"):
        PoseTracker(bottom_up, 2)
    tracker = PoseTracker(bottom_up)
    assert tracker.min_score == 0.1
    found = [tracker(IMAGE, time / 30) for time in range(2)]
    assert len(found[0])
    assert set(found[0].ids) <= set(found[1].ids)
