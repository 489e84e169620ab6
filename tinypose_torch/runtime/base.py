"""The interface that every backend offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.runtime.metadata import ExportMetadata


class Runner(ABC):
    """A network that can be run.

    Attributes:
        backend: Name of the backend.
        metadata: What it is: the model's config, and what goes in and out.
        dynamic_shape: Whether it takes images of other sizes than the config's.
        own_threads: Whether it uses only its own threads, so that two processes can each run a network.
    """

    dynamic_shape = False
    own_threads = False

    backend: str
    metadata: ExportMetadata

    @abstractmethod
    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run the network on what it takes, at its own batch size."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run the network on images of its input size.

        Args:
            images: ``(N, H, W, 3)`` uint8 RGB, N at least 1.

        Returns:
            Pose networks: keypoints ``(N, K, 3)`` if ``metadata.decodes``, else heatmaps ``(N, K, h, w)``; bottom-up ones
            heatmaps and tags. Detectors: scores ``(N, A, C)`` and boxes ``(N, A, 4)`` in pixels of the network's input.
        """
        metadata = self.metadata
        config = metadata.config
        batch = images if metadata.takes_images else normalize(images, config.mean, config.std)
        size = metadata.batch
        if size is None or size == len(batch):
            return self.run(batch)
        pieces = [self._padded(batch[start : start + size], size) for start in range(0, len(batch), size)]
        return tuple(np.concatenate(values)[: len(batch)] for values in zip(*pieces, strict=True))

    def _padded(self, batch: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
        """Run a batch that may be shorter than the file's fixed size."""
        missing = size - len(batch)
        if missing:
            batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        return self.run(batch)


class FileRunner(Runner):
    """Runs an exported file. Pickled, it is the path of the file, which is opened again where it is unpickled.

    Attributes:
        reopen: Function and arguments that open the file; set by `open_exported`, as is ``backend``.
    """

    reopen: tuple[Callable[..., Runner], tuple[Any, ...]]

    def __reduce__(self) -> tuple[Callable[..., Runner], tuple[Any, ...]]:
        return self.reopen
