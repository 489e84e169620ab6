"""The folder of downloaded and exported files, and locks on its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from tinypose_torch.utils.atomic import OutputError, reason_of

CACHE_VARIABLE = "TINYPOSE_CACHE"


class CacheFolderError(OutputError):
    """There is no cache folder, or it cannot be written to. The message says how to choose another one."""


def cache_dir() -> Path:
    """Where converted weights live: ``$TINYPOSE_CACHE``, else the user's cache folder.

    Raises:
        CacheFolderError: Neither is known.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "tinypose_torch"
    except RuntimeError:  # no HOME, and no config in the user database
        raise CacheFolderError(f"there is no home folder for the cache; set {CACHE_VARIABLE} to a folder") from None


@contextmanager
def locked_in_cache(path: Path) -> Iterator[None]:
    """Make the folder of a file in the cache, and let one process at a time write the file.

    Raises:
        CacheFolderError: The folder cannot be made or written to.
    """
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise CacheFolderError(
            f"the cache folder {path.parent} cannot be written to: {reason_of(error)}; set {CACHE_VARIABLE} to another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
