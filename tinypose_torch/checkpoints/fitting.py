"""Which models of the catalogue a checkpoint's tensors fit, by names and shapes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinypose_torch.checkpoints.conv_bn import unfold_batch_norms
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.files import Checkpoint
from tinypose_torch.checkpoints.matching import find_differences, only_heads_differ, to_network_names
from tinypose_torch.models.config import DetectorConfig, Entry
from tinypose_torch.models.registry import CATALOGUE

# Part of a tensor's name that all networks of a class have, here or in PaddleDetection, and no others: networks of other
# classes need not be built.
_MARKS = {
    "LiteHRNet": r"^backbone\.stem\.conv1\.",
    "HRNet": r"^backbone\.(layer1|la1)\.",
    "HigherHRNet": r"^(hrhrnet_head|coarse)\b",
    "PicoDet": r"^head\.(conv_feat|towers)\.",
    "PPYOLOv2": r"^(yolo_head|outputs)\.",
    "FairMOT": r"^(reid\.reid|appearance)\.",
}
# Architecture names in infer_cfg.yml.
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


def fitting_models(checkpoint: Checkpoint, names: Iterable[str] = CATALOGUE) -> list[str]:
    """The models whose tensors a checkpoint holds; those that differ in the head alone where no model fits entirely."""
    fits = _compare(checkpoint, names)
    return [name for name, fit in fits.items() if fit.entire] or [name for name, fit in fits.items() if fit.body]


def likely_models(checkpoint: Checkpoint) -> list[str]:
    """The models that a checkpoint fits best, if any is at least half alike."""
    fits = _compare(checkpoint, CATALOGUE)
    best = max((fit.share for fit in fits.values()), default=0.0)
    return [name for name, fit in fits.items() if fit.share == best >= _LIKELY]


def _compare(checkpoint: Checkpoint, names: Iterable[str]) -> dict[str, _Fit]:
    classes = _possible_classes(checkpoint)
    renamed: dict[str, State] = {}
    by_architecture: dict[str, _Fit] = {}
    fits: dict[str, _Fit] = {}
    for config in (CATALOGUE[name] for name in names):
        fitting = next((CATALOGUE[other].network for other, fit in fits.items() if fit.entire), config.network)
        if config.network.__name__ in classes and fitting is config.network:  # tensors fit one class only
            first = _first_alike(config)
            if first not in by_architecture:
                by_architecture[first] = _fit(_network(first), checkpoint, renamed)
            fits[config.name] = by_architecture[first]
    return fits


def _possible_classes(checkpoint: Checkpoint) -> tuple[str, ...]:
    if checkpoint.config is not None:
        return ARCHITECTURES.get(checkpoint.config.arch, ())
    if checkpoint.deployed is not None:  # has no names to go by
        return ()
    return tuple(name for name, mark in _MARKS.items() if any(re.search(mark, tensor) for tensor in checkpoint.tensors))


def _fit(network: nn.Module | None, checkpoint: Checkpoint, renamed: dict[str, State]) -> _Fit:
    """Compare with one network.

    Args:
        renamed: The checkpoint under the names of every class that it was compared with, to be renamed once.
    """
    if network is None:
        return _Fit(False, False, 0.0)
    kind = type(network).__name__
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


def _first_alike(config: Entry) -> str:
    """The first model of the catalogue that is the same network, with as many outputs."""
    return next(name for name, other in CATALOGUE.items() if _architecture(other) == _architecture(config))


def _architecture(config: Entry) -> tuple[Any, ...]:
    outputs = config.class_names if isinstance(config, DetectorConfig) else config.skeleton.keypoint_names
    return config.network, config.arguments, len(outputs)


@functools.cache
def _network(name: str) -> nn.Module | None:
    """A model without memory for its tensors; nothing where its blocks are of a package that is not installed."""
    try:
        with torch.device("meta"):
            return CATALOGUE[name].build()
    except RuntimeError:
        return None
