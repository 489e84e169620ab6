"""Which models of the registry a checkpoint's tensors fit, by names and shapes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinypose_torch.checkpoints.conv_bn import unfold_batch_norms
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.files import Checkpoint
from tinypose_torch.checkpoints.matching import find_differences, only_heads_differ, to_network_names
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.models.registry import get_config, model_configs

# By `Network.paddle_names`: part of a tensor's name that all networks of a family have, here or in PaddleDetection, and no
# others, so that networks of other families need not be built.
_MARKS = {
    "LiteHRNet": r"^backbone\.stem\.conv1\.",
    "HRNet": r"^backbone\.(layer1|la1)\.",
    "HigherHRNet": r"^(hrhrnet_head|coarse)\b",
    "PicoDet": r"^head\.(conv_feat|towers)\.",
    "PPYOLOv2": r"^(yolo_head|outputs)\.",
    "FairMOT": r"^(reid\.reid|appearance)\.",
}
# Architecture names in infer_cfg.yml, and the `Network.paddle_names` that they can mean.
ARCHITECTURES = {
    "HRNet": ("LiteHRNet", "HRNet"),
    "HigherHRNet": ("HigherHRNet",),
    "PicoDet": ("PicoDet",),
    "GFL": ("PicoDet",),  # PicoDet with its post-processing
    "YOLO": ("PPYOLOv2",),
    "FairMOT": ("FairMOT",),
}
State = dict[str, np.ndarray | Tensor]
_LIKELY = 0.5  # share of equal tensors from which a model is worth naming


@dataclass(frozen=True)
class _Fit:
    """How well a model's tensors and a checkpoint's agree: entirely, but for the head, and the share that is equal."""

    entire: bool
    body: bool
    share: float


def fitting_models(checkpoint: Checkpoint, names: Iterable[str] | None = None) -> list[str]:
    """The models whose tensors a checkpoint holds; those that differ in the head alone where no model fits entirely.

    Args:
        names: Models to compare with; all unless given.
    """
    fits = _compare(checkpoint, model_configs() if names is None else names)
    return [name for name, fit in fits.items() if fit.entire] or [name for name, fit in fits.items() if fit.body]


def likely_models(checkpoint: Checkpoint) -> list[str]:
    """The models that a checkpoint fits best, if any is at least half alike."""
    fits = _compare(checkpoint, model_configs())
    best = max((fit.share for fit in fits.values()), default=0.0)
    return [name for name, fit in fits.items() if fit.share == best >= _LIKELY]


def _compare(checkpoint: Checkpoint, names: Iterable[str]) -> dict[str, _Fit]:
    families = _possible_families(checkpoint)
    renamed: dict[str, State] = {}
    by_architecture: dict[str, _Fit] = {}
    fits: dict[str, _Fit] = {}
    for config in map(get_config, names):
        fitting = next((get_config(other).network for other, fit in fits.items() if fit.entire), config.network)
        if config.network.paddle_names in families and fitting is config.network:  # tensors fit one class only
            first = _first_alike(config)
            if first not in by_architecture:
                by_architecture[first] = _fit(_network(first), checkpoint, renamed)
            fits[config.name] = by_architecture[first]
    return fits


def _possible_families(checkpoint: Checkpoint) -> tuple[str, ...]:
    if checkpoint.config is not None:
        return ARCHITECTURES.get(checkpoint.config.arch, ())
    if checkpoint.deployed is not None:  # has no names to go by
        return ()
    return tuple(name for name, mark in _MARKS.items() if any(re.search(mark, tensor) for tensor in checkpoint.tensors))


def _fit(network: Network | None, checkpoint: Checkpoint, renamed: dict[str, State]) -> _Fit:
    """Compare with one network.

    Args:
        renamed: The checkpoint under the names of every class that it was compared with, to be renamed once.
    """
    if network is None:
        return _Fit(False, False, 0.0)
    kind = network.paddle_names or ""
    try:
        if kind not in renamed or checkpoint.deployed is not None:
            renamed[kind], _ = to_network_names(network, checkpoint)
    except CheckpointError:
        return _Fit(False, False, 0.0)
    state = dict(renamed[kind])
    unfold_batch_norms(network, state)
    differences = find_differences(network, state)
    wrong = len(differences.missing) + len(differences.left_over) + len(differences.misshapen)
    share = 1 - wrong / max(1, len(state) + len(differences.missing))
    return _Fit(not differences, only_heads_differ(network, differences), share)


def _first_alike(config: ModelConfig) -> str:
    """The first model of the registry that is the same network, with as many outputs."""
    return next(name for name, other in model_configs().items() if _architecture(other) == _architecture(config))


def _architecture(config: ModelConfig) -> tuple[Any, ...]:
    return config.network, config.arguments, len(config.head_names)


@functools.cache
def _network(name: str) -> Network | None:
    """A model without memory for its tensors; nothing where its blocks are of a package that is not installed."""
    try:
        with torch.device("meta"):
            return get_config(name).build()
    except RuntimeError:
        return None
