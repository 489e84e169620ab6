"""Batch normalization for training: Paddle's running variance, and statistics shared between processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class TrainingBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization with two more options.

    Attributes:
        biased: The running variance averages the biased variance of the batches, as in PaddlePaddle; PyTorch's own
            averages the unbiased one, n / (n - 1) times as large.
        shared: Compute statistics over the batches of all processes.
    """

    biased: bool = True
    shared: bool = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        if self.shared and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            return self._forward_shared(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        if not self.biased:
            return super().forward(x)
        unbiased = self.running_var.clone()  # kept for the backward pass, so it must not change
        y = F.batch_norm(x, self.running_mean, unbiased, self.weight, self.bias, True, self.momentum, self.eps)
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            share = (1 - self.momentum) * self.running_var  # the increment is too large by n / (n - 1)
            torch.lerp(unbiased, share, 1 / count, out=self.running_var)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return y

    def _forward_shared(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = wide.new_full((1,), x.numel() / x.shape[1])
        sums, total = _sum_over_processes(torch.cat([wide.sum(dim=(0, 2, 3)), count])).split([self.num_features, 1])
        mean = sums / total
        centred = wide - mean[:, None, None]  # E[x^2] - E[x]^2 would lose precision for small variances
        variance = _sum_over_processes(centred.square().sum(dim=(0, 2, 3))) / total
        with torch.no_grad():
            kept = variance if self.biased else variance * total / (total - 1)
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(kept.detach().to(self.running_var.dtype), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def _sum_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(x)
    return total


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce sum over processes, differentiable."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def use_training_batch_norm(network: nn.Module, biased: bool, shared: bool) -> None:
    """Replace every batch norm of a network by `TrainingBatchNorm2d`, keeping its tensors."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = TrainingBatchNorm2d
        if isinstance(module, TrainingBatchNorm2d):
            module.biased, module.shared = biased, shared
