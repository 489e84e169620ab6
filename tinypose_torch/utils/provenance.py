"""Recognises the files that this program wrote, and makes file names printable."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tinypose_torch.checkpoints.errors import CheckpointError

SOFTWARE = "tinypose-torch"  # the mark in overlays: PNG's Software text, MP4's comment
_START = 1 << 16  # bytes
_PNG_MARK = b"tEXtSoftware\0" + SOFTWARE.encode()
_RECORDS = re.compile(rb'(\[\s*)?\{"image": "(\\.|[^"\\])*", ("frame": \d+, )?("time": [\d.e-]+, )?"poses": \[')
_RECEIPT = re.compile(rb'\{\s*"file": "(\\.|[^"\\])*",\s*"sha256": "')
_CONVERTED = re.compile(rb'.{8}\{"__metadata__":\{("(\\.|[^"\\])*"[:,])*?"source":"', re.DOTALL)


def is_overlay(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a PNG or MP4 overlay that this program wrote."""
    if os.path.splitext(path)[1].lower() not in (".png", ".mp4"):
        return False
    start = _read_start(path)
    return _PNG_MARK in start or (start[4:8] == b"ftyp" and SOFTWARE.encode() in start)


def is_own_output(path: str | os.PathLike[str]) -> bool:
    """Whether this program wrote a file that it can write again.

    These are overlays, records of poses, receipts, converted official weights, and exported files whose checksum is
    right. Weights of a training run are not among them. An empty file counts as well.
    """
    start = _read_start(path)
    if not start:
        return os.path.isfile(path) and os.path.getsize(path) == 0
    patterns = (_RECORDS, _RECEIPT, _CONVERTED)
    return start == b"[]\n" or is_overlay(path) or any(p.match(start) for p in patterns) or _is_exported(Path(path))


def printable(name: str) -> str:
    r"""A file name as valid Unicode: bytes that are not UTF-8 become escapes such as ``\udcff``."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_start(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_START)
    except OSError:
        return b""


def _is_exported(path: Path) -> bool:
    """Whether a file ends with the checksum of exported files."""
    from tinypose_torch.runtime.checksums import read_sealed  # imports torch

    try:
        return bool(read_sealed(path))
    except (CheckpointError, OSError):
        return False
