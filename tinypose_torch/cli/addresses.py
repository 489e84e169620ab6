"""Addresses of models, such as ``hf-hub:OWNER/NAME``, in place of names and weight files."""

from __future__ import annotations

import argparse

from tinypose_torch.utils import defaults
from tinypose_torch.utils.addresses import is_address

_PAIR = (("detector", "detector_weights"), ("pose", "pose_weights"))
# Options of every command that name a model, and its weights.
_OPTIONS = {
    "predict": _PAIR,
    "batch": _PAIR,
    "prelabel": _PAIR,
    "evaluate": (("detector", "weights"), ("pose", "weights"), ("with_detector", "detector_weights")),
    "export": (("model", "weights"), ("with_model", "with_weights"), ("detector", "detector_weights")),
}


def fetch_addresses(options: argparse.Namespace) -> None:
    """Replace addresses in the options of a command by the weight files that they name.

    Raises:
        ValueError: A model has two sources of weights.
        OSError: See `weights_at`.
    """
    for name, weights in _OPTIONS.get(options.command, ()):
        given = getattr(options, name), getattr(options, weights)
        if any(map(is_address, given)):
            from tinypose_torch.checkpoints.hub import separate_address  # imports torch

            found, file = separate_address(*given, usage=f"--{weights.replace('_', '-')}")
            setattr(options, name, found or defaults.AUTO)
            setattr(options, weights, str(file))
