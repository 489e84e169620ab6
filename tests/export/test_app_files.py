"""App files of every format: made, run, damaged, and used by the command."""

import json
import pickle

import numpy as np
import pytest
from conftest import DEMO_WEIGHTS
from PIL import Image

from tinypose_torch import AppEstimator, CheckpointError
from tinypose_torch.cli import main
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.export import export_app
from tinypose_torch.runtime.app import open_app
from tinypose_torch.utils.pixel_formats import find_pixel_format
from train.synthetic.scenes import render_scene

from .app_helpers import DETECTOR, POSE, check_people, describe, estimator, frames, networks
from .conftest import SUFFIXES, StageRecorder

SIZE, PEOPLE = (480, 640), 2
PIXELS = {"torchscript": "rgba", "executorch": "rgb", "onnx": "nv21"}
PACKAGES = {"torchscript": (), "executorch": ("executorch",), "onnx": ("onnxscript", "onnxruntime")}


@pytest.mark.slow
@pytest.mark.parametrize("format_name", PACKAGES)
def test_every_format(format_name, tmp_path):
    """The estimator's people in every picture, by all methods, and the description."""
    for package in PACKAGES[format_name]:
        pytest.importorskip(package)
    pose, detector = networks()
    path, stages = tmp_path / f"app{SUFFIXES[format_name]}", StageRecorder()
    pixels = find_pixel_format(PIXELS[format_name])
    made = export_app(pose, detector, path, SIZE, PEOPLE, format_name, pixels=PIXELS[format_name], progress=stages)
    app = open_app(path)
    assert app.metadata == made.metadata
    expected = describe(pose, detector)
    assert (app.metadata.detector_config, app.metadata.pose_config) == (expected.detector_config, expected.pose_config)
    assert (app.metadata.frame_size, app.metadata.max_people, app.metadata.threshold) == (SIZE, PEOPLE, 0.5)
    assert list(stages.shares)[-1] == "write"
    python, total = estimator(), 0
    for frame in map(pixels.from_rgb, frames(SIZE)):
        found = app(frame)
        count = check_people(found, python(pixels.to_rgb(frame)), PEOPLE)
        boxes, scores = app.detect(frame)
        assert np.array_equal(boxes, found.boxes)
        assert np.array_equal(scores, found.scores)
        if format_name == "onnx":
            with pytest.raises(ValueError, match="an ONNX file has no method pose"):
                app.pose(frame, boxes, count)
        else:
            assert np.abs(app.pose(frame, boxes, count) - found.keypoints).max() < 1e-4
        total += count
    assert total >= 4
    assert path.stat().st_size < 11e6  # weights are stored once
    check_damage(path)


def check_damage(path):
    """One bit, and a missing end."""
    content = path.read_bytes()
    for damaged, message in (
        (content[:5000] + bytes([content[5000] ^ 1]) + content[5001:], "its checksum is wrong"),
        (content[:-100], "has no checksum at its end"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=message):
            open_app(path)


@pytest.mark.slow
def test_command(tmp_path, monkeypatch, capsys):
    """Export, receipt, and prediction of pictures of another size; options that the file settles are refused."""
    monkeypatch.chdir(tmp_path)
    picture = render_scene(np.random.default_rng([77, 1]))[0]
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture).save(tmp_path / "photos/picture.png")
    weights = ["--weights", str(DEMO_WEIGHTS[POSE]), "--with-weights", str(DEMO_WEIGHTS[DETECTOR])]
    words = ["export", POSE, "--with", DETECTOR, *weights, "--frame", "240", "320", "--people", "2"]
    assert main([*words, "--format", "torchscript", "--images", "photos", "--output", "app.torchscript"]) == 0
    (facts,) = json.loads((tmp_path / "app.torchscript.receipt.json").read_text())["networks"]
    assert facts["differences"]["people"] >= 1
    assert facts["differences"]["people missing or extra"] == 0
    assert facts["differences"]["keypoint, pixels"] < 0.01
    assert "--app app.torchscript" in capsys.readouterr().out
    predict = ["predict", "photos/picture.png", "--app", "app.torchscript"]
    assert main([*predict, "--json", "people.json"]) == 0
    (record,) = json.loads((tmp_path / "people.json").read_text())
    app = AppEstimator("app.torchscript")
    expected = app(picture)
    assert len(record["poses"]) == len(expected) >= 1
    python = estimator(DEMO_WEIGHTS.get)(letterbox(picture, (240, 320)).frame)
    assert np.allclose(expected.scores, python.scores[: len(expected)], atol=1e-4)
    assert np.array_equal(pickle.loads(pickle.dumps(app))(picture).keypoints, expected.keypoints)
    for option, message in (
        (["--detector", DETECTOR], "--detector has no effect with --app"),
        (["--pose", POSE], "--pose tinypose_128x96 has no effect with --app"),
        (["--resize", "portable"], "--resize has no effect with --app"),
    ):
        assert main([*predict, *option]) == 2
        assert message in capsys.readouterr().err
    assert main(["predict", "photos/picture.png", "--pose-weights", "app.torchscript"]) == 2
    assert "app.torchscript: holds an app, not a network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--people", "2"], "--people 2 needs --frame"),
        (["--frame", "480", "640", "--with", DETECTOR, "--precision", "int8"], "--precision int8 needs --images DIR"),
        (["--frame", "480", "640", "--with", DETECTOR, "--error-budget", "1"], "--error-budget needs --precision int8"),
        (["--pixels", "bgr"], "--pixels bgr needs --frame"),
        (["--frame", "481", "640", "--pixels", "nv21", "--with", DETECTOR], "needs an even height and width"),
        (["--frame", "480", "640"], "--frame needs --with NAME"),
        (["--frame", "1", "640", "--with", DETECTOR], "frame_size=1 x 640"),
        (["--frame", "480", "640", "--people", "0", "--with", DETECTOR], "max_people=0"),
        (["--frame", "480", "640", "--with", DETECTOR, "--raw"], "--raw has no effect with --frame"),
        (["--frame", "480", "640", "--with", DETECTOR, "--batch", "2"], "--batch 2 has no effect with --frame"),
        (["--frame", "480", "640", "--with", POSE], "an app has a detector and a top-down pose network; asked for"),
    ],
)
def test_options_that_do_not_go_together(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", POSE, "--weights", str(DEMO_WEIGHTS[POSE]), *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
