"""`tinypose evaluate --calibrate`, `PoseEstimator(uncertainty=True)` and `tinypose predict --uncertainty`."""

import contextlib
import io
import json

import numpy as np
import pytest
from conftest import REAL
from PIL import Image

from evaluation.conftest import DETECTOR, POSE
from tinypose_torch import PoseEstimator
from tinypose_torch.cli import main
from tinypose_torch.codecs import calibration
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.pose.annotations import load_pose_annotations
from tinypose_torch.estimators.results import Poses
from tinypose_torch.evaluation.calibration import keypoint_errors
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.runtime import load_runner
from train.synthetic.__main__ import write_dataset

pytest.importorskip("pycocotools")


def arguments(rendered, *options, weights=POSE[1]):
    given = ["--weights", str(weights), "--annotations", str(rendered / "val.json"), "--images", str(rendered)]
    return ["evaluate", *given, *map(str, options)]


@pytest.fixture(scope="session")
def run(rendered, tmp_path_factory):
    """Demo weights with a calibration to the few rendered people, and what the command printed."""
    path, printed = tmp_path_factory.mktemp("calibrated") / "c.safetensors", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(calibration, "MIN_KEYPOINTS", 40)
        assert main(arguments(rendered, "--calibrate", path)) == 0
    return path, printed.getvalue()


@pytest.fixture
def calibrated(run):
    return run[0]


def test_the_command(rendered, run, capsys):
    """Accuracy stays as it is; the output says how well the calibration holds for one half of the images."""
    path, printed = run
    assert "calibration: 8 people, " in printed
    assert "cross-validated: expected calibration error 0." in printed
    assert f"tinypose predict {rendered} --pose-weights {path} --uncertainty" in printed
    assert main(arguments(rendered, weights=path)) == 0
    assert capsys.readouterr().out.splitlines()[:4] == printed.splitlines()[:4]


def test_poses_have_an_uncertainty(rendered, calibrated):
    plain = PoseEstimator(None, pose_weights=POSE[1])
    estimator = PoseEstimator(None, pose_weights=calibrated, uncertainty=True)
    boxes = np.array([[20.0, 20, 160, 220], [100, 30, 300, 230]])
    poses, without = estimator(rendered / "1.jpg", boxes), plain(rendered / "1.jpg", boxes)
    assert without.keypoint_covariances is None
    assert (poses.keypoints == without.keypoints).all()
    covariances = poses.keypoint_covariances
    assert covariances.shape == (2, 17, 2, 2)
    assert (np.linalg.eigvalsh(covariances) > 0).all()
    assert estimator(rendered / "1.jpg", np.zeros((0, 4))).keypoint_covariances.shape == (0, 17, 2, 2)
    near, far = (poses.uncertainty.probability_within(distance) for distance in (2, 500))
    assert (near < far).all()
    assert far == pytest.approx(1)
    records = poses.to_records()
    assert records[0]["keypoint_covariances"][3] == pytest.approx(covariances[0, 3].ravel()[[0, 1, 3]], abs=1e-3)
    assert all(inner < outer for inner, outer in records[1]["keypoint_radii"])
    assert Poses.from_records(json.loads(json.dumps(records))).to_records() == without.to_records()
    image = np.asarray(Image.open(rendered / "1.jpg"))
    changed = (poses.draw(image) != without.draw(image)).any(axis=2).sum()
    assert 100 < changed < image.shape[0] * image.shape[1] / 2
    assert (poses[1:].keypoint_covariances == covariances[1:]).all()
    empty = Poses.empty(COCO17)
    assert (Poses.joined([poses[:1], empty, poses[1:]], COCO17).keypoint_covariances == covariances).all()
    assert Poses.joined([poses, without], COCO17).keypoint_covariances is None


def test_overlay_and_json_of_the_command(rendered, calibrated, tmp_path):
    words = [
        "predict",
        str(rendered / "0.jpg"),
        "--pose-weights",
        str(calibrated),
        "--detector-weights",
        str(DETECTOR[1]),
    ]
    words += ["--detection-threshold", "0.1", "--json", str(tmp_path / "p.json"), "--output", str(tmp_path)]
    assert main([*words, "--uncertainty"]) == 0
    assert (tmp_path / "0.png").is_file()
    (record,) = json.loads((tmp_path / "p.json").read_text())
    assert len(record["poses"]) > 0
    assert all(len(person["keypoint_covariances"]) == 17 for person in record["poses"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calibrate", "c.pt"], "--calibrate c.pt; expected a name that ends in .safetensors"),
        (["--calibrate", "c.safetensors", "--detections", "d.json"], "--calibrate is for annotated boxes"),
        (["--calibrate", "c.safetensors", "--with-detector", "auto"], "--calibrate is for a pose network without"),
        (["--calibrate", "c.safetensors"], "labelled keypoints; a calibration needs at least 200"),
    ],
)
def test_refused(options, message, rendered, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments(rendered, *options)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "c.safetensors").exists()


def test_weights_without_a_calibration(rendered, capsys):
    with pytest.raises(ValueError, match="the weights of tinypose_128x96 have no calibration; .*--calibrate FILE"):
        PoseEstimator(None, pose_weights=POSE[1], uncertainty=True)
    words = ["predict", str(rendered / "0.jpg"), "--app", "app.pte", "--uncertainty"]
    assert main(words) == 2
    assert "--uncertainty has no effect with --app" in capsys.readouterr().err


GENUINE = pytest.param(REAL / "weights/tinypose_128x96.pdparams", id="genuine", marks=pytest.mark.needs_reference)


@pytest.fixture(scope="session")
def many_people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    write_dataset(folder, 100, 11, {"size": (240, 320), "people_count": 3}, workers=1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("weights", [GENUINE, pytest.param(POSE[1], id="trained")])
def test_calibration_holds_on_held_out_people(weights, many_people):
    """Of 90 % ellipses and probabilities, each half of the images with the calibration of the other half."""
    runner = load_runner(POSE[0], weights)
    people = load_pose_annotations(
        read_coco(many_people / "train.json", COCO17), runner.metadata.config.input_size
    ).items
    errors = keypoint_errors(runner, people, many_people / "images")
    error, coverage = errors.cross_validated()
    assert error <= 0.03
    assert 0.87 <= coverage <= 0.93
    assert errors.calibration_error() > 0.06, "without a calibration"
