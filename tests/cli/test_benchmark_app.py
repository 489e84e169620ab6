"""`tinypose benchmark --app`: what is timed, and options that have no effect."""

from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO_WEIGHTS
from export.app_helpers import DETECTOR, POSE, EagerApp, describe, networks

from tinypose_torch.cli import main
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.timing import app as timing
from tinypose_torch.timing.people import boxes_of, made_up_photo
from train.synthetic.scenes import render_scene


def test_parts_and_what_stands_beside_them(monkeypatch):
    """Each side runs the same parts; a method that a file does not have takes no time."""
    size = (240, 320)
    pose, detector = networks(DEMO_WEIGHTS.get)
    app = EagerApp(describe(pose, detector, size, 2), pose, detector)
    monkeypatch.setattr(timing, "open_app", lambda path, threads: app)
    frame = letterbox(render_scene(np.random.default_rng([77, 1]))[0], size).frame
    people = app(frame)
    found = people.boxes[people.scores > 0]
    boxes = [boxes_of(count, size) for count in (1, 2)]
    files = DEMO_WEIGHTS[DETECTOR], DEMO_WEIGHTS[POSE]
    work = timing.FrameWork(Path("app.pte"), *files, frame, found, boxes, 1)
    assert work.parts == [("forward", len(found)), ("detect", None), ("pose", 1), ("pose", 2)]
    app.calls.clear()
    for prepare in (timing.prepare_app, timing.prepare_networks, timing.prepare_estimator):
        seconds = prepare(work)()
        assert len(seconds) == 4
        assert all(value > 0 for value in seconds)
    assert app.calls == ["forward", "detect", "pose", "pose"]
    monkeypatch.setattr(EagerApp, "methods", ("forward", "detect"))
    assert np.isnan(timing.prepare_app(work)()).tolist() == [False, False, True, True]


@pytest.mark.parametrize("size", [(240, 320), (33, 100)])
def test_made_up_frames_and_boxes(size):
    assert made_up_photo(size).shape == (*size, 3)
    boxes = boxes_of(3, size)
    assert (boxes[:, :2] > 0).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert (boxes[:, 2:] < size[::-1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([POSE], "NAME has no effect with --app"),
        (["--weights", "w"], "--weights has no effect with --app"),
        (["--backend", "onnx"], "--backend has no effect with --app"),
        (["--end-to-end"], "--end-to-end has no effect with --app"),
        (["--plot", "x.svg"], "--plot has no effect with --app"),
        (["--rounds", "0"], "--rounds 0"),
        (["--threads", "0"], "--threads 0"),
        ([], "no app file 'app.pte'"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_wrong_options(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *options, "--app", "app.pte"]) == 2
    assert message in capsys.readouterr().err
