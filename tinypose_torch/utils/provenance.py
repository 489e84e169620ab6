"""Recognises the files that this program wrote, and makes file names printable."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from pathlib import Path

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

    These are overlays, records of poses, receipts, converted official weights, and exported files that are unchanged
    since their receipt was written. Weights of a training run are not among them. An empty file counts as well.
    """
    start = _read_start(path)
    if not start:
        return os.path.isfile(path) and os.path.getsize(path) == 0
    patterns = (_RECORDS, _RECEIPT, _CONVERTED)
    return start == b"[]\n" or is_overlay(path) or any(p.match(start) for p in patterns) or _has_receipt(Path(path))


def printable(name: str) -> str:
    r"""A file name as valid Unicode: bytes that are not UTF-8 become escapes such as ``\udcff``."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def printable_line(text: str) -> str:
    r"""A text as one line that a terminal shows as it is: control characters become escapes such as ``\n``.

    Escaped are also characters that change the direction of text, and bytes of file names that are not UTF-8.
    """
    return "".join(character if _is_shown(character) else ascii(character)[1:-1] for character in text)


def _is_shown(character: str) -> bool:
    if character.isprintable():
        return True
    # Emoji are joined by format characters, and file names of macOS contain narrow spaces.
    return unicodedata.category(character) in ("Cf", "Zs") and unicodedata.bidirectional(character) in (
        "BN",
        "CS",
        "WS",
    )


def _read_start(path: str | os.PathLike[str]) -> bytes:
    if not os.path.isfile(path):  # opening a named pipe would wait for a writer
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(_START)
    except OSError:
        return b""


def _has_receipt(path: Path) -> bool:
    """Whether the receipt beside an exported file names its checksum."""
    try:
        receipt = json.loads(path.with_name(f"{path.name}.receipt.json").read_text(encoding="utf-8"))
        with path.open("rb") as file:
            return receipt["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return False
