"""AI Challenger to COCO, and both together."""

import json

import numpy as np
import pytest
from PIL import Image

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.ai_challenger import convert_ai_challenger, merge_coco
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.pose.annotations import load_pose_annotations

# right shoulder, elbow, wrist, left ..., right hip, knee, ankle, left ..., head top, neck
JOINTS = [[10 + index, 20 + index, 1 + index % 3] for index in range(14)]


@pytest.fixture
def source(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "abc.jpg")
    rows = [
        {
            "image_id": "abc",
            "human_annotations": {"human1": [5, 6, 45, 46], "human2": [0, 0, 10, 12]},
            "keypoint_annotations": {name: [n for joint in JOINTS for n in joint] for name in ("human1", "human2")},
        }
    ]
    (tmp_path / "aic.json").write_text(json.dumps(rows))
    return tmp_path


def test_joints_are_rearranged(source):
    content = convert_ai_challenger(source / "aic.json", source)
    (image,) = content["images"]
    assert image == {"id": 1, "file_name": "abc.jpg", "width": 64, "height": 48}
    one, two = content["annotations"]
    assert (one["id"], two["id"]) == (1, 2)
    assert one["bbox"] == [5, 6, 40, 40]
    keypoints = np.array(one["keypoints"]).reshape(17, 3)
    # theirs: 1 visible, 2 hidden, 3 not labelled
    assert keypoints[6].tolist() == [10, 20, 2]  # right shoulder, their first
    assert keypoints[8].tolist() == [11, 21, 1]  # right elbow
    assert keypoints[10].tolist() == [0, 0, 0]  # right wrist
    assert keypoints[5].tolist() == [13, 23, 2]  # left shoulder, their fourth
    assert keypoints[12].tolist() == [16, 26, 2]  # right hip
    assert keypoints[15].tolist() == [0, 0, 0]  # left ankle, their twelfth
    assert keypoints[11].tolist() == [19, 29, 2]  # left hip, their tenth
    assert not keypoints[:5].any()  # a head's top and a neck are no keypoints of COCO
    assert one["num_keypoints"] == 8


def test_merged(source, tmp_path):
    aic = convert_ai_challenger(source / "aic.json", source)
    coco = json.loads(json.dumps(aic))
    coco["images"][0]["id"] = 77
    for annotation in coco["annotations"]:
        annotation["image_id"] = 77
    merged = merge_coco([(coco, "coco"), (aic, "aic")])
    (tmp_path / "merged.json").write_text(json.dumps(merged))
    people = load_pose_annotations(read_coco(tmp_path / "merged.json"), (128, 96))
    assert [record.file_name for record in people.items] == ["coco/abc.jpg"] * 2 + ["aic/abc.jpg"] * 2
    assert [record.image_id for record in people.items] == [1, 1, 2, 2]
    assert [record.annotation_id for record in people.items] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].update(image_id="gone"), "gone.jpg"),
        (lambda rows: rows[0]["keypoint_annotations"].update(human1=[1, 2, 3]), "3 joint numbers"),
        (lambda rows: rows[0].pop("human_annotations"), "human_annotations"),
        (lambda rows: rows[0]["keypoint_annotations"].update(human1=[1, 1, 9] * 14), "9"),
    ],
)
def test_damaged(change, message, source):
    rows = json.loads((source / "aic.json").read_text())
    change(rows)
    (source / "aic.json").write_text(json.dumps(rows))
    with pytest.raises(DatasetError, match=message):
        convert_ai_challenger(source / "aic.json", source)


def test_command(source, tmp_path, capsys):
    from train.merge import main

    aic = ["--ai-challenger", source / "aic.json", "--ai-challenger-images", source, "--ai-challenger-folder", "aic"]
    one, both = tmp_path / "one.json", tmp_path / "both.json"
    assert main([str(option) for option in [*aic, "--output", one]]) == 0
    assert main([str(option) for option in [*aic, "--coco", one, "--coco-folder", "coco", "--output", both]]) == 0
    assert "2 images, 4 people" in capsys.readouterr().out
    assert len(read_coco(both).annotations) == 4
    assert main(["--coco", str(tmp_path / "gone.json"), "--output", str(both)]) == 2
    assert "no annotation file" in capsys.readouterr().err
