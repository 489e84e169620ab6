"""The network that a run starts with."""

from __future__ import annotations

import dataclasses

import torch

from tinypose_torch.checkpoints.identity import ModelSource, resolve_model
from tinypose_torch.checkpoints.imagenet import load_imagenet_backbone
from tinypose_torch.factory import create_model, load_model
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import ModelConfig, config_of
from tinypose_torch.models.registry import get_config
from train.batch_norm import use_training_batch_norm
from train.config import Config, ConfigError

OFFICIAL = "official"
IMAGENET = "imagenet"
_MAX_NAMES = 12  # in a line about the weights


def build_network(
    config: Config, *, skeleton: Skeleton | None = None, class_names: tuple[str, ...] | None = None
) -> Network:
    """The network alone of `start_network`."""
    return start_network(config, skeleton=skeleton, class_names=class_names)[0]


def start_network(
    config: Config, *, skeleton: Skeleton | None = None, class_names: tuple[str, ...] | None = None
) -> tuple[Network, str]:
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
    network.init_head()
    description = "random"
    if config.weights == IMAGENET:
        description = (
            f"{load_imagenet_backbone(network)} of timm, trained on ImageNet, in the backbone; the rest random"
        )
    elif config.weights is not None:
        source = load_model(source_of_weights(config))
        _take_over(network, source)
        description = f"{config.weights}, {_describe_head(network, config_of(source).head_names)}"
    use_training_batch_norm(network, config.batch_norm == "paddle", config.sync_batch_norm)
    _freeze(network, config.freeze)
    return network.train(), description


def _describe_head(network: Network, source_names: tuple[str, ...]) -> str:
    """Which keypoints or classes the weights know, and which start anew."""
    names = config_of(network).head_names
    kind = config_of(network).head_kind
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


def model_config(config: Config) -> ModelConfig:
    """The model's config with the input size to train at.

    Raises:
        ConfigError: A size that is not a square, for a network that is trained on squares.
        FileNotFoundError, CheckpointError: See `resolve_model`.
    """
    entry = get_config(config.model)
    carried = source_of_weights(config).changes.get("input_size", entry.input_size)
    if config.input_size is None:
        return dataclasses.replace(entry, input_size=carried)
    height, width = config.input_size
    if height != width and not entry.takes_boxes:
        raise ConfigError(f"input_size: {height} x {width} is not a square; {config.model} is trained on squares")
    return dataclasses.replace(entry, input_size=(height, width))


def _take_over(network: Network, source: Network) -> None:
    """Copy a network's tensors; of the head those of keypoints or classes with the same names."""
    names, source_names = config_of(network).head_names, config_of(source).head_names
    own, other = network.state_dict(), source.state_dict()
    with torch.no_grad():
        for name, value in other.items():
            if not network.is_head(name):
                own[name].copy_(value)
                continue
            for index, meaning in enumerate(names):
                if meaning in source_names:
                    own[name][network.head_rows(index)] = value[source.head_rows(source_names.index(meaning))]
            # boxes in the same convolution
            own[name][_other_rows(network, len(own[name]))] = value[_other_rows(source, len(value))]


def _other_rows(network: Network, count: int) -> list[int]:
    """The rows of a tensor of the head that are for none of them."""
    taken = {row for index in range(len(config_of(network).head_names)) for row in network.head_rows(index)}
    return [row for row in range(count) if row not in taken]


def _freeze(network: Network, prefixes: tuple[str, ...]) -> None:
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


def keep_frozen_still(network: Network, prefixes: tuple[str, ...]) -> None:
    """Put frozen modules in evaluation mode, after the network was put in training mode."""
    for name, module in network.named_modules():
        if any(_starts_with(name, prefix) for prefix in prefixes):
            module.eval()


def _starts_with(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
