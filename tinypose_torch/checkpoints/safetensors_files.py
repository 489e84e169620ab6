"""The checksum in the .safetensors files that this project writes, and limits on the headers of others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.limits import MAX_HEADER_BYTES, open_regular, read_file

# An entry of the metadata: the SHA-256 of the file with zeros in the place of the digest.
CHECKSUM_KEY = "tinypose_sha256"
_DIGITS = 64
_FIELD = f'"{CHECKSUM_KEY}":"'.encode()
_NO_DIGEST = b"0" * _DIGITS


def save_with_checksum(state: dict[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The contents of a .safetensors file with a checksum in its metadata."""
    data = safetensors.torch.save(state, {**metadata, CHECKSUM_KEY: _NO_DIGEST.decode()})
    place = data.index(_FIELD + _NO_DIGEST) + len(_FIELD)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:place] + digest + data[place + _DIGITS :]


def check_safetensors(path: Path) -> None:
    """Check the size of a file's header, and its checksum if it has one.

    Raises:
        CheckpointError: It is no regular file, or too large.
        CheckpointError: Its header is too large, or its checksum wrong.
    """
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise CheckpointError(f"damaged .safetensors file: a header of {size} bytes")
        header = file.read(size)
    place = header.find(_FIELD)
    if place < 0:
        return  # written by another program
    place += 8 + len(_FIELD)
    data = memoryview(read_file(path))
    digest = hashlib.sha256(data[:place])
    digest.update(_NO_DIGEST)
    digest.update(data[place + _DIGITS :])
    if digest.hexdigest().encode() != data[place : place + _DIGITS]:
        raise CheckpointError("damaged .safetensors file: its checksum is wrong")
