"""`tinypose evaluate` on the annotated photos, against PaddleDetection's accuracy, and with what cannot be evaluated."""

import json

import numpy as np
import pytest
from conftest import REAL
from export.conftest import exported  # noqa: F401

from tinypose_torch.cli import main

ANNOTATIONS = REAL / "annotations/person_keypoints_small.json"
POSE = "tinypose_128x96"
NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
pytestmark = pytest.mark.needs_reference


def evaluate(tmp_path, *options, pose=POSE, weights=None):
    arguments = ["evaluate", "--pose", pose, "--weights", str(weights or REAL / f"weights/{pose}.pdparams")]
    arguments += ["--annotations", str(ANNOTATIONS), "--images", str(REAL / "images")]
    arguments += ["--json", str(tmp_path / "accuracy.json"), *map(str, options)]
    assert main(arguments) == 0
    return json.loads((tmp_path / "accuracy.json").read_text())


@pytest.mark.parametrize("pose", ["tinypose_128x96", "tinypose_256x192"])
@pytest.mark.parametrize("flip", [False, True])
def test_original_accuracy(pose, flip, tmp_path):
    expected = json.loads((REAL / "expected/ap_summary.json").read_text())
    stats = expected["eval_path"][f"{pose}/given_all5{'_flip' if flip else ''}"]["stats"]
    found = evaluate(tmp_path, *(["--flip"] if flip else []), pose=pose)
    for name, value in zip(NAMES, stats, strict=True):
        assert found[name] == pytest.approx(value, abs=1e-4), name


def test_exported_file(exported, tmp_path):  # noqa: F811
    """A file that decodes inside has the network's own accuracy."""
    found = evaluate(tmp_path, weights=exported(POSE, "torchscript"))
    assert found["backend"] == "torchscript"
    assert found["AP"] == pytest.approx(evaluate(tmp_path)["AP"], abs=1e-3)


def test_detections(tmp_path):
    """Annotated boxes as a detection file give nearly the same: the file's boxes are not cleaned."""
    content = json.loads(ANNOTATIONS.read_text())
    rows = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.9}
        for a in content["annotations"]
        if a["num_keypoints"]
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    found = evaluate(tmp_path, "--detections", tmp_path / "boxes.json", pose="tinypose_256x192")
    assert found["AP"] == pytest.approx(0.84, abs=0.06)


def base_arguments():
    weights = str(REAL / f"weights/{POSE}.pdparams")
    return ["--pose", POSE, "--weights", weights, "--annotations", str(ANNOTATIONS), "--images", str(REAL / "images")]


def test_sigmas_matter(tmp_path):
    strict = evaluate(tmp_path, "--sigmas", *np.full(17, 0.01))
    assert strict["AP"] < evaluate(tmp_path)["AP"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--annotations", "gone.json"], "no annotation file 'gone.json'"),
        (["--images", "gone"], "no image folder 'gone'"),
        (["--sigmas", "0.1"], "17 above 0 are needed"),
        (["--limit", "0"], "at least 1"),
        (["--pose", "picodet_s_320_lcnet_pedestrian"], "is a detector"),
        (["--detections", "gone.json"], "gone.json"),
        (["--truth", "gone.mat"], "not an MPII annotation file"),
        (["--truth", "gone.mat", "--limit", "1"], "MPII is evaluated on all its people"),
        (["--no-shift"], "add --flip"),
    ],
)
def test_wrong_options(options, message, capsys):
    assert main(["evaluate", *base_arguments(), *options]) == 2
    error = capsys.readouterr().err
    assert message in error, error
    assert "Traceback" not in error


def test_flip_of_a_file_that_decodes(exported, capsys):  # noqa: F811
    options = [*base_arguments(), "--flip", "--weights", str(exported(POSE, "torchscript"))]
    assert main(["evaluate", *options]) == 2
    assert "a flip test needs heatmaps" in capsys.readouterr().err


def test_decoding_and_shift_matter(tmp_path):
    """The photos' own heatmaps: DARK is finer than a quarter of a cell, and the shift belongs to the flip test."""
    dark, plain = evaluate(tmp_path), evaluate(tmp_path, "--decoding", "plain")
    assert dark["AP"] > plain["AP"]
    assert (dark["decoding"], plain["decoding"]) == ("dark", "plain")
    assert evaluate(tmp_path, "--flip", "--no-shift")["AP"] != evaluate(tmp_path, "--flip")["AP"]


def test_limit_is_of_images(tmp_path):
    """The people of the other images do not count as missed."""
    content = json.loads(ANNOTATIONS.read_text())
    first = next(a["image_id"] for a in content["annotations"] if a["num_keypoints"])
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] == first]
    (tmp_path / "first.json").write_text(json.dumps(content))
    alone = evaluate(tmp_path, "--annotations", tmp_path / "first.json")
    assert evaluate(tmp_path, "--limit", 1)["AP"] == alone["AP"] > 0


def test_other_skeleton(tmp_path, capsys):
    content = json.loads(ANNOTATIONS.read_text())
    content["categories"][0]["keypoints"][0] = "snout"
    (tmp_path / "other.json").write_text(json.dumps(content))
    assert main(["evaluate", *base_arguments(), "--annotations", str(tmp_path / "other.json")]) == 2
    assert "names its keypoints snout" in capsys.readouterr().err
