"""Dataset of top-down pose training: augmented crops of annotated people, and batches with target heatmaps.

Every sample depends only on (seed, epoch, index), not on the number of workers or on other samples. Normalization and
heatmaps are computed for whole batches.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tinypose_torch.codecs.heatmap import ENCODERS
from tinypose_torch.data.images import read_or_next
from tinypose_torch.data.pose.annotations import PoseAnnotation
from tinypose_torch.data.pose.sample import PoseSample
from tinypose_torch.data.pose.transforms import region_corners
from tinypose_torch.data.sample_rng import SampleRNG
from tinypose_torch.geometry.crops import PIXEL_STD
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.models.config import TopDownConfig

Array = np.ndarray
Sample = dict[str, Any]  # fields of one item of a dataset, and its ``index``


class PoseDataset(Dataset[Sample]):
    """Dataset of augmented crops of annotated people.

    Args:
        records: The people.
        folder: Folder of the images.
        config: The network's configuration: input size, normalization, sigma.
        transform: Composition with the targets ``image``, ``keypoints`` and ``region`` of
            `tinypose_torch.data.pose.transforms`, which returns images of the network's input size.
        seed: Seed of the augmentation.

    An item is a dict of ``image``, the augmented crop ``(H, W, 3)`` uint8 RGB, ``person`` in its pixels, and ``index``;
    `PoseCollate` makes batches of them. A person whose image cannot be decoded is replaced by the next one, with
    a log message.
    """

    def __init__(
        self,
        records: Sequence[PoseAnnotation],
        folder: str | os.PathLike[str],
        config: TopDownConfig,
        transform: A.Compose,
        seed: int = 0,
    ) -> None:
        self.records, self.folder, self.config = records, Path(folder), config
        self.transform, self.seed, self.rng = transform, seed, SampleRNG(seed, transform)
        self.epoch = 0
        sides = np.array(config.input_size[::-1], np.float32)
        self._center, self._scale = (sides - 1) / 2, sides / np.float32(PIXEL_STD)  # of the crop in itself

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """Return a sample. The index may be (epoch, index)."""
        epoch, index = index if isinstance(index, tuple) else (self.epoch, index)
        found, image = read_or_next(self.records, self.folder, index)
        crop, person = self.augment(image, self.records[found].person, epoch, found)
        return {"image": crop, "person": person, "index": found}

    def augment(self, image: Array, person: PoseSample, epoch: int, index: int) -> tuple[Array, PoseSample]:
        """Return the augmented crop ``(H, W, 3)`` uint8 RGB, and the person in its coordinates.

        Raises:
            ValueError: The transform's image is not of the network's input size.
        """
        self.rng.reseed(epoch, index)
        keypoints = np.concatenate([person.joints, person.visible[:, None]], axis=1)
        region = region_corners(person.center, PIXEL_STD * person.scale)
        sample = self.transform(image=image, keypoints=keypoints, region=region)
        crop, keypoints = sample["image"], sample["keypoints"].astype(np.float32, copy=False)
        if crop.shape[:2] != self.config.input_size:
            size, expected = (f"{height}x{width}" for height, width in (crop.shape[:2], self.config.input_size))
            raise ValueError(f"the transforms return images of {size}; the network takes {expected}, see TopDownAffine")
        return crop, PoseSample(keypoints[:, :2], keypoints[:, 2], self._center, self._scale)


class PoseCollate:
    """Collates augmented people to a training batch.

    Args:
        config: The network's configuration: input size, normalization, sigma.
        encoding: ``"dark"``, ``"standard"`` or ``"udp"``.
    """

    def __init__(self, config: TopDownConfig, encoding: str = "dark") -> None:
        if encoding not in ENCODERS:
            raise ValueError(f"unknown encoding {encoding!r}; choose one of {', '.join(ENCODERS)}")
        self.config, self.encoding = config, encoding

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """``image`` ``(N, 3, H, W)``, ``heatmaps`` ``(N, K, h, w)``, ``weights`` ``(N, K)`` and ``index`` ``(N,)``."""
        config = self.config
        joints = np.stack([sample["person"].joints for sample in samples])
        visible = np.stack([sample["person"].visible for sample in samples])
        heatmaps, weights = ENCODERS[self.encoding](
            joints, visible, config.input_size, config.heatmap_size, config.sigma
        )
        return {
            "image": torch.from_numpy(normalize([sample["image"] for sample in samples], config.mean, config.std)),
            "heatmaps": torch.from_numpy(heatmaps),
            "weights": torch.from_numpy(weights),
            "index": torch.tensor([sample["index"] for sample in samples]),
        }


def collate(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Stack the fields of samples to a batch."""
    return {
        key: torch.stack([sample[key] for sample in samples])
        if isinstance(first, Tensor)
        else torch.tensor([sample[key] for sample in samples])
        for key, first in samples[0].items()
    }
