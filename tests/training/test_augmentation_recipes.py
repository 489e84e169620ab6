"""Transforms that a recipe names: of albumentations and of the user's own modules."""

import dataclasses
import json
import sys
import warnings

import albumentations as A
import numpy as np
import pytest

from tinypose_torch.data.bottom_up.samples import BottomUpSample
from tinypose_torch.data.pose.dataset import PoseDataset
from tinypose_torch.data.pose.sample import PoseSample
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.models.registry import get_config
from train.augmentation import build_transforms
from train.bottom_up import BottomUpDataset
from train.bottom_up import build_transform as build_bottom_up_transform
from train.config import Augmentation, ConfigError, load_config
from train.detection import DetectionDataset
from train.pose import build_dataset, build_transform, load_annotations

POSE = get_config("tinypose_128x96")
BOTTOM_UP = dataclasses.replace(get_config("higherhrnet_w16_192"), skeleton=COCO17)
PLAIN = {"half_body": 0, "scale": 0, "rotation": 0, "rotation_probability": 0, "flip": 0, "dropping": "none"}
MODULE = """
import albumentations as A


class Painted(A.ImageOnlyTransform):
    def __init__(self, level, p=1.0):
        super().__init__(p=p)
        self.level = level

    def apply(self, img, **params):
        return img * 0 + self.level


class Broken(Painted):
    def apply(self, img, **params):
        raise RuntimeError("out of paint\\nand of canvas")
"""


def noise(height=90, width=131):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def person():
    joints = np.random.default_rng(0).uniform(20, 70, (17, 2)).astype(np.float32)
    return PoseSample(joints, np.ones(17, np.float32), np.float32([50, 45]), np.float32([0.3, 0.4]))


def pose_sample(*transforms, image=None, epoch=0):
    transform = build_transform(Augmentation(**PLAIN, transforms=transforms), POSE)
    return PoseDataset([], ".", POSE, transform).augment(noise() if image is None else image, person(), epoch, 0)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_paint.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_paint"
    sys.modules.pop("my_paint", None)


def test_a_class_of_a_module_outside_the_package(own_module, people):
    options = [f"data.train={people / 'train.json'}", f"data.images={people / 'images'}", "seed=3"]
    items = f"augmentation.transforms=[{{name: {own_module}.Painted, level: 7}}]"
    config = load_config("demo_pose", [*options, items])
    dataset = build_dataset(config, load_annotations(config, POSE), POSE)
    assert (dataset[0, 0]["image"] == 7).all()
    for change, message in (
        (("Painted", "Panted"), r"no transform 'Panted' in my_paint; did you mean Painted\?"),
        (("level", "levl"), r"my_paint.Painted has no argument 'levl'; did you mean 'level'\?"),
        ((", level: 7", ""), "my_paint.Painted: .*missing 1 required positional argument: 'level'"),
        (("Painted", "Broken"), "Broken cannot be applied: out of paint"),
    ):
        config = load_config("demo_pose", [*options, items.replace(*change)])
        with pytest.raises(ConfigError, match=message):
            build_dataset(config, load_annotations(config, POSE), POSE)


def test_a_recipe_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("""
model: tinypose_128x96
augmentation:
  transforms:
    - {name: Rotate, limit: [-20, 20], p: 0.5}
    - {name: TopDownAffine}
    - name: OneOf
      p: 0.5
      transforms: [{name: GaussNoise}, {name: MotionBlur, p: 1.0}]
""")
    before, after = build_transforms(
        load_config(str(tmp_path / "mine.yaml"), []).augmentation.transforms, "TopDownAffine"
    )
    (rotate,), (one_of,) = before, after
    assert (rotate.limit, rotate.p) == ((-20, 20), 0.5)
    assert [type(transform).__name__ for transform in one_of.transforms] == ["GaussNoise", "MotionBlur"]


def test_transforms_move_the_person():
    """A quarter turn of the image before the crop is one of the crop, of which the region is turned, too."""
    plain, _ = pose_sample()
    crop, moved = pose_sample({"name": "Rotate", "limit": [90, 90], "p": 1}, {"name": "TopDownAffine"})
    assert not np.array_equal(plain, crop)
    assert moved.visible.all()
    joints = person().joints
    spread, turned = np.ptp(joints, axis=0), np.ptp(moved.joints, axis=0)
    assert spread[0] / spread[1] == pytest.approx(turned[1] / turned[0], rel=0.02)
    assert (moved.joints.min(axis=0) > -1).all()
    assert (moved.joints.max(axis=0) < (96, 128)).all()


def test_keypoints_that_leave_are_invisible():
    crop = {"name": "Crop", "x_min": 0, "y_min": 0, "x_max": 45, "y_max": 90, "p": 1}
    _, moved = pose_sample(crop, {"name": "TopDownAffine"})
    np.testing.assert_array_equal(moved.visible, person().joints[:, 0] <= 44)


@pytest.mark.parametrize("place", ["before", "after"])
def test_mirrors_swap_left_and_right(place):
    items = [{"name": "HorizontalFlip", "p": 1}, {"name": "TopDownAffine"}]
    image = noise()
    crop, moved = pose_sample(*(items if place == "before" else items[::-1]), image=image)
    flipped, expected = PoseDataset([], ".", POSE, build_transform(Augmentation(**{**PLAIN, "flip": 1}), POSE)).augment(
        image, person(), 0, 0
    )
    np.testing.assert_allclose(moved.joints, expected.joints, atol=1e-3)
    assert np.abs(crop.astype(int) - flipped).mean() < 3


def dataset_of(config):
    annotations = load_annotations(config, POSE)
    return build_dataset(config, annotations, dataclasses.replace(POSE, skeleton=annotations.skeleton))


def test_mirrors_are_refused_where_pairs_are_not_known(people, tmp_path):
    content = json.loads((people / "train.json").read_text())
    names = content["categories"][0]["keypoints"]
    content["categories"][0]["keypoints"] = [name.replace("left_wrist", "leftHand") for name in names]
    (tmp_path / "unpaired.json").write_text(json.dumps(content))
    options = [f"data.train={tmp_path / 'unpaired.json'}", f"data.images={people / 'images'}", "augmentation.flip=0"]
    for name in ("HorizontalFlip", "D4"):
        config = load_config(
            "demo_pose", [*options, f"augmentation.transforms=[{{name: {name}, p: 0.1}}, {{name: TopDownAffine}}]"]
        )
        with pytest.raises(ConfigError, match=f"{name} mirrors the image.*data.flip_pairs="):
            dataset_of(config)
    told = load_config(
        "demo_pose", [*options, "augmentation.transforms=[{name: HorizontalFlip}]", "data.flip_pairs=[]"]
    )
    assert len(dataset_of(told))


def geometric():
    """The names of albumentations' transforms of places that need no arguments, images or masks."""
    for name, kind in sorted(vars(A).items()):
        if isinstance(kind, type) and issubclass(kind, A.DualTransform) and not issubclass(kind, A.Transform3D):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    needed = kind(p=1.0).targets_as_params
            except (TypeError, ValueError):
                continue
            if not needed and name not in ("DualTransform", "Lambda", "Crop"):
                yield name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*geometric()])
def test_all_transforms_of_albumentations(name):
    """The number and order of keypoints stay, whatever the transform is, on both sides of the crop."""
    item, crop = {"name": name, "p": 1}, {"name": "TopDownAffine"}
    refused = []
    for items in ((item, crop), (crop, item)):
        try:
            _, moved = pose_sample(*items)
        except ValueError as error:
            refused.append(str(error))
            continue
        assert moved.joints.shape == (17, 2)
        assert np.isfinite(moved.joints).all()
        assert set(np.unique(moved.visible)) <= {0, 1}
    assert len(refused) < 2
    assert all("the network takes 128x96" in message for message in refused)


def bottom_up_sample(*transforms):
    options = Augmentation(rotation=0, flip=0, bottom_up_scale=(1, 1.0001), bottom_up_shift=0, transforms=transforms)
    people = BottomUpSample(np.stack([person().joints, person().joints + 9]), np.ones((2, 17), np.float32))
    return BottomUpDataset([], ".", BOTTOM_UP, options, 0).augment(noise(), people, 0, 0)


def test_transforms_of_several_people():
    plain, people = bottom_up_sample()
    item = {"name": "HorizontalFlip", "p": 1}
    square, moved = bottom_up_sample(item, {"name": "BottomUpAffine"})
    inside = (moved.visible > 0) & (people.visible[:, COCO17.mirrored_order()] > 0)
    assert inside.sum() > 20
    mirrored = people.joints[:, COCO17.mirrored_order()]
    np.testing.assert_allclose(moved.joints[inside][:, 1], mirrored[inside][:, 1], atol=0.1)
    np.testing.assert_allclose(moved.joints[inside][:, 0] + mirrored[inside][:, 0], len(square), atol=3)
    assert np.abs(square[:, ::-1].astype(int) - plain).mean() < 40
    _, turned = bottom_up_sample({"name": "Rotate", "limit": [45, 45], "p": 1}, {"name": "BottomUpAffine"})
    assert all(mask.all() for mask in people.masks)
    assert not any(mask.all() for mask in turned.masks), "the corners are no longer photographed"
    empty = BottomUpSample(np.zeros((0, 17, 2), np.float32), np.zeros((0, 17), np.float32))
    options = Augmentation(transforms=(item, {"name": "BottomUpAffine"}))
    assert BottomUpDataset([], ".", BOTTOM_UP, options, 0).augment(noise(), empty, 0, 0)[1].joints.shape == (0, 17, 2)
    with pytest.raises(ConfigError, match="HorizontalFlip moves pixels; write it before {name: BottomUpAffine}"):
        build_bottom_up_transform(Augmentation(transforms=(item,)), BOTTOM_UP)


@pytest.mark.parametrize("place", ["before", "after"])
def test_transforms_of_boxes(place, people):
    from tinypose_torch.data.detection.annotations import load_detection_annotations

    images, _ = load_detection_annotations(people / "train.json")
    options = load_config(
        "demo_detector", ["detection.crop=false", "detection.flip=0", "detection.distort=false"]
    ).detection
    items = [{"name": "HorizontalFlip", "p": 1}, {"name": "RandomIoUCrop"}]
    items = items if place == "before" else items[::-1]
    plain = DetectionDataset(images.items, people / "images", options, 0)[0, 0]
    flipped = DetectionDataset(images.items, people / "images", options, 0, items)[0, 0]
    np.testing.assert_array_equal(flipped["image"], plain["image"][:, ::-1])
    boxes, width = np.clip(plain["objects"].boxes, 0, None), plain["image"].shape[1]
    expected = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    np.testing.assert_allclose(flipped["objects"].boxes, np.clip(expected, 0, None), atol=1e-3)
    np.testing.assert_array_equal(flipped["objects"].labels, plain["objects"].labels)
    away = [{"name": "Crop", "x_max": 1, "y_max": 1, "p": 1}]
    assert len(DetectionDataset(images.items, people / "images", options, 0, away)[0, 0]["objects"]) <= len(boxes)
