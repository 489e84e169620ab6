"""Training samples: an annotated person, cut out and augmented; and batches of them, with target heatmaps.

Every sample depends on (seed, epoch, index) alone: not on the number of workers, nor on what was drawn before it.

Where the time goes decides the order of things. All samples of a batch are drawn before any image is read: decoding leaves
nothing of Python's in the processor's caches, and after it the same draws take twice as long. Arithmetic on every pixel
or cell is done for whole batches, into their memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tinypose_torch.codecs.heatmap import HEATMAP_STRIDE
from tinypose_torch.data.images import ImageReader, read_or_next
from tinypose_torch.data.pose_annotations import PoseAnnotation
from tinypose_torch.data.pose_sample import PoseSample
from tinypose_torch.data.pose_transforms import Compose, PoseCompose, SampledTransforms, TopDownAffine
from tinypose_torch.data.sample_rng import SampleRNG
from tinypose_torch.geometry.encoding import ENCODERS
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.models.config import TopDownConfig

Array = np.ndarray
Sample = dict[str, Any]  # what there is of one item of a data set, and ``index``, a number


class PoseDataset(Dataset[Sample]):
    """People to samples.

    Args:
        records: Whom.
        folder: Of the images.
        config: The network's: input size, normalisation, sigma.
        transform: Ends with `TopDownAffine`; see `tinypose_torch.data.pose_transforms`.
        colour: Albumentations transforms of the crop's pixels.
        seed: Of the augmentation.

    An item is a dict of ``image``, the augmented crop ``(H, W, 3)`` uint8 RGB, ``person`` in its pixels, and ``index``;
    `PoseCollate` makes batches of them. A person whose image cannot be decoded is replaced by the next one, and the image
    is named in the log.

    Raises:
        ValueError: The transform ends otherwise.
    """

    def __init__(
        self,
        records: Sequence[PoseAnnotation],
        folder: str | os.PathLike[str],
        config: TopDownConfig,
        transform: PoseCompose,
        colour: Compose | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(transform.transforms[-1], TopDownAffine):
            raise ValueError(f"the transform ends with {type(transform.transforms[-1]).__name__}, not TopDownAffine")
        self.records, self.folder, self.config = records, Path(folder), config
        self.transform, self.colour, self.seed = transform, colour, seed
        self.draws, self.color_rng = SampleRNG(seed, transform), SampleRNG(f"{seed} colour", colour)
        self.epoch = 0
        self._read = ImageReader()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """A sample; an index may be (epoch, index)."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int | tuple[int, int]]) -> list[Sample]:
        """The samples of a batch, which `torch.utils.data.DataLoader` asks for at once."""
        places = [index if isinstance(index, tuple) else (self.epoch, index) for index in indices]
        drawn = [self._presample(epoch, index) for epoch, index in places]
        return [self._sample(epoch, index, early) for (epoch, index), early in zip(places, drawn, strict=True)]

    def draw(self, image: Array, person: PoseSample, epoch: int, index: int) -> tuple[Array, PoseSample]:
        """The augmented crop ``(H, W, 3)`` uint8 RGB, and the person in its pixels.

        Args:
            image: RGB; transforms may work in its memory.
        """
        return self._finish(image, self._draw(person, image.shape, epoch, index), epoch, index)

    def _presample(self, epoch: int, index: int) -> SampledTransforms | None:
        """What will be drawn, if the image is as large as the annotations say."""
        record = self.records[index]
        return None if record.image_size is None else self._draw(record.person, (*record.image_size, 3), epoch, index)

    def _draw(self, person: PoseSample, shape: tuple[int, ...], epoch: int, index: int) -> SampledTransforms:
        self.draws.begin(epoch, index)
        return self.transform.draw(person, shape)

    def _sample(self, epoch: int, index: int, foreseen: SampledTransforms | None) -> Sample:
        place, image = read_or_next(self.records, self.folder, index, self._read)
        record = self.records[place]
        if foreseen is None or place != index or image.shape[:2] != record.image_size:
            foreseen = self._draw(record.person, image.shape, epoch, place)
        crop, person = self._finish(image, foreseen, epoch, place)
        return {"image": crop, "person": person, "index": place}

    def _finish(self, image: Array, drawn: SampledTransforms, epoch: int, index: int) -> tuple[Array, PoseSample]:
        crop = drawn.apply(image)
        if self.colour is not None:
            self.color_rng.begin(epoch, index)
            crop = self.colour(image=crop)["image"]
        return crop, drawn.person


class PoseCollate:
    """Augmented people to a batch that a network is trained on.

    Args:
        config: The network's: input size, normalisation, sigma.
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
        height, width = config.input_size
        heatmap_size = (height // HEATMAP_STRIDE, width // HEATMAP_STRIDE)
        heatmaps, weights = ENCODERS[self.encoding](joints, visible, config.input_size, heatmap_size, config.sigma)
        return {
            "image": torch.from_numpy(normalize([sample["image"] for sample in samples], config.mean, config.std)),
            "heatmaps": torch.from_numpy(heatmaps),
            "weights": torch.from_numpy(weights),
            "index": torch.tensor([sample["index"] for sample in samples]),
        }


def collate(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Samples to a batch."""
    return {
        key: torch.stack([sample[key] for sample in samples])
        if isinstance(first, Tensor)
        else torch.tensor([sample[key] for sample in samples])
        for key, first in samples[0].items()
    }
