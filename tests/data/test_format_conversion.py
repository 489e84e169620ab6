"""tinypose convert-annotations, tinypose prelabel, and files that annotation tools wrote or somebody damaged."""

import json

import pytest
from conftest import DEMO_WEIGHTS, photos_of_people
from PIL import ExifTags, Image

from tinypose_torch.cli import main
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.formats.coco_content import Category, ImageAnnotations
from tinypose_torch.data.formats.registry import find_annotation_format, read_annotations
from tinypose_torch.data.formats.yolo_pose import write_yolo as write_yolo_pose
from tinypose_torch.data.images import read_or_fail
from tinypose_torch.data.pose.annotations import load_pose_annotations

DETECTOR, POSE = DEMO_WEIGHTS.values()
# Written by CVAT 2.20 for a label "hand" with three sublabels, shortened.
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><labels>
    <label><name>hand</name><type>skeleton</type><svg>&lt;line x1="1" data-type="edge" data-node-from="1"
data-node-to="3"&gt;&lt;/line&gt;&lt;circle r="1.5" data-element-id="1" data-node-id="1" data-label-name="wrist"&gt;&lt;/circle&gt;&lt;circle
data-node-id="2" data-label-name="thumb"&gt;&lt;/circle&gt;&lt;circle data-node-id="3" data-label-name="index"&gt;&lt;/circle&gt;</svg></label>
    <label><name>wrist</name><type>points</type><parent>hand</parent></label>
    <label><name>thumb</name><type>points</type><parent>hand</parent></label>
    <label><name>index</name><type>points</type><parent>hand</parent></label>
  </labels></job></meta>
  <image id="0" name="a.png" width="64" height="48">
    <skeleton label="hand" source="manual" z_order="0">
      <points label="index" outside="0" occluded="0" points="30.50,20.25"></points>
      <points label="wrist" outside="0" occluded="1" points="10.00,12.00"></points>
      <points label="thumb" outside="1" occluded="0" points="1.00,1.00"></points>
    </skeleton>
  </image>
</annotations>
"""
LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"img": "/data/upload/1/0a1b2c3d-a.png"},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {
                "was_cancelled": False,
                "result": [
                    {
                        "id": "p",
                        "type": "keypointlabels",
                        "original_width": 200,
                        "original_height": 100,
                        "value": {"x": 50, "y": 25, "width": 0.3, "keypointlabels": ["wrist"]},
                    },
                    {
                        "id": "r",
                        "type": "rectanglelabels",
                        "original_width": 200,
                        "original_height": 100,
                        "value": {"x": 10, "y": 20, "width": 50, "height": 60, "rectanglelabels": ["hand"]},
                    },
                ],
            },
        ],
    }
]


def write_yolo(folder, text="0 0.5 0.5 0.5 0.5 0.25 0.5 2 0 0 0\n", shape="[2, 3]", more=""):
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    Image.new("RGB", (80, 40)).save(folder / "images/a.jpg")
    (folder / "labels/a.txt").write_text(text)
    (folder / "data.yaml").write_text(f"kpt_shape: {shape}\nnames:\n  0: hand\n{more}")
    return folder / "labels"


def test_cvat(tmp_path):
    path = tmp_path / "annotations.xml"
    path.write_text(CVAT)
    assert find_annotation_format(path).name == "cvat"
    coco = read_coco(path, content=read_annotations(path, tmp_path))
    assert coco.skeleton.keypoint_names == ("wrist", "thumb", "index")
    assert coco.skeleton.links == ((0, 2),)
    (annotation,) = coco.annotations
    assert annotation["keypoints"] == [10, 12, 1, 0, 0, 0, 30.5, 20.25, 2]
    assert annotation["bbox"] == [10, 12, 20.5, 8.25]


def test_label_studio(tmp_path):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(LABEL_STUDIO))
    assert find_annotation_format(path).name == "label_studio"
    coco = read_coco(path, content=read_annotations(path, tmp_path))
    assert coco.images[1]["file_name"] == "a.png"
    (annotation,) = coco.annotations
    assert annotation["keypoints"] == [100, 25, 2]
    assert annotation["bbox"] == [20, 20, 100, 60]


def test_yolo(tmp_path):
    labels = write_yolo(tmp_path, more="flip_idx: [1, 0]\n")
    coco = read_coco(labels, content=read_annotations(labels, tmp_path / "images"))
    assert coco.skeleton.flip_pairs == ((0, 1),)
    (annotation,) = coco.annotations
    assert annotation["keypoints"] == [20, 20, 2, 0, 0, 0]
    assert annotation["bbox"] == [20, 10, 40, 20]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"text": "0 0.5 0.5 0.5 0.5 0.25\n"}, r"a\.txt, line 1: 6 numbers; expected 11"),
        ({"text": "0 0.5 0.5 0.5 0.5 x 0.5 2 0 0 0\n"}, r"a\.txt, line 1: could not convert"),
        ({"text": "0 0.5 0.5 0.5 0.5 nan 0.5 2 0 0 0\n"}, r"a\.txt, line 1"),
        ({"shape": "[2, 4]"}, r"data\.yaml: kpt_shape"),
        ({"shape": "two"}, r"data\.yaml: kpt_shape"),
        ({"more": "flip_idx: [0, 0]\n"}, r"data\.yaml: flip_idx"),
        ({"more": "kpt_names: {0: [a]}\n"}, r"data\.yaml: kpt_shape"),
        ({"more": "x: [\n"}, r"data\.yaml"),
    ],
)
def test_damaged_yolo(tmp_path, arguments, reason):
    labels = write_yolo(tmp_path, **arguments)
    with pytest.raises(DatasetError, match=reason):
        read_annotations(labels, tmp_path / "images")


def test_yolo_of_two_images_with_one_name(tmp_path):
    content = [ImageAnnotations(name, 80, 40, []) for name in ("a/b.jpg", "a/b.png")]
    with pytest.raises(DatasetError, match=r"a/b\.jpg and a/b\.png would share .*b\.txt; rename one"):
        write_yolo_pose(content, Category("hand", ("wrist",)), tmp_path)


def test_photo_of_a_phone_on_its_side(tmp_path):
    """Its stored pixels are turned; labels are of the upright photo, and training sees that, too."""
    labels = write_yolo(tmp_path)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (80, 40)).save(tmp_path / "images/a.jpg", exif=exif)
    coco = read_coco(labels, content=read_annotations(labels, tmp_path / "images"))
    (record,) = load_pose_annotations(coco, (128, 96)).items
    assert record.image_size == (80, 40)
    assert record.box.tolist() == [10, 20, 29, 59]
    assert read_or_fail(record, tmp_path / "images").shape == (80, 40, 3)


def test_yolo_without_its_image(tmp_path):
    labels = write_yolo(tmp_path)
    (tmp_path / "images/a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"no image 'a' in .*images"):
        read_annotations(labels, tmp_path / "images")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<annotations>\n", '<!DOCTYPE x [<!ENTITY a "aaaa">]><annotations>\n', "document type"),
        ("</annotations>", "", "no element found"),
        ('width="64"', 'width="wide"', "invalid literal"),
        ('width="64"', "", "attribute 'width' is missing"),
        ("30.50,20.25", "30.50", "not enough values"),
        ('<points label="index"', '<points label="toe"', "keypoint 'toe' is not one of the label's"),
    ],
)
def test_damaged_cvat(tmp_path, old, new, reason):
    path = tmp_path / "annotations.xml"
    path.write_text(CVAT.replace(old, new))
    with pytest.raises(DatasetError, match=reason):
        read_annotations(path, tmp_path, "cvat")


def test_damaged_label_studio(tmp_path):
    path = tmp_path / "export.json"
    for content in (
        [{"data": {}}],
        [{"data": {"image": "a.png"}, "annotations": [{"result": [{"type": "keypointlabels"}]}]}],
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=r"export\.json"):
            read_annotations(path, tmp_path, "label_studio")


def test_command(tmp_path, capsys):
    labels = write_yolo(tmp_path / "yolo", more="kpt_names: {0: [left tip, right tip]}\nflip_idx: [1, 0]\n")
    images, xml = str(tmp_path / "yolo/images"), str(tmp_path / "hands.xml")
    assert main(["convert-annotations", str(labels), "--images", images, "--to", "cvat", "--output", xml]) == 0
    printed = capsys.readouterr().out
    assert "hands.xml: 1 people in 1 images, 2 keypoints" in printed
    assert "cvat cannot express: boxes that are not the keypoints' extent" in printed
    coco = tmp_path / "hands.json"
    assert main(["convert-annotations", xml, "--to", "coco", "--output", str(coco)]) == 0
    assert read_coco(coco).skeleton.keypoint_names == ("left tip", "right tip")
    for arguments, reason in (
        ([str(labels), "--to", "coco", "--output", str(coco)], "format yolo has no image sizes; pass --images DIR"),
        ([xml, "--to", "mpii", "--output", str(coco)], "formats that can be written: coco, yolo, cvat, label_studio"),
        ([xml, "--to", "coco", "--output", xml], "would replace an input"),
        ([xml, "--to", "yolo", "--output", str(tmp_path / "yolo")], "is a folder with files"),
        ([str(tmp_path / "no.xml"), "--to", "coco", "--output", str(coco)], "no annotation file"),
    ):
        assert main(["convert-annotations", *arguments]) == 2
        assert reason in capsys.readouterr().err


def test_prelabelled_images_are_training_data(tmp_path, capsys):
    (tmp_path / "photos/deep").mkdir(parents=True)
    Image.fromarray(photos_of_people(1)[0]).save(tmp_path / "photos/deep/a.png")
    (tmp_path / "photos/b.png").write_bytes(b"no image")
    networks = ["--detector-weights", str(DETECTOR), "--pose-weights", str(POSE)]
    output = tmp_path / "people.xml"
    arguments = ["prelabel", str(tmp_path / "photos"), "--to", "cvat", "--output", str(output), *networks]
    assert main(arguments) == 1
    assert "b.png: not an image that can be read" in capsys.readouterr().err
    coco = read_coco(output, content=read_annotations(output, tmp_path / "photos"))
    assert [image["file_name"] for image in coco.images.values()] == ["deep/a.png"]
    assert len(coco.annotations) >= 1
    assert all(annotation["num_keypoints"] >= 1 for annotation in coco.annotations)
