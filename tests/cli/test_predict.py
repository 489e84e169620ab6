"""Options of `tinypose predict` that choose networks, people and threads."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import REAL, REAL_PAIRS, gradient_image, write_video
from PIL import Image

from tinypose_torch import PoseEstimator, create_model
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.cli import main
from tinypose_torch.runtime import load_runner
from tinypose_torch.utils.images import load_image
from tinypose_torch.utils.threads import check_threads, count_cores

DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of the pose network and of detectors with various classes."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    save_safetensors(create_model(POSE), folder / "pose.safetensors", {"model": POSE})
    for name, classes in {"person": None, "worker": ("worker",), "several": ("car", "worker", "dog")}.items():
        network = create_model(DETECTOR, class_names=classes)
        for predictor in network.head.predictors:  # workers are found everywhere, and nothing else
            torch.nn.init.constant_(predictor.cls.bias, -9.0)
            predictor.cls.bias.data[network.config.class_names.index("worker") if classes else 0] = 4.0
        save_safetensors(
            network, folder / f"{name}.safetensors", {"model": DETECTOR, **describe_changes(network.config)}
        )
    return folder


@pytest.fixture
def predict(weights, tmp_path, monkeypatch):
    """Predicts in a folder with a photo and a clip; gives the status."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(gradient_image()).save("photo.png")
    write_video(tmp_path / "clip.mp4", frames=4)

    def run(*arguments, source="photo.png", detector="person"):
        if detector is not None:
            arguments = (*arguments, "--detector-weights", str(weights / f"{detector}.safetensors"))
            arguments = (*arguments, "--detector", DETECTOR)
        pose = ("--pose", POSE, "--pose-weights", str(weights / "pose.safetensors"))
        return main(["predict", source, *pose, "--json", "poses.json", *arguments])

    return run


def records(folder):
    return json.loads((folder / "poses.json").read_text())


def test_detector_none_takes_the_whole_photo(predict, tmp_path, capsys):
    assert predict("--detector", "none", detector=None) == 0
    (record,) = records(tmp_path)
    (person,) = record["poses"]
    assert person["box"] == [0, 0, 160, 120]
    assert person["score"] == 1
    assert "running on eager" in capsys.readouterr().err


def test_detector_none_in_a_video(predict, tmp_path):
    assert predict("--detector", "none", source="clip.mp4", detector=None) == 0
    assert [[pose["box"] for pose in record["poses"]] for record in records(tmp_path)] == [[[0, 0, 160, 120]]] * 4
    plain = np.array([record["poses"][0]["keypoints"] for record in records(tmp_path)])
    assert predict("--detector", "none", "--track", source="clip.mp4", detector=None) == 0
    assert [[pose["id"] for pose in record["poses"]] for record in records(tmp_path)] == [[1]] * 4
    smooth = np.array([record["poses"][0]["keypoints"] for record in records(tmp_path)])
    assert np.allclose(smooth[0], plain[0])
    assert predict("--detector", "none", "--track", "--smoothing", "off", source="clip.mp4", detector=None) == 0
    unsmoothed = np.array([record["poses"][0]["keypoints"] for record in records(tmp_path)])
    assert np.allclose(unsmoothed, plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector-weights", "x.pt"], "--detector-weights has no effect with --detector none"),
        (["--detection-threshold", "0.4"], "--detection-threshold has no effect with --detector none"),
        (["--person-class", "person"], "--person-class has no effect with --detector none"),
        (["--track", "--detect-every", "3"], "--detect-every 3 has no effect: --detector none uses no detector"),
    ],
)
def test_what_needs_a_detector(arguments, message, predict, capsys):
    assert predict("--detector", "none", *arguments, source="clip.mp4", detector=None) == 2
    assert message in capsys.readouterr().err


@pytest.mark.needs_reference
@pytest.mark.parametrize("folder", REAL_PAIRS)
def test_whole_images_give_paddledetections_keypoints(folder):
    """Its crops of people, taken as images, give the keypoints that it recorded of these people."""
    pose = REAL_PAIRS[folder][1]
    estimator = PoseEstimator(None, pose, pose_weights=REAL / f"weights/{pose}.pdparams")
    compared = 0
    for name in ("coco_000000000785", "hrnet_demo", "coco_000000197388"):
        facts = json.loads((REAL / f"expected/{folder}/{name}.json").read_text())
        image = load_image(REAL / "images" / facts["image"])
        for person in facts["persons"]:
            x1, y1, x2, y2 = person["crop_xyxy"]
            poses = estimator(image[y1:y2, x1:x2])
            expected = np.array(person["keypoints"])
            visible = expected[:, 2] > 0.2
            assert np.abs(poses.keypoints[0] + [x1, y1] - expected[:, :2])[visible].max(initial=0) < 0.005
            assert np.abs(poses.keypoint_scores[0] - expected[:, 2]).max() < 1e-3
            compared += 1
    assert compared >= 5


@pytest.mark.slow
def test_person_class(predict, tmp_path):
    """An only class needs no name; of several, only the named one counts."""
    assert predict(detector="worker") == 0
    assert len(records(tmp_path)[0]["poses"]) > 0
    assert predict("--person-class", "worker", detector="several") == 0
    assert len(records(tmp_path)[0]["poses"]) > 0
    assert predict("--person-class", "car", detector="several") == 0
    assert len(records(tmp_path)[0]["poses"]) == 0


@pytest.mark.parametrize(
    ("detector", "arguments", "message"),
    [
        ("several", [], "has no class 'person'; name the one whose boxes get poses with --person-class"),
        ("several", [], "car, worker, dog"),
        ("several", ["--person-class", "wrker"], "has no class 'wrker'; its classes: car, worker, dog"),
        ("person", ["--person-class", "worker"], "has no class 'worker'; its classes: person"),
    ],
)
def test_wrong_person_class(detector, arguments, message, predict, capsys):
    assert predict(*arguments, source="broken.png", detector=detector) == 1  # nothing was found, so nothing was loaded
    assert "no such file" in capsys.readouterr().err
    assert predict(*arguments, detector=detector) == 2
    assert message in capsys.readouterr().err


def test_person_class_in_python(weights):
    estimator = PoseEstimator(
        DETECTOR, POSE, weights / "several.safetensors", weights / "pose.safetensors", person_class="worker"
    )
    people = estimator.detect_people(gradient_image())
    assert len(people) > 0
    assert set(people.class_ids.tolist()) == {1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector", "fairmot_dla34"], "--detector fairmot_dla34 has no effect on --pose higherhrnet_w32_512"),
        (["--detector", "none"], "--detector none has no effect on --pose higherhrnet_w32_512"),
        (["--crop", "consistent"], "--crop has no effect on higherhrnet_w32_512, a bottom-up network"),
        (["--person-class", "person"], "--person-class has no effect on higherhrnet_w32_512"),
    ],
)
def test_options_that_bottom_up_networks_ignore(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(gradient_image()).save("photo.png")
    assert main(["predict", "photo.png", "--pose", "higherhrnet_w32_512", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_default_detector_is_no_given_one(tmp_path, monkeypatch, capsys):
    """What is missing for a bottom-up network without further options is its weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.sleep", lambda _: None)
    Image.fromarray(gradient_image()).save("photo.png")
    assert main(["predict", "photo.png", "--pose", "higherhrnet_w32_512"]) == 2
    assert "could not download" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [-3, 0, 100000])
@pytest.mark.parametrize("command", ["predict", "evaluate", "benchmark"])
def test_numbers_of_threads_that_cannot_be(threads, command, predict, tmp_path, capsys):
    others = {
        "predict": ["photo.png"],
        "evaluate": ["--annotations", "x.json", "--images", "."],
        "benchmark": [],
    }
    assert main([command, *others[command], "--threads", str(threads)]) == 2
    most = 4 * count_cores()
    assert f"--threads {threads}; expected 1 to {most} on this machine" in capsys.readouterr().err


def test_numbers_of_threads():
    for threads in (None, 1, 4 * count_cores()):
        check_threads(threads)
    with pytest.raises(ValueError, match="threads -1; expected 1 to"):
        load_runner(POSE, threads=-1)


def test_threads_of_pytorch(weights):
    before = torch.get_num_threads()
    try:
        load_runner(POSE, weights / "pose.safetensors", threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_view_chooses_a_port(predict, capsys):
    assert predict("--view", "0", source="clip.mp4") == 0
    port = re.search(r"live view: http://127\.0\.0\.1:(\d+)/", capsys.readouterr().err)
    assert int(port[1]) > 1023


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "empty",
            "failed: empty: no images in this folder; videos are named one by one, and overlays of earlier runs are left out",
        ),
        ("*.jpeg", "failed: *.jpeg: no file fits this pattern"),
        ("gone.png", "failed: gone.png: no such file"),
    ],
)
def test_why_there_is_nothing(source, reason, predict, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/clip.mp4").touch()
    assert predict(source=source) == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "source", "message"),
    [
        ([], "", "an INPUT is empty"),
        (["--track"], "photo.png", "--track is for videos and cameras; all inputs are photos"),
        (["--view"], "photo.png", "--view is for videos and cameras; all inputs are photos"),
    ],
)
def test_what_cannot_be_meant(arguments, source, message, predict, tmp_path, capsys):
    assert predict(*arguments, source=source) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "poses.json").exists()


CLOSED = """
import os, sys
from tinypose_torch.cli import main
end, start = os.pipe()
os.close(end)
os.dup2(start, 1)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [pytest.param("models", marks=pytest.mark.slow), "predict"])
def test_closed_output(command, weights, tmp_path):
    """As after `| head -1`: quiet, with the status that shells give such programs."""
    Image.fromarray(gradient_image()).save(tmp_path / "photo.png")
    arguments = ["models"]
    if command == "predict":
        files = ("--pose-weights", weights / "pose.safetensors", "--output", tmp_path / "out")
        arguments = ["predict", tmp_path / "photo.png", "--pose", POSE, "--detector", "none", *files]
    done = subprocess.run([sys.executable, "-c", CLOSED, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 141
    assert done.stderr.replace("running on eager\n", "") == ""
