"""`PersonCompose` gives what `albumentations.Compose` gives."""

import albumentations as A
import numpy as np
import pytest
from conftest import gradient_image

from tinypose_torch.data.keypoints import KeepKeypoints
from tinypose_torch.data.pose.compose import PersonCompose
from tinypose_torch.data.pose.information_dropping import Cutout, GridMask
from tinypose_torch.data.pose.transforms import RandomFlip, RandomHalfBody, TopDownAffine, region_corners
from tinypose_torch.data.sample_rng import SampleRNG

PAIRS = ((0, 1), (2, 3))


def transforms():
    return [
        KeepKeypoints([A.Rotate(20, p=0.7), A.RandomBrightnessContrast()], PAIRS),
        RandomHalfBody(range(4), min_keypoints=5, p=0.5),
        Cutout(48, p=0.5),
        GridMask(p=0.5),
        TopDownAffine((64, 48), shift_prob=0.3),
        RandomFlip(PAIRS),
        KeepKeypoints([A.HorizontalFlip(), A.GaussNoise()], PAIRS),
    ]


@pytest.mark.parametrize("visible", [True, False], ids=["all visible", "some visible"])
def test_same_as_albumentations(visible):
    keypoints = A.KeypointParams("xy", remove_invisible=False, check_each_transform=False)
    generic = A.Compose(transforms(), keypoint_params=keypoints, additional_targets={"region": "keypoints"})
    own, rng = PersonCompose(transforms()), np.random.default_rng(0)
    for index in range(20):
        points = np.column_stack([rng.uniform(0, 80, (9, 2)), visible | (rng.random(9) < 0.7)]).astype(np.float32)
        results = []
        for compose in (own, generic):
            SampleRNG(5, compose).reseed(0, index)
            region = region_corners((40, 30), (30, 40))
            results.append(compose(image=gradient_image(60, 80), keypoints=points.copy(), region=region))
        one, two = results
        assert one.keys() == two.keys()
        for name in one:
            assert one[name].shape == two[name].shape
            assert np.array_equal(one[name], two[name]), name


def test_given_points_are_not_changed():
    points, region = np.ones((9, 3), np.float32), region_corners((40, 30), (30, 40))
    before = region.copy()
    PersonCompose(transforms())(image=gradient_image(60, 80), keypoints=points, region=region)
    assert (points == 1).all()
    assert np.array_equal(region, before)
