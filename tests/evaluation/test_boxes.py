"""COCO box accuracy against PaddleDetection's numbers, and the command on the annotated photos."""

import json

import pytest
from conftest import REAL
from recordings import Recording, read_json, recording

from tinypose_torch.cli import main
from tinypose_torch.evaluation.boxes import STATISTICS, box_accuracy, box_results


def recorded_results():
    arrays = Recording("evaluation/bbox_predictions.npz")
    records, start = [], 0
    for image_id, count in zip(arrays["image_id"], arrays["bbox_num"], strict=True):
        rows = arrays["bbox"][start : start + count]
        start += count
        rows = rows[rows[:, 0] >= 0]
        records += box_results(int(image_id), rows[:, 2:], rows[:, 1], rows[:, 0].astype(int), (1,))
    return records


def test_recorded():
    expected = read_json("evaluation/expected.json")["bbox"]
    records = recorded_results()
    assert len(records) == expected["num_results"]
    first = read_json("evaluation/bbox_results_first20.json")
    for own, theirs in zip(records, first, strict=False):
        assert own["image_id"] == theirs["image_id"]
        assert own["bbox"] == pytest.approx(theirs["bbox"], rel=1e-6)
        assert own["score"] == pytest.approx(theirs["score"], rel=1e-6)
    found = box_accuracy(recording("evaluation/coco_gt.json"), records)
    for name, value in zip(STATISTICS, expected["stats"], strict=True):
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_nothing_found():
    assert set(box_accuracy(recording("evaluation/coco_gt.json"), []).values()) == {0.0}


@pytest.mark.needs_reference
def test_command(tmp_path):
    name = "picodet_s_320_lcnet_pedestrian"
    options = ["--weights", REAL / f"weights/{name}.pdparams", "--images", REAL / "images"]
    options += ["--annotations", REAL / "annotations/person_keypoints_small.json", "--json", tmp_path / "boxes.json"]
    assert main(["evaluate", "--detector", name, *map(str, options)]) == 0
    found = json.loads((tmp_path / "boxes.json").read_text())
    assert found["AP50"] > 0.5
    assert found["model"] == name


def test_pose_options_are_refused(capsys):
    options = ["--annotations", "a.json", "--images", "."]
    assert main(["evaluate", "--detector", "tinypose_128x96", *options]) == 2
    assert "pass --pose tinypose_128x96" in capsys.readouterr().err
