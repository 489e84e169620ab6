"""The network that a run starts with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tinypose_torch.checkpoints.catalogue import PoseEntry
from tinypose_torch.checkpoints.load import is_head
from tinypose_torch.factory import create_model, entry_of
from tinypose_torch.geometry.skeletons import Skeleton
from train.batch_norm import use_training_batch_norm
from train.config import Config, ConfigError

OFFICIAL = "official"


def build_network(config: Config, skeleton: Skeleton) -> nn.Module:
    """A network for a skeleton, with the configured weights, ready to train.

    Heatmaps of keypoints whose names the weights' skeleton has are taken over; the others start at random.

    Raises:
        CheckpointError, DownloadError: See `create_model`.
        ConfigError: ``freeze`` names nothing.
    """
    torch.manual_seed(config.seed)
    network = create_model(config.model, skeleton=skeleton)
    _start_head_small(network)
    if config.weights is not None:
        official = config.weights == OFFICIAL
        source = create_model(config.model, pretrained=official, weights=None if official else config.weights)
        _take_over(network, source)
    use_training_batch_norm(network, config.batch_norm == "paddle", config.sync_batch_norm)
    _freeze(network, config.freeze)
    return network.train()


def _start_head_small(network: nn.Module) -> None:
    """Let heatmaps start near zero, where most of their targets are (as in Sun et al., HRNet, CVPR 2019)."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if is_head(network, name):
                if parameter.dim() > 1:
                    parameter.normal_(std=0.001)
                else:
                    parameter.zero_()


def _take_over(network: nn.Module, source: nn.Module) -> None:
    """Copy a network's tensors; of the head those of keypoints with the same names."""
    entry, source_entry = entry_of(network), entry_of(source)
    assert isinstance(entry, PoseEntry)
    assert isinstance(source_entry, PoseEntry)
    own, other = network.state_dict(), source.state_dict()
    with torch.no_grad():
        for name, value in other.items():
            if is_head(network, name):
                _take_over_keypoints(own[name], value, entry.skeleton, source_entry.skeleton)
            else:
                own[name].copy_(value)


def _take_over_keypoints(own: Tensor, other: Tensor, skeleton: Skeleton, source: Skeleton) -> None:
    for index, name in enumerate(skeleton.keypoint_names):
        if name in source.keypoint_names:
            own[index] = other[source.keypoint_names.index(name)]


def _freeze(network: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Stop modules from learning. Their batch norms keep their statistics, too: see `keep_frozen_still`."""
    for prefix in prefixes:
        found = [parameter for name, parameter in network.named_parameters() if _starts_with(name, prefix)]
        if not found:
            modules = sorted({".".join(name.split(".")[:2]) for name, _ in network.named_parameters()})
            raise ConfigError(f"freeze: nothing begins with {prefix!r}; modules: {', '.join(modules)}")
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(f"freeze: {', '.join(prefixes)} leaves nothing to learn")


def keep_frozen_still(network: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Put frozen modules in evaluation mode, after the network was put in training mode."""
    for name, module in network.named_modules():
        if any(_starts_with(name, prefix) for prefix in prefixes):
            module.eval()


def _starts_with(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
