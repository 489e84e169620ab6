"""Bottom-up poses: grouping and resizing against PaddleDetection's, the whole estimator, and evaluation."""

import json

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from recordings import Recording, read_json, read_manifest, recording

pytest.importorskip("timm")

import tinypose_torch.estimators.bottom_up
from tinypose_torch import BottomUpEstimator, Skeleton, create_model
from tinypose_torch.checkpoints.files import save_safetensors
from tinypose_torch.cli import main
from tinypose_torch.codecs.associative_embedding import GroupingConfig, find_peaks, group_joints
from tinypose_torch.estimators.bottom_up import full_size_maps, group_poses
from tinypose_torch.estimators.preprocessing import resized_size, whole_image
from tinypose_torch.evaluation.bottom_up import bottom_up_results
from tinypose_torch.evaluation.coco import STATISTICS, keypoint_accuracy
from tinypose_torch.export import ExportOptions, export_model

NAME = "higherhrnet_w32_512"


def doubled(maps):
    return F.interpolate(torch.from_numpy(maps), scale_factor=2.0, mode="bilinear", align_corners=False).numpy()


@pytest.mark.parametrize("case", range(6))
def test_recorded_groups(case):
    recorded = Recording("postprocess/higherhrnet_parse.npz")
    heatmaps, tags, (height, width), heats, places, expected, expected_scores = (
        recorded[f"case{case}.{key}"]
        for key in ("heatmap", "tagmaps", "image_hw", "topk_heat", "topk_index", "poses", "pose_scores")
    )
    heatmaps, tags = doubled(heatmaps)[0], np.stack([doubled(one)[0] for one in tags])
    peaks = find_peaks(heatmaps, 30)
    real = places[0] >= 0
    assert np.array_equal(peaks.scores[real], heats[0][real])
    strong = heats[0] > GroupingConfig().score_threshold  # among the weak ones there are ties
    assert np.array_equal(peaks.places[strong], places[0][strong])
    poses, scores = group_joints(heatmaps, tags)
    assert len(poses) == len(expected)
    if len(poses):
        crop = whole_image(np.zeros((int(height), int(width), 3), np.uint8), heatmaps.shape[1:])
        in_image = poses[..., :2] * crop.scales[0] + crop.offsets[0]
        assert np.abs(in_image - expected[..., :2]).max() < 1e-3
        assert np.abs(poses[..., 2] - expected[..., 2]).max() < 1e-6
        assert np.abs(scores - expected_scores).max() < 1e-6


@pytest.mark.parametrize("number", range(4))
def test_recorded_resizing(number):
    recorded = Recording("transforms/bottomup_eval_affine.npz")
    image = recorded[f"img{number}"]
    size = resized_size(image.shape[:2], 128)
    crop = whole_image(image, size)
    assert np.abs(crop.matrices[0] - recorded[f"matrix{number}"]).max() < 1e-4
    shown = cv2.warpAffine(image, crop.matrices[0], size[::-1], flags=cv2.INTER_LINEAR)
    assert recorded.equals(f"out{number}", shown)


def test_recorded_flip_test(filler, tmp_path):
    manifest = read_manifest("higherhrnet_hrnet_w32_512")
    recorded = Recording("models/higherhrnet_hrnet_w32_512/io.npz")
    filler.save_pdparams(filler.build(manifest), tmp_path / "x.pdparams")
    network = create_model(NAME, weights=tmp_path / "x.pdparams")
    x = torch.from_numpy(filler.manifest_input(manifest))
    with torch.inference_mode():
        heatmaps, tags = (maps.numpy() for maps in network(torch.cat([x, x.flip(3)])).combined())
    plain = full_size_maps(heatmaps[:1], tags[:1], network.config.skeleton)[0]
    assert recorded.difference("noflip.heatmap_sub2", plain[None, :, ::2, ::2]) <= 1e-4
    mean, both = full_size_maps(heatmaps, tags, network.config.skeleton)
    assert recorded.difference("flip.heatmap_sub2", mean[None, :, ::2, ::2]) <= 1e-4
    assert recorded.difference("flip.tagmap_sub2", both.transpose(1, 2, 3, 0)[None, :, ::2, ::2]) <= 1e-4


def test_recorded_accuracy():
    """The same predictions as the top-down ones, but neither rescored nor filtered by OKS-NMS."""
    recorded = Recording("evaluation/topdown_predictions.npz")
    expected = read_json("evaluation/expected.json")["bottomup"]
    records = []
    for image_id, pose in zip(recorded["image_id"], recorded["keypoints"], strict=True):
        records += bottom_up_results(int(image_id), pose[None], pose[None, :, 2].mean(axis=1))
    assert len(records) == expected["num_results"]
    for two in expected["first"]:
        (one,) = [r for r in records if r["image_id"] == two["image_id"] and abs(r["score"] - two["score"]) < 1e-6]
        assert one["bbox"] == pytest.approx(two["bbox"], rel=1e-6)
        assert one["area"] == pytest.approx(two["area"], rel=1e-6)
    found = keypoint_accuracy(recording("evaluation/coco_gt.json"), records)
    assert np.allclose([found[name] for name in STATISTICS], expected["stats"], atol=1e-6)


def maps_of(people, size=(40, 60)):
    """Heatmaps and tags with one hot cell per joint of every person: ``people`` has a tag and {joint: (x, y)} each."""
    heatmaps, tags = np.zeros((3, *size), np.float32), np.zeros((1, 3, *size), np.float32)
    for tag, joints in people:
        for joint, (x, y) in joints.items():
            heatmaps[joint, y, x], tags[0, joint, y, x] = 0.9, tag
    return heatmaps, tags


def test_more_people_than_the_limit():
    """Later people are found, but only the first ones get more joints."""
    people = [(float(5 * number), {0: (3 * number, 5), 1: (3 * number, 20)}) for number in range(4)]
    heatmaps, tags = maps_of(people)
    assert [int((pose[:, 2] > 0.5).sum()) for pose in group_joints(heatmaps, tags)[0]][:4] == [2, 2, 2, 2]
    few, _ = group_joints(heatmaps, tags, GroupingConfig(max_people=2))
    assert len(few) == 2, "no more peaks than people of each joint"


def test_weak_peaks_and_nothing():
    heatmaps, tags = maps_of([(0.0, {0: (5, 5)})])
    assert len(group_joints(heatmaps * 0.1, tags)[0]) == 0
    assert group_joints(np.zeros_like(heatmaps), tags)[0].shape == (0, 3, 3)


def test_two_people_whose_joints_are_mixed():
    heatmaps, tags = maps_of([(0.0, {0: (5, 5), 1: (50, 30)}), (3.0, {0: (50, 5), 1: (5, 30)})])
    (one, two), scores = group_joints(heatmaps, tags)
    assert np.allclose(one[:2, :2], [[5.25, 5.25], [50.25, 30.25]], atol=0.26)
    assert np.allclose(two[:2, :2], [[50.25, 5.25], [5.25, 30.25]], atol=0.26)
    assert scores == pytest.approx([0.6, 0.6])


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = create_model(NAME)
    with torch.no_grad():  # high values everywhere, so that there are peaks
        network.fine.bias.fill_(0.5)
    path = tmp_path / "w.safetensors"
    save_safetensors(network, path, {"model": NAME})
    return path


@pytest.mark.slow
def test_predict_and_evaluate(weights, tmp_path, capsys):
    """The same commands as for top-down networks, and clear refusals of what has no meaning here."""
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(photo)
    base = ["predict", str(photo), "--pose", NAME, "--pose-weights", str(weights)]
    assert main([*base, "--output", str(tmp_path / "out"), "--json", str(tmp_path / "poses.json")]) == 0
    (record,) = json.loads((tmp_path / "poses.json").read_text())
    assert record["image"] == str(photo)
    assert len(record["poses"]) > 1
    assert (tmp_path / "out/photo.png").is_file()
    for wrong, message in (
        (["--backend", "onnx"], "backend 'onnx' runs exported files"),
        (["--detection-threshold", "0.5"], "a bottom-up network"),
    ):
        assert main([*base, *wrong]) == 2
        assert message in capsys.readouterr().err
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [10, 10, 40, 40], "area": 900}
    person |= {"num_keypoints": 17, "keypoints": [20.0, 20.0, 2] * 17}
    images = [{"id": number, "file_name": "photo.jpg", "width": 96, "height": 64} for number in (1, 2)]
    category = {"id": 1, "name": "person", "keypoints": list(create_model(NAME).config.skeleton.keypoint_names)}
    truth = {"images": images, "annotations": [person], "categories": [category]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    evaluate = ["evaluate", "--pose", NAME, "--weights", str(weights), "--annotations", str(tmp_path / "truth.json")]
    evaluate += ["--images", str(tmp_path)]
    assert main([*evaluate, "--limit", "1", "--json", str(tmp_path / "accuracy.json")]) == 0
    assert 0 <= json.loads((tmp_path / "accuracy.json").read_text())["AP"] <= 1
    assert main([*evaluate, "--decoding", "plain"]) == 2
    assert "a bottom-up network" in capsys.readouterr().err


def test_wrong_networks(tmp_path):
    save_safetensors(create_model("tinypose_128x96"), tmp_path / "t.safetensors", {"model": "tinypose_128x96"})
    with pytest.raises(ValueError, match="not a bottom-up network"):
        BottomUpEstimator("tinypose_128x96", tmp_path / "t.safetensors")


def test_other_skeletons():
    network = create_model(NAME, skeleton=Skeleton("x", ("a", "b")))
    heatmaps, tags = network(torch.zeros(1, 3, 64, 64)).combined()
    assert heatmaps.shape == tags.shape == (1, 2, 32, 32)


@pytest.mark.slow
def test_exported_file_of_one_size(tmp_path, monkeypatch):
    """Photos of the file's shape give the network's maps, which are compared before they are grouped: peaks of random
    weights tie. Others are fitted in."""
    grouped = []

    def record(heatmaps, tags, options):
        grouped.append((heatmaps, tags))
        return group_joints(*grouped[0], options)

    monkeypatch.setattr(tinypose_torch.estimators.bottom_up, "group_joints", record)
    torch.manual_seed(0)
    weights, exported = tmp_path / "w.safetensors", tmp_path / "x.torchscript"
    network = create_model("higherhrnet_w16_192")
    save_safetensors(network, weights, {"model": "higherhrnet_w16_192"})
    wide = create_model("higherhrnet_w16_192", weights=weights, input_size=(192, 256))
    export_model(wide, exported, ExportOptions("torchscript"))
    images = [
        np.random.default_rng(n).integers(0, 256, size, np.uint8) for n, size in enumerate([(96, 128, 3), (128, 96, 3)])
    ]
    fixed = BottomUpEstimator("higherhrnet_w16_192", exported, flip=False)
    assert fixed.pose_runner.backend == "torchscript"
    assert fixed.pose_runner.metadata.config == wide.config
    eager = BottomUpEstimator("higherhrnet_w16_192", weights, flip=False)
    expected = group_poses(eager.pose_runner, images[0], flip=False)
    same, tall = (group_poses(fixed.pose_runner, image, flip=False) for image in images)
    for found, wanted in zip(grouped[1], grouped[0], strict=True):
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert len(same[0]) == len(expected[0]) > 0
    assert np.abs(same[0] - expected[0]).max() < 1e-2
    assert tall[0][..., 0].max() < 128 + 96, "in pixels of the photo, at most as far out as the black beside it"
    with pytest.raises(ValueError, match="runs exported files"):
        BottomUpEstimator("higherhrnet_w16_192", weights, "onnx")


@pytest.mark.slow
def test_export_command(tmp_path, capsys):
    weights, output = tmp_path / "w.safetensors", tmp_path / "x.torchscript"
    save_safetensors(create_model("higherhrnet_w16_192"), weights, {"model": "higherhrnet_w16_192"})
    base = [
        "export",
        "higherhrnet_w16_192",
        "--format",
        "torchscript",
        "--weights",
        str(weights),
        "--output",
        str(output),
    ]
    assert main([*base, "--input-size", "64", "96"]) == 0
    receipt = json.loads((tmp_path / "x.torchscript.receipt.json").read_text())
    (network,) = receipt["networks"]
    assert network["differences"]["heatmap"] < 1e-4
    assert network["description"]["input"]["size"] == [64, 96]
    assert "tags" in network["description"]["output"]
    capsys.readouterr()
    assert main([*base, "--input-size", "64", "100"]) == 2
    assert "multiples of 32" in capsys.readouterr().err
    Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(tmp_path / "black.png")
    predict = ["predict", str(tmp_path / "black.png"), "--pose", "higherhrnet_w16_192", "--pose-weights", str(output)]
    assert main([*predict, "--backend", "torchscript", "--json", str(tmp_path / "poses.json")]) == 0
