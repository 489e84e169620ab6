"""Images and videos to process: folders, patterns, lists, tar archives, Parquet data sets and remote file systems."""

from __future__ import annotations

import glob
import importlib
import os
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.utils.hints import install_hint
from tinypose_torch.utils.images import IMAGE_SUFFIXES, ImageError, decode_image, find_inputs, load_image
from tinypose_torch.utils.messages import one_line
from tinypose_torch.utils.provenance import printable
from tinypose_torch.video import is_camera, is_video

MAX_IMAGE_BYTES = 1 << 30
_COLUMNS = ("path", "file_name", "image", "bytes")


class SourceError(OSError):
    """An image that cannot be read now, for example because its file was removed or a network is down."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image or video.

    Attributes:
        file: Path or address of the image or video, or of the file that holds it.
        member: Its name in a tar archive, and ``start`` and ``size`` its bytes.
        row: Its row in a Parquet file, and ``column`` the column.
    """

    file: str
    member: str | None = None
    start: int = 0
    size: int = 0
    row: int | None = None
    column: str = ""

    @property
    def key(self) -> str:
        """Unique name in the results."""
        if self.member is not None:
            return printable(f"{self.file}/{self.member}")
        return printable(self.file if self.row is None else f"{self.file}#{self.row}")

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return self.member is None and self.row is None and is_video(self.file)

    def load(self) -> np.ndarray:
        """The image, ``(H, W, 3)`` uint8 RGB.

        Raises:
            ImageError: It cannot be decoded.
            OSError: It cannot be read now.
        """
        if self.member is not None:
            with _open(self.file) as archive:
                archive.seek(self.start)
                return decode_image(archive.read(self.size), self.key)
        return _load_file(self.file) if self.row is None else _load_cell(self)


def find_items(sources: Sequence[str], column: str | None = None) -> tuple[list[Item], list[str]]:
    """All images and videos of the sources, in order, each once.

    Args:
        sources: Images, videos, folders (their images, recursively), glob patterns, ``.txt`` files with a source per line,
            ``.tar`` archives (WebDataset), ``.parquet`` files, folders of those, and addresses that fsspec opens, such as
            ``s3://bucket/folder``. Remote videos are not supported.
        column: Column of Parquet files with paths or encoded images; found by its name unless given.

    Returns:
        The items, and the sources that match nothing.

    Raises:
        ValueError: A camera; a compressed archive; a Parquet file without such a column.
        SourceError: A remote file system does not answer.
        RuntimeError: A package is not installed.
    """
    items: dict[str, Item] = {}
    missing: list[str] = []
    for source in sources:
        for item in _items_of(source, column, missing):
            items.setdefault(item.key, item)
    return list(items.values()), missing


def _items_of(source: str, column: str | None, missing: list[str]) -> Iterator[Item]:
    if is_camera(source):
        raise ValueError(f"{source} is a camera; tinypose predict takes cameras")
    if _is_remote(source):
        files = _remote_files(source)
    elif Path(source).suffix.lower() == ".txt" and os.path.isfile(source):
        lines = Path(source).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        for line in filter(None, map(str.strip, lines)):
            yield from _items_of(line, column, missing)
        return
    elif os.path.isdir(source) and (parts := sorted(glob.glob(os.path.join(glob.escape(source), "*.parquet")))):
        files = parts
    else:
        files, absent = find_inputs([source])
        missing += absent
    if not files and source not in missing:
        missing.append(source)
    for file in files:
        yield from _READERS.get(Path(file).suffix.lower(), _whole_file)(file, column)


def _whole_file(path: str, column: str | None) -> Iterator[Item]:
    if _is_remote(path) and is_video(path):
        raise ValueError(f"{path}: remote videos are not supported; copy the file to this machine")
    yield Item(path)


def _tar_items(path: str, column: str | None) -> Iterator[Item]:
    try:
        with _open(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isreg() and Path(member.name).suffix.lower() in IMAGE_SUFFIXES:
                    yield Item(path, member.name, member.offset_data, min(member.size, MAX_IMAGE_BYTES))
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not an uncompressed tar archive: {error}") from None


def _parquet_items(path: str, column: str | None) -> Iterator[Item]:
    try:
        with _parquet_file(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
    except SourceError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's errors
        raise ValueError(f"{path} is not a Parquet file: {error}") from None
    found = next((name for name in ([column] if column else _COLUMNS) if name in names), None)
    if found is None:
        raise ValueError(f"{path} has columns {', '.join(names)}; name the one with paths or images: --column NAME")
    yield from (Item(path, row=row, column=found) for row in range(rows))


_READERS = {".tar": _tar_items, ".parquet": _parquet_items}


def _remote_files(source: str) -> list[str]:
    """Addresses of the files that a remote folder, pattern or file name stands for, in order."""
    with _remote_errors(source):
        system, path = _fsspec().core.url_to_fs(source)
        if glob.has_magic(source):
            files = system.glob(path)
        elif not system.isdir(path):
            files = [path] if system.exists(path) else []
        else:
            tables = system.glob(f"{path.rstrip('/')}/*.parquet")
            files = tables or [file for file in system.find(path) if Path(file).suffix.lower() in IMAGE_SUFFIXES]
        return [system.unstrip_protocol(file) for file in sorted(files)]


def _is_remote(source: str) -> bool:
    return "://" in source


@contextmanager
def _remote_errors(address: str) -> Iterator[None]:
    """Raises what a remote file system fails with as `SourceError`."""
    try:
        yield
    except (MemoryError, ValueError, RuntimeError, SourceError, tarfile.TarError):
        raise
    except ImportError as error:
        raise RuntimeError(f"{address}: {error}") from None
    except Exception as error:
        raise SourceError(f"{address}: {one_line(error)}") from None


@contextmanager
def _open(path: str) -> Iterator[Any]:
    """A local or remote file for reading."""
    if not _is_remote(path):
        with open(path, "rb") as file:
            yield file
        return
    with _remote_errors(path), _fsspec().open(path, "rb") as file:
        yield file


def _load_file(path: str) -> np.ndarray:
    if not _is_remote(path) and not os.path.isfile(path):
        return load_image(path)  # raises
    with _open(path) as file:
        return decode_image(file.read(MAX_IMAGE_BYTES), path)


@contextmanager
def _parquet_file(path: str) -> Iterator[Any]:
    open_parquet = pyarrow_module("pyarrow.parquet").ParquetFile
    if not _is_remote(path):
        with open_parquet(path) as parquet:
            yield parquet
        return
    with _open(path) as file, open_parquet(file) as parquet:
        yield parquet


_row_groups = threading.Lock()  # one thread reads a row group, the others take it from the cache


@lru_cache(maxsize=2)  # rows are asked for in order
def _column(path: str, column: str, group: int) -> Any:
    with _parquet_file(path) as file:
        return file.read_row_group(group, [column])[column]


@lru_cache(maxsize=64)
def _group_starts(path: str) -> np.ndarray:
    """First row of every row group, and the number of rows."""
    with _parquet_file(path) as file:
        counts = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    return np.cumsum([0, *counts])


def _load_cell(item: Item) -> np.ndarray:
    """An image in a Parquet file: its path, its bytes, or a struct with either, as `datasets` writes them."""
    assert item.row is not None
    with _row_groups:
        starts = _group_starts(item.file)
        group = int(np.searchsorted(starts, item.row, side="right")) - 1
        value = _column(item.file, item.column, group)[item.row - int(starts[group])].as_py()
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return decode_image(value, item.key)
    if not isinstance(value, str):
        raise ImageError(f"{item.key}: column {item.column!r} holds neither a path nor an encoded image")
    if _is_remote(value) or os.path.isabs(value):
        return _load_file(value)
    return _load_file(f"{item.file.rpartition('/')[0] or '.'}/{value}")


def pyarrow_module(name: str) -> Any:
    """A module of pyarrow.

    Raises:
        RuntimeError: It is not installed.
    """
    return _import(name, "Parquet needs pyarrow")


def _fsspec() -> Any:
    return _import("fsspec", "remote files need fsspec")


def _import(name: str, reason: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(f"{error}; {reason}: {install_hint('batch')}") from None
