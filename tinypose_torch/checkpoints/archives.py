"""Reader of the archives (``.tar``, ``.tar.gz``, ``.zip``) in which PaddleDetection publishes deployed models.

Nothing is written to disk. A tar is read header by header rather than with `tarfile`, which expands extended headers
and sparse files without a limit.
"""

from __future__ import annotations

import gzip
import io
import itertools
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tinypose_torch.checkpoints.deployed import CONFIG_NAME, DeployedFiles
from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown
from tinypose_torch.checkpoints.limits import (
    MAX_ARCHIVE_BYTES,
    MAX_EXPANSION,
    MAX_MEMBERS,
    open_regular,
    read_file,
)
from tinypose_torch.checkpoints.torch_files import ZIP_ERRORS, open_archive

_BLOCK = 512
_WANTED = (".pdmodel", ".json", ".pdiparams", ".pdiparams.info")
_FILE, _FOLDER = b"0\0", b"5"
_EXTENSION = b"LKxg"  # long names and attributes of the next member
_KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}


def is_archive(path: Path) -> bool:
    """Whether a file is a tar, a compressed tar, or a zip archive that `torch.save` did not write."""
    with open_regular(path) as file:
        start = file.read(_BLOCK)
    if start[:4] == b"PK\x03\x04":
        return not (_first_member(start).endswith(b"/data.pkl") or _is_torch_archive(path))
    return start[:2] == b"\x1f\x8b" or _is_tar_header(start)


def read_archive(path: Path) -> DeployedFiles:
    """The files of the deployed model in an archive, which may lie in a folder.

    Raises:
        CheckpointError: The archive is damaged or hostile, or does not hold exactly one deployed model.
    """
    size = path.stat().st_size
    limit = min(MAX_ARCHIVE_BYTES, MAX_EXPANSION * size + (1 << 20))
    with open_regular(path) as file:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04":
            members = _read_zip(file, limit)
        elif start[:2] == b"\x1f\x8b":
            members = _read_gzip(file, limit)
        else:
            members = _read_tar(file, min(limit, size))
    return _choose(members, path)


def _choose(members: dict[str, bytes], path: Path) -> DeployedFiles:
    tensors = [name for name in members if name.endswith(".pdiparams")]
    if not tensors:
        raise CheckpointError("is an archive without a deployed model's .pdiparams (Paddle Lite models cannot be read)")
    if len(tensors) > 1:
        found = ", ".join(map(shown, sorted(tensors)[:5]))
        raise CheckpointError(f"holds {len(tensors)} .pdiparams files ({found}); a deployed model has one")
    stem = tensors[0].removesuffix(".pdiparams")
    program = members.get(f"{stem}.pdmodel", members.get(f"{stem}.json"))
    if program is None:
        raise CheckpointError(f"has no program, a .pdmodel or .json, beside {shown(tensors[0])}")
    folder = PurePosixPath(tensors[0]).parent
    # named after the archive where there is no folder in it
    names = (folder.name, path.name.split(".", 1)[0])
    return DeployedFiles(
        program, members[tensors[0]], members.get(f"{tensors[0]}.info"), members.get(str(folder / CONFIG_NAME)), names
    )


def _is_wanted(name: str) -> bool:
    base = PurePosixPath(name).name
    return not base.startswith(".") and (base.endswith(_WANTED) or base == CONFIG_NAME)


def _add(members: dict[str, bytes], name: str, content: bytes) -> None:
    name = str(PurePosixPath(name))  # without "./"
    if name in members:
        raise CheckpointError(f"holds {shown(name)} twice")
    members[name] = content


# --- zip ------------------------------------------------------------------------------------------------------------


def _first_member(start: bytes) -> bytes:
    """Name of the first member of a zip archive; `torch.save` writes ``NAME/data.pkl`` first."""
    return start[30 : 30 + int.from_bytes(start[26:28], "little")]


def _is_torch_archive(path: Path) -> bool:
    try:
        with open_archive(read_file(path)) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except CheckpointError:
        return True  # whose reader tells what is wrong with it


def _read_zip(file: BinaryIO, limit: int) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    try:
        with open_archive(file.read(), "zip archive") as archive:
            infos = archive.infolist()
            _check_count(len(infos))
            for info in infos:
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise CheckpointError(f"holds {shown(info.filename)}, which is not a plain file")
                if info.is_dir() or not _is_wanted(info.filename):
                    continue
                limit = _spend(limit, info.filename, info.file_size)
                _add(members, info.filename, archive.read(info))
    except CheckpointError:
        raise
    except ZIP_ERRORS as error:
        raise CheckpointError(f"damaged zip archive: {plain(error)}") from None
    return members


def _check_count(count: int) -> None:
    if count > MAX_MEMBERS:
        raise CheckpointError(f"archive of more than {MAX_MEMBERS} members")


def _spend(limit: int, name: str, size: int) -> int:
    """What is left of the limit after a member."""
    if size > limit:
        raise CheckpointError(f"{shown(name)} declares {size} bytes; {limit} more are accepted of this archive")
    return limit - size


# --- tar ------------------------------------------------------------------------------------------------------------


def _read_gzip(file: BinaryIO, limit: int) -> dict[str, bytes]:
    try:
        with gzip.open(file) as stream:
            members = _read_tar(stream, limit)  # type: ignore[arg-type]
            _read_rest(stream, limit)  # type: ignore[arg-type]
            return members
    except (OSError, EOFError, zlib.error) as error:
        raise CheckpointError(f"damaged gzip archive: {error}") from None


def _read_rest(stream: BinaryIO, limit: int) -> None:
    """Read what follows the tar; gzip's checksum, which is behind it, is compared at the end of the stream."""
    while piece := stream.read(1 << 20):
        limit -= len(piece)
        if limit < 0:
            raise CheckpointError("archive that expands without end behind its last member")


def _read_tar(stream: BinaryIO, limit: int) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for name, size in _tar_headers(stream, limit):
        content = _take(stream, size, keep=_is_wanted(name))
        _take(stream, -size % _BLOCK)
        if _is_wanted(name):
            _add(members, name, content)
    return members


def _tar_headers(stream: BinaryIO, limit: int) -> Iterator[tuple[str, int]]:
    """Name and size of every regular file, whose content and padding the caller reads before the next."""
    for count in itertools.count():
        _check_count(count)
        header = stream.read(_BLOCK)
        if not header.strip(b"\0"):  # the end, or nothing more
            return
        if not _is_tar_header(header):
            raise CheckpointError("damaged tar archive: bad header")
        name = _text(header[:100])
        prefix = _text(header[345:500]) if header[257:262] == b"ustar" and header[262:263] == b"\0" else ""
        name = f"{prefix}/{name}" if prefix else name
        size = _number(header[124:136], name)
        kind = header[156:157]
        limit = _spend(max(0, limit - _BLOCK), name, size)
        if kind in _FILE and not name.endswith("/"):
            yield name, size
        elif kind in _EXTENSION or kind == _FOLDER or kind in _FILE:
            _take(stream, size + -size % _BLOCK)
        else:
            raise CheckpointError(f"holds {shown(name)}, {_KINDS.get(kind, 'which is not a plain file')}")


def _take(stream: BinaryIO, size: int, *, keep: bool = False) -> bytes:
    """The next bytes; what is not kept is read piece by piece and forgotten."""
    kept = io.BytesIO()
    left = size
    while left:
        piece = stream.read(min(left, 1 << 20))
        if not piece:
            raise CheckpointError(f"damaged tar archive: cut short, {left} of {size} bytes are missing")
        left -= len(piece)
        if keep:
            kept.write(piece)
    return kept.getvalue()


def _is_tar_header(block: bytes) -> bool:
    """Whether the checksum of a header, in which its own field counts as blanks, is right."""
    if len(block) != _BLOCK:
        return False
    try:
        declared = int(block[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return declared == sum(block[:148]) + 8 * ord(" ") + sum(block[156:])


def _number(field: bytes, name: str) -> int:
    """Octal text, or a big-endian number behind the byte 0x80."""
    try:
        value = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        value = -1
    if value < 0:
        raise CheckpointError(f"damaged tar archive: bad size of {shown(name)}")
    return value


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")
