"""Batch samplers: seeded, resumable at any step, and distributed over processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tinypose_torch.data.pose.dataset import Sample, collate


class BatchSampler(Sampler[list[tuple[int, int]]]):
    """Yields batches of (epoch, index), shuffled every epoch by the seed and divided between processes.

    The stream goes through all epochs without a break: batch b of it is the same whether training started there or not.

    Args:
        count: Number of samples.
        batch_size: Samples per process.
        batches: Total number of batches, including those before ``start``.
        start: First batch to yield.
        rank, world: Index of this process, and number of processes, whose batches form one joint batch.
    """

    def __init__(
        self, count: int, batch_size: int, batches: int, start: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.joint_size, self.batches, self.start = count, batch_size * world, batches, start
        self.seed, self.rank, self.world = seed, rank, world

    def __len__(self) -> int:
        """Total number of batches, including those before ``start``, which the trainer counts as done."""
        return self.batches

    @property
    def per_epoch(self) -> int:
        """Batches per epoch; the last one may be smaller."""
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
    """Number of batches in which every sample occurs once."""
    return -(-count // joint_size)


def training_loader(
    dataset: Dataset[Sample], order: BatchSampler, workers: int, collate: Callable[[Sequence[Sample]], Any]
) -> DataLoader[Sample]:
    """Data loader of training."""
    return DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker if workers else None,
    )


def evaluation_loader(
    dataset: Dataset[Sample], batch_size: int, workers: int, rank: int, world: int
) -> DataLoader[Sample]:
    """Data loader of evaluation: every sample once, divided between processes."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=list(range(rank, len(dataset), world)),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker if workers else None,
    )


def _start_worker(worker: int) -> None:
    """Initialise a worker: one thread, and Ctrl-C is handled by the training process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
