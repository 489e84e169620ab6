"""From a weight file to a network's state dict, strictly."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from tinypose_torch.checkpoints.convolutions import tensor_sources, unfold_batch_norms
from tinypose_torch.checkpoints.errors import CheckpointError, MismatchedCheckpointError, plain
from tinypose_torch.checkpoints.files import Checkpoint, read_checkpoint
from tinypose_torch.checkpoints.renaming import rename_state

MAX_NAMED = 100  # in a message; the exception has all


@dataclass
class LoadReport:
    """What `load_weights` did.

    Attributes:
        sources: This project's tensor names to the file's.
        dropped: The file's tensors without a counterpart, with the reasons.
        unfolded: Convolutions whose batch norm was folded into them.
        reset: Head tensors that keep their initial values, as asked.
    """

    sources: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    unfolded: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)


def load_weights(
    network: nn.Module,
    path: str | os.PathLike[str],
    *,
    reset_head: bool = False,
    model: str | None = None,
) -> LoadReport:
    """Fill a network from a weight file; nothing is changed unless everything fits.

    Args:
        network: A network of the catalogue; it says itself which tensors are its head.
        path: See `read_checkpoint`.
        reset_head: Leave the head as it is, so that it may have another number of keypoints or classes.
        model: The catalogue name of the network, to warn of weights made for another one.

    Raises:
        MismatchedCheckpointError: Tensors are missing, left over or of another shape; it names each.
        CheckpointError: The file is damaged, hostile, or of another kind.
    """
    checkpoint = read_checkpoint(path)
    if model and checkpoint.model and checkpoint.model != model:
        warnings.warn(f"{path} holds weights of {plain(checkpoint.model)}, loaded into {model}", stacklevel=2)
    try:
        state, report = to_network_names(network, checkpoint)
        report.unfolded = unfold_batch_norms(network, state)
        if reset_head:
            report.reset = [name for name in network.state_dict() if is_head(network, name)]
        load_strictly(network, state, report.reset)
    except CheckpointError as error:
        error.args = (f"{path}: {error}",)
        raise
    if report.unfolded:
        warnings.warn(
            f"{path}: batch normalisation was folded into {len(report.unfolded)} convolutions; the network predicts "
            "as before, but fine-tuning it wants the .pdparams, which has the statistics",
            stacklevel=2,
        )
    return report


def to_network_names(network: nn.Module, checkpoint: Checkpoint) -> tuple[dict[str, np.ndarray | Tensor], LoadReport]:
    """The checkpoint's tensors under the network's names."""
    if checkpoint.naming == "tinypose_torch":
        names = {name: name for name in checkpoint.tensors}
        return dict(checkpoint.tensors), LoadReport(sources=names)
    if checkpoint.deployed is not None:
        sources = tensor_sources(network, checkpoint.deployed.program)
        state = {name: checkpoint.tensors[source] for name, source in sources.items()}
        unused = set(checkpoint.tensors) - set(sources.values())
        if unused:
            raise CheckpointError(f"parameters that no layer uses: {_listed(sorted(unused))}")
        return state, LoadReport(sources=sources)
    renamed = rename_state(type(network).__name__, checkpoint.tensors)  # type: ignore[arg-type]
    return dict(renamed.state), LoadReport(sources=renamed.sources, dropped=renamed.dropped)


def is_head(network: nn.Module, name: str) -> bool:
    """Whether a tensor depends on the number of keypoints or classes."""
    prefixes: tuple[str, ...] = network.head_prefixes()  # type: ignore[operator]
    return name.startswith(tuple(prefix + "." for prefix in prefixes))


def load_strictly(network: nn.Module, state: Mapping[str, np.ndarray | Tensor], keep: list[str]) -> None:
    """Copy tensors into the network after checking all of them.

    Args:
        keep: Names that stay as they are, whatever the file has for them.
    """
    own = network.state_dict()
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    kept = set(keep)
    wanted = {name for name in own if name not in kept}
    missing = sorted(wanted - optional - set(state))
    left_over = sorted(set(state) - set(own))
    misshapen = [
        f"{name} is {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in sorted(wanted & set(state))
        if tuple(state[name].shape) != tuple(own[name].shape)
    ]
    problems = [
        f"{len(names)} {what}: {_listed(names)}"
        for what, names in (
            ("missing", missing),
            ("left over", left_over),
            ("of another shape", misshapen),
        )
        if names
    ]
    if problems:
        heads_only = (
            not missing and not left_over and all(is_head(network, text.split(" ", 1)[0]) for text in misshapen)
        )
        hint = "; pass reset_head=True to start with a new head" if heads_only else ""
        message = "does not fit the network: " + "; ".join(problems) + hint
        raise MismatchedCheckpointError(message, missing, left_over, misshapen)
    values = {name: _as_tensor(name, state[name], own[name].dtype) for name in sorted(wanted & set(state))}
    _check_values(values)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


def _as_tensor(name: str, value: np.ndarray | Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of the file in the network's type."""
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    if tensor.is_floating_point() != dtype.is_floating_point or torch.bool in (tensor.dtype, dtype):
        raise CheckpointError(f"{name} holds {tensor.dtype} values; expected {dtype}")
    return tensor.to(dtype)


def _check_values(values: Mapping[str, Tensor]) -> None:
    """Refuse values that cannot be weights: not finite, or variances below zero."""
    floats = {name: tensor for name, tensor in values.items() if tensor.is_floating_point()}
    if not floats:
        return
    # One call for all: an isfinite for each takes longer than loading.
    for (name, tensor), largest in zip(
        floats.items(), torch._foreach_norm(list(floats.values()), torch.inf), strict=True
    ):
        if not math.isfinite(largest.item()):
            raise CheckpointError(f"{name} holds values that are not finite as {tensor.dtype}")
        if name.endswith("running_var") and tensor.min().item() < 0:
            raise CheckpointError(f"{name} holds negative variances")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(map(plain, names[:MAX_NAMED])) + more
