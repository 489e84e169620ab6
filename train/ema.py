"""Exponential moving average of the weights, which is evaluated and saved instead of the weights."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


class EMA(WeightAveraging):
    """Exponential moving average with warm-up: the decay of update t is at most (1 + t) / (10 + t).

    Written for lightning 2.6, whose private attribute ``_average_model`` it reads.

    Args:
        decay: Decay after the warm-up.
        zero_start: Start from zero as in PaddleDetection, and divide by 1 - d^t, where d is the last decay and t the
            number of updates. The correction is exact only for a constant decay: a constant 1 gives 1.0154 after two
            updates, 1.0001 after hundreds. Default: start from the first weights.
    """

    def __init__(self, decay: float, *, zero_start: bool = False) -> None:
        def average(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
            average_step(averaged, current, int(updates), decay, zero_start=zero_start)

        super().__init__(multi_avg_fn=average, use_buffers=True)

    def averaged(self) -> nn.Module | None:
        """The network with averaged weights; ``None`` before the training."""
        model = self._average_model
        return model.module.network if model is not None else None  # type: ignore[return-value]


def average_step(
    averaged: list[Tensor], current: list[Tensor], updates: int, decay: float, *, zero_start: bool
) -> None:
    """Update averages in place.

    Args:
        averaged: Tensors of one type after ``updates`` updates, at least 1, the first of which copied the weights. With
            ``zero_start`` they are bias-corrected.
        current: The current weights.
    """
    kept = _decay(updates, decay)
    share = 1 - kept
    if zero_start:
        before = 1 - _decay(updates - 1, decay) ** updates
        after = 1 - kept ** (updates + 1)
        kept, share = kept * before / after, share / after
    with torch.no_grad():
        if averaged[0].is_floating_point():
            torch._foreach_mul_(averaged, kept)
            torch._foreach_add_(averaged, current, alpha=share)
        else:  # counters
            torch._foreach_copy_(averaged, current)


def _decay(updates: int, most: float) -> float:
    return min(most, (1 + updates) / (10 + updates))
