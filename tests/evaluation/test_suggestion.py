"""`tinypose suggest`: uncertain images that differ from each other and from the labelled ones."""

import json
import shutil

import numpy as np
import pytest

from evaluation.conftest import DETECTOR, POSE
from tinypose_torch.cli import main
from tinypose_torch.codecs.calibration import KeypointCalibration, KeypointUncertainty
from tinypose_torch.estimators.results import Poses
from tinypose_torch.evaluation.suggestion import image_features, image_uncertainty, select_images

NETWORKS = ["--pose-weights", str(POSE[1]), "--detector-weights", str(DETECTOR[1])]


def test_selection():
    """The most uncertain one first; copies of it, and of labelled images, last."""
    features = np.array([[0, 0], [0, 0], [4, 0], [0, 4.5], [9, 9]], float)
    uncertainties = np.array([0.9, 0.89, 0.3, 0.3, 0.5])
    assert select_images(uncertainties, features, 9) == [0, 4, 3, 2, 1]
    assert select_images(uncertainties, features, 2) == [0, 4]
    assert select_images(uncertainties, features, 2, np.array([[9.0, 9], [0, 0]])) == [3, 2]
    assert select_images(np.zeros(3), features[:3], 3) == [0, 1, 2]
    assert select_images(np.zeros(0), np.zeros((0, 0)), 3) == []


def poses(score, keypoints=None, uncertainty=None):
    keypoints = np.zeros((1, 17, 2)) if keypoints is None else keypoints
    return Poses(np.array([[0, 0, 50, 100]]), np.ones(1), keypoints, np.full((1, 17), score), uncertainty=uncertainty)


def test_uncertainty():
    """From the scores, or with a calibration the share of keypoints that are far off; none without people."""
    assert image_uncertainty(poses(0.9)) == pytest.approx(0.1)
    assert image_uncertainty(poses(1.2)) == 0
    assert image_uncertainty(Poses.empty(poses(0.9).skeleton)) == 0
    spreads, scores = np.tile(np.eye(2), (1, 17, 1, 1)), np.full((1, 17), 0.9)
    known = KeypointUncertainty(spreads, np.array([10.0]), scores, KeypointCalibration.uncalibrated(17))
    assert image_uncertainty(poses(0.9, uncertainty=known)) == pytest.approx(0.5), "5 of 10 pixels"


def test_features():
    """Poses relative to the box, and colours."""
    image = np.zeros((60, 80, 3), np.uint8)
    same = image_features(image, poses(0.9))
    moved = np.zeros((1, 17, 2))
    moved[0, 9] = (50, 50)
    assert np.linalg.norm(image_features(image, poses(0.9, moved)) - same) > 0.1
    assert np.linalg.norm(image_features(image + 200, poses(0.9)) - same) > 0.5
    assert len(image_features(image, Poses.empty(poses(0.9).skeleton))) == len(same)


def test_command(rendered, tmp_path, capsys):
    """Labelled images are not chosen; the output has predicted people."""
    photos = tmp_path / "photos"
    shutil.copytree(rendered, photos, ignore=shutil.ignore_patterns("*.json"))
    (photos / "broken.jpg").write_bytes(b"no image")
    content = json.loads((rendered / "val.json").read_text())
    content["images"] = content["images"][:1]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] == content["images"][0]["id"]]
    (tmp_path / "known.json").write_text(json.dumps(content))
    words = ["suggest", str(photos), *NETWORKS, "--number", "2", "--output", str(tmp_path / "next.json")]
    assert main([*words, "--labelled", str(tmp_path / "known.json")]) == 1
    printed = capsys.readouterr()
    assert "1 of 5 images failed" in printed.err
    assert "broken.jpg" in printed.err
    chosen = json.loads((tmp_path / "next.json").read_text())
    names = [image["file_name"] for image in chosen["images"]]
    assert len(names) == 2
    assert "0.jpg" not in names
    assert chosen["annotations"]
    table = printed.out.splitlines()[-2:]
    assert [line.split()[0] for line in table] == names
    assert all(0 <= float(line.split()[1]) <= 1 for line in table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--number", "0"], "--number 0; at least 1 is needed"),
        (["--labelled", "gone.json"], "gone.json"),
        (["--labelled", "val.json"], "--labelled val.json: all 4 images of . have labels"),
        (["--labelled", "val.json", "--output", "val.json"], "would replace an input"),
    ],
)
def test_refused(options, message, rendered, tmp_path, monkeypatch, capsys):
    shutil.copytree(rendered, tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    assert main(["suggest", ".", *NETWORKS, "--output", "next.json", *options]) == 2
    assert message in capsys.readouterr().err
