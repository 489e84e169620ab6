"""Saved predictions: pycocotools gives the same accuracy again, and a detector's are boxes for a pose network."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluation.conftest import DETECTOR, PEOPLE, POSE
from tinypose_torch.cli import main
from tinypose_torch.evaluation import boxes, coco, top_down
from tinypose_torch.evaluation.mpii import pckh, read_mpii_truth

DETECTOR_ALONE = ["--detector", DETECTOR[0], "--weights", DETECTOR[1]]
PIPELINE = ["--with-detector", DETECTOR[0], "--detector-weights", DETECTOR[1]]


def accuracy_of_file(truth, predictions, kind):
    """As a user computes it, without this project."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO(str(truth))
        evaluation = COCOeval(annotations, annotations.loadRes(str(predictions)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize(
    ("network", "options", "kind", "names"),
    [
        (None, [], "keypoints", coco.STATISTICS),
        (None, PIPELINE, "keypoints", coco.STATISTICS),
        (DETECTOR_ALONE, [], "bbox", boxes.STATISTICS),
    ],
    ids=["pose", "pipeline", "detector"],
)
def test_same_accuracy_again(network, options, kind, names, evaluate, rendered, tmp_path):
    predictions = tmp_path / "deep/predictions.json"
    figures = evaluate(*options, "--predictions", predictions, network=network)
    assert figures["AP"] > 0.2, "the demo weights know rendered people"
    again = accuracy_of_file(rendered / "val.json", predictions, kind)
    assert [figures[name] for name in names] == pytest.approx(again, abs=1e-12)
    rows = json.loads(predictions.read_text())
    wanted = {"image_id", "category_id", "score", "bbox" if kind == "bbox" else "keypoints"}
    assert all(set(row) == wanted for row in rows)
    assert kind == "bbox" or all(len(row["keypoints"]) == 51 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], PIPELINE], ids=["pose", "pipeline"])
def test_processes_give_the_same(options, rendered, changed, tmp_path, monkeypatch, capsys):
    """Predictions and figures are those of one process, also with a damaged image."""
    monkeypatch.setattr(top_down, "BATCH_SIZE", 3)
    images = tmp_path / "images"
    shutil.copytree(rendered, images)
    (images / "damaged.jpg").write_bytes(b"no image")

    def change(content):
        content["images"].append({"id": 1, "file_name": "damaged.jpg", "height": 240, "width": 320})
        content["annotations"].append({**content["annotations"][0], "id": 99, "image_id": 1})

    results = []
    for workers in (1, 2):
        predictions, figures = tmp_path / f"{workers}.json", tmp_path / "figures.json"
        given = [
            "--pose",
            POSE[0],
            "--weights",
            POSE[1],
            *options,
            "--workers",
            workers,
            "--threads",
            1,
            "--predictions",
            predictions,
        ]
        given += ["--annotations", changed(change), "--images", images, "--json", figures, "--overwrite"]
        assert main(["evaluate", *map(str, given)]) == 1
        assert "failed: damaged.jpg: " in capsys.readouterr().err
        results.append((json.loads(predictions.read_text()), json.loads(figures.read_text())))
    assert len(results[0][0]) > 4
    assert results[0] == results[1]


def test_boxes_of_a_detector_for_a_pose_network(evaluate, rendered, tmp_path):
    boxes_file, poses_file = tmp_path / "det.json", tmp_path / "poses.json"
    evaluate("--predictions", boxes_file, network=DETECTOR_ALONE)
    found = evaluate("--detections", boxes_file, "--detection-threshold", 0.5, "--predictions", poses_file)
    assert found["AP"] > 0.2
    assert found["detections"] == str(boxes_file)
    strong = [row for row in json.loads(boxes_file.read_text()) if row["score"] >= 0.5]
    rows = json.loads(poses_file.read_text())
    assert 0 < len(rows) <= len(strong)
    assert {row["image_id"] for row in rows} == {row["image_id"] for row in strong}


@pytest.mark.parametrize("network", [None, DETECTOR_ALONE], ids=["pose", "detector"])
def test_an_image_list(network, evaluate, changed, tmp_path, capsys):
    """Like COCO's test-dev: no annotations, and categories without the names of keypoints."""

    def only_images(content):
        del content["annotations"]
        content["categories"] = [{"id": 1, "name": "person", "supercategory": "person"}]

    annotations, predictions = changed(only_images), tmp_path / "predictions.json"
    options = PIPELINE if network is None else []
    figures = evaluate(*options, "--predictions", predictions, network=network, annotations=annotations)
    assert {row["image_id"] for row in json.loads(predictions.read_text())} == {10, 11, 12, 13}
    assert figures["images"] == len(PEOPLE)
    assert "AP" not in figures
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{annotations} has no annotations: the predictions are saved, there is no accuracy"
    assert len(lines) == 2


def test_an_image_list_for_nothing(rendered, changed, tmp_path, capsys):
    annotations = changed(lambda content: content.update(annotations=[]))
    given = ["evaluate", "--pose", POSE[0], "--weights", str(POSE[1]), "--images", str(rendered)]
    given += ["--annotations", str(annotations)]
    for options, message in (
        (PIPELINE, "no annotations; pass --predictions FILE to save what is found in the images"),
        (["--predictions", tmp_path / "p.json"], "no annotated boxes; pass --detections FILE or --with-detector NAME"),
        ([*PIPELINE, "--predictions", tmp_path / "p.json", "--max-people", 6], "no annotations, by which images are"),
    ):
        assert main([*given, *map(str, options)]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("empty", [True, False], ids=["no boxes", "no boxes above the threshold"])
def test_nothing_found(empty, evaluate, tmp_path, capsys):
    """Accuracy 0 and a warning, for poses as for boxes."""
    row = {"image_id": 10, "category_id": 1, "bbox": [0, 0, 50, 90], "score": 0.3}
    (tmp_path / "det.json").write_text(json.dumps([] if empty else [row]))
    figures = evaluate("--detections", tmp_path / "det.json", "--detection-threshold", 0.9)
    assert {figures[name] for name in coco.STATISTICS} == {0}
    assert "warning: nothing was found in the images" in capsys.readouterr().err
    figures = evaluate(*PIPELINE, "--detection-threshold", 1, "--predictions", tmp_path / "p.json")
    assert {figures[name] for name in coco.STATISTICS} == {0}
    assert json.loads((tmp_path / "p.json").read_text()) == []
    assert "warning: nothing was found in the images" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [{}, [{"image_id": 99, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1}]])
def test_wrong_detections_are_an_error(rows, rendered, tmp_path, capsys):
    (tmp_path / "det.json").write_text(json.dumps(rows))
    given = ["--annotations", rendered / "val.json", "--images", rendered, "--detections", tmp_path / "det.json"]
    assert main(["evaluate", "--pose", POSE[0], "--weights", str(POSE[1]), *map(str, given)]) == 2
    assert "det.json: no" in capsys.readouterr().err


def test_mpii(rendered, tmp_path, capsys):
    """PCKh@0.1 stands beside PCKh@0.5, and saved keypoints give both again."""
    import torch
    from scipy.io import savemat

    from tinypose_torch import create_model
    from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
    from tinypose_torch.geometry.skeletons import MPII16

    torch.manual_seed(0)
    network = create_model("tinypose_128x96", skeleton=MPII16)
    save_safetensors(network, tmp_path / "w.safetensors", describe_changes(network.config))
    generator = np.random.default_rng(0)
    people = [
        {
            "image": f"{index % 2}.jpg",
            "center": [150.0, 120.0],
            "scale": 1.0 + index / 10,
            "joints": generator.uniform(1, 240, (16, 2)).tolist(),
            "joints_vis": [1] * 16,
        }
        for index in range(3)
    ]
    (tmp_path / "mpii.json").write_text(json.dumps(people))
    heads = np.stack([np.zeros((2, 3)), np.full((2, 3), 300.0)])
    joints = np.array([person["joints"] for person in people]).transpose(1, 2, 0)
    savemat(tmp_path / "gt.mat", {"pos_gt_src": joints, "jnt_missing": np.zeros((16, 3)), "headboxes_src": heads})
    given = ["--pose", "tinypose_128x96", "--weights", "w.safetensors", "--annotations", "mpii.json"]
    given += ["--truth", "gt.mat", "--predictions", "p.json", "--json", "figures.json"]
    given = [str(tmp_path / word) if "." in word else word for word in given]
    assert main(["evaluate", *given, "--images", str(rendered)]) == 0
    header, _, values = capsys.readouterr().out.partition("next:")[0].splitlines()[-3:]
    assert header.split()[-2:] == ["PCKh", "PCKh@0.1"]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert 0 < figures["PCKh@0.1"] < figures["PCKh"] <= 100
    assert values.split()[-1] == f"{figures['PCKh@0.1']:.2f}"
    rows = json.loads((tmp_path / "p.json").read_text())
    assert [(row["person"], row["image"]) for row in rows] == [(0, "0.jpg"), (1, "1.jpg"), (2, "0.jpg")]
    keypoints = np.array([row["keypoints"] for row in rows]).reshape(3, 16, 3)
    again = pckh(keypoints, read_mpii_truth(tmp_path / "gt.mat"))
    assert again == pytest.approx({name: figures[name] for name in again})


def test_a_failure_leaves_the_old_file(rendered, tmp_path, changed):
    """An evaluation that fails writes nothing."""
    (tmp_path / "p.json").write_text("old")
    annotations = changed(lambda content: content["images"][0].update(file_name="gone.jpg"))
    given = ["--annotations", annotations, "--images", rendered, "--predictions", tmp_path / "p.json"]
    assert main(["evaluate", *map(str, [*DETECTOR_ALONE, *given])]) == 2
    assert (tmp_path / "p.json").read_text() == "old"
