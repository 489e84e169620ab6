"""Lazy imports of timm's modules, which take seconds."""

from __future__ import annotations

import importlib
from typing import Any

from tinypose_torch.utils.hints import install_hint


def timm_module(name: str) -> Any:
    """A module of timm, for example ``"models.resnet"``.

    Raises:
        RuntimeError: timm is not installed.
    """
    try:
        return importlib.import_module(f"timm.{name}")
    except ImportError as error:
        raise RuntimeError(f"{error}; this network is built from timm's blocks: {install_hint('hrnet')}") from None
