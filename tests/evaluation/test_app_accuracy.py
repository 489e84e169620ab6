"""`tinypose evaluate --app`: keypoint AP through an app file."""

import json

import cv2
import pytest
from conftest import DEMO_WEIGHTS
from export.app_helpers import EagerApp, describe, networks

from tinypose_torch.cli import main
from tinypose_torch.estimators import app as app_module

from .conftest import DETECTOR, POSE

PIPELINE = ["--with-detector", DETECTOR[0], "--detector-weights", DETECTOR[1]]
APP = ["--app", "app.pte"]


@pytest.fixture(scope="module")
def app():
    pose, detector = networks(DEMO_WEIGHTS.get)
    return EagerApp(describe(pose, detector, (240, 320)), pose, detector)


@pytest.fixture
def opened(app, monkeypatch):
    monkeypatch.setattr(app_module, "open_app", lambda path, threads: app)


@pytest.mark.usefixtures("opened")
def test_accuracy_through_an_app(evaluate, capsys):
    """That of detector and pose network."""
    found, expected = evaluate("--limit", 2, network=APP), evaluate("--limit", 2, *PIPELINE)
    assert 0.3 < expected["AP"] < 1
    assert found["AP"] == pytest.approx(expected["AP"], abs=0.02)
    assert (found["model"], found["detector"], found["weights"]) == (POSE[0], DETECTOR[0], "app.pte")
    assert (found["frame"], found["people_at_most"], found["detection_threshold"]) == ([240, 320], 4, 0.5)
    assert (found["backend"], found["precision"], found["decoding"]) == ("eager", "fp32", "dark")
    assert "--app app.pte" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("opened")
def test_images_of_other_sizes(evaluate, rendered, changed, tmp_path):
    """Three times as large: they are fitted into the frame, and the people are mapped back."""
    content = json.loads((rendered / "val.json").read_text())
    for image in content["images"]:
        picture = cv2.imread(str(rendered / image["file_name"]))
        image["file_name"] = f"{image['id']}.png"
        cv2.imwrite(str(tmp_path / image["file_name"]), picture.repeat(3, axis=0).repeat(3, axis=1))
    for person in content["annotations"]:
        person["area"] *= 9
        person["bbox"] = [3 * side for side in person["bbox"]]
        person["keypoints"] = [
            3 * value + 1 if index % 3 < 2 else value for index, value in enumerate(person["keypoints"])
        ]
    path = changed(lambda old: old.update(content))
    found, expected = evaluate("--images", tmp_path, annotations=path, network=APP), evaluate(network=APP)
    assert found["AP"] == pytest.approx(expected["AP"], abs=1e-3)
    assert found["images"] == len(content["images"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "w.safetensors"], "--weights has no effect with --app"),
        (["--with-detector", DETECTOR[0]], "--with-detector has no effect with --app"),
        (["--detector-weights", "w.safetensors"], "--detector-weights has no effect with --app"),
        (["--detections", "boxes.json"], "--detections has no effect with --app"),
        (["--detection-threshold", "0"], "--detection-threshold has no effect with --app"),
        (["--person-class", "person"], "--person-class has no effect with --app"),
        (["--truth", "gt.mat"], "--truth has no effect with --app"),
        (["--flip"], "--flip has no effect with --app"),
        (["--decoding", "plain"], "--decoding has no effect with --app"),
        (["--backend", "onnx"], "--backend onnx has no effect with --app"),
        (["--device", "cuda"], "--device cuda has no effect with --app, which runs on the cpu"),
        (["--no-shift"], "add --flip"),
        (["--threads", "0"], "--threads 0"),
        ([], "no app file 'app.pte'"),
    ],
    ids=lambda given: given[0].removeprefix("--") if isinstance(given, list) and given else "",
)
def test_wrong_options(options, message, rendered, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["--annotations", str(rendered / "val.json"), "--images", str(rendered)]
    assert main(["evaluate", *APP, *given, *options]) == 2
    assert message in capsys.readouterr().err
