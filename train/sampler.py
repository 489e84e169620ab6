"""The order in which samples come: fixed by the seed, resumable at any step, shared between processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tinypose_torch.data.pose_dataset import Sample, collate


class BatchSampler(Sampler[list[tuple[int, int]]]):
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


def training_loader(
    dataset: Dataset[Sample], order: BatchSampler, workers: int, collate: Callable[[Sequence[Sample]], Any]
) -> DataLoader[Sample]:
    """Batches in the order given."""
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
    """Every person once; the processes take turns."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=list(range(rank, len(dataset), world)),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker if workers else None,
    )


def _start_worker(worker: int) -> None:
    """Workers are as many as wanted; none of them starts threads of its own. Ctrl-C is for the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
