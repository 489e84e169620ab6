"""Random numbers of training samples."""

from __future__ import annotations

import random

import numpy as np
from albumentations import Compose

_HALF = 2**128


class SampleRNG:
    """What transforms draw from; for every sample it depends on (seed, epoch, index) alone.

    The generators live as long as the data set and are set anew for every sample, which takes less time than making new
    ones and handing them to every transform.

    Args:
        seed: Of all samples; two kinds of draws for the same samples need two.
        transforms: Which draw from here.
    """

    def __init__(self, seed: int | str, *transforms: Compose | None) -> None:
        self.seed = seed
        self._plain = random.Random()  # noqa: S311
        self._bits = np.random.PCG64(0)
        generator = np.random.Generator(self._bits)
        for transform in transforms:
            if transform is not None:
                transform.set_random_state(generator, self._plain)

    def reseed(self, epoch: int, index: int) -> None:
        """Start a sample's numbers."""
        self._plain.seed(f"{self.seed} {epoch} {index}")
        state, stream = divmod(self._plain.getrandbits(256), _HALF)
        self._bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": state, "inc": stream | 1},  # PCG's increments are odd
            "has_uint32": 0,
            "uinteger": 0,
        }
