"""Whether the configured devices exist."""

from __future__ import annotations

import os

from train.config import Config, ConfigError


def check_devices(config: Config) -> None:
    """Check that the machine has the configured accelerator, and as many of them.

    Raises:
        ConfigError: It has not; the message says how many there are.
    """
    if config.accelerator == "cpu" or (config.accelerator == "auto" and config.devices == 1):
        return  # without the slow import
    import torch

    found = torch.cuda.device_count()
    if config.accelerator == "mps" or (config.accelerator in ("auto", "gpu") and torch.backends.mps.is_available()):
        name, found = "Apple GPU (MPS)", int(torch.backends.mps.is_available())
    elif config.accelerator == "auto" and found == 0:
        return  # processes on the CPU
    else:
        name = "CUDA GPU"
    if found >= config.devices:
        return
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = f" (CUDA_VISIBLE_DEVICES={shown!r})" if shown is not None else ""
    raise ConfigError(
        f"accelerator={config.accelerator} devices={config.devices}: PyTorch finds {found or 'no'} {name}{hidden}; "
        f"{f'pass devices={found}' if found else 'check the driver with nvidia-smi'}, or train on the CPU with accelerator=cpu"
    )
