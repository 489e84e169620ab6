"""The eager backend: PyTorch modules as they are."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import nn

from tinypose_torch.checkpoints.catalogue import DetectorEntry, PoseEntry
from tinypose_torch.defaults import BACKENDS
from tinypose_torch.factory import create_model, entry_of
from tinypose_torch.runtime.base import Runner


class EagerRunner:
    """Runs a network from `create_model` on a device.

    Args:
        network: It is moved to the device and set to evaluation mode.
        device: For example ``"cpu"`` or ``"cuda:0"``.
    """

    def __init__(self, network: nn.Module, device: str | torch.device = "cpu") -> None:
        self.entry: PoseEntry | DetectorEntry = entry_of(network)
        self.device = check_device(device)
        self.network = network.eval().to(self.device)

    @torch.inference_mode()
    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        x = torch.from_numpy(batch).to(self.device)
        if isinstance(self.entry, DetectorEntry):
            outputs = tuple(self.network.predict(x))  # type: ignore[operator]
        else:
            outputs = (self.network(x),)
        return tuple(output.cpu().numpy() for output in outputs)


def load_runner(
    model: str,
    weights: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    device: str = "cpu",
) -> Runner:
    """A catalogue model, ready to run.

    Args:
        model: Name in the catalogue.
        weights: Weight file; the official weights unless given.
        backend: ``"eager"``, or ``"auto"`` to choose by the weights.

    Raises:
        ValueError: Unknown backend or device.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    check_device(device)
    return EagerRunner(create_model(model, pretrained=weights is None, weights=weights), device)


def check_device(device: str | torch.device) -> torch.device:
    """The device, if this machine has it.

    Raises:
        ValueError: Unknown, or not available here.
    """
    try:
        parsed = torch.device(device)
        torch.empty(1, device=parsed)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {str(device)!r} cannot be used: {reason}") from None
    return parsed
