"""Processes that work side by side on tasks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, Self

import cv2
import torch

from tinypose_torch.utils.threads import count_cores

Start = Callable[[str | None], Callable[[Any], Any]]


class ProcessKilledError(ValueError):
    """A process of a pool was killed."""


class ProcessPool:
    """Processes in each of which a worker handles one task after the other. As a context manager it ends them.

    Args:
        start: Makes the worker of a process, given the device. It is pickled.
        workers: Number of processes; with 1 the worker is in this one.
        devices: Device of every worker; they are used in turn.
    """

    def __init__(self, start: Start, workers: int, devices: Sequence[str | None] = (None,)) -> None:
        self._worker: Callable[[Any], Any] | None = None
        if workers == 1:
            self._worker = start(devices[0])
            return
        context = multiprocessing.get_context("spawn")
        queue = context.SimpleQueue()
        for index in range(workers):
            queue.put(devices[index % len(devices)])
        threads = max(1, min(torch.get_num_threads(), count_cores() // workers))
        self._pool = ProcessPoolExecutor(workers, context, _start, (start, queue, threads))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._worker is not None:
            return
        if kind is not None:
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def run(self, tasks: Iterable[Any], *, ordered: bool = False) -> Iterator[Any]:
        """Results of tasks as they are finished, or in the order of the tasks.

        Raises:
            ProcessKilledError: A process was killed.
        """
        if self._worker is not None:
            yield from map(self._worker, tasks)
            return
        try:
            for future in self._finished(tasks, ordered):
                yield future.result()
        except BrokenProcessPool:
            raise ProcessKilledError("a process was killed, perhaps for lack of memory (see --workers)") from None

    def _finished(self, tasks: Iterable[Any], ordered: bool) -> Iterator[Future[Any]]:
        """The tasks' futures, which are kept until they are yielded and no longer."""
        futures = deque(self._pool.submit(_work, task) for task in tasks)
        if not ordered:
            yield from as_completed([futures.popleft() for _ in range(len(futures))])
        while futures:
            yield futures.popleft()


_worker: Callable[[Any], Any]


def _start(start: Start, devices: Any, threads: int) -> None:
    """Begin a separate process, which ends with its parent. The processes share the cores."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(threads)
    try:
        _worker = start(devices.get())
    except Exception as error:  # an error here would end the process without its reason
        _worker = partial(_raise, error)


def _raise(error: Exception, task: Any) -> None:
    raise error


def _work(task: Any) -> Any:
    return _worker(task)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
