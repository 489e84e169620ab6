"""Limits on what is read from files and servers, and the functions that open such files.

Genuine files stay far below each limit. The limits bound memory and time for files that are damaged or made to harm.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from tinypose_torch.checkpoints.errors import CheckpointError

# Weight files and exported files. The largest official checkpoint has 230 MB.
MAX_FILE_BYTES = 1 << 30
# A parsed program takes some twenty times its size. The largest of the catalogue has 1.4 MB.
MAX_PROGRAM_BYTES = 8 << 20
# The JSON header of a .safetensors file, and the directory of a zip archive: at most 200 bytes per tensor.
MAX_HEADER_BYTES = 8 << 20
# The largest network of the catalogue has 2,800 tensors with names of at most 80 characters.
MAX_TENSORS = 10_000
MAX_NAME_LENGTH = 200
MAX_DIMENSIONS = 8
# Fields of one protobuf message. The largest program of the catalogue has 9,000 variables and operations.
MAX_FIELDS = 200_000
# Pickles: seven times the opcodes of the catalogue's largest state dict. Each opcode costs up to 64 bytes of memory.
MAX_OPCODES = 250_000
MAX_NESTING = 20
MAX_INTEGER_KEY = 1 << 16  # larger ones can be chosen to collide in a dict

# Archives of deployed models: members together, decompressed; at most so many times the archive's own size, as weights
# hardly compress; number of members.
MAX_ARCHIVE_BYTES = 1 << 30
MAX_EXPANSION = 100
MAX_MEMBERS = 10_000
# infer_cfg.yml. PaddleDetection's have 1.5 kB.
MAX_CONFIG_BYTES = 1 << 16
# Receipts beside a weight file: how many are looked at, the size of each, and of all that hold the file's checksum. The
# largest genuine one has 0.3 MB.
MAX_RECEIPTS = 100
MAX_RECEIPT_BYTES = 4 << 20
MAX_MATCHING_RECEIPT_BYTES = 16 << 20

# Descriptions in weight files and exported files.
MAX_DESCRIPTION_LENGTH = 4 << 20
INPUT_SIZES = (32, 4096)
MAX_KEYPOINTS = 1000
MAX_CLASSES = 10_000
MAX_TEXT_LENGTH = 200
MAX_BATCH = 4096
MAX_COUNT = 1_000_000
MAX_METHODS = 10
MAX_PEOPLE = 1000
# App files: sides of their frames, pixels, and people.
FRAME_SIZES = (32, 4096)
MAX_SLOTS = 32

# Downloads. A transfer that reaches the time limit keeps what it has; the next one continues it.
CONNECT_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 60.0
TRANSFER_TIMEOUT_S = 3600.0
MIN_BYTES_PER_S = 8192
RATE_AFTER_S = 30.0


def open_regular(path: str | os.PathLike[str], limit: int = MAX_FILE_BYTES) -> BinaryIO:
    """Open a regular file of at most ``limit`` bytes; devices and pipes are refused unopened.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no regular file, or too large.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError("is not a regular file")
    if found.st_size > limit:
        raise CheckpointError(f"has {found.st_size} bytes; at most {limit} are accepted")
    return Path(path).open("rb")


def read_file(path: str | os.PathLike[str], limit: int = MAX_FILE_BYTES) -> bytes:
    """The contents of a regular file of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no regular file, or too large.
    """
    with open_regular(path, limit) as file:
        return file.read(os.fstat(file.fileno()).st_size)
