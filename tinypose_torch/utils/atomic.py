"""Files that appear only when they are complete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONG_NAME = 200  # bytes; file systems take 255


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside ``path`` to write to, which takes its place when the block ends well.

    When the block fails, the old file stays and the temporary one is removed.

    Args:
        durable: Write the file to the disk before it takes its place, so that a power failure leaves the old file or the
            new one. Without, it may leave an empty one; for files of which there are many.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = os.fsencode(path.name)
    stem = path.stem if len(name) < _LONG_NAME else hashlib.sha256(name).hexdigest()
    temporary = path.with_name(f".{stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        if durable:
            write_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_to_disk(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
