"""Files that appear only when they are complete."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONG_NAME = 200  # bytes; file systems take 255
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is exceeded",
    errno.EFBIG: "the file would be larger than the file system or the process's limit (ulimit -f) allows",
}


class DiskFullError(OSError):
    """A file cannot be written because the disk is full, its quota is exceeded, or the file is too large."""


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside ``path`` to write to, which takes its place when the block ends well.

    When the block fails, the old file stays and the temporary one is removed.

    Args:
        durable: Write the file to the disk before it takes its place, so that a power failure leaves the old file or the
            new one. Without, it may leave an empty one; for files of which there are many.

    Raises:
        DiskFullError: See `naming_if_full`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{_stem(path)}.{os.getpid()}.tmp{path.suffix}")
    try:
        with naming_if_full(path):
            yield temporary
            if durable:
                write_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporaries_of(path: Path) -> list[Path]:
    """The temporary files of `replacing` for a path that exist, of running processes and of killed ones."""
    if not path.parent.is_dir():
        return []
    pattern = re.compile(rf"\.{re.escape(_stem(path))}\.[0-9]+\.tmp{re.escape(path.suffix)}")
    with os.scandir(path.parent) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        )


def _stem(path: Path) -> str:
    name = os.fsencode(path.name)
    return path.stem if len(name) < _LONG_NAME else hashlib.sha256(name).hexdigest()


@contextmanager
def naming_if_full(path: Path) -> Iterator[None]:
    """Name the file that is written inside the block in the error about a full disk.

    Raises:
        DiskFullError: The disk is full, its quota is exceeded, or the file is too large.
    """
    try:
        yield
    except Exception as error:
        full = as_full_disk(error, path)
        if full is None or full is error:
            raise
        raise full from None


def as_full_disk(error: BaseException, path: Path) -> DiskFullError | None:
    """The error about a full disk behind that of a library that writes to a file, such as `torch.save`.

    Args:
        path: The file, where the error does not name it.

    Returns:
        ``None`` for other errors.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DiskFullError):
            return cause
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return DiskFullError(cause.errno, _FULL[cause.errno], str(path))
        cause = cause.__cause__ or cause.__context__
    return None


def write_to_disk(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
