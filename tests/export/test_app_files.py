"""App files of every format: made, run, damaged, and used by the command."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import DEMO_WEIGHTS
from PIL import Image

from tinypose_torch import AppEstimator, CheckpointError, PoseTracker
from tinypose_torch.cli import main
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.export import export_app
from tinypose_torch.runtime.app import open_app
from tinypose_torch.tracking.tracker import bytetrack_settings
from tinypose_torch.utils.pixel_formats import find_pixel_format
from tinypose_torch.video import VideoReader
from train.synthetic.scenes import render_scene
from train.synthetic.videos import render_video

from .app_helpers import DETECTOR, POSE, check_followed, check_people, describe, estimator, frames, networks
from .conftest import SUFFIXES, StageRecorder

SIZE, PEOPLE = (480, 640), 4
VIDEO = (120, 160)  # pixels, each drawn as a square in the frame
PIXELS = {"torchscript": "rgba", "executorch": "rgb", "onnx": "nv21"}
PACKAGES = {"torchscript": (), "executorch": ("executorch",), "onnx": ("onnxscript", "onnxruntime")}


@pytest.fixture(scope="module")
def followed_video():
    """300 frames in which five people stand, walk, hide, leave and return; and the tracker's poses in them."""
    settings = bytetrack_settings(0.5, greedy=True, max_tracks=PEOPLE)
    tracker, video = PoseTracker(estimator(), 5, settings), []
    for index, (picture, _) in enumerate(render_video(np.random.default_rng([1, 3]), VIDEO, 5, 300)):
        frame = np.kron(picture, np.ones((4, 4, 1), np.uint8))
        video.append((picture, tracker(frame, index / 30)))
    assert 5 < max(max(poses.ids, default=0) for _, poses in video) < 40
    return video


def check_following(path, video):
    """The same ids and keypoints in every frame."""
    tracker, people = AppEstimator(path).create_tracker(), 0
    for index, (picture, expected) in enumerate(video):
        people += check_followed(tracker(np.kron(picture, np.ones((4, 4, 1), np.uint8)), index / 30), expected)
    assert people > 300


@pytest.mark.slow
@pytest.mark.parametrize("format_name", PACKAGES)
def test_every_format(format_name, tmp_path, request):
    """The estimator's people in every picture and the tracker's in a video, by all methods, and the description."""
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
    if format_name == "onnx":
        assert app.metadata.detect_every is None
    else:
        check_following(path, request.getfixturevalue("followed_video"))
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
    assert set(facts["latency_ratios_of_parts"]) == {"detect", "pose"}
    assert all(0 < ratio < 1000 for ratio in facts["latency_ratios_of_parts"].values())
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
    measured = ["--images", "photos", "--threads", "1", "--rounds", "2", "--json", "times.json"]
    assert main(["benchmark", "--app", "app.torchscript", *measured]) == 0
    rows = json.loads((tmp_path / "times.json").read_text())
    parts = [(row["part"], row["people"]) for row in rows]
    assert parts == [("forward", len(expected)), ("detect", None), ("pose", 1), ("pose", 2)]
    assert all(row[f"{kind}_ms"] > 0 for row in rows for kind in ("app", "networks", "python"))
    assert "app / networks" in capsys.readouterr().out
    assert main(["predict", "photos/picture.png", "--pose-weights", "app.torchscript"]) == 2
    assert "app.torchscript: holds an app, not a network" in capsys.readouterr().err
    check_tracking(app, capsys)


def check_tracking(app, capsys):
    """A video of another size, tracked by the file."""
    writer = cv2.VideoWriter("walk.avi", cv2.VideoWriter.fourcc(*"MJPG"), 30, (320, 200))
    for picture, _ in render_video(np.random.default_rng(3), (200, 320), 2, 8):
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    predict = ["predict", "walk.avi", "--app", "app.torchscript", "--track"]
    assert main([*predict, "--json", "walk.jsonl", "--output", "overlays"]) == 0
    assert Path("overlays/walk.mp4").is_file()
    records = [json.loads(line) for line in Path("walk.jsonl").read_text().splitlines()]
    tracker = app.create_tracker()
    with VideoReader("walk.avi") as video:
        expected = [tracker(frame, video.time) for frame in video]
    assert [[pose["id"] for pose in record["poses"]] for record in records] == [each.ids.tolist() for each in expected]
    assert sum(map(len, expected)) >= 8
    for option, message in (
        (["--smoothing", "off"], "--smoothing off has no effect with --app, whose file smooths keypoints itself"),
        (["--detect-every", "2"], "--detect-every 2 has no effect with --app; set it when the app is exported"),
    ):
        assert main([*predict, *option]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--people", "2"], "--people 2 needs --frame"),
        (["--frame", "480", "640", "--with", DETECTOR, "--precision", "int8"], "--precision int8 needs --images DIR"),
        (["--frame", "480", "640", "--with", DETECTOR, "--error-budget", "1"], "--error-budget needs --precision int8"),
        (["--pixels", "bgr"], "--pixels bgr needs --frame"),
        (["--frame", "481", "640", "--pixels", "nv21", "--with", DETECTOR], "needs an even height and width"),
        (["--detect-every", "3"], "--detect-every 3 needs --frame"),
        (["--frame", "480", "640", "--with", DETECTOR, "--detect-every", "0"], "detect_every=0; expected 1 to"),
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
