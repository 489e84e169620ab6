"""The eager backend: PyTorch modules as they are."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import nn

from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, config_of
from tinypose_torch.runtime.base import Runner
from tinypose_torch.runtime.metadata import ExportMetadata

_process = os.getpid()


class EagerRunner(Runner):
    """Runs a network from `create_model` on a device.

    Args:
        network: It is moved to the device and set to evaluation mode.
        device: For example ``"cpu"`` or ``"cuda:0"``.
    """

    backend = "eager"
    dynamic_shape = True

    def __init__(self, network: nn.Module, device: str | torch.device = "cpu") -> None:
        self.metadata = ExportMetadata(config_of(network), False, False, None, "fp32", {"torch": torch.__version__})
        self.device = check_device(device)
        self.network = network.eval().to(self.device)

    @torch.inference_mode()
    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        check_fork()
        x = torch.from_numpy(batch).to(self.device)
        outputs: tuple[torch.Tensor, ...]
        if isinstance(self.metadata.config, DetectorConfig):
            outputs = tuple(self.network.predict(x))  # type: ignore[operator]
        elif isinstance(self.metadata.config, BottomUpConfig):
            outputs = self.network(x).combined()
        else:
            outputs = (self.network(x),)
        return tuple(output.cpu().numpy() for output in outputs)


def check_fork() -> None:
    """Makes PyTorch use one thread in a forked process, which does not have the threads that PyTorch would wait for."""
    global _process
    if os.getpid() != _process:
        torch.set_num_threads(1)
        _process = os.getpid()


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
