"""Files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LONG_NAME = 200  # bytes; file systems take 255
_TEMPORARY = re.compile(r"\..+\.[0-9]+\.tinypose-tmp(\.[^.]*)?", re.DOTALL)
_FULL = {
    errno.ENOSPC: "the disc is full",
    errno.EDQUOT: "the disc quota is exceeded",
    errno.EFBIG: "the file is larger than this system allows",
}


class OutputError(OSError):
    """An output that cannot be written. An earlier file stays as it was.

    Attributes:
        disc_full: Whether the disc is full, its quota is exceeded, or the file is too large.
    """

    disc_full = False


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside ``path`` to write to, which takes its place when the block ends well.

    When the block fails, the old file stays and the temporary one is removed. The temporary files of killed processes are
    removed by the next process that writes a file into the same folder.

    Args:
        durable: Write the file to the disk before it takes its place, so that a power failure leaves the old file or the
            new one. Without, it may leave an empty one; for files of which there are many.

    Raises:
        OutputError: The file cannot be written.
    """
    temporary = path.with_name(f".{_stem(path)}.{os.getpid()}.tinypose-tmp{path.suffix}")
    with output_errors(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(os.path.abspath(path.parent))
        try:
            with _locked(temporary):
                yield temporary
                if durable:
                    write_to_disk(temporary)
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def output_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Raises errors of the system about an output as `OutputError`, which names the output.

    Args:
        path: The output.
        temporary: The file that is written in its place.
    """
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        full = as_disc_full(error, path)
        if full is not None:
            raise full from error
        own = {os.fspath(file) for file in (path, path.parent, temporary) if file is not None}
        if not isinstance(error, OSError) or str(error.filename or "") not in own:
            raise  # about another file
        raise OutputError(f"{path} cannot be written: {reason_of(error)}") from error


def as_disc_full(error: BaseException, path: Path) -> OutputError | None:
    """The error about a full disc behind that of a library that writes to a file, such as `torch.save`.

    Args:
        path: The file, if the error does not name it.

    Returns:
        ``None`` for other errors.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OutputError) and cause.disc_full:
            return cause
        if isinstance(cause, OSError) and is_disc_full(cause):
            full = OutputError(f"{path} cannot be written: {reason_of(cause)}")
            full.disc_full = True
            return full
        cause = cause.__cause__ or cause.__context__
    return None


def temporaries_of(path: Path) -> list[Path]:
    """The temporary files of `replacing` for a path that exist, of running processes and of killed ones."""
    if not path.parent.is_dir():
        return []
    pattern = re.compile(rf"\.{re.escape(_stem(path))}\.[0-9]+\.tinypose-tmp{re.escape(path.suffix)}")
    with os.scandir(path.parent) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        )


def is_disc_full(error: Exception) -> bool:
    """Whether an error says that there is no space for a file."""
    return isinstance(error, OSError) and error.errno in _FULL


def reason_of(error: OSError) -> str:
    """Why a file cannot be written, without its name."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{_FULL[error.errno]} ({reason})" if error.errno in _FULL else reason


def is_temporary(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a temporary one of `replacing`, by its name."""
    return _TEMPORARY.fullmatch(os.path.basename(os.fspath(path))) is not None


def write_whole(file: FileIO, data: bytes) -> None:
    """Write everything to a file without a buffer, which may take it in parts."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _stem(path: Path) -> str:
    name = os.fsencode(path.name)
    return path.stem if len(name) < _LONG_NAME else hashlib.sha256(name).hexdigest()


def write_to_disk(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _locked(temporary: Path) -> Iterator[None]:
    """Creates the file, and holds a lock on it that ends with the process."""
    if fcntl is None:
        yield
        return
    with temporary.open("wb") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@functools.cache  # once per process, since a folder may hold many files
def _remove_leftovers(folder: str) -> None:
    """Remove the temporary files of a folder whose processes were killed."""
    names = []
    with contextlib.suppress(OSError):  # a folder that cannot be read, but written to
        names = [name for name in os.listdir(folder) if is_temporary(name)]
    for name in names if fcntl is not None else ():
        with contextlib.suppress(OSError), open(os.path.join(folder, name), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
            os.unlink(file.name)
