"""`tinypose prelabel --app`: annotations that an app file predicts."""

import json

import numpy as np
import pytest
from conftest import DEMO_WEIGHTS
from export.app_helpers import DETECTOR, POSE, EagerApp, describe, networks
from PIL import Image

from tinypose_torch import AppEstimator
from tinypose_torch.cli import main
from tinypose_torch.estimators import app as app_module
from train.synthetic.scenes import render_scene


def test_annotations_of_an_app(tmp_path, monkeypatch):
    pose, detector = networks(DEMO_WEIGHTS.get)
    app = EagerApp(describe(pose, detector, (240, 320)), pose, detector)
    monkeypatch.setattr(app_module, "open_app", lambda path, threads: app)
    picture = render_scene(np.random.default_rng([77, 1]))[0]
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture).save(tmp_path / "photos/a.png")
    output = tmp_path / "people.json"
    assert main(["prelabel", str(tmp_path / "photos"), "--app", "app.pte", "--output", str(output)]) == 0
    found, expected = json.loads(output.read_text())["annotations"], AppEstimator("app.pte")(picture)
    assert len(found) == len(expected) >= 1
    points = np.array(found[0]["keypoints"]).reshape(-1, 3)
    labelled = points[:, 2] > 0
    assert labelled.any()
    assert np.allclose(points[labelled, :2], expected.keypoints[0, labelled], atol=0.01)


@pytest.mark.parametrize("option", [["--detector", DETECTOR], ["--pose", POSE], ["--pose-weights", "w"]])
def test_options_without_effect(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("a.png")
    assert main(["prelabel", ".", "--app", "app.pte", "--output", "people.json", *option]) == 2
    assert f"{option[0]}" in (error := capsys.readouterr().err)
    assert "has no effect with --app" in error
