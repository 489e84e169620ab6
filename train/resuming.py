"""What is read of a checkpoint before a run continues from it."""

from __future__ import annotations

import pickle
import struct
import warnings
from pathlib import Path

import torch

from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown

# What torch.load raises on damaged files, and on those that ask for more than tensors and plain values.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)


def steps_done(checkpoint: Path) -> int:
    """The optimizer steps of a checkpoint, all of which torch's restricted unpickler can read.

    Raises:
        CheckpointError: It is damaged, or asks for more than tensors and plain values. Nothing of it was run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that torch does not write
            steps = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
        if type(steps) is not int or not 0 <= steps < 1 << 63:
            raise ValueError(f"global_step {shown(steps)}")
        return steps
    except _UNREADABLE as error:
        reason = f"{type(error).__name__}: {plain(str(error).strip().partition('. ')[0])}"
        raise CheckpointError(
            f"{checkpoint}: cannot be resumed: it is damaged, or holds more than tensors and plain values, of which "
            f"nothing was run ({reason}); start anew with another output=..."
        ) from None
