"""Annotation files: sound ones and changed ones give people, objects or one error of the dataset."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from properties.checks import check_refusal, holds, mutated
from tinypose_torch.data.bottom_up.samples import load_bottom_up_annotations
from tinypose_torch.data.detection.annotations import load_detection_annotations
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.formats.mpii import load_mpii_annotations
from tinypose_torch.data.pose.annotations import clean_box, load_detections, load_pose_annotations
from tinypose_torch.evaluation.coco import keypoint_accuracy, keypoint_results
from tinypose_torch.evaluation.images import select_images
from tinypose_torch.evaluation.top_down import to_predictions
from tinypose_torch.evaluation.truth import read_truth
from tinypose_torch.models.registry import get_config

NAMES = ["nose", "left_eye", "right_eye"]
SIZE = (128, 96)


def person(identity, image_id):
    keypoints = [10.0, 12, 2, 20, 12.5, 1, 0, 0, 0]
    facts = {"id": identity, "image_id": image_id, "category_id": 1, "bbox": [5, 6, 40.5, 30]}
    return {**facts, "keypoints": keypoints, "num_keypoints": 2, "area": 900.5, "iscrowd": 0}


SOUND = {
    "images": [{"id": index, "file_name": f"{index}.jpg", "width": 80, "height": 60} for index in (1, 2)],
    "annotations": [person(1, 1), person(2, 1), person(3, 2)],
    "categories": [
        {"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]], "sigmas": [0.03, 0.03, 0.03]}
    ],
}
DETECTIONS = [{"image_id": 1, "category_id": 1, "bbox": [5, 6, 40, 30], "score": 0.9}]
MPII = [
    {"image": "1.jpg", "center": [30, 40], "scale": 0.3, "joints": [[4, 5]] * 16, "joints_vis": [1] * 16},
    {"image": "x.jpg", "center": [30, 40], "scale": 0.3, "joints": [[4, 5]] * 16, "joints_vis": [1] * 16},
]


def refused_or(function, *arguments, **options):
    """The result, or ``None`` where the dataset is refused."""
    try:
        return function(*arguments, **options)
    except DatasetError as error:
        check_refusal(error)
        return None


def written(content):
    """A path of the content as JSON; files stay as long as the process."""
    _FOLDER.mkdir(exist_ok=True)
    path = _FOLDER / "x.json"
    path.write_text(json.dumps(content))
    return path


_FOLDER = Path(tempfile.mkdtemp(prefix="annotations"))


def test_sound_files_are_read():
    """The properties below hold for datasets that are read; these are, and wholly."""
    coco = read_coco(written(SOUND))
    assert len(load_pose_annotations(coco, SIZE).items) == 3
    assert [len(item.people) for item in load_bottom_up_annotations(coco).items] == [2, 1]
    assert len(load_detections(coco, written(DETECTIONS), SIZE).items) == 1
    assert len(load_mpii_annotations(written(MPII)).items) == 2
    images, names = load_detection_annotations(written(SOUND))[:2]
    assert [len(item.objects) for item in images.items] == [2, 1]
    assert list(names) == ["person"]


@holds(content=mutated(SOUND))
def test_people(content):
    coco = refused_or(read_coco, written(content))
    if coco is None:
        return
    people = refused_or(load_pose_annotations, coco, SIZE)
    for record in people.items if people else ():
        assert np.isfinite(record.box).all()
        assert np.isfinite(record.person.joints).all()
        assert np.isfinite([*record.person.center, *record.person.scale]).all()
        assert (record.person.scale > 0).all()
        assert len(record.person) == len(coco.skeleton)
    samples = refused_or(load_bottom_up_annotations, coco)
    for item in samples.items if samples else ():
        assert np.isfinite(item.people.joints).all()
    assert len(select_images(coco, 0, 5)) <= len(coco.images)


@holds(content=mutated(SOUND))
def test_objects(content):
    found = refused_or(load_detection_annotations, written(content))
    for item in found[0].items if found else ():
        assert np.isfinite(item.objects.boxes).all()
        assert ((item.objects.labels >= 0) & (item.objects.labels < len(found[1]))).all()


@holds(content=mutated(SOUND))
def test_evaluation(content):
    """What can be read can be scored."""
    pytest.importorskip("pycocotools")
    path = written(content)
    coco = refused_or(read_coco, path)
    truth = refused_or(read_truth, path, keypoint_category=coco.category_id) if coco else None
    people = refused_or(load_pose_annotations, coco, SIZE) if coco else None
    if people and truth and len(coco.skeleton) == 3:
        places = np.zeros((len(people), 3, 2)) + 5.0
        predictions = to_predictions(
            places, np.full((len(people), 3), 0.5), people.items, get_config("tinypose_128x96")
        )
        results = keypoint_results(predictions, np.array([0.03] * 3), category_id=coco.category_id)
        ids = [image.image_id for image in select_images(coco)]
        accuracy = keypoint_accuracy(truth, results, (0.03,) * 3, ids)
        assert all(-1 <= value <= 1 for value in accuracy.values())


@holds(rows=mutated(DETECTIONS))
def test_detections(rows):
    coco = read_coco(written(SOUND))
    people = refused_or(load_detections, coco, written(rows), SIZE)
    for record in people.items if people else ():
        assert np.isfinite([*record.person.center, *record.person.scale, record.score]).all()


@holds(rows=mutated(MPII))
def test_mpii(rows):
    people = refused_or(load_mpii_annotations, written(rows))
    for record in people.items if people else ():
        assert isinstance(record.file_name, str)
        assert np.isfinite([*record.person.center, *record.person.scale]).all()


@holds(
    box=st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), width=st.integers(1, 5000), height=st.integers(1, 5000)
)
def test_clean_boxes(box, width, height):
    """Inside the image, and not changed by being cleaned again (but for the pixel that cleaning takes off)."""
    cleaned = clean_box(box, width, height)
    if cleaned is not None:
        assert (cleaned >= 0).all()
        assert (cleaned <= np.array([width - 1, height - 1] * 2)).all()
        x1, y1, x2, y2 = cleaned
        again = clean_box([x1, y1, x2 - x1 + 1, y2 - y1 + 1], width, height)
        assert np.allclose(again, cleaned)
