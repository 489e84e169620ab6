"""From a configuration to datasets, and the order in which samples come: fixed by the seed, resumable at any step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import albumentations as A
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tinypose_torch.checkpoints.catalogue import PoseEntry
from tinypose_torch.data import transforms as T
from tinypose_torch.data.coco import CocoFile, read_coco
from tinypose_torch.data.dataset import PoseDataset, Sample, collate
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.images import check_images
from tinypose_torch.data.mpii import mpii_people
from tinypose_torch.data.records import Record, Records, annotated_people, detected_people
from tinypose_torch.evaluation.mpii import MpiiTruth, read_mpii_truth
from tinypose_torch.evaluation.topdown import cut_out
from tinypose_torch.geometry.normalise import normalise
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from train.config import Augmentation, Config, ConfigError

UPPER_BODY = COCO17.keypoint_names[:11]


@dataclass(frozen=True)
class People:
    """Who is trained on and evaluated.

    Attributes:
        skeleton: Of the training annotations.
        truth: What ``val`` is compared with; ``None`` without one.
    """

    train: Records
    train_images: Path
    val: Records | None
    val_images: Path | None
    skeleton: Skeleton
    truth: CocoFile | MpiiTruth | None


def find_people(config: Config, entry: PoseEntry) -> People:
    """Read and check everything that training needs.

    Raises:
        ConfigError: A file is not named.
        DatasetError: See `read_coco`, `annotated_people`, `check_images`; or ``val`` has another skeleton.
    """
    data = config.data
    for key in ("train", "images"):
        if getattr(data, key) is None:
            raise ConfigError(f"data.{key} is missing: pass data.{key}=...")
    assert data.train is not None
    assert data.images is not None
    folder = Path(data.images)
    val_folder = Path(data.val_images) if data.val_images else folder
    if data.format == "mpii":
        train = mpii_people(data.train)
        check_images(train.items, folder)
        if data.val is None:
            return People(train, folder, None, None, train.skeleton, None)
        if data.truth is None:
            raise ConfigError("data.truth is missing: MPII's gt_valid.mat, which has the head sizes")
        val, mpii_truth = mpii_people(data.val), read_mpii_truth(data.truth)
        check_images(val.items, val_folder)
        if len(val) != len(mpii_truth.head_sizes):
            raise DatasetError(f"{data.truth} is of {len(mpii_truth.head_sizes)} people, {data.val} of {len(val)}")
        return People(train, folder, val, val_folder, train.skeleton, mpii_truth)
    train_file = read_coco(data.train, entry.skeleton)
    skeleton = _with_sigmas(train_file.skeleton, data.sigmas)
    train = annotated_people(train_file, entry.input_size)
    check_images(train.items, folder)
    if data.val is None:
        return People(train, folder, None, None, skeleton, None)
    truth = read_coco(data.val, train_file.skeleton)
    if truth.skeleton.keypoint_names != skeleton.keypoint_names:
        raise DatasetError(
            f"{data.val} has other keypoints than {data.train}: {', '.join(truth.skeleton.keypoint_names)}"
        )
    val = (
        detected_people(truth, data.detections, entry.input_size)
        if data.detections
        else annotated_people(truth, entry.input_size)
    )
    check_images(val.items, val_folder)
    return People(train, folder, val, val_folder, skeleton, truth)


def build_transform(options: Augmentation, entry: PoseEntry) -> T.Compose:
    """The geometric part of the augmentation.

    Raises:
        ConfigError: Upper-body keypoints that the skeleton does not have.
    """
    names = entry.skeleton.keypoint_names
    upper = options.upper_body if options.upper_body is not None else tuple(n for n in UPPER_BODY if n in names)
    unknown = [name for name in upper if name not in names]
    if unknown:
        raise ConfigError(f"augmentation.upper_body: no keypoint {unknown[0]!r} among {', '.join(names)}")
    height, width = entry.input_size
    p = options.dropping_probability
    dropping = {
        "cutout": [T.Cutout(width, p=p, in_place=True)],
        "hide_and_seek": [T.HideAndSeek(p=p)],
        "grid_mask": [T.GridMask(p=p)],
        "none": [],
    }
    return T.Compose(
        [
            T.HalfBody([names.index(name) for name in upper], width / height, p=options.half_body),
            T.ScaleJitter(options.scale),
            T.RandomRotation(options.rotation, p=options.rotation_probability),
            T.PersonFlip(entry.skeleton.flip_pairs, p=options.flip if entry.skeleton.flip_pairs else 0.0),
            *dropping[options.dropping],
            T.PersonAffine(entry.input_size, entry.udp),
        ]
    )


def build_colour(options: Augmentation) -> T.Compose | None:
    """Albumentations transforms of pixels, by name.

    Raises:
        ConfigError: No such transform, or arguments that it does not take.
    """
    chosen = []
    for item in options.colour:
        arguments = dict(item)
        name = str(arguments.pop("name", None))
        kind = getattr(A, name, None)
        if not (isinstance(kind, type) and issubclass(kind, A.ImageOnlyTransform)):
            raise ConfigError(f"augmentation.colour: {name!r} is not one of albumentations' pixel transforms")
        try:
            chosen.append(kind(**arguments, strict=True))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"augmentation.colour: {name}: {error}") from None
    return T.Compose(chosen) if chosen else None


def build_dataset(config: Config, people: People, entry: PoseEntry) -> PoseDataset:
    """Training samples."""
    transform, colour = build_transform(config.augmentation, entry), build_colour(config.augmentation)
    return PoseDataset(people.train.items, people.train_images, entry, transform, colour, config.encoding, config.seed)


class BatchOrder(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index), shuffled anew every epoch by the seed; processes share the batches between them.

    The stream goes through all epochs without a break: batch b of it is the same whether training started there or not.

    Args:
        count: Samples.
        batch_size: Per process.
        batches: How many to give in all, counted from the very first.
        start: The first to give.
        rank, world: Which process this is, of how many. Their batches together are one larger batch.
    """

    def __init__(
        self, count: int, batch_size: int, batches: int, start: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.joint_size, self.batches, self.start = count, batch_size * world, batches, start
        self.seed, self.rank, self.world = seed, rank, world

    def __len__(self) -> int:
        """All batches, also those before ``start``: the trainer counts them as done."""
        return self.batches

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return batches_per_epoch(self.count, self.joint_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.arange(0)
        for batch in range(self.start, self.batches):
            if batch // self.per_epoch != epoch:
                epoch = batch // self.per_epoch
                order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
            first = batch % self.per_epoch * self.joint_size
            joint = order[first : first + self.joint_size]
            if len(joint) < self.world:  # every process needs a sample
                joint = np.resize(joint, self.world)
            yield [(epoch, int(index)) for index in joint[self.rank :: self.world]]


def batches_per_epoch(count: int, joint_size: int) -> int:
    """How many batches every sample needs to come once."""
    return -(-count // joint_size)


def training_loader(dataset: PoseDataset, order: BatchOrder, workers: int) -> DataLoader[Sample]:
    """Batches in the order given."""
    return DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread if workers else None,
    )


class EvaluationCrops(Dataset[Sample]):
    """People as the network sees them when evaluated: ``image`` and ``index``."""

    def __init__(self, records: list[Record], folder: Path, entry: PoseEntry) -> None:
        self.records, self.folder, self.entry = records, folder, entry

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        crop = cut_out(self.records[index], self.folder, self.entry)
        image = normalise(crop[None], self.entry.mean, self.entry.std)[0]
        return {"image": torch.from_numpy(image), "index": index}


def evaluation_loader(
    dataset: EvaluationCrops, batch_size: int, workers: int, rank: int, world: int
) -> DataLoader[Sample]:
    """Every person once; the processes take turns."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=list(range(rank, len(dataset), world)),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_one_thread if workers else None,
    )


def _one_thread(worker: int) -> None:
    """Workers are as many as wanted; none of them starts threads of its own."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _with_sigmas(skeleton: Skeleton, sigmas: tuple[float, ...] | None) -> Skeleton:
    if sigmas is None:
        return skeleton
    if len(sigmas) != len(skeleton):
        raise ConfigError(f"data.sigmas: {len(sigmas)} numbers for {len(skeleton)} keypoints")
    return Skeleton(skeleton.name, skeleton.keypoint_names, skeleton.flip_pairs, skeleton.links, sigmas)
