"""Training samples: they depend on seed, epoch and index, and on nothing else."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("albumentations")

from torch.utils.data import DataLoader

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.pose_annotations import PoseAnnotation
from tinypose_torch.data.pose_dataset import PoseCollate, PoseDataset
from tinypose_torch.data.pose_sample import PoseSample
from tinypose_torch.data.pose_transforms import PoseCompose, RandomScale
from tinypose_torch.models.registry import get_config
from train.config import Augmentation
from train.keypoint_config import build_colour
from train.pose import build_transform

ENTRY = get_config("tinypose_128x96")
SIZES = [(120, 90), (90, 131), (200, 150), (77, 77)]
AUGMENTATION = Augmentation(
    half_body=0.5, flip=0.5, dropping_probability=0.5, colour=({"name": "RandomBrightnessContrast", "p": 0.9},)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    generator = np.random.default_rng(0)
    for index, (height, width) in enumerate(SIZES):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg")
    return folder


def records(sizes=SIZES):
    generator = np.random.default_rng(1)
    people = []
    for index, size in enumerate(sizes):
        joints = generator.uniform(10, 70, (17, 2)).astype(np.float32)
        person = PoseSample(joints, np.ones(17, np.float32), np.float32([40, 40]), np.float32([0.3, 0.4]))
        people.append(PoseAnnotation(f"{index}.jpg", index, person, np.array([5, 5, 75, 75]), image_size=size))
    return people


def dataset(people, folder, seed=3):
    return PoseDataset(people, folder, ENTRY, build_transform(AUGMENTATION, ENTRY), build_colour(AUGMENTATION), seed)


def assert_same(samples, others):
    for one, other in zip(samples, others, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["person"].joints, other["person"].joints)
        assert one["index"] == other["index"]


ORDER = [(epoch, index) for epoch in range(3) for index in (2, 0, 3, 1)]


def test_batches_are_the_samples(folder):
    """One by one in another order, all at once, and without the size of any image."""
    together = dataset(records(), folder)[ORDER[0]], *dataset(records(), folder).__getitems__(ORDER[1:])
    single = dataset(records(), folder)
    backwards = {place: single[place] for place in reversed(ORDER)}
    assert_same(together, [backwards[place] for place in ORDER])
    unknown = dataset(records([None] * len(SIZES)), folder)
    assert_same(together, unknown.__getitems__(ORDER))
    assert len({sample["image"].tobytes() for sample in together}) == len(ORDER), "epochs repeat each other"
    other = dataset(records(), folder, seed=4)
    assert not np.array_equal(other[ORDER[0]]["image"], together[0]["image"])


def test_annotations_that_are_wrong_about_the_size(folder):
    wrong = dataset(records([(height + 7, width - 3) for height, width in SIZES]), folder)
    assert_same(wrong.__getitems__(ORDER), dataset(records(), folder).__getitems__(ORDER))


def test_the_next_image_for_one_that_cannot_be_decoded(folder, caplog):
    people = records()
    people[1] = dataclasses.replace(people[1], file_name="broken.jpg")
    (folder / "broken.jpg").write_bytes(b"no image")
    broken = dataset(people, folder)
    with caplog.at_level(logging.WARNING):
        assert_same([broken[0, 1]], [broken[0, 2]])
    assert "broken.jpg" in caplog.text
    nobody = dataset([people[1]], folder)
    with pytest.raises(DatasetError, match="no image in .* can be decoded"):
        nobody[0]


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


def test_the_crop_comes_last(folder):
    with pytest.raises(ValueError, match="ends with RandomScale, not TopDownAffine"):
        PoseDataset(records(), folder, ENTRY, PoseCompose([RandomScale()]))
