"""Linear assignment: the matching with the minimum total cost."""

from __future__ import annotations

import numpy as np

from tinypose_torch.utils.hints import install_hint


def linear_assignment(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns of a matrix ``(N, M)``, min(N, M) of them, with the minimum total cost.

    Raises:
        RuntimeError: scipy, which solves this, is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise RuntimeError(f"{error}; following and grouping people need it: {install_hint('track')}") from None
    return [(int(row), int(column)) for row, column in zip(*linear_sum_assignment(cost), strict=True)]
