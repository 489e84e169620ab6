"""Reader of PyTorch's ``.pt``/``.pth``/``.ckpt`` files that allocates no more than they hold.

The archive's pickle goes through the same interpreter as Paddle's files; only dense tensors are admitted.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown
from tinypose_torch.checkpoints.limits import MAX_DIMENSIONS, MAX_HEADER_BYTES, MAX_NAME_LENGTH
from tinypose_torch.checkpoints.paddle_params import NUMPY_CONSTRUCTORS
from tinypose_torch.checkpoints.pickle_reader import Constructor, PickleReader, Symbol

# What zipfile raises on damaged archives, depending on where the damage is.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)

_STORAGE_DTYPES = {
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": "u2",
    "torch.DoubleStorage": "f8",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "b1",
}


def read_torch_file(data: bytes) -> dict[str, np.ndarray]:
    """Read the state dict of a PyTorch checkpoint.

    Args:
        data: The file's contents: a state dict saved by ``torch.save``, or a checkpoint that holds one as
            ``state_dict`` or ``model``.

    Raises:
        CheckpointError: The archive is damaged, compressed, hostile, a program, or holds no state dict.
    """
    archive = open_archive(data)
    members = {member.filename: member for member in archive.infolist()}
    if any(name.endswith("/constants.pkl") for name in members):
        raise CheckpointError(
            "is a TorchScript program, not weights, and was not opened; programs can run code. If you trust who made "
            "it, name it .torchscript"
        )
    if len(members) < len(archive.infolist()):
        raise CheckpointError("archive with two members of one name")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
        raise CheckpointError("compressed archive; torch.save does not compress")
    if sum(member.file_size for member in members.values()) > len(data):
        raise CheckpointError("archive that declares more than it holds")
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError("a zip archive, but not one that torch.save wrote")
    root = pickles[0].removesuffix("data.pkl")

    def member(name: str) -> memoryview:
        return memoryview(read_member(archive, root + name, len(data)))

    if root + "byteorder" in members and bytes(member("byteorder")) != b"little":
        raise CheckpointError("big-endian PyTorch checkpoint")
    loaded: dict[str, memoryview] = {}

    def storage(identity: Any) -> np.ndarray:
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage":
            raise CheckpointError("damaged tensor storage")
        _, kind, key, _, _ = identity
        if not isinstance(kind, Symbol) or kind.name not in _STORAGE_DTYPES:
            raise CheckpointError("tensor storage of an unknown kind")
        if not isinstance(key, str) or len(key) > MAX_NAME_LENGTH:
            raise CheckpointError("damaged tensor storage")
        if key not in loaded:
            loaded[key] = member(f"data/{key}")
        return np.frombuffer(loaded[key], _STORAGE_DTYPES[kind.name])

    reader = PickleReader(member("data.pkl"), _CONSTRUCTORS, storage, budget=len(data))
    return _state_dict(reader.read())


def open_archive(data: bytes, kind: str = "PyTorch archive") -> zipfile.ZipFile:
    """A zip archive in memory.

    Args:
        kind: What it is called in errors.

    Raises:
        CheckpointError: It is damaged, or its directory is absurdly large.
    """
    try:
        if _directory_size(data) > MAX_HEADER_BYTES:
            raise CheckpointError(f"damaged {kind}: its directory is too large")
        return zipfile.ZipFile(io.BytesIO(data))
    except CheckpointError:
        raise
    except ZIP_ERRORS as error:
        raise CheckpointError(f"damaged {kind}: {plain(error)}") from None


def _directory_size(data: bytes) -> int:
    """Bytes of a zip archive's directory, as its end record declares them, or its ZIP64 record if there is one."""
    end = data.rfind(b"PK\x05\x06", -(22 + 0xFFFF))
    size: int = struct.unpack_from("<I", data, end + 12)[0] if end >= 0 else 0
    if end >= 76 and data[end - 20 : end - 16] == b"PK\x06\x07":
        return max(size, struct.unpack_from("<Q", data, end - 76 + 40)[0])
    return size


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member of an archive.

    Raises:
        CheckpointError: It is absent, damaged, or has more than ``limit`` bytes.
    """
    try:
        if archive.getinfo(name).file_size > limit:
            raise CheckpointError(f"{shown(name)} in the archive is too large")
        return archive.read(name)
    except CheckpointError:
        raise
    except ZIP_ERRORS as error:
        raise CheckpointError(f"damaged PyTorch archive: {plain(error)}") from None


def _rebuild_tensor(reader: PickleReader, arguments: tuple[Any, ...]) -> np.ndarray:
    storage, offset, size, stride = arguments[:4]
    if not isinstance(storage, np.ndarray) or type(size) is not tuple or type(stride) is not tuple:
        raise CheckpointError("damaged tensor")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in numbers):
        raise CheckpointError(f"tensor of size {shown(size)} and stride {shown(stride)}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    elements = 1
    for n in size:
        elements *= n
    if elements == 0 or last >= storage.size or elements > storage.size:
        raise CheckpointError(f"tensor of size {shown(size)} in a storage of {storage.size} elements")
    reader.spend("arrays", elements * storage.itemsize)
    strides = [step * storage.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)
    if storage.dtype == np.uint16:
        return (view.astype(np.uint32) << 16).view(np.float32)
    return view


def _rebuild_parameter(reader: PickleReader, arguments: tuple[Any, ...]) -> np.ndarray:
    if not isinstance(arguments[0], np.ndarray):
        raise CheckpointError("damaged parameter")
    return arguments[0]


def _refuse_call(reader: PickleReader, arguments: tuple[Any, ...]) -> Any:
    raise CheckpointError("a storage is not built by a call")


_CONSTRUCTORS: dict[str, Constructor] = {
    **NUMPY_CONSTRUCTORS,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **dict.fromkeys(_STORAGE_DTYPES, _refuse_call),
}


def _state_dict(value: Any) -> dict[str, np.ndarray]:
    for key in ("state_dict", "model"):
        if type(value) is dict and type(value.get(key)) is dict:
            value = value[key]
    if type(value) is not dict or not value:
        raise CheckpointError("holds no state dict")
    for name, item in value.items():
        if not isinstance(item, np.ndarray) or not isinstance(name, str):
            raise CheckpointError(f"entry {shown(name)} is not a tensor")
    return value
