"""Images and videos to process: folders, patterns, lists, tar archives, Parquet data sets and remote file systems."""

from __future__ import annotations

import glob
import importlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.utils.hints import install_hint
from tinypose_torch.utils.images import IMAGE_SUFFIXES, ImageError, decode_image, find_inputs, load_image
from tinypose_torch.utils.provenance import printable
from tinypose_torch.video import is_camera, is_video

MAX_IMAGE_BYTES = 1 << 30
_COLUMNS = ("path", "file_name", "image", "bytes")


@dataclass(frozen=True)
class Item:
    """One image or video.

    Attributes:
        key: What it is called in the results; unique.
        file: Path or address of the image or video, or of the file that holds it.
        start, size: Its bytes in a tar archive.
        row: Its row in a Parquet file, and ``column`` the column.
    """

    key: str
    file: str
    start: int | None = None
    size: int | None = None
    row: int | None = None
    column: str | None = None

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return self.start is None and self.row is None and is_video(self.file)

    def load(self) -> np.ndarray:
        """The image, ``(H, W, 3)`` uint8 RGB.

        Raises:
            ImageError, FileNotFoundError: See `load_image`.
        """
        if self.start is not None:
            with open(self.file, "rb") as archive:
                archive.seek(self.start)
                return decode_image(archive.read(self.size), self.key)
        if self.row is not None:
            return _load_cell(self)
        return decode_image(_fetch(self.file), self.key) if _is_remote(self.file) else load_image(self.file)


def find_items(sources: Sequence[str], column: str | None = None) -> tuple[list[Item], list[str]]:
    """All images and videos of the sources, in order, each once.

    Args:
        sources: Images, videos, folders (their images, recursively), glob patterns, ``.txt`` files with a source per line,
            ``.tar`` archives (WebDataset), ``.parquet`` files, folders of those, and addresses that fsspec opens, such as
            ``s3://bucket/folder``.
        column: Column of Parquet files with paths or encoded images; found by its name unless given.

    Returns:
        The items, and the sources that match nothing.

    Raises:
        ValueError: A camera; a compressed archive; a Parquet file without such a column.
        RuntimeError: A package is not installed.
    """
    items: dict[str, Item] = {}
    missing: list[str] = []
    for source in sources:
        found = list(_items_of(source, column, missing))
        items.update({item.key: item for item in found if item.key not in items})
    return list(items.values()), missing


def _items_of(source: str, column: str | None, missing: list[str]) -> Iterator[Item]:
    if is_camera(source):
        raise ValueError(f"{source} is a camera; tinypose predict takes cameras")
    if _is_remote(source):
        yield from _remote_items(source, missing)
        return
    suffix = Path(source).suffix.lower()
    if suffix == ".txt" and os.path.isfile(source):
        lines = Path(source).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        for line in filter(None, map(str.strip, lines)):
            yield from _items_of(line, column, missing)
    elif suffix == ".tar" and os.path.isfile(source):
        yield from _tar_items(source)
    elif suffix == ".parquet" and os.path.isfile(source):
        yield from _parquet_items(source, column)
    elif os.path.isdir(source) and (parts := sorted(glob.glob(os.path.join(glob.escape(source), "*.parquet")))):
        for part in parts:
            yield from _parquet_items(part, column)
    else:
        files, absent = find_inputs([source])
        missing += absent
        yield from (Item(printable(file), file) for file in files)


def _tar_items(path: str) -> Iterator[Item]:
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isreg() and Path(member.name).suffix.lower() in IMAGE_SUFFIXES:
                    yield Item(
                        printable(f"{path}/{member.name}"), path, member.offset_data, min(member.size, MAX_IMAGE_BYTES)
                    )
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not an uncompressed tar archive: {error}") from None


def _parquet_items(path: str, column: str | None) -> Iterator[Item]:
    parquet = pyarrow_module("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
    except (OSError, ValueError) as error:  # pyarrow's errors
        raise ValueError(f"{path} is not a Parquet file: {error}") from None
    found = next((name for name in ([column] if column else _COLUMNS) if name in names), None)
    if found is None:
        raise ValueError(f"{path} has columns {', '.join(names)}; name the one with paths or images: --column NAME")
    yield from (Item(printable(f"{path}#{row}"), path, row=row, column=found) for row in range(rows))


def _remote_items(source: str, missing: list[str]) -> Iterator[Item]:
    fsspec = _fsspec()
    system, path = fsspec.core.url_to_fs(source)
    if glob.has_magic(source):
        files = system.glob(path)
    else:
        files = system.find(path) if system.isdir(path) else [path] if system.exists(path) else []
    files = [file for file in files if Path(file).suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        missing.append(source)
    for file in sorted(files):
        address = system.unstrip_protocol(file)
        yield Item(address, address)


def _is_remote(source: str) -> bool:
    return "://" in source


def _fetch(address: str) -> bytes:
    try:
        with _fsspec().open(address, "rb") as file:
            data: bytes = file.read(MAX_IMAGE_BYTES)
            return data
    except Exception as error:  # of any remote file system
        raise ImageError(f"{address}: {error}") from None


@lru_cache(maxsize=2)  # rows are asked for in order
def _column(path: str, column: str, group: int) -> Any:
    parquet = pyarrow_module("pyarrow.parquet")
    with parquet.ParquetFile(path) as file:
        return file.read_row_group(group, [column])[column]


@lru_cache(maxsize=64)
def _group_starts(path: str) -> np.ndarray:
    """First row of every row group, and the number of rows."""
    parquet = pyarrow_module("pyarrow.parquet")
    with parquet.ParquetFile(path) as file:
        counts = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    return np.cumsum([0, *counts])


def _load_cell(item: Item) -> np.ndarray:
    """An image in a Parquet file: its path, its bytes, or a struct with either, as `datasets` writes them."""
    assert item.row is not None
    assert item.column is not None
    starts = _group_starts(item.file)
    group = int(np.searchsorted(starts, item.row, side="right")) - 1
    value = _column(item.file, item.column, group)[item.row - int(starts[group])].as_py()
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return decode_image(value, item.key)
    if not isinstance(value, str):
        raise ImageError(f"{item.key}: column {item.column!r} holds neither a path nor an encoded image")
    if _is_remote(value):
        return decode_image(_fetch(value), value)
    return load_image(value if os.path.isabs(value) else os.path.join(os.path.dirname(item.file), value))


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
