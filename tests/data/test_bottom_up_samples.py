"""What bottom-up networks are trained on, against PaddleDetection's recorded cases."""

import json
import random

import albumentations as A
import numpy as np
import pytest
from recordings import Recording, read_json, recording

from tinypose_torch.codecs.associative_embedding import MISSING, encode_joint_heatmaps, tag_places
from tinypose_torch.data.bottom_up.samples import BottomUpSample, load_bottom_up_annotations
from tinypose_torch.data.bottom_up.transforms import BottomUpAffine, BottomUpRandomFlip
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.geometry.crops import square_matrix
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.geometry.skeletons import COCO17


def sample_of(joints):
    return BottomUpSample(joints[..., :2].astype(np.float32), np.minimum(joints[..., 2], 1).astype(np.float32))


@pytest.mark.parametrize("number", range(8))
def test_recorded_draws(number):
    case = read_json("transforms/bottomup_cases.json")[number]
    arrays = Recording("transforms/" + case["file"])
    image, size = arrays["in_image"], case["trainsize"]
    height, width = image.shape[:2]
    center = (width / 2 + case["dx"], height / 2 + case["dy"])
    matrix = square_matrix(center, case["aug_scale"] * min(height, width), case["degree"], size)
    np.testing.assert_allclose(matrix, arrays["matrix0"][:2], rtol=1e-15, atol=1e-12)
    affine, flip = BottomUpAffine(size), BottomUpRandomFlip(COCO17)
    shown = affine.apply(image, matrix=matrix)
    people = affine.apply_to_sample(sample_of(arrays["in_joints"]), matrix=matrix, shape=image.shape)
    for stride, index in ((4, 0), (2, 1)):
        expected = arrays[f"affine_joints{index}"]
        np.testing.assert_allclose(people.joints / stride, expected[..., :2], atol=1e-4)
        np.testing.assert_array_equal(people.visible, np.minimum(expected[..., 2], 1))
    assert arrays.equals("affine_image", shown)
    if case["flip"]:
        shown, people = flip.apply(shown), flip.apply_to_sample(people, shape=shown.shape)
    assert arrays.equals("flip_image", shown)
    for level, (stride, name) in enumerate(((4, "1x"), (2, "2x"))):
        places = people.joints / np.float32(stride)
        np.testing.assert_allclose(places, arrays[f"flip_joints{level}"][..., :2], atol=1e-4)
        maps = encode_joint_heatmaps(places, people.visible, size // stride)
        assert arrays.difference(f"heatmap_gt{name}", maps) <= 1e-6
        assert arrays.equally_positive(f"heatmap_gt{name}", maps)
        if arrays["in_mask"].all():  # PaddleDetection's own datasets have no other
            assert arrays.equally_positive(f"mask_{name}", people.masks[level])
    cells = tag_places(people.joints / np.float32(4), people.visible, size // 4)
    kind, row, column, there = np.moveaxis(arrays["tagmap"][: len(cells)], -1, 0)
    np.testing.assert_array_equal(cells, np.where(there > 0, row * (size // 4) + column, MISSING))
    assert (kind[there > 0] == np.nonzero(there > 0)[1]).all()
    if arrays.has("normalized_chw"):
        found = normalize(shown[None], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))[0]
        assert arrays.difference("normalized_chw", found) <= 1e-6


def test_recorded_images():
    expected = read_json("transforms/bottomup_records_expected.json")
    coco = read_coco(recording("transforms/dataset_records_coco.json"), COCO17)
    for testing in (False, True):
        images = load_bottom_up_annotations(coco, keep_empty=testing)
        wanted = [image for image in expected if image["test_mode"] == testing]
        assert [item.image_id for item in images.items] == [image["im_id"] for image in wanted]
        assert [len(item.people) for item in images.items] == [image["people"] for image in wanted]
        left_out = {identity for ids in images.skipped.values() for identity in ids}
        for item, image in zip(images.items, wanted, strict=True):
            used = [a for a in coco.annotations if a["image_id"] == item.image_id and a["id"] not in left_out]
            visible = sum(sum(annotation["keypoints"][2::3]) for annotation in used)
            assert item.people.joints.sum() + visible == pytest.approx(image["joints_sum"])


def test_draws_are_as_stated():
    image = np.zeros((100, 140, 3), np.uint8)
    drawn = BottomUpAffine(128)
    drawn.set_random_state(np.random.default_rng(0), None)
    matrices = np.stack([drawn.get_params_dependent_on_data({}, {"image": image})["matrix"] for _ in range(4000)])
    sides = 128 / np.hypot(matrices[:, 0, 0], matrices[:, 0, 1])
    degrees = np.rad2deg(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert sides.min() > 75
    assert sides.max() < 150
    assert abs(sides.mean() - 112.5) < 1.5
    assert abs(degrees).max() < 30
    assert abs(degrees.mean()) < 1
    assert abs(degrees.std() - 60 / np.sqrt(12)) < 0.5
    centers = np.stack([np.linalg.solve(matrix[:, :2], 64 - matrix[:, 2]) for matrix in matrices]) - (70, 50)
    assert np.abs(centers - np.round(centers)).max() < 1e-4
    share = centers / sides[:, None]
    assert np.abs(share).max() <= 0.2
    assert abs(share.std() - 0.4 / np.sqrt(12)) < 0.005


def test_the_same_seed_gives_the_same_sample():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    people = BottomUpSample(np.full((2, 17, 2), 30, np.float32), np.ones((2, 17), np.float32))
    transform = A.Compose([BottomUpAffine(64), BottomUpRandomFlip(COCO17)])
    results = []
    for _ in range(2):
        transform.set_random_state(np.random.default_rng(3), random.Random(3))
        results.append(transform(image=image, people=people))
    assert np.array_equal(results[0]["image"], results[1]["image"])
    assert np.array_equal(results[0]["people"].joints, results[1]["people"].joints)
    assert [mask.shape for mask in results[0]["people"].masks] == [(16, 16), (32, 32)]


def test_no_usable_annotations(tmp_path):
    image = {"id": 1, "file_name": "a.jpg", "width": 10, "height": 10}
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 1, 1], "keypoints": [1, 1, 2] * 17}
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoint_names)}
    (tmp_path / "x.json").write_text(json.dumps({"images": [image], "annotations": [person], "categories": [category]}))
    with pytest.raises(DatasetError, match="no usable person annotations .skipped: 1 iscrowd"):
        load_bottom_up_annotations(read_coco(tmp_path / "x.json"))
