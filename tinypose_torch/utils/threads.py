"""Numbers of inference threads."""

from __future__ import annotations

import os

MAX_THREADS_PER_CORE = 4


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int | None, name: str = "threads") -> None:
    """Refuse a number of threads that the runtimes abort or hang with.

    Args:
        threads: ``None`` leaves the choice to the runtime.
        name: Of the argument, for the message.

    Raises:
        ValueError: Below 1, or above four times the number of cores.
    """
    most = MAX_THREADS_PER_CORE * count_cores()
    if threads is not None and not 1 <= threads <= most:
        raise ValueError(f"{name} {threads}; expected 1 to {most} on this machine, {MAX_THREADS_PER_CORE} per core")
