"""Training of bottom-up pose networks: annotations, samples, loss, accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tinypose_torch.codecs.associative_embedding import MISSING, encode_joint_heatmaps, tag_places
from tinypose_torch.data.bottom_up.samples import BottomUpImage, BottomUpSample, load_bottom_up_annotations
from tinypose_torch.data.bottom_up.transforms import MAP_STRIDES, BottomUpAffine, BottomUpRandomFlip
from tinypose_torch.data.formats.coco import CocoFile, read_coco
from tinypose_torch.data.formats.registry import read_annotations
from tinypose_torch.data.images import check_images, read_or_fail, read_or_next
from tinypose_torch.data.pose.dataset import Sample, collate
from tinypose_torch.data.sample_rng import SampleRNG
from tinypose_torch.estimators.bottom_up import group_poses
from tinypose_torch.evaluation.bottom_up import bottom_up_results
from tinypose_torch.evaluation.coco import keypoint_accuracy
from tinypose_torch.evaluation.truth import Truth, read_truth
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.losses.associative_embedding import AssociativeEmbeddingTargets, associative_embedding_loss
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import BottomUpConfig, config_of, of_task
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime import EagerRunner
from train.augmentation import build_transforms, check_transforms, image_only, keep_keypoints
from train.config import Augmentation, Config, ConfigError
from train.init_model import start_network
from train.keypoint_config import check_same_keypoints, configured_augmentation, configured_skeleton, may_mirror
from train.lightning_module import Job, Training


class BottomUpDataset(Dataset[Sample]):
    """Dataset of augmented squares with the heatmaps and tag positions of all people.

    An item is a dict of ``image`` ``(3, S, S)``, ``coarse_heatmaps``, ``fine_heatmaps``, ``coarse_mask``, ``fine_mask`` and
    ``places``, as in `AssociativeEmbeddingTargets`, and ``index``. An image that cannot be decoded is replaced by the next one, and named
    in the log.
    """

    def __init__(
        self, images: Sequence[BottomUpImage], folder: Path, entry: BottomUpConfig, options: Augmentation, seed: int
    ) -> None:
        self.images, self.folder, self.entry, self.seed = images, folder, entry, seed
        self.before, self.transform = build_transform(options, entry)
        self.rng = SampleRNG(seed, self.before, self.transform)

    def __len__(self) -> int:
        return len(self.images)

    def augment(
        self, image: np.ndarray, people: BottomUpSample, epoch: int, index: int
    ) -> tuple[np.ndarray, BottomUpSample]:
        """Return the augmented square ``(S, S, 3)`` uint8 RGB, and the people in its coordinates.

        Args:
            image: RGB.
        """
        self.rng.reseed(epoch, index)
        if len(self.before):
            mask = np.full(image.shape[:2], 255, np.uint8)
            moved = self.before(image=image, keypoints=people.flat(), mask=mask)
            image, people = moved["image"], BottomUpSample.of(moved["keypoints"], people.joints.shape, moved["mask"])
        drawn = self.transform(image=image, people=people)
        return drawn["image"], drawn["people"]

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        epoch, index = place
        found, image = read_or_next(self.images, self.folder, index)
        square, people = self.augment(image, self.images[found].people, epoch, index)
        sample: Sample = {"image": torch.from_numpy(normalize(square[None], self.entry.mean, self.entry.std)[0])}
        for name, stride, mask in zip(("coarse", "fine"), MAP_STRIDES, people.masks, strict=True):
            heatmaps = encode_joint_heatmaps(people.joints / np.float32(stride), people.visible, len(mask))
            sample |= {f"{name}_heatmaps": torch.from_numpy(heatmaps), f"{name}_mask": torch.from_numpy(mask)}
        stride = MAP_STRIDES[0]
        places = tag_places(people.joints / np.float32(stride), people.visible, len(people.masks[0]))
        return {**sample, "places": torch.from_numpy(places), "index": index}


def build_transform(options: Augmentation, entry: BottomUpConfig) -> tuple[A.Compose, A.Compose]:
    """Build the recipe's transforms of the image, and the network's own with those that follow.

    Raises:
        ConfigError: See `build_transforms`; or one of those that follow moves pixels.
    """
    before, after = build_transforms(options.transforms, "BottomUpAffine")
    for transform in after:
        if not image_only([transform]):
            name = type(transform).__name__
            raise ConfigError(f"augmentation.transforms: {name} moves pixels; write it before {{name: BottomUpAffine}}")
    affine = BottomUpAffine(entry.input_size[0], options.rotation, options.bottom_up_scale, options.bottom_up_shift)
    keypoints = A.KeypointParams("xy", remove_invisible=False)
    return (
        A.Compose(keep_keypoints(before, entry.skeleton), keypoint_params=keypoints if before else None),
        A.Compose([affine, BottomUpRandomFlip(entry.skeleton, p=options.flip), *after]),
    )


def collate_bottom_up(samples: Sequence[Sample]) -> Sample:
    """Collate samples; those with fewer people are padded with `MISSING`."""
    most = max(1, *(len(sample["places"]) for sample in samples))
    filled = []
    for sample in samples:
        missing = most - len(sample["places"])
        places = torch.nn.functional.pad(sample["places"], (0, 0, 0, missing), value=MISSING)
        filled.append({**sample, "places": places})
    return collate(filled)


class WholeImages(Dataset[Sample]):
    """Evaluation images: ``image`` ``(H, W, 3)`` uint8 RGB and ``index``."""

    def __init__(self, images: Sequence[BottomUpImage], folder: Path) -> None:
        self.images, self.folder = images, folder

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = read_or_fail(self.images[index], self.folder)
        return {"image": torch.from_numpy(image), "index": index}


class BottomUpTraining(Training):
    """Lightning module of bottom-up networks."""

    def __init__(
        self,
        network: Network,
        config: Config,
        val: Sequence[BottomUpImage],
        truth: Truth | None,
        category_id: int,
        skeleton: Skeleton,
        steps_per_epoch: int,
        total_steps: int,
    ) -> None:
        super().__init__(network, config, steps_per_epoch, total_steps)
        self.val, self.truth, self.category_id, self.sigmas = val, truth, category_id, skeleton.sigmas

    def losses(self, batch: Sample) -> dict[str, Tensor]:
        targets = AssociativeEmbeddingTargets(*(batch[name] for name in AssociativeEmbeddingTargets._fields))
        loss = associative_embedding_loss(self(batch["image"]), targets)
        return {"loss": loss.total, **loss._asdict()}

    def find(self, batch: Sample) -> list[Any]:
        runner = EagerRunner(self.network, self.device)
        records: list[Any] = []
        for image, index in zip(batch["image"].cpu().numpy(), batch["index"].tolist(), strict=True):
            poses, scores = group_poses(runner, image, flip=self.config.flip_test)
            records += bottom_up_results(self.val[index].image_id, poses, scores, self.category_id)
        return records

    def accuracy_of(self, found: Sequence[Any]) -> dict[str, float]:
        assert self.truth is not None
        return keypoint_accuracy(self.truth, list(found), self.sigmas)


def read_people(config: Config) -> CocoFile:
    """The training annotations, with the configured skeleton.

    Raises:
        ConfigError: A file is missing, or an option does not suit a bottom-up network or the skeleton.
        DatasetError: See `read_annotations`, `read_coco`.
    """
    data = config.data
    if data.train is None or data.images is None:
        raise ConfigError(f"data.{'train' if data.train is None else 'images'} is missing")
    top_down = {
        "data.detections": data.detections is not None,
        "distillation.teacher": config.distillation.teacher is not None,
    }
    for key, given in top_down.items():
        if given:
            raise ConfigError(f"{key} is for top-down networks; {config.model} is a bottom-up network")
    official = of_task(get_config(config.model), BottomUpConfig)
    content = read_annotations(data.train, data.images, data.format)
    train_file = read_coco(data.train, official.skeleton, content)
    return dataclasses.replace(train_file, skeleton=configured_skeleton(train_file.skeleton, data))


def bottom_up_job(config: Config, train_file: CocoFile | None = None) -> Job:
    """Build the training job of a bottom-up network.

    Args:
        train_file: What `read_people` returned; default: read from the configuration.

    Raises:
        ConfigError, DatasetError, CheckpointError: What cannot be used.
    """
    data = config.data
    train_file = train_file or read_people(config)
    assert data.images is not None
    skeleton = train_file.skeleton
    options = configured_augmentation(config, skeleton)
    images = load_bottom_up_annotations(train_file)
    check_images(images.items, data.images)
    truth, category_id, val, evaluation = None, train_file.category_id, [], None
    if data.val is not None:
        folder = data.val_images or data.images
        content = read_annotations(data.val, folder, data.format)
        val_file = read_coco(data.val, skeleton, content)
        category_id = val_file.category_id
        truth = read_truth(
            data.val, keypoint_category=category_id, content=content
        )  # so that errors occur before the training
        check_same_keypoints(val_file, train_file)
        val = load_bottom_up_annotations(val_file, keep_empty=True).items
        check_images(val, folder)
        evaluation = WholeImages(val, Path(folder))
    network, weights = start_network(config, skeleton=skeleton)
    entry = of_task(config_of(network), BottomUpConfig)
    rows = [
        ("model", f"{config.model}, {len(skeleton)} keypoints ({skeleton.name})"),
        (
            "training",
            f"{sum(len(item.people) for item in images.items)} people in {len(images)} images of {data.train}",
        ),
        *([("not used", f"{images.empty} images without people")] if images.empty else []),
        *(("not used", f"{len(ids)} {reason}") for reason, ids in images.skipped.items()),
        ("evaluation", f"{len(val)} images of {data.val}" if val else "none"),
        ("weights", weights),
    ]

    def training(steps_per_epoch: int, total_steps: int) -> BottomUpTraining:
        return BottomUpTraining(network, config, val, truth, category_id, skeleton, steps_per_epoch, total_steps)

    file = Path(data.images) / images.items[0].file_name
    mirror = may_mirror(config, skeleton)
    check_transforms(options.transforms, "BottomUpAffine", file, entry.input_size, may_mirror=mirror)
    samples = BottomUpDataset(images.items, Path(data.images), entry, options, config.seed)
    return Job(network, training, samples, len(samples), collate_bottom_up, evaluation, rows, evaluation_batch=1)
