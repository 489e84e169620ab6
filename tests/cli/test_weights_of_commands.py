"""Every command takes weights that say which model they are, without its name."""

import json

import numpy as np
import pytest
import torch
from conftest import ROOT, gradient_image

from convert.__main__ import main as convert
from tinypose_torch import BottomUpEstimator, CheckpointError, PoseEstimator, Skeleton, create_model
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.checkpoints.identity import WrongModelError, resolve_model
from tinypose_torch.cli import main
from tinypose_torch.export.cache import fastest_form
from tinypose_torch.runtime import load_runner
from tinypose_torch.utils.images import save_png

POSE, DETECTOR = "tinypose_128x96", "picodet_s_192_lcnet_pedestrian"
DEMO_POSE, DEMO_DETECTOR = (ROOT / f"weights/{name}_demo.safetensors" for name in (POSE, "picodet_s_192"))
HAND = Skeleton.unnamed(5)


def save(network, path):
    save_safetensors(network, path, describe_changes(network.config))
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Files of fine-tuned networks: five keypoints at another input size, two classes, and a narrow bottom-up one."""
    folder = tmp_path_factory.mktemp("tuned")
    torch.manual_seed(0)
    return {
        "pose": save(create_model(POSE, skeleton=HAND, input_size=(64, 64)), folder / "hand.safetensors"),
        "detector": save(create_model(DETECTOR, class_names=("dog", "person")), folder / "pets.safetensors"),
        "bottom-up": save(create_model("higherhrnet_w16_192"), folder / "narrow.safetensors"),
    }


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_png(gradient_image(), tmp_path / "photo.png")
    return "photo.png"


def test_python(tuned):
    estimator = PoseEstimator(detector_weights=tuned["detector"], pose_weights=tuned["pose"])
    assert estimator.pose_config.skeleton == HAND
    assert estimator.pose_config.input_size == (64, 64)
    assert estimator.detector_config.class_names == ("dog", "person")
    assert estimator.detector_config.person_class == 1
    assert BottomUpEstimator(weights=tuned["bottom-up"]).pose_config.name == "higherhrnet_w16_192"
    assert create_model("auto", weights=tuned["pose"]).config.skeleton == HAND


def test_predict(tuned, photo, tmp_path):
    files = ["--detector-weights", str(tuned["detector"]), "--pose-weights", str(tuned["pose"])]
    assert main(["predict", photo, *files, "--detection-threshold", "0", "--json", "x.json"]) == 0
    (record,) = json.loads((tmp_path / "x.json").read_text())
    assert np.array(record["poses"][0]["keypoints"]).shape == (5, 3)


def test_predict_bottom_up(tuned, photo, capsys):
    assert main(["predict", photo, "--pose-weights", str(tuned["bottom-up"]), "--json", "x.json"]) == 0
    assert "photo.png: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pose", "tinypose_256x192", "--pose-weights", str(DEMO_POSE)], "pass --pose tinypose_128x96, or no name"),
        (["--detector", "fairmot_dla34", "--detector-weights", str(DEMO_DETECTOR)], f"pass --detector {DETECTOR}"),
        (["--pose-weights", str(DEMO_DETECTOR)], "is not a pose network, but a detector"),
        (["--pose-weights", "2020"], "no such release of tinypose_256x192; its releases: 2022, 2021"),
    ],
)
def test_predict_says_what_is_wrong(arguments, message, photo, capsys):
    assert main(["predict", photo, *arguments]) == 2
    assert message in capsys.readouterr().err


def annotations(path, names, categories=None):
    """A COCO file with one person, or with one box per category, in photo.png."""
    keypoints = [value for index in range(len(names)) for value in (20 + 10 * index, 30, 2)]
    box = {"image_id": 1, "bbox": [10, 10, 100, 90], "area": 9000, "iscrowd": 0}
    person = {"keypoints": keypoints, "num_keypoints": len(names)}
    category = {"id": 1, "name": "person", "keypoints": list(names), "skeleton": []}
    facts = {
        "images": [{"id": 1, "file_name": "photo.png", "width": 160, "height": 120}],
        "annotations": [{"id": 1, "category_id": 1, **box, **person}],
        "categories": categories or [category],
    }
    path.write_text(json.dumps(facts))
    return str(path)


def test_evaluate(tuned, photo, tmp_path, capsys):
    pytest.importorskip("pycocotools")
    truth = annotations(tmp_path / "truth.json", HAND.keypoint_names)
    arguments = ["--annotations", truth, "--images", ".", "--json", "x.json"]
    assert main(["evaluate", "--weights", str(tuned["pose"]), "--sigmas", *["0.1"] * 5, *arguments]) == 0
    assert json.loads((tmp_path / "x.json").read_text())["model"] == POSE
    boxes = annotations(tmp_path / "boxes.json", ["a"], [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}])
    assert main(["evaluate", "--weights", str(tuned["detector"]), "--annotations", boxes, *arguments[2:]]) == 0
    assert json.loads((tmp_path / "x.json").read_text())["model"] == DETECTOR
    assert main(["evaluate", "--pose", "tinypose_256x192", "--weights", str(tuned["pose"]), *arguments]) == 2
    assert "pass --pose tinypose_128x96" in capsys.readouterr().err


@pytest.mark.slow
def test_convert_export_and_what_reads_it(tuned, photo, tmp_path, capsys):
    torch.save(create_model(POSE, num_keypoints=5).state_dict(), "hand.pt")
    assert convert(["hand.pt", "--model", POSE, "--num-keypoints", "5", "--output", "x.safetensors"]) == 0
    assert main(["export", "--weights", "x.safetensors", "--format", "torchscript", "--output", "x.torchscript"]) == 0
    runner = load_runner(weights="x.torchscript")
    assert (runner.metadata.config.name, len(runner.metadata.config.skeleton)) == (POSE, 5)
    assert resolve_model(None, "x.torchscript").name == POSE
    assert resolve_model(None, "x.torchscript").backend == "torchscript"
    assert fastest_form("auto", "x.torchscript", 1) == "x.torchscript"
    with pytest.raises(WrongModelError, match="not of tinypose_256x192; pass model=tinypose_128x96"):
        load_runner("tinypose_256x192", "x.torchscript")
    with pytest.raises(CheckpointError, match="is an exported file"):
        create_model(None, weights="x.torchscript")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which model? pass NAME, or weights that say which model they hold"),
        (
            ["tinypose_256x192", "--weights", str(DEMO_POSE)],
            "not of tinypose_256x192; pass tinypose_128x96, or no name",
        ),
        ([POSE, "--with-weights", str(DEMO_DETECTOR), "--with", POSE], f"pass --with {DETECTOR}, or no name"),
        (["tinypose_256x192", "--weights", "2020"], "no such release of tinypose_256x192"),
        (["--weights", "2021"], "no weight file '2021'; to choose a release of official weights, pass NAME, too"),
    ],
)
def test_export_says_what_is_wrong(arguments, message, capsys):
    assert main(["export", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_benchmark(tuned, capsys):
    common = ["--backend", "eager", "--threads", "1", "--rounds", "1"]
    assert main(["benchmark", "--weights", str(tuned["pose"]), *common]) == 0
    assert f"{POSE}, float32 in and out" in capsys.readouterr().out
    assert main(["benchmark", "tinypose_256x192", "--weights", str(tuned["pose"]), *common]) == 2
