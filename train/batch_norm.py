"""Batch normalisation while training: Paddle's running variance, and statistics shared between processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class TrainingBatchNorm2d(nn.BatchNorm2d):
    """A batch norm with two choices more.

    Attributes:
        biased: The running variance averages the biased variance of the batches, as PaddlePaddle's does; PyTorch's own
            averages the unbiased one, n / (n - 1) times as large.
        shared: Statistics are those of all processes' batches together.
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
        unbiased = self.running_var.clone()  # the backward pass keeps it, so it must stay as it is
        y = F.batch_norm(x, self.running_mean, unbiased, self.weight, self.bias, True, self.momentum, self.eps)
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            share = (1 - self.momentum) * self.running_var  # what is added to it is too large by n / (n - 1)
            torch.lerp(unbiased, share, 1 / count, out=self.running_var)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return y

    def _forward_shared(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        count = x.new_full((1,), x.numel() / x.shape[1])
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        sums = torch.cat([wide.sum(dim=(0, 2, 3)), wide.square().sum(dim=(0, 2, 3)), count.to(wide.dtype)])
        sums = all_reduce(sums)
        total = sums[-1]
        mean = sums[: self.num_features] / total
        variance = sums[self.num_features : -1] / total - mean.square()
        with torch.no_grad():
            kept = variance if self.biased else variance * total / (total - 1)
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(kept.detach().to(self.running_var.dtype), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


def use_training_batch_norm(network: nn.Module, biased: bool, shared: bool) -> None:
    """Let every batch norm of a network be a `TrainingBatchNorm2d`; their tensors stay what they are."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = TrainingBatchNorm2d
        if isinstance(module, TrainingBatchNorm2d):
            module.biased, module.shared = biased, shared
