"""Training samples: an annotated person, cut out and augmented, with target heatmaps.

Every sample depends on (seed, epoch, index) alone: not on the number of workers, nor on what was drawn before it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tinypose_torch.checkpoints.entries import PoseEntry
from tinypose_torch.data.images import read_or_next
from tinypose_torch.data.person import Person
from tinypose_torch.data.records import Record
from tinypose_torch.data.transforms import Compose
from tinypose_torch.geometry.encoding import ENCODERS
from tinypose_torch.geometry.heatmaps import HEATMAP_STRIDE
from tinypose_torch.geometry.normalise import normalise

Array = np.ndarray
Sample = dict[str, Any]  # tensors, and ``index``, a number


class PoseDataset(Dataset[Sample]):
    """People to samples.

    Args:
        records: Whom.
        folder: Of the images.
        entry: The network's: input size, normalisation, sigma.
        transform: Ends with `PersonAffine`; see `tinypose_torch.data.transforms`.
        colour: Albumentations transforms of the crop's pixels.
        encoding: ``"dark"``, ``"standard"`` or ``"udp"``.
        seed: Of the augmentation.

    An item is a dict of ``image`` ``(3, H, W)``, ``heatmaps`` ``(K, h, w)``, ``weights`` ``(K,)`` and ``index``. A person
    whose image cannot be decoded is replaced by the next one, and the image is named in the log.
    """

    def __init__(
        self,
        records: Sequence[Record],
        folder: str | os.PathLike[str],
        entry: PoseEntry,
        transform: Compose,
        colour: Compose | None = None,
        encoding: str = "dark",
        seed: int = 0,
    ) -> None:
        if encoding not in ENCODERS:
            raise ValueError(f"unknown encoding {encoding!r}; choose one of {', '.join(ENCODERS)}")
        self.records, self.folder, self.entry = records, Path(folder), entry
        self.transform, self.colour = transform, colour
        self.encoding, self.seed = encoding, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """A sample; an index may be (epoch, index)."""
        epoch, index = index if isinstance(index, tuple) else (self.epoch, index)
        place, image = read_or_next(self.records, self.folder, index)
        return self._sample(image, place, epoch)

    def draw(self, image: Array, person: Person, epoch: int, index: int) -> tuple[Array, Person]:
        """The augmented crop ``(H, W, 3)`` uint8 RGB, and the person in its pixels.

        Args:
            image: BGR.
        """
        generator = np.random.default_rng((self.seed, epoch, index))
        plain = random.Random(int(generator.integers(2**63)))  # noqa: S311
        self.transform.set_random_state(generator, plain)
        drawn = self.transform(image=image, person=person)
        crop = cv2.cvtColor(drawn["image"], cv2.COLOR_BGR2RGB)
        if self.colour is not None:
            self.colour.set_random_state(generator, plain)
            crop = self.colour(image=crop)["image"]
        return crop, drawn["person"]

    def _sample(self, image: Array, index: int, epoch: int) -> Sample:
        entry = self.entry
        crop, person = self.draw(image, self.records[index].person, epoch, index)
        height, width = entry.input_size
        heatmap_size = (height // HEATMAP_STRIDE, width // HEATMAP_STRIDE)
        heatmaps, weights = ENCODERS[self.encoding](
            person.joints, person.visible, entry.input_size, heatmap_size, entry.sigma
        )
        return {
            "image": torch.from_numpy(normalise(crop[None], entry.mean, entry.std)[0]),
            "heatmaps": torch.from_numpy(heatmaps),
            "weights": torch.from_numpy(weights),
            "index": index,
        }


def collate(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Samples to a batch."""
    return {
        key: torch.stack([sample[key] for sample in samples])
        if isinstance(first, Tensor)
        else torch.tensor([sample[key] for sample in samples])
        for key, first in samples[0].items()
    }
