"""Training samples: they depend on seed, epoch and index, and on nothing else."""

import dataclasses
import logging

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.pose.annotations import PoseAnnotation
from tinypose_torch.data.pose.dataset import PoseCollate, PoseDataset
from tinypose_torch.data.pose.sample import PoseSample
from tinypose_torch.data.pose.transforms import TopDownAffine
from tinypose_torch.geometry.crops import center_and_scale, person_matrix
from tinypose_torch.models.registry import get_config
from train.config import Augmentation
from train.pose import build_transform

ENTRY = get_config("tinypose_128x96")
SIZES = [(120, 90), (90, 131), (200, 150), (77, 77)]
AUGMENTATION = Augmentation(
    half_body=0.5,
    flip=0.5,
    dropping_probability=0.5,
    transforms=(
        {"name": "Rotate", "limit": 20, "p": 0.9},
        {"name": "TopDownAffine"},
        {"name": "RandomBrightnessContrast", "p": 0.9},
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    generator = np.random.default_rng(0)
    for index, (height, width) in enumerate(SIZES):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg")
    return folder


def records():
    generator = np.random.default_rng(1)
    people = []
    for index in range(len(SIZES)):
        joints = generator.uniform(10, 70, (17, 2)).astype(np.float32)
        person = PoseSample(joints, np.ones(17, np.float32), np.float32([40, 40]), np.float32([0.3, 0.4]))
        people.append(PoseAnnotation(f"{index}.jpg", index, person, np.array([5, 5, 75, 75])))
    return people


def dataset(people, folder, seed=3):
    return PoseDataset(people, folder, ENTRY, build_transform(AUGMENTATION, ENTRY), seed)


def assert_same(samples, others):
    for one, other in zip(samples, others, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["person"].joints, other["person"].joints)
        assert one["index"] == other["index"]


ORDER = [(epoch, index) for epoch in range(3) for index in (2, 0, 3, 1)]


def test_the_order_does_not_matter(folder):
    people = dataset(records(), folder)
    samples = [people[place] for place in ORDER]
    backwards = {place: people[place] for place in reversed(ORDER)}
    assert_same(samples, [backwards[place] for place in ORDER])
    assert_same(samples[:1], [dataset(records(), folder)[ORDER[0]]])
    assert len({sample["image"].tobytes() for sample in samples}) == len(ORDER), "epochs repeat each other"
    other = dataset(records(), folder, seed=4)
    assert not np.array_equal(other[ORDER[0]]["image"], samples[0]["image"])


def test_the_next_image_for_one_that_cannot_be_decoded(folder, caplog):
    people = records()
    people[1] = dataclasses.replace(people[1], file_name="broken.jpg")
    (folder / "broken.jpg").write_bytes(b"no image")
    broken = dataset(people, folder)
    with caplog.at_level(logging.WARNING):
        assert_same([broken[0, 1]], [broken[0, 2]])
    assert "broken.jpg" in caplog.text
    no_people = dataset([people[1]], folder)
    with pytest.raises(DatasetError, match="no image in .* can be decoded"):
        no_people[0]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_data_loader(workers, folder):
    collate = PoseCollate(ENTRY)
    loader = DataLoader(
        dataset(records(), folder),
        batch_sampler=[ORDER[:4], ORDER[4:10]],
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    expected = dataset(records(), folder)
    for batch, places in zip(loader, (ORDER[:4], ORDER[4:10]), strict=True):
        whole = collate([expected[place] for place in places])
        assert all(torch.equal(batch[key], whole[key]) for key in whole)


def test_a_composition_without_the_crop(folder):
    without = A.Compose([A.NoOp()], keypoint_params=A.KeypointParams("xy", remove_invisible=False))
    with pytest.raises(ValueError, match="return images of 120x90; the network takes 128x96, see TopDownAffine"):
        PoseDataset(records(), folder, ENTRY, without)[0]


def test_the_box_is_the_region_that_is_cropped(folder):
    """As in the evaluation: its corners are the crop's, to a ten-thousandth of a pixel."""
    people = records()
    centers, scales = center_and_scale(np.array([[-20.3, 3.7, 40.1, 61.9]]), ENTRY.input_size)
    joints = np.full((17, 2), 40, np.float32)
    person = PoseSample(joints, np.ones(17, np.float32), centers[0], scales[0])
    people[0] = dataclasses.replace(people[0], person=person)
    crop = TopDownAffine(ENTRY.input_size, scale_factor=0, rotate_prob=0)
    keypoints = A.KeypointParams("xy", remove_invisible=False)
    plain = A.Compose([crop], keypoint_params=keypoints, additional_targets={"region": "keypoints"})
    sample = PoseDataset(people, folder, ENTRY, plain)[0]
    matrix = person_matrix(person.center, person.scale, 0.0, ENTRY.input_size, True)
    np.testing.assert_allclose(sample["person"].joints, joints @ matrix[:, :2].T + matrix[:, 2], atol=1e-4)
