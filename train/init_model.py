"""The network that a run starts with."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn

from tinypose_torch.checkpoints.identity import ModelSource, resolve_model
from tinypose_torch.checkpoints.imagenet import load_imagenet_backbone
from tinypose_torch.checkpoints.matching import is_head
from tinypose_torch.factory import create_model, load_model
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models import PPYOLOv2
from tinypose_torch.models.config import DetectorConfig, Entry, TopDownConfig, config_of
from tinypose_torch.models.registry import get_config
from train.batch_norm import use_training_batch_norm
from train.config import Config, ConfigError

OFFICIAL = "official"
IMAGENET = "imagenet"
_RARE = 0.01
_MAX_NAMES = 12  # in a line about the weights


def build_network(
    config: Config, *, skeleton: Skeleton | None = None, class_names: tuple[str, ...] | None = None
) -> nn.Module:
    """The network alone of `start_network`."""
    return start_network(config, skeleton=skeleton, class_names=class_names)[0]


def start_network(
    config: Config, *, skeleton: Skeleton | None = None, class_names: tuple[str, ...] | None = None
) -> tuple[nn.Module, str]:
    """A network for a skeleton or for classes, with the configured weights, ready to train.

    What the head has for keypoints or classes whose names the weights know, too, is taken over; the rest starts anew.

    Returns:
        The network, and a line about its weights that says what was taken over.

    Raises:
        FileNotFoundError, CheckpointError, DownloadError: See `resolve_model`, `load_model`, `load_imagenet_backbone`.
        ConfigError: ``freeze`` names nothing.
    """
    torch.manual_seed(config.seed)
    size = model_config(config).input_size
    network = create_model(config.model, skeleton=skeleton, class_names=class_names, input_size=size)
    _start_head(network)
    description = "random"
    if config.weights == IMAGENET:
        description = (
            f"{load_imagenet_backbone(network)} of timm, trained on ImageNet, in the backbone; the rest random"
        )
    elif config.weights is not None:
        source = load_model(source_of_weights(config))
        _take_over(network, source)
        description = f"{config.weights}, {_describe_head(network, _head_names(source))}"
    use_training_batch_norm(network, config.batch_norm == "paddle", config.sync_batch_norm)
    _freeze(network, config.freeze)
    return network.train(), description


def _describe_head(network: nn.Module, source_names: tuple[str, ...]) -> str:
    """Which keypoints or classes the weights know, and which start anew."""
    names = _head_names(network)
    kind = "classes" if isinstance(config_of(network), DetectorConfig) else "keypoints"
    known = [name for name in names if name in source_names]
    new = [name for name in names if name not in source_names]
    if not new:
        return f"with all {len(names)} {kind}"
    if not known:
        return f"which know none of the {len(names)} {kind} by name: all start anew"
    return f"{len(known)} of {len(names)} {kind} taken over ({_shortened(known)}); new: {_shortened(new)}"


def _shortened(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    return shown + (f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else "")


def source_of_weights(config: Config) -> ModelSource:
    """The model that is trained, and the weight file or release that it starts from.

    Raises:
        FileNotFoundError, CheckpointError: See `resolve_model`.
    """
    weights = None if config.weights in (OFFICIAL, IMAGENET) else config.weights
    return resolve_model(config.model, weights, usage="model=NAME")


def model_config(config: Config) -> Entry:
    """The model's catalogue entry with the input size to train at.

    Raises:
        ConfigError: A size that is not a square, for a network that is trained on squares.
        FileNotFoundError, CheckpointError: See `resolve_model`.
    """
    entry = get_config(config.model)
    carried = source_of_weights(config).changes.get("input_size", entry.input_size)
    if config.input_size is None:
        return dataclasses.replace(entry, input_size=carried)
    height, width = config.input_size
    if height != width and not isinstance(entry, TopDownConfig):
        raise ConfigError(f"input_size: {height} x {width} is not a square; {config.model} is trained on squares")
    return dataclasses.replace(entry, input_size=(height, width))


def _start_head(network: nn.Module) -> None:
    """Let heatmaps start near zero, where most of their targets are, and classes as rare as they are.

    Sun et al., "HRNet", CVPR 2019; Lin et al., "Focal Loss", ICCV 2017.
    """
    is_detector = isinstance(config_of(network), DetectorConfig)
    rare = [row for index in range(len(_head_names(network))) for row in _rows_about(network, index)]
    if isinstance(network, PPYOLOv2):
        rare += network.object_rows()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if is_head(network, name):
                if parameter.dim() > 1:
                    parameter.normal_(std=0.01 if is_detector else 0.001)
                else:
                    parameter.zero_()
                    if is_detector:
                        parameter[rare] = -math.log((1 - _RARE) / _RARE)


def _take_over(network: nn.Module, source: nn.Module) -> None:
    """Copy a network's tensors; of the head those of keypoints or classes with the same names."""
    names, source_names = _head_names(network), _head_names(source)
    own, other = network.state_dict(), source.state_dict()
    with torch.no_grad():
        for name, value in other.items():
            if not is_head(network, name):
                own[name].copy_(value)
                continue
            for index, meaning in enumerate(names):
                if meaning in source_names:
                    own[name][_rows_about(network, index)] = value[_rows_about(source, source_names.index(meaning))]
            # boxes in the same convolution
            own[name][_other_rows(network, len(own[name]))] = value[_other_rows(source, len(value))]


def _rows_about(network: nn.Module, index: int) -> list[int]:
    """Which rows of the head's tensors are for a keypoint or class."""
    return network.class_rows(index) if isinstance(network, PPYOLOv2) else [index]


def _other_rows(network: nn.Module, count: int) -> list[int]:
    """The rows of a tensor of the head that are for none of them."""
    taken = {row for index in range(len(_head_names(network))) for row in _rows_about(network, index)}
    return [row for row in range(count) if row not in taken]


def _head_names(network: nn.Module) -> tuple[str, ...]:
    """What the rows of the head's tensors are for: keypoints or classes."""
    entry = config_of(network)
    return entry.class_names if isinstance(entry, DetectorConfig) else entry.skeleton.keypoint_names


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
