"""A network's convolutions and batch norms beside those of a deployed program."""

from __future__ import annotations

from typing import cast

import numpy as np
from torch import Tensor, nn

from tinypose_torch.checkpoints.deployed import Convolution, link_convolutions
from tinypose_torch.checkpoints.errors import CheckpointError, plain
from tinypose_torch.checkpoints.paddle_program import Program

Convolutional = nn.Conv2d | nn.ConvTranspose2d


def conv_norm_pairs(network: nn.Module) -> list[tuple[str, Convolutional, str | None]]:
    """Convolutions in the order of creation, each with the batch norm that follows it."""
    pairs: list[tuple[str, Convolutional, str | None]] = []
    for name, module in network.named_modules():
        if isinstance(module, Convolutional):
            pairs.append((name, module, None))
        elif isinstance(module, nn.BatchNorm2d):
            pairs[-1] = (*pairs[-1][:2], name)
    return pairs


def match_convolutions(network: nn.Module, program: Program) -> list[tuple[str, str | None, Convolution]]:
    """The network's convolutions and batch norms beside the program's.

    Raises:
        CheckpointError: Their numbers, shapes or batch norms differ.
    """
    pairs = conv_norm_pairs(network)
    convolutions = link_convolutions(program)
    if len(pairs) != len(convolutions):
        raise CheckpointError(f"has {len(convolutions)} convolutions, the network {len(pairs)}: another network?")
    matched = []
    for (name, module, norm), convolution in zip(pairs, convolutions, strict=True):
        expected, shape = tuple(module.weight.shape), program.shapes[convolution.weight]
        if shape != expected:
            raise CheckpointError(
                f"{plain(convolution.weight)} is {shape}, {name} in the network {expected}: another network?"
            )
        if convolution.norm and norm is None:
            raise CheckpointError(f"batch norm after {plain(convolution.weight)}, none after {name}: another network?")
        matched.append((name, norm, convolution))
    return matched


def tensor_sources(network: nn.Module, program: Program) -> dict[str, str]:
    """This project's tensor names to the exporter's parameter names."""
    sources: dict[str, str] = {}
    for name, norm, convolution in match_convolutions(network, program):
        sources[f"{name}.weight"] = convolution.weight
        if convolution.bias is not None:
            sources[f"{name}.bias"] = convolution.bias
        for role, parameter in convolution.norm.items():
            sources[f"{norm}.{role}"] = parameter
    return sources


def unfold_batch_norms(network: nn.Module, state: dict[str, np.ndarray | Tensor]) -> list[str]:
    """Give folded convolutions a batch norm that adds their bias and does nothing else. Changes ``state``."""
    unfolded = []
    for name, module, norm in conv_norm_pairs(network):
        bias = state.get(f"{name}.bias")
        if norm is None or bias is None or f"{norm}.weight" in state:
            continue
        epsilon = cast(nn.BatchNorm2d, network.get_submodule(norm)).eps
        ones = np.ones(module.out_channels, np.float32)
        state[f"{norm}.weight"] = ones * np.float32(np.sqrt(1 + epsilon))
        state[f"{norm}.bias"] = bias
        state[f"{norm}.running_mean"] = np.zeros_like(ones)
        state[f"{norm}.running_var"] = ones
        del state[f"{name}.bias"]
        unfolded.append(name)
    return unfolded
