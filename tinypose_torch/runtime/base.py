"""The interface that every backend offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tinypose_torch.checkpoints.catalogue import DetectorEntry, PoseEntry


class Runner(Protocol):
    """A network that can be run.

    Attributes:
        entry: Everything that the pipeline needs to know of it.
    """

    entry: PoseEntry | DetectorEntry

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run the network.

        Args:
            batch: ``(N, 3, H, W)`` float32, normalised RGB.

        Returns:
            Pose networks: heatmaps ``(N, K, h, w)``. Detectors: scores ``(N, A, C)`` and boxes ``(N, A, 4)`` in
            pixels of the network's input.
        """
        ...
