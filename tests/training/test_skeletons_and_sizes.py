"""Training at other sizes and on other skeletons: what is mirrored, what is cut in half, what is refused."""

import dataclasses
import json
import re
import shutil

import albumentations as A
import numpy as np
import pytest
import torch
from conftest import REAL

from tinypose_torch import Skeleton, create_model
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.cli import main as tinypose
from tinypose_torch.data.keypoints import mirrored_order
from tinypose_torch.data.pose.transforms import RandomFlip, RandomHalfBody
from train.__main__ import main
from train.config import ConfigError, load_config
from train.init_model import build_network, model_config
from train.pose import build_dataset, build_transform, load_annotations


def test_rate_and_size_of_a_run(arguments, tmp_path, capsys):
    """What is printed, carried in the weights, and taken up again by training that starts from them."""
    own = ["max_steps=1", "batch_size=4", "optimisation.reference_batch=32", "input_size=[96, 64]"]
    assert main([*arguments, *own]) == 0
    assert "rate  0.00025 (0.002 at 32 samples per step, scaled to 4)" in capsys.readouterr().out
    weights = tmp_path / "run/weights.safetensors"
    network = create_model("tinypose_128x96", weights=weights)
    assert network.config.input_size == (96, 64)
    assert network(torch.zeros(1, 3, 96, 64)).shape == (1, 17, 24, 16)
    again = load_config("finetune", [f"weights={weights}", "freeze=[]"])
    assert model_config(again).input_size == (96, 64)
    assert build_network(again).config.input_size == (96, 64)
    other = load_config("finetune", [f"weights={weights}", "freeze=[]", "input_size=[128, 96]"])
    assert build_network(other).config.input_size == (128, 96)


@pytest.mark.needs_reference
def test_size_of_a_deployed_model(tmp_path):
    """Its infer_cfg.yml says that it was trained at another size."""
    shutil.copytree(REAL / "exported/tinypose_128x96", tmp_path / "model")
    facts = "arch: HRNet\nPreprocess:\n- trainsize:\n  - 160\n  - 160\n  type: TopDownEvalAffine\n"
    (tmp_path / "model/infer_cfg.yml").unlink()
    (tmp_path / "model/infer_cfg.yml").write_text(facts)
    config = load_config("finetune", [f"weights={tmp_path / 'model'}"])
    assert model_config(config).input_size == (160, 160)
    assert build_network(config).config.input_size == (160, 160)


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("demo_pose", ["input_size=[100, 96]"], "input_size.0: input should be a multiple of 32, got 100"),
        ("demo_pose", ["input_size=128"], "input_size: "),
        ("demo_detector", ["input_size=[192, 256]"], "192 x 256 is not a square; picodet_s_192_lcnet_pedestrian is"),
        ("demo_bottom_up", ["input_size=[192, 256]"], "192 x 256 is not a square"),
        ("finetune_detector", ["input_size=[192, 192]", "weights=null"], "192 is not between detection.sizes 256 and 384"),
        ("demo_pose", ["weights=imagenet"], "timm has no ImageNet weights for the backbone of tinypose_128x96"),
        ("demo_pose", ["data.flip_pairs=[[nose, tail]]"], "data.flip_pairs: no keypoint 'tail' among nose, left_eye"),
        ("demo_pose", ["data.flip_pairs=[[0, 17]]"], "data.flip_pairs: no keypoint 17 among nose"),
        ("demo_pose", ["data.flip_pairs=[[0, 1], [2, nose]]"], "data.flip_pairs: 'nose' occurs more than once"),
        ("demo_pose", ["data.flip_pairs=[[0, 1, 2]]"], "data.flip_pairs.0: "),
        ("demo_bottom_up", ["data.flip_pairs=[[0, 0]]"], "data.flip_pairs: 'nose' occurs more than once"),
        ("demo_pose", ["augmentation.half_body_min_keypoints=1"], "augmentation.half_body_min_keypoints: "),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(recipe, overrides, message, arguments, tmp_path, capsys):
    assert main([recipe, *arguments[1:], *overrides]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def renamed(people, folder, changes):
    """Arguments of training on the same people, keypoints renamed."""
    content = json.loads((people / "train.json").read_text())
    names = content["categories"][0]["keypoints"]
    content["categories"][0]["keypoints"] = [changes.get(name, name) for name in names]
    (folder / "renamed.json").write_text(json.dumps(content))
    return [
        *(f"data.train={folder / 'renamed.json'}", f"data.images={people / 'images'}", f"output={folder / 'run'}"),
        *("data.workers=0", "accelerator=cpu", "batch_size=2", "max_steps=1", "optimisation.reference_batch=null"),
    ]


UNPAIRED = {"left_wrist": "leftHand", "left_hip": "hip.L", "right_hip": "R_Hip"}


@pytest.mark.parametrize("recipe", ["demo_pose", "demo_bottom_up"])
def test_refuses_to_mirror_without_pairs(recipe, people, tmp_path, capsys):
    options = renamed(people, tmp_path, UNPAIRED)
    assert main([recipe, *options]) == 2
    error = capsys.readouterr().err
    assert "without an opposite: leftHand, right_wrist;" in error
    assert "data.flip_pairs='[[LEFT, RIGHT], ...]' ([] if none swaps), or do not mirror: augmentation.flip=0" in error
    assert "flip_test" not in error
    assert not (tmp_path / "run").exists()
    tested = ["augmentation.flip=0", "flip_test=true", f"data.val={tmp_path / 'renamed.json'}"]
    assert main([recipe, *options, *tested]) == 2
    assert "do not mirror: flip_test=false" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["demo_pose", "demo_bottom_up"])
def test_check_shows_pairs(recipe, people, tmp_path, capsys, monkeypatch):
    """Red on a terminal, and refused; the other keypoints with what they swap with."""
    options = renamed(people, tmp_path, UNPAIRED)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main([recipe, *options, "--check"]) == 2
    printed = capsys.readouterr()
    rows = {line.split()[1]: line for line in printed.out.splitlines() if re.match(r" *\d+  ", line)}
    assert rows["leftHand"].endswith("  no opposite")
    assert rows["right_wrist"].endswith("  no opposite")
    assert rows["hip.L"].endswith("  R_Hip")
    assert rows["R_Hip"].endswith("  hip.L")
    assert rows["nose"].split()[0] == "0"
    assert "\x1b" not in printed.out
    assert "leftHand, right_wrist" in printed.err
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main([recipe, *options, "--check"]) == 2
    red = re.findall(r"\x1b\[31m *\d+  (\S+)  .*no opposite\x1b\[0m\n", capsys.readouterr().out)
    assert red == ["leftHand", "right_wrist"]
    monkeypatch.setenv("NO_COLOR", "1")
    assert main([recipe, *options, "--check"]) == 2
    assert "\x1b" not in capsys.readouterr().out


def flip_of(options, *overrides):
    """The mirroring transform of a pose run."""
    config = load_config("demo_pose", [*options, *overrides])
    entry = model_config(config)
    people = load_annotations(config, entry)
    dataset = build_dataset(config, people, create_model(config.model, skeleton=people.skeleton).config)
    (flip,) = [transform for transform in dataset.transform.transforms if isinstance(transform, RandomFlip)]
    return flip


def swapped(flip):
    order = mirrored_order(flip.flip_pairs, 17)
    return {own: other for own, other in enumerate(order) if own != other}


def test_weights_say_that_no_keypoints_swap(people, tmp_path):
    """So that the flip test takes them."""
    config = load_config("demo_pose", [*renamed(people, tmp_path, UNPAIRED), "data.flip_pairs=[]"])
    skeleton = load_annotations(config, model_config(config)).skeleton
    assert skeleton.unpaired_names() == ()
    assert skeleton.mirrored_order() == list(range(17))
    assert Skeleton.from_json(json.loads(json.dumps(dataclasses.asdict(skeleton)))) == skeleton


def test_told_pairs_are_used(people, tmp_path):
    options = renamed(people, tmp_path, UNPAIRED)
    flip = flip_of(options, "data.flip_pairs=[[leftHand, 10], [hip.L, R_Hip]]")
    assert (flip.p, swapped(flip)) == (0.5, {9: 10, 10: 9, 11: 12, 12: 11})
    flip = flip_of(options, "data.flip_pairs=[]")
    assert (flip.p, swapped(flip)) == (0.5, {})
    assert flip_of(options, "augmentation.flip=0").p == 0
    with pytest.raises(ConfigError, match="leftHand, right_wrist"):
        flip_of(options)


def test_numbered_keypoints_are_not_mirrored(people, tmp_path, capsys):
    """Nothing is known of their sides, and nothing to report."""
    names = json.loads((people / "train.json").read_text())["categories"][0]["keypoints"]
    options = renamed(people, tmp_path, {name: f"keypoint_{index}" for index, name in enumerate(names)})
    assert flip_of(options).p == 0
    assert flip_of(options, "data.flip_pairs=[]").p == 0.5
    assert main(["demo_pose", *options, "--check"]) == 0
    printed = capsys.readouterr().out
    assert "images are not mirrored: no name says which keypoints swap" in printed
    assert "no opposite" not in printed


def test_flip_test_of_a_network_without_pairs(people, tmp_path, capsys):
    skeleton = Skeleton("own", ("nose", "hand_l", "left_foot", "rightFoot"), flip_pairs=((2, 3),))
    network = create_model("tinypose_128x96", skeleton=skeleton)
    save_safetensors(network, tmp_path / "own.safetensors", describe_changes(network.config))
    options = ["--weights", tmp_path / "own.safetensors", "--annotations", people / "val.json", "--images", people]
    assert tinypose(["evaluate", "--pose", "tinypose_128x96", *map(str, options), "--flip"]) != 0
    error = capsys.readouterr().err
    assert "--flip: the weights do not say which keypoints are the opposites of hand_l; leave out --flip" in error


@pytest.mark.parametrize(
    ("names", "upper", "given", "p", "least"),
    [
        (None, None, None, 0.3, 9),
        (None, None, 5, 0.3, 5),
        (("nose", "left_eye", "right_eye", "left_hip", "right_hip", "left_knee"), None, None, 0.3, 4),
        (("hoof", "tail", "mane", "withers"), None, None, 0.0, 3),
        (("hoof", "tail", "mane", "withers"), ("mane", "withers"), 4, 0.3, 4),
        (("nose", "left_eye"), None, None, 0.0, 2),
    ],
)
def test_half_bodies_of_small_skeletons(names, upper, given, p, least):
    """PaddleDetection's more than 8 of 17; of few keypoints more than half; none where all are of one half."""
    skeleton = Skeleton("own", names) if names else None
    overrides = [f"augmentation.half_body_min_keypoints={given}" if given else "seed=0", "augmentation.half_body=0.3"]
    if upper:
        overrides.append(f"augmentation.upper_body=[{', '.join(upper)}]")
    options = load_config("demo_pose", overrides).augmentation
    half_body = build_transform(options, create_model("tinypose_128x96", skeleton=skeleton).config).transforms[0]
    assert (half_body.p, half_body.min_keypoints) == (p, least)


def test_half_body_of_few_keypoints_is_cut_out():
    """With 8 keypoints, of which 5 are labelled: never before, as PaddleDetection wants more than 8."""
    visible = [1, 1, 1, 0, 0, 0, 1, 1]
    keypoints = np.stack([np.arange(8), 3 * np.arange(8), visible], axis=1).astype(np.float32)
    for least, box in ((5, [0.2, 0.6, 1.8, 5.4]), (6, [10, 10, 90, 90])):
        half = RandomHalfBody(range(4), least, margin=1.0, p=1.0)
        compose = A.Compose([half], A.BboxParams("pascal_voc"), A.KeypointParams("xy", remove_invisible=False))
        cut = compose(
            image=np.zeros((100, 100, 3), np.uint8), keypoints=keypoints, bboxes=np.float32([[10, 10, 90, 90]])
        )
        np.testing.assert_allclose(cut["bboxes"], [box], atol=1e-4)
