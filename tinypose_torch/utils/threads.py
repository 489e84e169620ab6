"""Numbers of inference threads."""

from __future__ import annotations

import math
import os
from pathlib import Path

MAX_THREADS_PER_CORE = 4
_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU time, per microseconds


def count_cores() -> int:
    """CPU cores that this process may use; in a container at most those of its limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _CGROUP_LIMIT.read_text().split())
    except (OSError, ValueError):  # another system, or no limit
        return cores
    return max(1, min(cores, math.ceil(quota / period)))


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
