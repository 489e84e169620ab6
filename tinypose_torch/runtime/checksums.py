"""The checksum of exported files.

Every exported file ends with a mark and the SHA-256 of all bytes before the mark. Each format skips these 40 bytes in its own way:

* ExecuTorch reads no further than its header says.
* A TorchScript file is a zip archive; they are the archive's comment.
* An ONNX file is a protobuf message; they are the value of a field that ONNX does not define.

The checksum finds damage. It does not say who made a file: anyone can write a file with a right checksum.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.limits import read_file

SEAL = b"TINYPOSE"
SEAL_SIZE = len(SEAL) + hashlib.sha256().digest_size
_ZIP_END, _ZIP_END_SIZE = b"PK\x05\x06", 22
# Key (field 1000, a byte string) and length of the field that holds the checksum.
_ONNX_FIELD = bytes((0xC2, 0x3E, SEAL_SIZE))


def seal(content: bytes) -> bytes:
    """A file with its mark and checksum behind it."""
    return content + SEAL + hashlib.sha256(content).digest()


def seal_torchscript(archive: bytes) -> bytes:
    """A zip archive without a comment, with mark and checksum as its comment."""
    end = archive[-_ZIP_END_SIZE:]
    assert end.startswith(_ZIP_END)
    return seal(archive[:-2] + struct.pack("<H", SEAL_SIZE))


def seal_onnx(model: bytes) -> bytes:
    """A serialised ONNX model with mark and checksum in a last field."""
    return seal(model + _ONNX_FIELD)


def read_sealed(path: Path) -> bytes:
    """A whole file whose checksum is right.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: No checksum (cut short, not exported by this project, or by an earlier version), or a wrong one.
    """
    try:
        data = read_file(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    content, mark = memoryview(data)[:-SEAL_SIZE], data[-SEAL_SIZE:]
    if not mark.startswith(SEAL):
        raise CheckpointError(
            f"{path}: has no checksum at its end: it was cut short, or altered, or not exported by tinypose-torch, or by an "
            "earlier version; export it again"
        )
    if hashlib.sha256(content).digest() != mark[len(SEAL) :]:
        raise CheckpointError(f"{path}: its checksum is wrong; the file was altered or damaged")
    return data


def unsealed(path: Path) -> bytes:
    """The content of a file whose checksum is right, without it. Raises as `read_sealed` does."""
    return read_sealed(path)[:-SEAL_SIZE]
