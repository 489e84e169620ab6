"""Checks of a checkpoint before a run continues from it."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to know of the checkpoint that it continues.

    Attributes:
        steps: Optimizer steps that the run has done.
        shapes: Of the network's tensors, by name.
    """

    path: Path
    steps: int
    shapes: dict[str, tuple[int, ...] | None]

    def check_network(self, network: nn.Module) -> None:
        """Refuse a checkpoint of another network.

        Raises:
            CheckpointError: Its tensors have other names or shapes.
        """
        own = {f"network.{name}": tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        for name in (*own, *self.shapes):
            if own.get(name) != self.shapes.get(name):
                there, here = (_describe(shapes.get(name)) for shapes in (self.shapes, own))
                raise cannot_resume(
                    self.path, f"it is of another model: {plain(name)} has shape {there} there, and {here} in this run"
                )


def read_checkpoint(path: Path, config: Config) -> Checkpoint:
    """Check a checkpoint, which torch's restricted unpickler reads.

    Raises:
        CheckpointError: It is damaged, asks for more than tensors and plain values, or is not of this run. Nothing of it
            was run.
    """
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that torch does not write
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        what = "it holds more than tensors and plain values, of which nothing was run"
        raise cannot_resume(path, what, error) from None
    except Exception as error:  # a damaged pickle may raise any
        raise cannot_resume(path, "it is damaged", error) from None
    if not isinstance(content, dict):
        raise cannot_resume(path, f"it holds a {type(content).__name__}, and not the state of a run")
    lacking = [name for name, kind in _PARTS.items() if not isinstance(content.get(name), kind)]
    if lacking:
        raise cannot_resume(
            path,
            f"it lacks {', '.join(lacking)}: not the state of a run, or written by another version "
            f"(Lightning {plain(content.get('pytorch-lightning_version', 'unknown'), 20)})",
        )
    if type(content["global_step"]) is not int or not 0 <= content["global_step"] < 1 << 63:
        raise cannot_resume(path, f"its number of steps is {content['global_step']}")
    changes = describe_changes(content[CONFIGURATION_KEY], config) if CONFIGURATION_KEY in content else ""
    if changes:
        raise cannot_resume(path, f"it is of a run with another configuration: {plain(changes, 500)}")
    shapes = {str(name): _shape(tensor) for name, tensor in content["state_dict"].items()}
    return Checkpoint(path, int(content["global_step"]), shapes)


def cannot_resume(checkpoint: Path, reason: str, error: Exception | None = None) -> CheckpointError:
    """The error about a checkpoint, in one line with the remedy."""
    cause = "" if error is None else f" ({type(error).__name__}: {plain(str(error).strip().partition('. ')[0])})"
    return CheckpointError(f"{checkpoint}: cannot be resumed: {reason}{cause}; {restart(checkpoint)}")


def _shape(tensor: Any) -> tuple[int, ...] | None:
    return tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else None


def _describe(shape: tuple[int, ...] | None) -> str:
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
