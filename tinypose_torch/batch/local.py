"""Workers in processes of this machine: one per core, or one per GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

import torch

from tinypose_torch.batch.parts import Part
from tinypose_torch.batch.worker import Task, Work
from tinypose_torch.utils.processes import ProcessPool
from tinypose_torch.utils.threads import count_cores


class LocalWorkers:
    """Workers in processes of this machine.

    Args:
        workers: Their number; one per core or GPU unless given.
        device: ``"cuda"`` stands for all GPUs.
    """

    def __init__(self, workers: int | None, device: str) -> None:
        count = torch.cuda.device_count() if device == "cuda" else 0
        self.devices = [f"cuda:{index}" for index in range(count)] if count > 1 else [device]
        self.workers = workers or (count_cores() if device == "cpu" else len(self.devices))
        self.threads = max(1, count_cores() // self.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, tasks: Iterable[Task], work: Work) -> Iterator[Part]:
        """Results of tasks as they are finished.

        Raises:
            ProcessKilledError: A process was killed.
        """
        waiting = list(tasks)
        with ProcessPool(work.start, min(self.workers, len(waiting)), self.devices) as pool:
            yield from pool.run(waiting)
