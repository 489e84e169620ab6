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


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside ``path`` to write to, which takes its place when the block ends well.

    When the block fails, the old file stays and the temporary one is removed.

    Args:
        durable: Write the file to the disk before it takes its place, so that a power failure leaves the old file or the
            new one. Without, it may leave an empty one; for files of which there are many.

    Raises:
        OSError: A full disk, see `naming_if_full`; or the file cannot be written.
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
    """Name a file that is written inside the block in the error about a full disk.

    Raises:
        OSError: The disk is full, its quota is exceeded, or the file is too large; with the file's name.
    """
    try:
        yield
    except Exception as error:
        full = full_disk(error)
        if full is None or full.strerror in _FULL.values():  # an inner block has named its file already
            raise
        raise OSError(full.errno, _FULL[full.errno or 0], str(path)) from error


def full_disk(error: BaseException | None) -> OSError | None:
    """The error about a full disk behind that of a library that writes to a file, such as `torch.save`."""
    while error is not None and not (isinstance(error, OSError) and error.errno in _FULL):
        error = error.__cause__ or error.__context__
    return error


def write_to_disk(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
