"""A folder's photos as a network of any kind sees them."""

from __future__ import annotations

import numpy as np

from tinypose_torch.estimators import bottom_up, top_down
from tinypose_torch.models.config import BottomUpConfig, Entry


def photos_for_network(folder: str, entry: Entry) -> np.ndarray:
    """``(N, H, W, 3)`` uint8 RGB of the network's input size.

    Raises:
        FileNotFoundError: There are none.
    """
    if isinstance(entry, BottomUpConfig):
        return bottom_up.photos_for_network(folder, entry)
    return top_down.photos_for_network(folder, entry)
