"""Recognises the files that this program wrote, and makes file names printable."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tinypose_torch.checkpoints.errors import CheckpointError

SOFTWARE = "tinypose-torch"  # the mark in overlays: PNG's Software text, MP4's comment
_START = 1 << 16  # bytes
_MP4_END = b"\0\0\0\x16free" + SOFTWARE.encode()  # the last box of overlays of deploy/cpp
_PNG_MARK = b"tEXtSoftware\0" + SOFTWARE.encode()
_JPEG_MARK = b"\xff\xfe" + (2 + len(SOFTWARE)).to_bytes(2, "big") + SOFTWARE.encode()  # a comment
_TEXT = rb'"(\\.|[^"\\])*"'
_NUMBERS = rb"(%s: [-\w.]+,\s*)+" % _TEXT
# How the files begin that the commands write, and that have no place for a mark.
_STARTS = [
    re.compile(start, re.DOTALL)
    for start in (
        rb'(\[\s*)?\{"image": %s, ("frame": \d+, )?("time": [\d.e-]+, )?"poses": \[' % _TEXT,  # predict
        rb'\{\s*"file": %s,\s*"sha256": "' % _TEXT,  # receipt of an export
        rb'.{8}\{"__metadata__":\{(%s[:,])*?"source":"' % _TEXT,  # convert
        rb'\{\s*"model": %s,\s*"source": \{\s*"name": %s,\s*"sha256": "' % (_TEXT, _TEXT),  # receipt of convert
        rb"[\w.+-]+\n\nsource     [^\n]+  sha256 [0-9a-f]{64}\nconverted  ",  # the same as text
        rb'\[\n\{"image_id": (\d+|%s), "category_id": \d+, "(keypoints|bbox)": \[' % _TEXT,  # evaluate --predictions
        rb'\[\n\{"image": %s, "person": \d+, "keypoints": \[' % _TEXT,  # the same of MPII
        rb'\{\s*%s"model": %s,\s*"weights": %s,\s*"backend": "' % (_NUMBERS, _TEXT, _TEXT),  # evaluate --json
        rb'\{\s*%s"annotations": %s,\s*"tracks": "' % (_NUMBERS, _TEXT),  # the same with --tracks
        rb'\[\s*\{\s*"model": %s,\s*"backend": %s,\s*"threads": \d+,\s*"(people|median_ms)": '
        % (_TEXT, _TEXT),  # benchmark
        rb'\{\s*"model": %s,\s*"weights": (null|%s),\s*"input_size": '
        % (_TEXT, _TEXT),  # configuration of a training run
        rb'\{\s*"weights": %s,\s*"sha256": "' % _TEXT,  # its receipt
        rb'\{"info": \{"software": "%s"' % SOFTWARE.encode(),  # annotations
        rb'<!doctype html>.{40,80}<meta name="generator" content="%s">' % SOFTWARE.encode(),  # report
    )
]


def is_overlay(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a PNG or MP4 overlay that this program wrote."""
    if os.path.splitext(path)[1].lower() not in (".png", ".mp4"):
        return False
    start = _read_start(path)
    if start[4:8] == b"ftyp":
        return SOFTWARE.encode() in start or _read_end(path, len(_MP4_END)) == _MP4_END
    return _PNG_MARK in start


def is_own_output(path: str | os.PathLike[str]) -> bool:
    """Whether this program wrote a file that it can write again.

    These are overlays, plots, records of poses, predictions, figures, receipts, converted official weights, rendered
    datasets, and exported files whose checksum is right. Weights of a training run are not among them. An empty file
    counts as well.
    """
    start = _read_start(path)
    if not start:
        return os.path.isfile(path) and os.path.getsize(path) == 0
    if start == b"[]\n" or is_overlay(path) or _is_marked(path, start) or any(p.match(start) for p in _STARTS):
        return True
    return _is_exported(Path(path))


def printable(name: str) -> str:
    r"""A file name as valid Unicode: bytes that are not UTF-8 become escapes such as ``\udcff``."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def marked_jpeg(data: bytes) -> bytes:
    """An encoded JPEG image with the mark of this program as its comment."""
    return data[:2] + _JPEG_MARK + data[2:]


def plot_metadata(suffix: str) -> dict[str, str]:
    """The mark of this program as matplotlib's ``metadata`` for a plot, whose file name ends in ``suffix``."""
    return {"Software" if suffix == ".png" else "Creator": SOFTWARE}


def _is_marked(path: str | os.PathLike[str], start: bytes) -> bool:
    """Whether a JPEG image, or an SVG or PDF plot, has the mark."""
    if start.startswith(b"%PDF"):
        return b"/Creator (%s)" % SOFTWARE.encode() in Path(path).read_bytes()  # near the end
    svg = start.startswith(b"<?xml") and b"<dc:title>%s</dc:title>" % SOFTWARE.encode() in start
    return svg or start.startswith(b"\xff\xd8" + _JPEG_MARK)


def _read_start(path: str | os.PathLike[str]) -> bytes:
    if not os.path.isfile(path):  # opening a named pipe would wait for a writer
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(_START)
    except OSError:
        return b""


def _read_end(path: str | os.PathLike[str], size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(-size, os.SEEK_END)
            return file.read()
    except OSError:
        return b""


def _is_exported(path: Path) -> bool:
    """Whether a file ends with the checksum of exported files."""
    from tinypose_torch.runtime.checksums import read_sealed  # imports torch

    try:
        return bool(read_sealed(path))
    except (CheckpointError, OSError):
        return False
