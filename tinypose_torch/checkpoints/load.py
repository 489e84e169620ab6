"""From a weight file to a network's state dict, strictly."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from tinypose_torch.checkpoints.conv_bn import unfold_batch_norms
from tinypose_torch.checkpoints.errors import CheckpointError, MismatchedCheckpointError
from tinypose_torch.checkpoints.files import Checkpoint, read_checkpoint
from tinypose_torch.checkpoints.fitting import likely_models
from tinypose_torch.checkpoints.matching import (
    MAX_NAMED,
    Differences,
    LoadReport,
    find_differences,
    listed,
    only_heads_differ,
    to_network_names,
)
from tinypose_torch.models.base import Network


def load_weights(
    network: Network,
    weights: str | os.PathLike[str] | Checkpoint,
    *,
    reset_head: bool = False,
) -> LoadReport:
    """Fill a network from a weight file; nothing is changed unless everything fits.

    Which model the file names does not matter here, as it does to `create_model`, only whether its tensors fit.

    Args:
        network: A network of the catalogue; it says itself which tensors are its head.
        weights: A file, see `read_checkpoint`, or what was read of it.
        reset_head: Leave the head as it is, so that it may have another number of keypoints or classes.

    Raises:
        MismatchedCheckpointError: Tensors are missing, left over or of another shape; it names each.
        CheckpointError: The file is damaged, hostile, or of another kind.
    """
    checkpoint = weights if isinstance(weights, Checkpoint) else read_checkpoint(weights)
    path = checkpoint.path
    try:
        state, report = to_network_names(network, checkpoint)
        report.unfolded = unfold_batch_norms(network, state)
        if reset_head:
            report.reset = [name for name in network.state_dict() if network.is_head(name)]
        load_strictly(network, state, report.reset)
    except CheckpointError as error:
        likely = _likely_models(checkpoint) if isinstance(error, MismatchedCheckpointError) else ""
        error.args = (f"{path}: {error}{likely}",)
        raise
    if report.unfolded:
        warnings.warn(
            f"{path}: batch normalisation was folded into {len(report.unfolded)} convolutions; the network predicts "
            "as before, but fine-tuning it wants the .pdparams, which has the statistics",
            stacklevel=2,
        )
    return report


def _likely_models(checkpoint: Checkpoint) -> str:
    """The models whose tensors are most like the checkpoint's, for a message."""
    names = likely_models(checkpoint)
    return f"; its tensors are most like those of {', '.join(names)}" if names else ""


def load_strictly(network: Network, state: Mapping[str, np.ndarray | Tensor], keep: list[str]) -> None:
    """Copy tensors into the network after checking all of them.

    Args:
        keep: Names that stay as they are, whatever the file has for them.
    """
    own = network.state_dict()
    differences = find_differences(network, state, keep)
    if differences:
        raise _mismatch(network, state, differences)
    copied = sorted(set(own).difference(keep) & set(state))
    values = {name: _as_tensor(name, state[name], own[name].dtype) for name in copied}
    _check_values(values)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


def _mismatch(
    network: Network, state: Mapping[str, np.ndarray | Tensor], differences: Differences
) -> MismatchedCheckpointError:
    own = network.state_dict()
    misshapen = [
        f"{name} is {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in differences.misshapen
    ]
    kinds = (("missing", differences.missing), ("left over", differences.left_over), ("of another shape", misshapen))
    found = [(names, what) for what, names in kinds if names]
    problems = [f"{len(names)} {what}: {listed(names, MAX_NAMED // len(found))}" for names, what in found]
    hint = ""
    if only_heads_differ(network, differences):
        hint = (
            "; build the network with the file's number of keypoints or classes (num_keypoints=, num_classes=), "
            "or pass reset_head=True to start with a new head"
        )
    message = "does not fit the network: " + "; ".join(problems) + hint
    return MismatchedCheckpointError(message, differences.missing, differences.left_over, misshapen)


def _as_tensor(name: str, value: np.ndarray | Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of the file in the network's type."""
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    other_kind = tensor.is_floating_point() != dtype.is_floating_point or tensor.is_complex()
    if other_kind or torch.bool in (tensor.dtype, dtype):
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
