"""A folder's photos as a network of any kind sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinypose_torch.estimators import preprocessing
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.utils.images import find_inputs

_BY_TASK: dict[str, Callable[[str, Any], np.ndarray]] = {
    "pose": preprocessing.photos_for_pose,
    "bottom-up pose": preprocessing.photos_for_bottom_up,
    "detection": preprocessing.photos_for_detector,
}


def count_photos(folder: str | None) -> int:
    """Number of images in a folder; 0 without a folder.

    Raises:
        FileNotFoundError: There are none.
    """
    if folder is None:
        return 0
    found = find_inputs([folder])[0]
    if not found:
        raise FileNotFoundError(f"no images in {folder}")
    return len(found)


def photos_for_network(folder: str, entry: ModelConfig) -> np.ndarray:
    """``(N, H, W, 3)`` uint8 RGB of the network's input size.

    Raises:
        FileNotFoundError: There are none.
    """
    return _BY_TASK[entry.task](folder, entry)
