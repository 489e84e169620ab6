"""Exported files give the network's answers, and say what they are."""

import json

import numpy as np
import pytest
import torch
from conftest import REAL, photos_of_people
from torch import nn

from tinypose_torch import PoseEstimator, Skeleton, create_model
from tinypose_torch.cli import main
from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.estimators.preprocessing import crop_people, resize_for_detector, whole_image_crops
from tinypose_torch.export import export_model
from tinypose_torch.runtime import EagerRunner, load_runner
from tinypose_torch.runtime.metadata import ExportMetadata

from .conftest import DETECTOR, POSE, SUFFIXES, build

FORMATS = list(SUFFIXES)
# The detector is exported to ONNX among the quick tests; the pose network, which takes longer, is not.
SOME_ARE_SLOW = [pytest.param(name, marks=() if name == "torchscript" else pytest.mark.slow) for name in FORMATS]


def photos(entry):
    """Network-sized uint8 images of people."""
    cut = (
        (lambda image: crop_people(image, whole_image_crops(image, entry), entry))
        if entry.task == "pose"
        else (lambda image: resize_for_detector(image, entry))
    )
    return np.concatenate([cut(image) for image in photos_of_people(12)])


@pytest.mark.parametrize("format_name", SOME_ARE_SLOW)
def test_keypoints(format_name, exported):
    runner = load_runner(POSE, exported(POSE, format_name), task="pose")
    assert runner.backend == format_name
    images = photos(runner.metadata.config)
    (found,) = runner(images)
    (heatmaps,) = EagerRunner(build(POSE))(images)
    coordinates, scores = decode_heatmaps(heatmaps)
    visible = scores > 0.2
    assert visible.any()
    assert np.abs(found[..., :2] - coordinates * 4)[visible].max() < 0.02
    assert np.abs(found[..., 2] - scores).max() < 1e-5


@pytest.mark.parametrize("format_name", SOME_ARE_SLOW)
def test_scores_and_boxes(format_name, exported):
    runner = load_runner(DETECTOR, exported(DETECTOR, format_name), task="detection")
    images = photos(runner.metadata.config)
    scores, boxes = runner(images)
    expected_scores, expected_boxes = EagerRunner(build(DETECTOR))(images)
    # The square root amplifies rounding near zero, where ONNX Runtime's sigmoid is coarse; nothing there is detected.
    difference = np.abs(scores - expected_scores)
    assert difference[expected_scores > 0.05].max(initial=0) < 2e-5
    assert difference.max() < 5e-4
    assert np.abs(boxes - expected_boxes).max() < 0.01


@pytest.mark.slow
def test_raw_files_take_any_number_of_crops(exported):
    runner = load_runner(POSE, exported(POSE, "onnx", images=False, decode=False, batch=None))
    images = np.repeat(photos(runner.metadata.config)[:1], 5, axis=0)
    (heatmaps,) = runner(images)
    (expected,) = EagerRunner(build(POSE))(images)
    assert heatmaps.shape == (5, 17, 32, 24)
    assert np.abs(heatmaps - expected).max() < 1e-5


@pytest.mark.slow
def test_fixed_batches_are_filled_up(exported):
    runner = load_runner(POSE, exported(POSE, "torchscript", batch=2))
    images = photos(runner.metadata.config)[:1].repeat(5, axis=0)
    (found,) = runner(images)
    assert found.shape == (5, 17, 3)
    assert np.allclose(found[0], found[4])


@pytest.mark.needs_reference
@pytest.mark.parametrize("format_name", SOME_ARE_SLOW)
def test_the_pipeline_runs_exported_files(format_name, exported):
    """Both files, no network code: the eager pipeline's people and keypoints on every photo."""
    files = {"detector_weights": exported(DETECTOR, format_name), "pose_weights": exported(POSE, format_name)}
    estimator = PoseEstimator(backend=format_name, **files)
    weights = {
        f"{role}_weights": REAL / f"weights/{n}.pdparams" for role, n in (("detector", DETECTOR), ("pose", POSE))
    }
    eager = PoseEstimator(DETECTOR, POSE, **weights)
    people = 0
    for file in sorted((REAL / "images").glob("*.jpg")):
        one, two = estimator(file), eager(file)
        assert len(one) == len(two)
        people += len(two)
        assert np.abs(one.boxes - two.boxes).max(initial=0) < 0.01
        visible = two.keypoint_scores > 0.2
        assert np.abs(one.keypoints - two.keypoints)[visible].max(initial=0) < 0.02
    assert people > 10


def test_metadata_there_and_back():
    skeleton = Skeleton("hand", ("a", "b", "c"), ((0, 1),), ((0, 1), (1, 2)), (0.1, 0.2, 0.3))
    pose = create_model(POSE, skeleton=skeleton, input_size=(160, 96)).config
    detector = create_model("picodet_s_192_pedestrian", class_names=["cat", "person"]).config
    for entry in (pose, detector):
        metadata = ExportMetadata(entry, True, entry.task == "pose", 4, "fp32", {"torch": "2"})
        assert ExportMetadata.from_json(metadata.to_json()) == metadata


def test_file_carries_its_description(exported):
    metadata = load_runner(POSE, exported(POSE, "torchscript")).metadata
    facts = json.loads(metadata.to_json())
    assert facts["model"] == POSE
    assert facts["input"] == {
        "kind": "uint8 NHWC RGB",
        "size": [128, 96],
        "batch": 1,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert len(facts["skeleton"]["keypoint_names"]) == 17
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0]


@pytest.mark.slow
def test_command_writes_file_and_receipt(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(create_model(POSE).state_dict(), "weights.pt")
    assert main(["export", POSE, "--format", "torchscript", "--weights", "weights.pt"]) == 0
    assert "wrote tinypose_128x96.torchscript" in capsys.readouterr().out
    receipt = json.loads((tmp_path / "tinypose_128x96.torchscript.receipt.json").read_text())
    assert receipt["bytes"] > 4e6
    (compared,) = receipt["networks"]
    assert compared["model"] == POSE
    assert compared["differences"]["score"] < 1e-4
    assert compared["latency_ratio_to_eager"] > 0


def test_one_file_in_the_app(app_folder, capsys, monkeypatch):
    """Detector and pose network as two methods of one .pte, which serves as both."""
    monkeypatch.chdir(app_folder)
    receipt = json.loads((app_folder / "app.pte.receipt.json").read_text())
    assert [network["model"] for network in receipt["networks"]] == [DETECTOR, POSE]
    assert receipt["networks"][0]["differences"]["box, pixels"] < 0.01
    for name in (POSE, DETECTOR):
        assert load_runner(name, "app.pte").metadata.config.name == name
    both = PoseEstimator(detector_weights="app.pte", pose_weights="app.pte")
    eager = PoseEstimator(DETECTOR, POSE, f"{DETECTOR}.pt", f"{POSE}.pt", backend="eager")
    (photo,) = photos_of_people(1)
    one, two = both(photo), eager(photo)
    assert len(one) == len(two) > 0
    visible = two.keypoint_scores > 0.2
    assert np.abs(one.keypoints - two.keypoints)[visible].max() < 0.02


def test_networks_that_create_model_did_not_make(tmp_path):
    with pytest.raises(TypeError, match="carries no model config"):
        export_model(nn.Conv2d(3, 3, 1), tmp_path / "x.pte")
