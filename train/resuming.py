"""Checks of a checkpoint before a run continues from it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tinypose_torch.checkpoints.errors import CheckpointError, plain
from train.config import Config
from train.preflight import CONFIGURATION_KEY, describe_changes, restart

# What training needs of a checkpoint, and its types.
_PARTS = {"global_step": int, "state_dict": dict, "optimizer_states": list, "lr_schedulers": list, "loops": dict}
_PARTS |= {"callbacks": dict, "pytorch-lightning_version": str}


def steps_done(checkpoint: Path, config: Config) -> int:
    """The optimizer steps of a checkpoint that torch's restricted unpickler can read.

    Raises:
        CheckpointError: It is damaged, asks for more than tensors and plain values, or is not of this run. Nothing of it
            was run.
    """
    _check_archive(checkpoint)
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        what = "it holds more than tensors and plain values, of which nothing was run"
        raise cannot_resume(checkpoint, what, error) from None
    except Exception as error:  # a damaged pickle may raise any
        raise cannot_resume(checkpoint, "it is damaged", error) from None
    if not isinstance(content, dict):
        raise cannot_resume(checkpoint, f"it holds a {type(content).__name__}, and not the state of a run")
    lacking = [name for name, kind in _PARTS.items() if not isinstance(content.get(name), kind)]
    if lacking:
        raise cannot_resume(
            checkpoint,
            f"it lacks {', '.join(lacking)}: not the state of a run, or written by another version "
            f"(Lightning {plain(content.get('pytorch-lightning_version', 'unknown'), 20)})",
        )
    changes = describe_changes(content[CONFIGURATION_KEY], config) if CONFIGURATION_KEY in content else ""
    if changes:
        raise cannot_resume(checkpoint, f"it is of a run with another configuration: {plain(changes, 500)}")
    return int(content["global_step"])


def check_network(checkpoint: Path, network: nn.Module) -> None:
    """Refuse a checkpoint of another network.

    Raises:
        CheckpointError: Its tensors have other names or shapes.
    """
    own = {f"network.{name}": tensor.shape for name, tensor in network.state_dict().items()}
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    found = {name: getattr(tensor, "shape", None) for name, tensor in content.items()}
    for name in (*own, *found):
        if own.get(name) != found.get(name):
            raise cannot_resume(
                checkpoint,
                f"it is of another model: {plain(name)} has shape {_shape(found.get(name))} there, and "
                f"{_shape(own.get(name))} in this run",
            )


def cannot_resume(checkpoint: Path, reason: str, error: Exception | None = None) -> CheckpointError:
    """The error about a checkpoint, in one line with the remedy."""
    cause = "" if error is None else f" ({type(error).__name__}: {plain(str(error).strip().partition('. ')[0])})"
    return CheckpointError(f"{checkpoint}: cannot be resumed: {reason}{cause}; {restart(checkpoint)}")


def _shape(shape: Any) -> str:
    return "none" if shape is None else "x".join(map(str, shape)) or "1"


def _check_archive(checkpoint: Path) -> None:
    """Refuse a file that is not a whole PyTorch archive, whose checksums PyTorch itself does not compare."""
    size = checkpoint.stat().st_size
    if size == 0:
        raise cannot_resume(checkpoint, "the file is empty")
    with checkpoint.open("rb") as file:
        start = file.read(4)
    if start != b"PK\x03\x04":
        raise cannot_resume(checkpoint, "it is not a checkpoint of PyTorch")
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            parts = archive.infolist()
            # PyTorch compresses nothing; a hostile archive may unpack to more than the file.
            if any(part.compress_type for part in parts) or sum(part.file_size for part in parts) > size:
                raise cannot_resume(checkpoint, "it is not a checkpoint of PyTorch, which compresses nothing")
            damaged = archive.testzip()
    except CheckpointError:
        raise
    except Exception as error:  # a damaged archive may raise any
        raise cannot_resume(checkpoint, "it is damaged or cut short", error) from None
    if damaged is not None:
        raise cannot_resume(checkpoint, f"it is damaged: the checksum of {plain(damaged)} is wrong")
