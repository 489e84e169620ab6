"""The frame program computes what the estimator computes, before any format has a part in it."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from conftest import DEMO_WEIGHTS

from tinypose_torch import AppEstimator, CheckpointError, PoseEstimator, PoseTracker, Skeleton, create_model
from tinypose_torch.estimators import app as app_module
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.estimators.detection import select_detections
from tinypose_torch.export import export_app
from tinypose_torch.export.app.columns import ColumnGroups, column_resize
from tinypose_torch.export.app.detection import PeopleSelection, RowBlend, Taps
from tinypose_torch.export.app.people import CropRule, PosePart, crop_pixels
from tinypose_torch.export.app.pixels import pixel_reader
from tinypose_torch.geometry.crops import deploy_regions, region_crops
from tinypose_torch.geometry.portable import resize_cubic, warp_affine
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.app import open_app
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.runtime.metadata import ExportMetadata, read_methods
from train.synthetic.scenes import render_scene

from .app_helpers import DETECTOR, POSE, EagerApp, check_people, describe, estimator, frames, networks

FRAME = (120, 160)


@pytest.fixture(scope="module")
def scene():
    """A rendered picture with people, as a frame of 240 x 320."""
    return letterbox(render_scene(np.random.default_rng([77, 1]))[0], (240, 320)).frame


@pytest.fixture(scope="module")
def demo_networks():
    return networks(DEMO_WEIGHTS.get)


@pytest.fixture(scope="module")
def demo_app(demo_networks):
    pose, detector = demo_networks
    return EagerApp(describe(pose, detector, (240, 320)), pose, detector)


@pytest.mark.parametrize(
    ("source", "in_groups"), [((480, 640), True), ((480, 600), True), ((96, 200), False), ((33, 700), False)]
)
def test_resize_in_tensors(source, in_groups):
    frame = np.random.default_rng(0).integers(0, 256, (*source, 3), dtype=np.uint8)
    (height, width), target = source, (192, 192 if in_groups else 160)
    reader = pixel_reader("rgb", source)
    read, blend = column_resize(width, target[1], reader)
    assert isinstance(blend, ColumnGroups) == in_groups
    columns = blend(*read(torch.from_numpy(frame)))
    found = RowBlend(height, target[0])(*Taps(0, height, target[0])(columns))
    assert np.array_equal(found.numpy(), resize_cubic(frame, target))


@pytest.mark.parametrize("name", ["tinypose_128x96", "tinypose_256x192"])
def test_crops_by_gathers(name):
    """Boxes of all shapes, also beyond the frame, empty and upside down: regions, pixels, and the way back."""
    config, rng = get_config(name), np.random.default_rng(1)
    frame = rng.integers(0, 256, (*FRAME, 3), dtype=np.uint8)
    starts = rng.uniform(-30, 170, (30, 2))
    boxes = np.concatenate([starts, starts + rng.uniform(-5, 120, (30, 2))], axis=1).astype(np.float32)
    boxes[:2] = [[0, 0, 0, 0], [0, 0, 160, 120]]
    crops = region_crops(deploy_regions(boxes.astype(np.float64), FRAME), config.input_size, config.heatmap_size)
    found = CropRule(FRAME, config)(torch.from_numpy(boxes))
    reader = pixel_reader("rgb", FRAME)
    part = PosePart(torch.nn.Identity(), config, reader)
    for row, (x1, y1, x2, y2) in enumerate(crops.regions):
        parts = crop_pixels(torch.from_numpy(frame), found.taps[row], config.input_size, reader)
        pixels = part.blend(*(each.unsqueeze(0) for each in parts))[0]
        expected = warp_affine(frame[y1:y2, x1:x2], crops.matrices[row], config.input_size)
        assert np.array_equal(pixels.numpy(), expected), boxes[row]
    assert np.allclose(found.scale[:, 0].numpy(), crops.scales[:, :1], rtol=1e-6)
    assert np.allclose(found.offset[:, 0].numpy(), crops.offsets, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["picodet_s_192_lcnet_pedestrian", "picodet_s_192_pedestrian", "picodet_xs_320_coco_lcnet"]
)
@pytest.mark.parametrize("max_people", [1, 4, 8])
def test_selection_is_the_estimators_nms(name, max_people):
    """Of one class and of eighty, and with the clipping of the detectors of 2021."""
    config, rng = get_config(name), np.random.default_rng(2)
    count = sum((-(-config.input_size[0] // stride)) ** 2 for stride in config.strides)
    centres = rng.choice(rng.uniform(20, 170, (12, 2)), count) + rng.normal(0, 6, (count, 2))
    sizes = rng.uniform(20, 60, (count, 2))
    boxes = np.concatenate([centres - sizes, centres + sizes], axis=1).astype(np.float32)
    scores = (rng.random((count, len(config.class_names))) ** 8).astype(np.float32)
    selection = PeopleSelection(config, FRAME, max_people, 0.5)
    found, best = (each.numpy() for each in selection(torch.from_numpy(scores)[None], torch.from_numpy(boxes)[None]))
    strict = dataclasses.replace(config, nms=dataclasses.replace(config.nms, score_threshold=0.5, max_detections=None))
    people = select_detections(scores, boxes, strict, FRAME)
    people = people[people.class_ids == config.person_class][:max_people]
    assert np.array_equal(best[: len(people)], people.scores)
    assert np.abs(found[: len(people)] - people.boxes).max() < 1e-4
    assert not best[len(people) :].any()


def test_frame_without_candidates():
    config = get_config(DETECTOR)
    boxes, scores = PeopleSelection(config, FRAME, 3, 0.5)(torch.zeros(1, 765, 1), torch.rand(1, 765, 4))
    assert not boxes.any()
    assert not scores.any()


def test_program_is_the_estimator(demo_app, scene):
    """One rendered picture, with demo weights: all three methods."""
    expected = estimator(DEMO_WEIGHTS.get)(scene)
    assert len(expected) >= 1
    found = demo_app(scene)
    count = check_people(found, expected, 4)
    boxes, scores = demo_app.detect(scene)
    assert np.array_equal(boxes, found.boxes)
    assert np.array_equal(scores, found.scores)
    assert np.array_equal(demo_app.pose(scene, boxes, count), found.keypoints)
    assert not demo_app.pose(scene, boxes, 0).any()


def test_onnx_program_estimates_the_people_who_are_there(demo_app, demo_networks, scene):
    """None, one and all slots: the batch that the pose network gets, and the same keypoints."""
    pose, detector = demo_networks
    app, batches = EagerApp(demo_app.metadata, pose, detector, "onnx"), []
    app.program.pose_network.register_forward_hook(lambda module, parts, output: batches.append(len(parts[0])))
    boxes = np.array([[20, 30, 100, 200], [60, 20, 160, 220]] * 2, np.float32)
    for count in (0, 1, 4):
        found, expected = app.pose(scene, boxes, count), demo_app.pose(scene, boxes, count)
        assert np.abs(found - expected).max() < 1e-3
        assert not found[count:].any()
    assert batches == [0, 1, 4]


def test_photos_are_fitted_in_and_mapped_back(demo_app, scene, monkeypatch):
    """A picture three times the frame's size, with a part that the frame's shape leaves over."""
    monkeypatch.setattr(app_module, "open_app", lambda path, threads: demo_app)
    app = AppEstimator("app.pte")
    expected = app(scene)
    large = np.kron(scene[:200], np.ones((3, 3, 1), np.uint8))
    scene_part = scene.copy()
    scene_part[200:] = 0
    found, expected = app(large), app(scene_part)
    assert len(found) == len(expected) >= 1
    assert np.allclose(found.boxes, expected.boxes * 3, atol=1e-3)
    assert np.allclose(found.keypoints, expected.keypoints * 3 + 1, atol=1e-3)
    assert [len(poses) for poses in app([scene_part, large])] == [len(expected)] * 2


def test_pose_estimator_runs_apps(demo_app, scene, monkeypatch):
    """One door for networks and apps; what has no effect on an app is refused by its name."""
    monkeypatch.setattr(app_module, "open_app", lambda path, threads: demo_app)
    estimator, expected = PoseEstimator("folder/app.pte", threads=1), AppEstimator("app.pte")(scene)
    assert np.array_equal(estimator(scene).keypoints, expected.keypoints)
    assert len(PoseTracker(estimator, smoothing=None)(scene, 0.0)) == len(expected) >= 1
    assert estimator.app is demo_app
    for each in (estimator, AppEstimator("app.pte")):  # pickled by the file's name, not with what runs it
        assert pickle.loads(pickle.dumps(each)).app is demo_app
    assert estimator.pose_config == demo_app.metadata.pose_config
    assert estimator.detector is estimator.detector_runner is None
    assert (estimator.backends, estimator.own_threads, estimator.batch_size) == ({"eager"}, False, 1)
    boxes = np.zeros((1, 4), np.float32)
    for ask in (estimator, estimator.estimate_keypoints, estimator.make_crops):
        with pytest.raises(ValueError, match="an app finds people's boxes itself; leave boxes out"):
            ask(scene, boxes)
    with pytest.raises(ValueError, match="an app file runs its networks itself"):
        _ = estimator.pose_runner


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "pose": POSE,
        "detector_weights": "x.pdparams",
        "pose_weights": "x.pdparams",
        "backend": "onnx",
        "device": "cuda",
        "detection_threshold": 0.0,
        "person_class": "person",
        "crop": "deploy",
        "decoding": "dark",
        "flip": False,
        "resize": "portable",
        "batch_size": 1,
    }.items(),
)
def test_arguments_without_effect_on_apps(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r} has no effect on an app file; leave it out"):
        PoseEstimator("app.pte", **{name: value})


def test_people_of_apps_are_tracked(demo_app, scene, monkeypatch):
    monkeypatch.setattr(app_module, "open_app", lambda path, threads: demo_app)
    app = AppEstimator("app.pte")
    tracker = PoseTracker(app, smoothing=None)
    first, second = tracker(scene, 0.0), tracker(scene, 0.04)
    assert len(first) == len(app(scene)) >= 1
    assert np.array_equal(first.ids, second.ids)
    with pytest.raises(ValueError, match="detect_every=2: this AppEstimator has no detector"):
        PoseTracker(app, 2)


def test_custom_skeletons():
    """Five keypoints of another name, and a detector of several classes."""
    pose = create_model(POSE, pretrained=False, skeleton=Skeleton("hand", tuple("abcde")))
    detector = create_model(DETECTOR, pretrained=False, class_names=("dog", "hand"))
    detector.config = dataclasses.replace(detector.config, person_class=1, person_threshold=0.0)
    app = EagerApp(describe(pose, detector, FRAME, 2), pose, detector)
    found = app(np.zeros((*FRAME, 3), np.uint8))
    assert found.keypoints.shape == (2, 5, 3)
    assert AppMetadata.from_json(app.metadata.to_json()) == app.metadata


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_people": 0}, "max_people=0; expected 1 to 32"),
        ({"max_people": 1000}, "max_people=1000; expected 1 to 32"),
        ({"frame_size": (1, 640)}, "frame_size=1 x 640; expected height and width from 32 to 4096 pixels"),
        ({"frame_size": (480, 100000)}, "frame_size=480 x 100000; expected"),
        ({"format": "tflite"}, "unknown export format 'tflite'"),
        ({"precision": "int8"}, f"{DETECTOR}: int8 needs images to calibrate on"),
        ({"precision": "int8", "format": "onnx"}, "int8 is made for executorch, not for onnx"),
        ({"precision": "fp16"}, "precision='fp16' is not for apps of format executorch; export in fp32 or int8"),
        ({"precision": "int4"}, "unknown precision 'int4'"),
        ({"detection_threshold": 2}, "detection_threshold=2; expected 0 to 1"),
        ({"pixels": "yuv"}, "pixels='yuv'; choose one of rgb, rgba, bgr, nv21"),
        (
            {"pixels": "nv21", "frame_size": (481, 640)},
            "frame_size=481 x 640: uint8 NV21 needs an even height and width",
        ),
        ({"person_class": "cat"}, "has no class 'cat'"),
    ],
)
def test_bad_arguments(change, message, demo_networks, tmp_path):
    pose, detector = demo_networks
    with pytest.raises(ValueError, match=message):
        export_app(pose, detector, tmp_path / "app.pte", **change)
    assert not list(tmp_path.iterdir())


def test_networks_of_the_wrong_task(demo_networks, tmp_path):
    pose, detector = demo_networks
    with pytest.raises(ValueError, match=f"{DETECTOR} is a detector; a top-down pose network is needed"):
        export_app(detector, pose, tmp_path / "app.pte")


@pytest.mark.parametrize(
    "frame", [np.zeros((240, 320), np.uint8), np.zeros((320, 240, 3), np.uint8), np.zeros((240, 320, 3), np.float32)]
)
def test_wrong_frames(demo_app, frame):
    with pytest.raises(ValueError, match=r"this app takes \(240, 320, 3\) uint8: rgb, 240 rows of 320 pixels"):
        demo_app(frame)


def test_wrong_boxes(demo_app, scene):
    with pytest.raises(ValueError, match=r"boxes of shape \(3, 4\) and count=1; expected \(4, 4\), and 0 to 4"):
        demo_app.pose(scene, np.zeros((3, 4), np.float32), 1)
    with pytest.raises(ValueError, match="count=5"):
        demo_app.pose(scene, np.zeros((4, 4), np.float32), 5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"people": 4', '"people": 1000', "people"),
        ('"size": [240, 320]', '"size": [240]', "frame size"),
        ('"size": [240, 320]', '"size": [240, 1]', "frame size"),
        ('"kind": "uint8 HWC RGB"', '"kind": "uint8 Bayer"', "unknown frame kind 'uint8 Bayer'"),
        ('HWC RGB", "size": [240, 320]', 'NV21", "size": [241, 320]', "needs an even height and width"),
        ('"person_threshold": 0.5, "outputs"', '"person_threshold": 7, "outputs"', "person_threshold"),
        ('"detector":', '"watcher":', "format"),
        ('"app":', '"apple":', "holds no app"),
        ('export 1", "app"', 'export 2", "app"', "was made for 'tinypose-torch export 2'"),
    ],
)
def test_damaged_descriptions(demo_app, old, new, message):
    text = demo_app.metadata.to_json()
    assert old in text
    with pytest.raises(CheckpointError, match=message):
        AppMetadata.from_json(text.replace(old, new))


def test_apps_are_not_taken_for_networks(demo_app, tmp_path):
    for read in (ExportMetadata.from_json, read_methods):
        with pytest.raises(
            CheckpointError, match="holds an app, not a network; run it with: .*tinypose predict PHOTO --app FILE"
        ):
            read(demo_app.metadata.to_json())
    for open_missing in (open_app, PoseEstimator, AppEstimator):
        with pytest.raises(FileNotFoundError, match="no app file"):
            open_missing(tmp_path / "missing.pte")
    for open_other in (open_app, AppEstimator):
        with pytest.raises(CheckpointError, match="is no app file; expected .pte, .torchscript or .onnx"):
            open_other(tmp_path / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.needs_reference
@pytest.mark.parametrize("size", [(480, 640), (720, 1280)])
def test_photos_of_the_reference(size):
    """The same people in every photo, with fewer and more slots than people."""
    pose, detector = networks()
    python, pictures = estimator(), frames(size)
    expected = [python(frame) for frame in pictures]
    counts = sorted(len(poses) for poses in expected)
    assert counts[0] == 0
    assert 4 < counts[-1] < 8
    for max_people in (1, 4, 8):
        app = EagerApp(describe(pose, detector, size, max_people), pose, detector)
        total = sum(
            check_people(app(frame), poses, max_people) for frame, poses in zip(pictures, expected, strict=True)
        )
        assert total == sum(min(max_people, count) for count in counts)
