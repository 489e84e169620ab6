"""From photos to poses: PaddleDetection's answers, and arguments that are refused."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from conftest import REAL, REAL_PAIRS, gradient_image

from tinypose_torch import ImageError, PoseEstimator, Poses, UnknownModelError, create_model
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.estimators.detection import select_detections
from tinypose_torch.estimators.preprocessing import crop_people, resize_for_detector
from tinypose_torch.geometry.crops import evaluation_crops
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.models.registry import get_config
from tinypose_torch.utils.images import load_image

VISIBLE = 0.2


def genuine(model):
    return REAL / "weights" / f"{model}.pdparams"


@pytest.fixture(scope="module")
def estimators():
    return {
        folder: PoseEstimator(detector, pose, genuine(detector), genuine(pose))
        for folder, (detector, pose) in REAL_PAIRS.items()
    }


def expected_answers():
    return sorted((REAL / "expected").glob("picodet*/*.json"))


@pytest.mark.needs_reference
@pytest.mark.parametrize("file", expected_answers(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_photos_give_the_originals_answers(file, estimators):
    estimator = estimators[file.parent.name]
    facts = json.loads(file.read_text())
    image = load_image(REAL / "images" / facts["image"])
    found = estimator.detect(image)
    recorded = np.array(facts["detections_all"]).reshape(-1, 6)
    assert np.abs(found.boxes - recorded[:, 2:]).max(initial=0) <= 0.003
    assert np.abs(found.scores - recorded[:, 1]).max(initial=0) < 1e-4
    poses = estimator(image)
    assert len(poses) == len(facts["persons"])
    for index, person in enumerate(facts["persons"]):
        assert np.abs(poses.boxes[index] - person["det"][2:]).max() <= 0.003
        check_keypoints(poses, index, person["keypoints"])
    annotated = facts.get("gt_box_persons", [])
    if annotated:
        given = estimator(image, boxes=[person["box_int"] for person in annotated])
        assert given.scores.tolist() == [1.0] * len(annotated)
        for index, person in enumerate(annotated):
            check_keypoints(given, index, person["keypoints"])


def check_keypoints(poses, index, keypoints):
    expected = np.array(keypoints)
    visible = expected[:, 2] > VISIBLE
    assert np.abs(poses.keypoints[index] - expected[:, :2])[visible].max(initial=0) <= 0.0004
    assert np.abs(poses.keypoint_scores[index] - expected[:, 2]).max() <= 6e-5


@pytest.mark.needs_reference
@pytest.mark.parametrize("folder", REAL_PAIRS)
@pytest.mark.parametrize("photo", ["hrnet_demo", "coco_000000000785"])
def test_network_inputs_bit_for_bit(folder, photo, estimators):
    estimator = estimators[folder]
    size = 192 if "192" in folder.split("_")[0] else 320
    recorded = np.load(REAL / f"expected/tensors_{size}.npz")
    image = load_image(REAL / f"images/{photo}.jpg")
    detector, pose = estimator.detector_config, estimator.pose_config
    resized = resize_for_detector(image, detector)
    assert np.array_equal(normalize(resized, detector.mean, detector.std), recorded[f"{size}_{photo}_det_input"])
    crops = estimator.make_crops(image, estimator(image).boxes)
    people = crop_people(image, crops, pose)
    assert np.array_equal(normalize(people, pose.mean, pose.std), recorded[f"{size}_{photo}_kp_input"])
    (heatmaps,) = estimator.pose_runner.run(recorded[f"{size}_{photo}_kp_input"])
    assert np.abs(heatmaps - recorded[f"{size}_{photo}_heatmaps"]).max() < 2e-5


@pytest.mark.needs_reference
@pytest.mark.parametrize("model", ["tinypose_128x96", "tinypose_256x192"])
def test_evaluation_path(model):
    """Annotated boxes through evaluation's crops."""
    estimator = PoseEstimator(None, model, pose_weights=genuine(model), crop="evaluation")
    height, width = estimator.pose_config.input_size
    people = json.loads((REAL / f"expected/eval_gtbox_{model}.json").read_text())["given_all5"]
    assert len(people) > 5
    for person in people:
        image = load_image(REAL / "images" / person["file"])
        crops = evaluation_crops(
            np.array([person["center"]], np.float32),
            np.array([person["scale"]], np.float32),
            image.shape[:2],
            (height, width),
            (height // 4, width // 4),
            udp=True,
        )
        (heatmaps,) = estimator.pose_runner(crop_people(image, crops, estimator.pose_config))
        coordinates, scores = decode_heatmaps(heatmaps)
        expected = np.array(person["keypoints"])
        visible = expected[:, 2] > VISIBLE
        assert np.abs(crops.to_image(coordinates)[0] - expected[:, :2])[visible].max() <= 0.0019
        assert np.abs(scores[0] - expected[:, 2]).max() <= 1.2e-4


@pytest.mark.needs_reference
@pytest.mark.parametrize("photo", ["hrnet_demo", "coco_000000000785"])
@pytest.mark.parametrize(
    ("model", "size", "prefix"),
    [
        ("picodet_s_192_lcnet_pedestrian", 192, "det_raw"),
        ("picodet_s_320_lcnet_pedestrian", 320, "det_raw"),
        ("picodet_s_192_pedestrian", 192, "esnet_raw"),
    ],
)
def test_raw_detector_outputs(model, size, prefix, photo):
    """Scores and box logits of every level on the recorded input, before decoding."""
    recorded = np.load(REAL / f"expected/tensors_{size}.npz")
    network = create_model(model, weights=genuine(model))
    with torch.inference_mode():
        levels = network(torch.from_numpy(recorded[f"{size}_{photo}_det_input"]))
    for index, level in enumerate(levels):
        scores = torch.sigmoid(level.cls_logit)
        if level.align_logit is not None:
            scores = torch.sqrt(scores * torch.sigmoid(level.align_logit) + 1e-9)
        for name, value in (("score", scores), ("reg", level.box_logit)):
            expected = recorded[f"{size}_{photo}_{prefix}_{name}_l{index}"]
            assert np.abs(value.flatten(2).transpose(1, 2).numpy() - expected).max() < 1e-4


@pytest.mark.needs_reference
def test_legacy_detector_finds_the_same_people():
    """The 2021 detector, deployed without post-processing in its network."""
    estimator = PoseEstimator(
        "picodet_s_192_pedestrian", "tinypose_128x96", genuine("picodet_s_192_pedestrian"), genuine("tinypose_128x96")
    )
    poses = estimator(REAL / "images/hrnet_demo.jpg")
    facts = json.loads((REAL / "expected/picodet192_tinypose128x96/hrnet_demo.json").read_text())
    assert len(poses) == len(facts["persons"]) == 1
    assert np.abs(poses.boxes[0] - facts["persons"][0]["det"][2:]).max() < 15


@pytest.mark.needs_reference
@pytest.mark.parametrize("crop", ["evaluation", "consistent"])
def test_other_crop_rules_agree_with_deployment_to_a_cell_or_two(crop, estimators):
    folder = "picodet320_tinypose256x192"
    detector, pose = REAL_PAIRS[folder]
    other = PoseEstimator(detector, pose, genuine(detector), genuine(pose), crop=crop)
    image = load_image(REAL / "images/coco_000000000785.jpg")
    one, two = estimators[folder](image), other(image)
    visible = (one.keypoint_scores > 0.5) & (two.keypoint_scores > 0.5)
    distance = np.linalg.norm(one.keypoints - two.keypoints, axis=-1)[visible]
    assert np.median(distance) < 5


# --- without reference data: random weights --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    names = {"detector": "picodet_s_192_lcnet_pedestrian", "pose": "tinypose_128x96"}
    for name in names.values():
        torch.manual_seed(0)
        save_safetensors(create_model(name), folder / f"{name}.safetensors", {"model": name})
    return {
        **names,
        **{f"{role}_weights": folder / f"{name}.safetensors" for role, name in names.items()},
    }


@pytest.fixture(scope="module")
def random_estimator(random_weights):
    return PoseEstimator(**random_weights)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (33, 31), (2000, 3000)])
def test_every_image_size(size, random_estimator):
    image = gradient_image(*size)
    assert isinstance(random_estimator(image), Poses)
    poses = random_estimator(image, boxes=[[0, 0, size[1], size[0]]])
    assert poses.keypoints.shape == (1, 17, 2)
    assert np.isfinite(poses.keypoints).all()


def test_image_without_people(random_weights):
    poses = PoseEstimator(**random_weights, detection_threshold=1.0)(gradient_image())
    assert len(poses) == 0
    assert poses.keypoints.shape == (0, 17, 2)


def test_list_of_images(random_estimator):
    images = [gradient_image(40, 60), gradient_image(60, 40)]
    boxes = [[[0, 0, 30, 30]], [[0, 0, 30, 30], [5, 5, 30, 60]]]
    results = random_estimator(images, boxes=boxes)
    assert [len(poses) for poses in results] == [1, 2]
    assert random_estimator([]) == []
    with pytest.raises(ValueError, match="2 images, but boxes of 1"):
        random_estimator(images, boxes=boxes[:1])


def test_people_are_independent_of_their_batch(random_weights):
    """One batch or many, the answers are the same; convolutions may round differently."""
    image = gradient_image(200, 300)
    boxes = [[10 * i, 5 * i, 10 * i + 60, 5 * i + 90] for i in range(9)]
    together = PoseEstimator(None, random_weights["pose"], pose_weights=random_weights["pose_weights"])(image, boxes)
    apart = PoseEstimator(None, random_weights["pose"], pose_weights=random_weights["pose_weights"], batch_size=2)
    assert np.allclose(together.keypoint_scores, apart(image, boxes).keypoint_scores, atol=1e-5)


def test_stream(random_estimator, tmp_path):
    from PIL import Image

    Image.fromarray(gradient_image()).save(tmp_path / "a.png")
    ((frame, poses),) = random_estimator.stream(tmp_path)
    assert frame.source == str(tmp_path / "a.png")
    assert isinstance(poses, Poses)


@pytest.mark.slow
def test_300_people(random_estimator):
    boxes = np.stack([np.array([i, i, i + 20, i + 40]) for i in range(300)])
    poses = random_estimator(gradient_image(400, 400), boxes=boxes)
    assert len(poses) == 300


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3, 4], r"shape \(4,\); expected \(N, 4\)"),
        ([[1, 2, 3]], "shape"),
        ([[30, 0, 10, 10]], "box 0 is .*expected x1 < x2"),
        ([[0, 0, 10, 10], [0, 0, np.nan, 10]], "box 1"),
        ([[0, 0, np.inf, 10]], "box 0"),
        ([[500, 500, 600, 600]], "lies outside the 160x120 image"),
        ([[-20, -20, 0, 0]], "lies outside"),
    ],
)
def test_bad_boxes(boxes, message, random_estimator):
    with pytest.raises(ValueError, match=message):
        random_estimator(gradient_image(), boxes=boxes)


def test_no_boxes_given(random_estimator):
    assert len(random_estimator(gradient_image(), boxes=[])) == 0


def test_without_a_detector(random_weights):
    estimator = PoseEstimator(None, random_weights["pose"], pose_weights=random_weights["pose_weights"])
    assert len(estimator(gradient_image(), boxes=[[0, 0, 50, 50]])) == 1
    whole = estimator(gradient_image())
    assert whole.boxes.tolist() == [[0, 0, 160, 120]]
    assert whole.scores.tolist() == [1]
    with pytest.raises(ValueError, match="has no detector"):
        estimator.detect(gradient_image())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"detection_threshold": 1.5}, ValueError, "detection_threshold=1.5; expected 0 to 1"),
        ({"detection_threshold": -0.1}, ValueError, "expected 0 to 1"),
        ({"detection_threshold": float("nan")}, ValueError, "expected 0 to 1"),
        ({"crop": "deploi"}, ValueError, "unknown crop rule 'deploi'"),
        ({"resize": "area"}, ValueError, "unknown resize 'area'; choose one of opencv, portable"),
        ({"decoding": "none"}, ValueError, "unknown decoding 'none'"),
        (
            {"backend": "tensorrt"},
            ValueError,
            "unknown backend 'tensorrt'; choose one of auto, eager, torchscript, executorch, onnx",
        ),
        ({"device": "cuda:99"}, ValueError, "device 'cuda:99' cannot be used"),
        ({"device": "toaster"}, ValueError, "device 'toaster' cannot be used"),
        ({"batch_size": 0}, ValueError, "at least 1"),
        ({"pose": "tinypose"}, UnknownModelError, "did you mean 'tinypose_"),
        ({"pose": "tinypose_256x192", "pose_weights": None}, OSError, "could not download"),
        ({"pose_weights": "missing.pdparams"}, FileNotFoundError, "missing.pdparams"),
    ],
)
def test_bad_arguments(change, error, message, random_weights):
    with pytest.raises(error, match=message):
        PoseEstimator(**{**random_weights, **change})


def test_models_of_the_wrong_task(random_weights):
    with pytest.raises(ValueError, match="tinypose_128x96 is not a detector"):
        PoseEstimator(
            random_weights["pose"],
            random_weights["pose"],
            random_weights["pose_weights"],
            random_weights["pose_weights"],
        )


def test_bad_images(random_estimator, tmp_path):
    with pytest.raises(ImageError, match="dtype float32"):
        random_estimator(gradient_image().astype(np.float32))
    with pytest.raises(FileNotFoundError):
        random_estimator(tmp_path / "none.jpg")


def test_normalisation(random_estimator):
    """The table gives (x / 255 - mean) / std of every value."""
    entry = random_estimator.pose_config
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = (values / 255 - np.array(entry.mean)) / np.array(entry.std)
    assert np.abs(normalize(values[None], entry.mean, entry.std)[0].transpose(1, 2, 0) - expected).max() < 1e-6


@pytest.mark.parametrize("name", ["ppyolov2_r50vd_dcn", "fairmot_dla34"])
def test_server_systems_find_boxes(name, tmp_path):
    """With random weights, on a wide and a high image."""
    torch.manual_seed(0)
    network = create_model(name, input_size=(96, 160), class_names=("person",))
    if name == "fairmot_dla34":
        torch.nn.init.constant_(network.heatmap[2].bias, 2.0)
    save_safetensors(network, tmp_path / "x.safetensors", describe_changes(network.config))
    estimator = PoseEstimator(name, "tinypose_128x96", tmp_path / "x.safetensors", random_pose(tmp_path))
    for size in ((200, 500), (500, 200)):
        image = gradient_image(*size)
        found = estimator.detect(image)
        assert len(found)
        assert np.isfinite(found.boxes).all()
        if name == "ppyolov2_r50vd_dcn":  # which clips
            assert (found.boxes >= 0).all()
            assert (found.boxes <= [size[1] - 1, size[0] - 1] * 2).all()
        people = estimator.detect_people(image, 0.02)
        person = found.class_ids == estimator.detector_config.person_class
        same = found[person & (found.scores > 0.02)]
        assert np.allclose(np.sort(people.scores), np.sort(same.scores), atol=1e-6)
        assert (found.embeddings is None) == (name != "fairmot_dla34")
        if found.embeddings is not None:
            assert np.allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-5)


def random_pose(folder):
    """Weights of a pose network as it is built."""
    save_safetensors(create_model("tinypose_128x96"), folder / "pose.safetensors", {"model": "tinypose_128x96"})
    return folder / "pose.safetensors"


def test_letterbox():
    """As large as fits, in the middle, grey beside it; points of the input find back to the image."""
    entry = dataclasses.replace(get_config("fairmot_dla34"), input_size=(96, 160))
    image = gradient_image(300, 250)
    letter = resize_for_detector(image, entry)
    assert letter.shape == (1, 96, 160, 3)
    assert (letter[0, :, :40] == 128).all()
    assert (letter[0, :, 120:] == 128).all()
    assert (
        np.abs(letter[0, :, 40:120].astype(int) - cv2.resize(image, (80, 96), interpolation=cv2.INTER_AREA)).max() == 0
    )
    corners = np.array([[40, 0, 120, 96]], np.float32)
    found = select_detections(np.ones((1, 1), np.float32), corners, entry, (300, 250))
    assert found.boxes.tolist() == [[0, 0, 250, 300]]
