"""What is timed, each in a separate process: none finds another's threads or memory, and none takes the others down."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import trange

WARM_UP = 5
Run = Callable[[], list[float]]  # once, giving seconds of one thing or of several


class TimingError(RuntimeError):
    """Something cannot be timed, or died of it."""


class TimedProcess:
    """Runs something whenever it is asked to, and says how long it took.

    Args:
        prepare: Called in the process, gives what is timed. It can be pickled.
    """

    def __init__(self, prepare: Callable[[], Run]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Until it is warm.

        Raises:
            TimingError: It will never be.
        """
        message = self._receive()
        if message is not None:
            raise TimingError(message)

    def run(self) -> list[float]:
        """Seconds of one more run.

        Raises:
            TimingError: It died.
        """
        return self._ask("run")

    def peak_memory(self) -> int | None:
        """The most bytes that the process has had in memory; ``None`` where the system does not say."""
        return self._ask("peak memory")

    def close(self) -> None:
        """End it."""
        self._pipe.close()  # at which it ends by itself
        self._process.join(10)
        self._process.kill()
        self._process.join()

    def _ask(self, what: str) -> Any:
        with contextlib.suppress(OSError):  # it is gone, which receiving tells
            self._pipe.send(what)
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise TimingError(f"its process ended with status {self._process.exitcode}") from None


def time_in_turns(processes: Mapping[str, TimedProcess], rounds: int, description: str) -> dict[str, np.ndarray]:
    """Seconds ``(rounds, ...)`` of each.

    Each round runs each once, so that a slow moment hits all alike, and in another order, as each finds the processor's
    caches as its predecessor left them.

    Raises:
        TimingError: One of them died.
    """
    seconds: dict[str, list[list[float]]] = {name: [] for name in processes}
    generator = np.random.default_rng(1)
    for _ in trange(rounds, desc=description, disable=None, leave=False):
        for name in generator.permutation(list(seconds)).tolist():
            seconds[name].append(processes[name].run())
    return {name: np.array(values) for name, values in seconds.items()}


def _serve(pipe: Connection, prepare: Callable[[], Run]) -> None:
    cv2.setNumThreads(1)
    try:
        run = prepare()
        for _ in range(WARM_UP):
            run()
    except Exception as error:  # whatever it is, the first process waits to hear of it
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        pipe.send(f"{type(error).__name__}: {lines[0] if lines else ''}")
        return
    pipe.send(None)
    try:
        while True:
            pipe.send(run() if pipe.recv() == "run" else _peak_memory())
    except (EOFError, OSError):
        pass  # the first process has done with it


def _peak_memory() -> int | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    facts = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(facts["VmHWM"].split()[0]) * 1024
