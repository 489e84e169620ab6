"""Whole runs, small: what they learn, write and leave behind."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import DEMO_WEIGHTS, REAL, ROOT

from tinypose_torch import create_model
from tinypose_torch.cli import main as tinypose
from tinypose_torch.evaluation.coco import KeypointPrediction
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.models.registry import get_config
from train.__main__ import main
from train.checkpoints import AtomicCheckpoints
from train.config import load_config, recipe_names
from train.init_model import build_network, start_network
from train.synthetic.__main__ import main as synthesise
from train.trainer import JOBS

TEN = tuple(f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee") for side in ("left", "right"))


@pytest.mark.slow
def test_evaluated_and_kept(arguments, people, tmp_path, capsys):
    """A run with evaluation leaves weights that `tinypose evaluate` measures as the run did.

    It starts from trained weights (AP 0.6 to 0.9), whose accuracy some steps keep; untrained ones have AP 0.
    """
    common = [
        *arguments,
        f"weights={DEMO_WEIGHTS['tinypose_128x96']}",
        "max_steps=4",
        "checkpoint_every=4",
        "ema=0.5",
        f"data.val={people / 'val.json'}",
    ]
    assert main(common) == 0
    run = tmp_path / "run"
    receipt = json.loads((run / "receipt.json").read_text())
    assert receipt["accuracy"]["AP"] > 0.5
    assert receipt["steps"] == 4
    # What was evaluated and kept is the average, not what is trained.
    checkpoint = torch.load(run / "last.ckpt", weights_only=False)
    kept = safetensors.torch.load_file(run / "weights.safetensors")
    for name, value in kept.items():
        assert torch.equal(value, checkpoint["state_dict"][f"network.{name}"]), name
    assert not torch.equal(kept["final_conv.weight"], checkpoint["current_model_state"]["network.final_conv.weight"])
    options = ["--weights", run / "weights.safetensors", "--annotations", people / "val.json", "--images"]
    options += [people / "images", "--json", tmp_path / "accuracy.json"]
    assert tinypose(["evaluate", "--pose", "tinypose_128x96", *map(str, options)]) == 0
    measured = json.loads((tmp_path / "accuracy.json").read_text())
    for name in ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"):
        assert measured[name] == pytest.approx(receipt["accuracy"][name], abs=1e-6), name
    rows = (run / "logs/metrics.csv").read_text().splitlines()
    assert "loss" in rows[0]
    assert "AP" in rows[0]
    assert list((run / "tensorboard").iterdir())


@pytest.mark.slow
def test_learns(arguments, tmp_path):
    """One batch by heart: the loss falls to a tenth of what it was after ten steps; to a fortieth when this was written."""
    few = tmp_path / "few"
    assert synthesise(["--output", str(few), "--images", "2", "--seed", "5"]) == 0
    options = ["max_steps=40", "epochs=10000", "optimisation.warmup_steps=5", "optimisation.learning_rate=0.004"]
    options += ["augmentation.half_body=0", "augmentation.scale=0", "augmentation.rotation_probability=0"]
    options += ["augmentation.flip=0", "augmentation.dropping=none"]
    assert main([*arguments, f"data.train={few / 'train.json'}", f"data.images={few / 'images'}", *options]) == 0
    header, *rows = [row.split(",") for row in (tmp_path / "run/logs/metrics.csv").read_text().splitlines()]
    losses = [float(row[header.index("loss")]) for row in rows if row[header.index("loss")]]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    "options",
    [
        ["precision=bf16"],
        ["channels_last=true", "optimisation.clip=1"],
        ["ohkm_topk=8", "encoding=udp"],
        ["augmentation.transforms=[{name: ColorJitter, p: 1.0}]", "augmentation.dropping=grid_mask"],
        ["freeze=[backbone]", "augmentation.dropping=hide_and_seek"],
        ["model=lite_hrnet_18_256x192", "encoding=standard"],
    ],
    ids=" ".join,
)
def test_options(arguments, options, tmp_path):
    """Every tensor that learns changes, and stays finite; what is frozen stays."""
    options = [*arguments, "max_steps=1", "optimisation.warmup_steps=0", *options]
    assert main(options) == 0
    before = build_network(load_config(options[0], options[1:]), skeleton=COCO17).state_dict()
    trained = safetensors.torch.load_file(tmp_path / "run/weights.safetensors")
    assert trained.keys() == before.keys()
    assert all(tensor.isfinite().all() for tensor in trained.values())
    unchanged = {name for name, tensor in trained.items() if torch.equal(tensor, before[name])}
    frozen = {name for name in trained if "freeze=[backbone]" in options and name.startswith("backbone.")}
    assert unchanged == frozen


def test_frozen_stays(arguments, tmp_path):
    torch.manual_seed(0)
    assert main([*arguments, "max_steps=2", "freeze=[backbone.stem, backbone.stage0]"]) == 0
    trained = safetensors.torch.load_file(tmp_path / "run/weights.safetensors")
    config = load_config("demo_pose", [])
    before = build_network(config, skeleton=COCO17).state_dict()
    for name, value in trained.items():
        if name.startswith(("backbone.stem.", "backbone.stage0.")):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(trained["final_conv.weight"], before["final_conv.weight"])


@pytest.mark.slow
def test_own_skeleton_to_a_file(people, arguments, tmp_path):
    """Other keypoints: taken over by name, trained, evaluated, loaded by name alone, exported with their skeleton.

    The accuracy of the demo weights (AP 0.6 to 0.9) is kept by a step and by the exported file.
    """
    folder = tmp_path / "ten"
    options = ["--output", folder, "--images", 12, "--keypoints", ",".join(TEN)]
    assert synthesise([str(option) for option in options]) == 0
    data = [
        f"data.train={folder / 'train.json'}",
        f"data.val={folder / 'val.json'}",
        f"data.images={folder / 'images'}",
    ]
    start = [f"weights={DEMO_WEIGHTS['tinypose_128x96']}", "max_steps=1", "evaluate_every=0.1"]
    assert main([*arguments, *data, *start]) == 0
    weights = tmp_path / "run/weights.safetensors"
    network = create_model("tinypose_128x96", weights=weights)
    assert network.config.skeleton.keypoint_names == TEN
    assert network.config.skeleton.flip_pairs == tuple((i, i + 1) for i in range(0, 10, 2))
    assert network.final_conv.out_channels == 10
    exported = tmp_path / "own.torchscript"
    export = [
        "export",
        "tinypose_128x96",
        "--weights",
        str(weights),
        "--format",
        "torchscript",
        "--output",
        str(exported),
    ]
    assert tinypose(export) == 0
    measure = ["--annotations", folder / "val.json", "--images", folder / "images", "--weights", exported]
    measure += ["--json", tmp_path / "accuracy.json"]
    assert tinypose(["evaluate", "--pose", "tinypose_128x96", *map(str, measure)]) == 0
    trained = json.loads((tmp_path / "run/receipt.json").read_text())["accuracy"]["AP"]
    measured = json.loads((tmp_path / "accuracy.json").read_text())["AP"]
    assert trained > 0.5
    assert measured == pytest.approx(trained, abs=0.02)


@pytest.mark.needs_reference
def test_keypoints_are_taken_over_by_name():
    weights = REAL / "weights/tinypose_128x96.pdparams"
    config = load_config("finetune", [f"weights={weights}"])
    network = build_network(config, skeleton=COCO17.subset(["right_knee", "nose"]))
    source = create_model("tinypose_128x96", weights=weights)
    names = COCO17.keypoint_names
    for row, name in enumerate(("right_knee", "nose")):
        expected = source.final_conv.weight[names.index(name)]
        assert torch.equal(network.final_conv.weight[row], expected)
    assert torch.equal(network.backbone.stem.conv1.conv.weight, source.backbone.stem.conv1.conv.weight)


def test_what_is_taken_over_is_said():
    config = load_config("finetune", [f"weights={ROOT / 'weights/tinypose_128x96_demo.safetensors'}"])
    lines = [
        start_network(config, skeleton=skeleton)[1].partition(", ")[2]
        for skeleton in (
            COCO17,
            Skeleton("pet", ("nose", "tail", "left_hip")),
            Skeleton("pet", ("tail", "paw")),
            Skeleton("face", ("nose", *(f"point_{index}" for index in range(20)))),
        )
    ]
    assert lines[:3] == [
        "with all 17 keypoints",
        "2 of 3 keypoints taken over (nose, left_hip); new: tail",
        "which know none of the 2 keypoints by name: all start anew",
    ]
    assert lines[3].startswith("1 of 21 keypoints taken over (nose); new: point_0, point_1, ")
    assert lines[3].endswith("point_11 and 8 more")
    assert start_network(load_config("tinypose_128x96", []), skeleton=COCO17)[1] == "random"


@pytest.mark.parametrize("recipe", recipe_names())
def test_recipes_are_valid(recipe):
    config = load_config(recipe, [])
    assert config.model in recipe or recipe in (
        "demo_pose",
        "demo_detector",
        "demo_bottom_up",
        "finetune",
        "finetune_detector",
    )


def test_rendered_people_are_reproducible(tmp_path):
    for name, count in (("a", 4), ("b", 6)):
        assert synthesise(["--output", str(tmp_path / name), "--images", str(count), "--seed", "3"]) == 0
    for index in range(4):
        one, two = ((tmp_path / name / f"images/{index:06d}.jpg").read_bytes() for name in ("a", "b"))
        assert one == two
    assert synthesise(["--output", str(tmp_path / "c"), "--images", "4", "--seed", "4"]) == 0
    assert (tmp_path / "c/images/000000.jpg").read_bytes() != (tmp_path / "a/images/000000.jpg").read_bytes()


def test_rendered_people_are_right(people):
    """Boxes and labelled keypoints lie in the picture, and keypoints in their box."""
    for name in ("train", "val"):
        content = json.loads((people / f"{name}.json").read_text())
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        assert content["annotations"]
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            width, height = sizes[annotation["image_id"]]
            assert 0 <= x < x + w <= width
            assert 0 <= y < y + h <= height
            assert 0 < annotation["area"] <= w * h
            keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)
            labelled = keypoints[keypoints[:, 2] > 0]
            assert (labelled[:, 2] == 2).sum() >= 4
            assert (labelled[:, :2] >= np.array([x, y]) - 1).all()
            assert (labelled[:, :2] <= np.array([x + w, y + h]) + 1).all()


def test_bad_requests_for_people(capsys):
    for options, message in (
        (["--images", "1"], "expected 2 to"),
        (["--images", "5", "--keypoints", "tail"], "unknown keypoint 'tail'"),
        (["--images", "5", "--keypoints", "nose,nose"], "named twice"),
        (["--images", "5", "--keypoints", "nose=top,left_eye=top"], "named twice"),
        (["--images", "5", "--seed", "-1"], "expected 0 or more"),
        (["--images", "5", "--size", "8", "8"], "expected 64 to"),
    ):
        with pytest.raises(SystemExit) as stopped:
            synthesise(["--output", "unused", *options])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_own_names_of_keypoints(tmp_path):
    """Keypoints are written under the given names, in the given order."""
    base = ["--output", str(tmp_path), "--images", "2", "--workers", "1", "--people", "1"]
    assert synthesise([*base, "--keypoints", "right_wrist=hand_r,nose"]) == 0
    truth = json.loads((tmp_path / "train.json").read_text())
    assert synthesise([*base, "--keypoints", "nose,right_wrist"]) == 0
    swapped = json.loads((tmp_path / "train.json").read_text())
    assert truth["categories"][0]["keypoints"] == ["hand_r", "nose"]
    wrist = [annotation["keypoints"][:3] for annotation in truth["annotations"]]
    assert wrist == [annotation["keypoints"][3:] for annotation in swapped["annotations"]]


def test_pictures_of_so_many_people(tmp_path, capsys):
    """As many as requested, except those with too few visible pixels; wrong numbers end with a reason."""
    base = ["--output", str(tmp_path), "--images", "3", "--size", "240", "640", "--workers", "1"]
    assert synthesise([*base, "--people", "5", "--heights", "0.4", "0.5"]) == 0
    parts = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("train", "val")]
    boxes = [annotation["bbox"] for part in parts for annotation in part["annotations"]]
    assert 10 <= len(boxes) <= 15
    assert max(box[3] for box in boxes) < 0.75 * 240
    for wrong, message in ((["--people", "0"], "--people 0"), (["--heights", "0.9", "0.2"], "the least first")):
        with pytest.raises(SystemExit):
            synthesise([*base, *wrong])
        assert message in capsys.readouterr().err


def test_a_checkpoint_is_written_to_the_disk_once(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    AtomicCheckpoints().save_checkpoint({"step": 3}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt") == {"step": 3}
    assert len(synced) == 1


@pytest.mark.parametrize("recipe", ["demo_pose", "demo_bottom_up", "demo_detector"])
def test_validation_annotations_are_read_once(recipe, arguments, people, tmp_path):
    """Before training: the evaluations do not need the file."""
    val = shutil.copy(people / "val.json", tmp_path / "val.json")
    config = load_config(recipe, [*arguments[1:], f"data.val={val}"])
    training = JOBS[get_config(config.model).task](config).training(1, 1)
    annotations = json.loads(val.read_text())["annotations"]
    val.unlink()
    found = [annotation | {"score": 1.0} for annotation in annotations]
    if recipe == "demo_pose":
        found = [perfect_prediction(annotation) for annotation in annotations]
    for _ in range(2):
        assert training.accuracy_of(found)["AP"] == pytest.approx(1)


def perfect_prediction(annotation):
    keypoints = np.float64(annotation["keypoints"]).reshape(-1, 3)
    keypoints[:, 2] = 1
    return KeypointPrediction(annotation["image_id"], keypoints, 1.0, annotation["area"], annotation["id"])
