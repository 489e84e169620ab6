"""The lock that keeps two runs from writing into one output folder."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from tinypose_torch.utils.atomic import temporaries_of
from train.config import ConfigError
from train.preflight import CONFIGURATION, CURVES, LAST, METRICS, PREDICTIONS, RECEIPT, REPORT, WEIGHTS

LOCK = ".lock"
OWNER = ".lock.owner"
_WRITTEN = (LAST, WEIGHTS, RECEIPT, CONFIGURATION, CURVES, PREDICTIONS, REPORT, METRICS)
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
# As in Lightning; processes of one run have different ranks, and the first of them writes.
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


class OutputLock:
    """Exclusive lock on the output folder of a run, held by the run's first process until the block ends.

    The operating system releases it with the process, also after SIGKILL. A folder that does not exist yet is locked by
    `acquire`, so that nothing is left behind by a run that fails before it begins.

    Raises:
        ConfigError: Another run writes into the folder.
        OSError: The lock file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK)

    def __enter__(self) -> OutputLock:
        if self.folder.is_dir():
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lock.is_locked:
            (self.folder / OWNER).unlink(missing_ok=True)
            self._lock.release()

    def acquire(self) -> None:
        """Create and lock the folder, and remove temporary files that killed runs left in it.

        Does nothing where the folder is locked already, and in processes of the run other than the first.

        Raises:
            ConfigError, OSError: See `OutputLock`.
        """
        if self._lock.is_locked or _rank() > 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ConfigError(
                f"{self.folder}: another run{self._owner()} writes into this folder; wait until it ends or stop it, "
                "or pass another output=..."
            ) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            print(
                f"train: {self.folder} has no file locks ({error.strerror}): start no second run in it", file=sys.stderr
            )
            return
        (self.folder / OWNER).write_text(f"process {os.getpid()} on {socket.gethostname()}")
        for name in _WRITTEN:
            for leftover in temporaries_of(self.folder / name):
                leftover.unlink(missing_ok=True)

    def _owner(self) -> str:
        """The process that holds the lock, in brackets; empty where it is not known."""
        try:
            text = (self.folder / OWNER).read_text()[:200]
        except (OSError, ValueError):
            return ""
        return f" ({text})" if text.isprintable() and text else ""


def _rank() -> int:
    """The number of this process among those of the run."""
    texts = [os.environ[name] for name in _RANK_VARIABLES if name in os.environ]
    return int(texts[0]) if texts and texts[0].isdecimal() else 0
