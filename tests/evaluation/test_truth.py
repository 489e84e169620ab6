"""Annotations that lack what COCO's evaluation reads, or have it in another form."""

import json

import pytest
from pycocotools.coco import COCO

from evaluation.conftest import DETECTOR, POSE
from tinypose_torch.cli import main
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.evaluation.coco import STATISTICS, keypoint_accuracy
from tinypose_torch.evaluation.truth import read_truth

NETWORKS = {
    "pose": ["--pose", POSE[0], "--weights", POSE[1]],
    "detector": ["--detector", *DETECTOR[:1], "--weights", DETECTOR[1]],
}


def strip(*names):
    def change(content):
        for row in content["annotations"]:
            for name in names:
                row.pop(name, None)

    return change


def set_box_areas(content):
    for row in content["annotations"]:
        row["area"] = row["bbox"][2] * row["bbox"][3]


@pytest.mark.parametrize("network", NETWORKS)
def test_missing_fields_are_derived(network, evaluate, changed, capsys):
    """The accuracy is that of a file that has them; a line says so."""
    expected = evaluate(network=NETWORKS[network], annotations=changed(set_box_areas))
    capsys.readouterr()
    annotations = changed(strip("area", "iscrowd", "num_keypoints", "id"))
    found = evaluate(network=NETWORKS[network], annotations=annotations)
    assert {**found, "annotations": ""} == {**expected, "annotations": ""}
    keypoints = "num_keypoints (8), " if network == "pose" else ""
    line = f"{annotations}: annotations without area (8), iscrowd (8), {keypoints}id (8); derived as COCO defines them"
    assert line in capsys.readouterr().out


def test_nothing_is_said_of_complete_files(evaluate, capsys):
    evaluate()
    assert "derived" not in capsys.readouterr().out


def test_unlabelled_people_do_not_count(evaluate, changed):
    """num_keypoints comes from the visibilities: without labelled keypoints a person is not missed."""

    def change(content):
        unlabelled = {**content["annotations"][0], "id": 99, "keypoints": [0.0] * 51, "bbox": [1, 1, 30, 30]}
        content["annotations"].append(unlabelled)
        strip("num_keypoints")(content)

    assert evaluate(annotations=changed(change))["AR"] == evaluate()["AR"]


def test_annotation_0_counts(evaluate, changed):
    """COCOeval takes a match with the annotation of id 0 for none."""

    def from_0(content):
        for number, row in enumerate(content["annotations"]):
            row["id"] = number

    assert evaluate(annotations=changed(from_0))["AP"] == evaluate()["AP"]


def test_other_categories_need_no_keypoints(evaluate, changed):
    def add_dog(content):
        content["categories"].append({"id": 2, "name": "dog"})
        content["annotations"].append({"id": 99, "image_id": 10, "category_id": 2, "bbox": [0, 0, 9, 9]})

    assert evaluate(annotations=changed(add_dog))["AP"] == evaluate()["AP"]


POLYGON = [[10.0, 10.0, 50.0, 10.0, 50.0, 90.0, 10.0, 90.0], [60, 60, 70, 60, 70, 70, 60, 70]]


@pytest.mark.parametrize("kind", ["polygons", "counts", "compressed"])
def test_area_of_a_segmentation(kind, changed):
    def change(content):
        content["annotations"] = content["annotations"][:1]
        row = content["annotations"][0]
        del row["area"]
        coco = COCO()
        coco.imgs = {row["image_id"]: content["images"][0]}
        encoded = coco.annToRLE({**row, "segmentation": POLYGON})
        compressed = {**encoded, "counts": encoded["counts"].decode()}
        counts = {"size": [4, 4], "counts": [3, 5, 8]}
        row["segmentation"] = {"polygons": POLYGON, "compressed": compressed, "counts": counts}[kind]

    (row,) = read_truth(changed(change)).content["annotations"]
    assert row["area"] == (5 if kind == "counts" else pytest.approx(40 * 80 + 10 * 10, rel=0.03))


FIELDS = {
    "area": [None, "big", [1], {}, 10**400, float("nan"), float("inf"), True],
    "iscrowd": [None, "no", [0], 2],
    "num_keypoints": [None, "17", [17], -1, 1.5],
    "bbox": [None, [1, 2, 3], [1, 2, 3, None], [1, 2, 3, 10**400], [0, 0, float("nan"), 1], "box"],
    "keypoints": [None, "none", [10**400] * 51, [float("nan")] * 51, [[1, 2, 3]] * 17],
    "image_id": [None, [1], {}],
    "category_id": [[1], {}],
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", FIELDS)
def test_wrong_fields(name, network, rendered, changed, capsys):
    """One line that names the annotation and the field, before any image is read."""
    if network == "detector" and name in ("num_keypoints", "keypoints"):
        pytest.skip("boxes do not need it")
    category = 1 if network == "pose" else None
    for value in FIELDS[name]:
        path = changed(lambda content, value=value: content["annotations"][2].update({name: value}))
        with pytest.raises(DatasetError) as caught:
            read_truth(path, keypoint_category=category)
        error = str(caught.value)
        assert error.startswith(f"{path}: annotation 3: "), (value, error)
        assert name in error, (value, error)
        assert len(error) < 300
    given = ["--annotations", path, "--images", rendered / "gone", *NETWORKS[network]]
    assert main(["evaluate", *map(str, given)]) == 2
    error = capsys.readouterr().err
    assert f"{path}: annotation 3" in error
    assert name in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", [[[1, 2, 3]], [[0, 0, 1e300, 0, 5, 5]], ["x"], [[None] * 6], {"counts": "a"}, "text"])
def test_area_that_does_not_follow(value, changed):
    def change(content):
        row = content["annotations"][1]
        del row["area"]
        row["segmentation"] = value

    with pytest.raises(DatasetError, match="annotation 2: segmentation .* has no area .*correct it, or add 'area'"):
        read_truth(changed(change))


def test_image_ids_of_several_types(changed):
    with pytest.raises(DatasetError, match="the image ids .* are of several types; expected integers"):
        read_truth(changed(lambda content: content["images"][1].update(id="eleven")))


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_lists(key, changed):
    with pytest.raises(DatasetError, match=f"no list '{key}'"):
        read_truth(changed(lambda content: content.pop(key)))


def test_training_reads_the_same(rendered, changed):
    """`keypoint_accuracy` of a path derives the fields, too."""
    path = changed(strip("area", "iscrowd", "num_keypoints", "id", "category_id"))
    rows = json.loads((rendered / "val.json").read_text())["annotations"]
    records = [
        {"image_id": row["image_id"], "category_id": 1, "keypoints": row["keypoints"], "score": 1.0} for row in rows
    ]
    assert keypoint_accuracy(path, records)["AP"] == pytest.approx(1)
    assert keypoint_accuracy(path, []) == dict.fromkeys(STATISTICS, 0.0)
