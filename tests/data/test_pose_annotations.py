"""Annotations to people, against PaddleDetection's records."""

import numpy as np
import pytest
from recordings import read_json, recording

from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.formats.mpii import load_mpii_annotations
from tinypose_torch.data.pose.annotations import load_detections, load_pose_annotations
from tinypose_torch.geometry.skeletons import COCO17


def expected_records():
    return read_json("transforms/dataset_records_expected.json")


@pytest.mark.parametrize("case", expected_records(), ids=lambda case: f"{case['trainsize_wh']}-{case['mode']}")
def test_coco_records(case):
    size = tuple(case["trainsize_wh"][::-1])
    coco = read_coco(recording("transforms/dataset_records_coco.json"), COCO17)
    if case["mode"] == "gt":
        people = load_pose_annotations(coco, size)
    else:
        threshold = float(case["mode"].removeprefix("det_thre"))
        people = load_detections(coco, recording("transforms/dataset_records_detections.json"), size, threshold)
    # PaddleDetection keeps people of scale 0, whose warp divides by zero; here they are skipped and counted.
    wanted = [record for record in case["records"] if any(record["scale"])]
    assert len(people) == len(wanted)
    for record, expected in zip(people.items, wanted, strict=True):
        person = record.person
        assert record.image_id == expected["im_id"]
        if case["mode"] == "gt":  # with detections PaddleDetection makes the name up from the id, as COCO's are
            assert record.file_name == expected["file"]
        assert record.score == expected["score"]
        np.testing.assert_allclose(person.center, expected["center"], rtol=1e-6)
        np.testing.assert_allclose(person.scale, expected["scale"], rtol=1e-6)
        if "joints" in expected:  # recorded for one size; the others have the same
            np.testing.assert_array_equal(person.joints, np.array(expected["joints"], np.float32)[:, :2])
            np.testing.assert_array_equal(person.visible, np.array(expected["joints_vis"], np.float32)[:, 0])
        assert person.center.dtype == person.scale.dtype == person.joints.dtype == np.float32


def test_skipped_are_counted():
    people = load_pose_annotations(read_coco(recording("transforms/dataset_records_coco.json"), COCO17), (128, 96))
    assert people.skipped == {"without area": [5, 12, 14, 16], "without keypoints": [7, 17], "iscrowd": [8]}


def test_mpii_records():
    people = load_mpii_annotations(recording("transforms/mpii_records_anno.json"))
    expected = read_json("transforms/mpii_records_expected.json")
    assert len(people) == len(expected)
    for record, wanted in zip(people.items, expected, strict=True):
        assert record.image_id == wanted["im_id"]
        np.testing.assert_allclose(record.person.center, wanted["center"], rtol=1e-6)
        np.testing.assert_allclose(record.person.scale, wanted["scale"], rtol=1e-6)
        np.testing.assert_allclose(record.person.joints, np.array(wanted["joints"])[:, :2], atol=1e-4)
        np.testing.assert_array_equal(record.person.visible, np.array(wanted["joints_vis"])[:, 0])
