import json

import numpy as np
import pytest
from conftest import gradient_image

from tinypose_torch import COCO17, Detections, Poses, Skeleton


def some_poses(count=3):
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(10, 60, (count, 2))], axis=1)
    keypoints = generator.uniform(0, 100, (count, 17, 2))
    return Poses(boxes, generator.uniform(0.5, 1, count), keypoints, generator.uniform(0, 1, (count, 17)))


def same(one, other, atol=1e-4):
    return all(
        np.allclose(getattr(one, name), getattr(other, name), atol=atol)
        for name in ("boxes", "scores", "keypoints", "keypoint_scores")
    )


def test_records_there_and_back():
    poses = some_poses()
    records = json.loads(json.dumps(poses.to_records()))
    assert set(records[0]) == {"box", "score", "keypoints"}
    assert len(records[0]["keypoints"]) == 17
    assert same(Poses.from_records(records), poses, atol=1e-3)
    assert len(Poses.from_records([])) == 0


def test_coco_results_there_and_back():
    poses = some_poses()
    rows = json.loads(json.dumps(poses.to_coco_results(image_id=42)))
    assert {row["image_id"] for row in rows} == {42}
    visible = poses.keypoint_scores[0] > 0.2
    expected = poses.scores[0] * poses.keypoint_scores[0][visible].mean()
    assert rows[0]["score"] == pytest.approx(expected, rel=1e-5)
    assert same(Poses.from_coco_results(rows), poses, atol=1e-3)


def test_coco_results_of_other_programs():
    rows = [{"image_id": 1, "category_id": 1, "score": 0.7, "keypoints": [1.0, 2.0, 0.5] * 16 + [9.0, 8.0, 0.5]}]
    poses = Poses.from_coco_results(rows)
    assert poses.boxes[0].tolist() == [1, 2, 9, 8]
    assert poses.scores[0] == pytest.approx(0.7)
    with pytest.raises(ValueError, match="several images"):
        Poses.from_coco_results([*rows, {**rows[0], "image_id": 2}])
    with pytest.raises(ValueError, match="51 keypoint numbers, but x needs 6"):
        Poses.from_coco_results(rows, Skeleton("x", ("a", "b")))
    assert len(Poses.from_coco_results([])) == 0


def test_a_person_without_visible_keypoints_scores_zero():
    poses = some_poses(1)
    poses.keypoint_scores[:] = 0
    assert poses.to_coco_results(1)[0]["score"] == 0


def test_selection():
    poses = some_poses()
    assert len(poses[1:]) == 2
    assert np.array_equal(poses[np.array([False, True, False])].boxes, poses.boxes[1:2])
    assert len(poses[2]) == 1
    with pytest.raises(IndexError):
        poses[7]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="of \\[1, 2, 1, 1\\] people"):
        Poses(np.zeros((1, 4)), np.zeros(2), np.zeros((1, 17, 2)), np.zeros((1, 17)))
    with pytest.raises(ValueError, match="2 boxes, 1 scores"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(2))


def test_detections_as_coco_results():
    detections = Detections([[1, 2, 11, 22]], [0.9], [1], ("person", "dog"))
    (row,) = detections.to_coco_results(7, category_ids=[1, 18])
    assert row["bbox"] == [1, 2, 10, 20]
    assert row["category_id"] == 18
    assert len(detections[detections.scores > 0.95]) == 0


def test_supervision():
    supervision = pytest.importorskip("supervision")
    poses = some_poses()
    keypoints = poses.to_supervision()
    assert isinstance(keypoints, supervision.KeyPoints)
    assert np.array_equal(keypoints.xy, poses.keypoints)
    assert keypoints.data == {}
    poses.ids = np.array([4, 7, 9])
    assert poses.to_supervision()[1:].data["tracker_id"].tolist() == [7, 9], "ids are kept"
    edges = supervision.EdgeAnnotator(edges=[(a + 1, b + 1) for a, b in COCO17.links])
    assert edges.annotate(gradient_image(), keypoints).shape == (120, 160, 3)
    boxes = Detections(poses.boxes, poses.scores, [0, 0, 0]).to_supervision()
    assert isinstance(boxes, supervision.Detections)
    assert boxes.data["class_name"].tolist() == ["person"] * 3


def test_drawing_changes_a_copy():
    image = gradient_image()
    before = image.copy()
    drawn = some_poses().draw(image)
    assert np.array_equal(image, before)
    assert (drawn != image).any()
    poses = some_poses(1)
    hidden = poses.draw(image, keypoint_threshold=1.1)
    assert (hidden != poses.draw(image)).any(), "the threshold hides keypoints"
    assert np.array_equal(Poses.empty(COCO17).draw(image), image)


def test_drawing_survives_absurd_coordinates():
    poses = some_poses(1)
    poses.keypoints[0, 0] = [1e9, -1e9]
    poses.boxes[0] = [-1e9, -1e9, 1e9, 1e9]
    drawn = poses.draw(gradient_image())
    assert drawn.shape == gradient_image().shape
    assert (drawn != gradient_image()).any(), "the other keypoints are drawn"
