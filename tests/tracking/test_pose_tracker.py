"""People of a video, followed: rendered pictures that a camera pans over."""

import json
from collections import defaultdict

import cv2
import numpy as np
import pytest
from conftest import ROOT

import tinypose_torch.runtime.load as runtime_load
from tinypose_torch import Detections, PoseEstimator, Poses, create_model
from tinypose_torch.cli import main
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.tracking.pose_tracker import PoseTracker, boxes_around
from train.synthetic.scenes import render_scene

DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
WEIGHTS = [ROOT / f"weights/{name}_demo.safetensors" for name in ("picodet_s_192", POSE)]
WIDTH, FRAMES, STEP = 320, 30, 4


@pytest.fixture(scope="module")
def picture():
    return render_scene(np.random.default_rng(5), (240, WIDTH + FRAMES * STEP), 3, (0.55, 0.8))[0]


def frames_of(picture):
    for index in range(FRAMES):
        yield np.ascontiguousarray(picture[:, index * STEP : index * STEP + WIDTH])


def estimator():
    return PoseEstimator(DETECTOR, POSE, *WEIGHTS, backend="eager", detection_threshold=0.4)


def ways(found):
    """For every id the frames and keypoints in the panned picture's own pixels."""
    result = defaultdict(list)
    for index, poses in enumerate(found):
        for identity, keypoints in zip(poses.ids.tolist(), poses.keypoints, strict=True):
            result[identity].append((index, keypoints + np.array([index * STEP, 0])))
    return result


@pytest.mark.parametrize("detect_every", [1, 5])
def test_people_keep_their_ids(detect_every, picture):
    follower = PoseTracker(estimator(), detect_every, smoothing=None)
    found = [follower(frame, index / 30) for index, frame in enumerate(frames_of(picture))]
    followed = {identity: way for identity, way in ways(found).items() if len(way) > FRAMES / 3}
    assert 2 <= len(followed) <= 3
    for way in followed.values():
        middles = np.array([np.median(keypoints, axis=0) for _, keypoints in way])
        assert np.abs(middles - np.median(middles, axis=0)).max() < 25, "the same person all the time"


@pytest.mark.slow
def test_smoothing_halves_the_jitter(picture):
    """Of people who stand still, before a camera that does, too, with noise in every frame."""
    generator = np.random.default_rng(0)
    still = np.ascontiguousarray(picture[:, :WIDTH]).astype(np.int16)
    frames = [np.clip(still + generator.integers(-25, 26, still.shape), 0, 255).astype(np.uint8) for _ in range(20)]
    both = []
    for smoothing in (True, False):
        follower = PoseTracker(estimator()) if smoothing else PoseTracker(estimator(), smoothing=None)
        found = [follower(frame, index / 30) for index, frame in enumerate(frames)]
        identity = int(found[0].ids[0])
        way = np.stack([keypoints for _, keypoints in ways(found)[identity]])
        assert len(way) == len(frames)
        both.append(np.linalg.norm(np.diff(way[4:], 2, axis=0), axis=-1).mean())
    assert both[0] < 0.5 * both[1]


def test_boxes_around():
    keypoints = np.zeros((2, 17, 2))
    keypoints[0, :5] = [[10, 10], [30, 20], [20, 60], [10, 30], [12, 50]]
    found = np.zeros((2, 17), bool)
    found[0, :5] = True
    found[1, 0] = True
    boxes, shown = boxes_around(keypoints, found)
    assert shown.tolist() == [True, False]
    assert np.allclose(boxes[0], [2.5, 2.5, 37.5, 67.5])


def test_wrong_settings():
    with pytest.raises(ValueError, match="detect_every=0"):
        PoseTracker(estimator(), 0)
    with pytest.raises(ValueError, match="detect_every=2: this PoseEstimator has no detector"):
        PoseTracker(PoseEstimator(None, POSE, pose_weights=WEIGHTS[1], backend="eager"), 2)


def test_ids_in_and_out_of_records():
    poses = Poses(np.zeros((2, 4)), np.ones(2), np.zeros((2, 17, 2)), np.ones((2, 17)), COCO17, np.array([7, 3]))
    records = poses.to_records()
    assert [record["id"] for record in records] == [7, 3]
    assert Poses.from_records(records).ids.tolist() == [7, 3]
    assert poses[1].ids.tolist() == [3]
    assert "id" not in Poses(poses.boxes, poses.scores, poses.keypoints, poses.keypoint_scores).to_records()[0]
    with pytest.raises(ValueError, match="people"):
        Poses(poses.boxes, poses.scores, poses.keypoints, poses.keypoint_scores, COCO17, np.array([1]))
    assert poses.draw(np.zeros((50, 50, 3), np.uint8)).any()


def test_command(picture, tmp_path, capsys):
    video = tmp_path / "pan.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 30, (WIDTH, 240))
    for frame in frames_of(picture):
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    base = ["predict", str(video), "--detector", DETECTOR, "--detector-weights", str(WEIGHTS[0]), "--pose", POSE]
    base += ["--pose-weights", str(WEIGHTS[1]), "--backend", "eager", "--json", str(tmp_path / "new/poses.jsonl")]
    follow = [
        "--track",
        "--smoothing",
        "paddle",
        "--detect-every",
        "3",
        "--detection-threshold",
        "0.4",
        "--output",
        str(tmp_path),
    ]
    assert main([*base, *follow]) == 0
    records = [json.loads(line) for line in (tmp_path / "new/poses.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(FRAMES))
    assert records[3]["time"] == pytest.approx(0.1)
    assert len({pose["id"] for record in records for pose in record["poses"]}) <= 4
    assert (tmp_path / "pan.mp4").is_file()
    for wrong, message in (
        (["--detect-every", "2"], "add --track"),
        (["--smoothing", "off"], "add --track"),
        (["--smoothing", "paddle"], "add --track"),
        (["--track", "--detect-every", "0"], "at least 1"),
    ):
        assert main([*base, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_followed_by_appearance(monkeypatch):
    """A network with embeddings: two people swap places between detections and keep their ids."""
    estimator = PoseEstimator("fairmot_dla34", POSE, *random_weights(monkeypatch), backend="eager")
    assert estimator.detector_config.embeddings
    looks = np.eye(128, dtype=np.float32)[:2]
    boxes = np.array([[10, 10, 60, 160], [200, 10, 250, 160], [300, 10, 399, 30]], np.float32)
    frames = [[0, 1], [0, 1], [1, 0]]
    monkeypatch.setattr(
        estimator,
        "detect_people",
        lambda image, threshold: Detections(
            boxes,
            np.array([0.9, 0.9, 0.9]),
            np.zeros(3),
            embeddings=np.concatenate([looks[frames.pop(0)], -looks[:1]]),
        ),
    )
    follower = PoseTracker(estimator)
    found = [follower(np.zeros((240, 400, 3), np.uint8), time / 30) for time in range(2)]
    assert [poses.ids.tolist() for poses in found] == [[1, 2]] * 2, "a box too wide for a person is not a person"


def random_weights(monkeypatch):
    """No files: networks as they are built."""
    monkeypatch.setattr(runtime_load, "load_model", lambda source: create_model(source.name))
    return None, None
