"""Exact rewrites that make a network faster or easier to delegate. The networks in `models/` stay as they are.

Each step takes a network and returns it changed; `tests/export/test_rewrites.py` holds each to the eager outputs.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tinypose_torch.checkpoints.convolutions import conv_norm_pairs


def rewrite(network: nn.Module) -> nn.Module:
    """A copy of the network with all steps applied, in evaluation mode."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for step in (fold_batch_norms, broadcast_upsampling):
        network = step(network)
    return network


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Multiply every batch norm into the convolution before it."""
    for name, convolution, norm_name in conv_norm_pairs(network):
        if norm_name is None:
            continue
        norm = network.get_submodule(norm_name)
        assert isinstance(norm, nn.BatchNorm2d)
        network.set_submodule(name, fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(norm_name, nn.Identity())
    return network


def broadcast_upsampling(network: nn.Module) -> nn.Module:
    """Write nearest upsampling as a multiplication with ones, which every backend has, in the NHWC layout."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Upsample) and module.mode == "nearest":
            factor = module.scale_factor
            assert isinstance(factor, (int, float))
            assert int(factor) == factor
            network.set_submodule(name, BroadcastUpsample(int(factor)))
    return network


class BroadcastUpsample(nn.Module):
    """Nearest upsampling by a whole factor: ``(N, C, h, w)`` to ``(N, C, factor * h, factor * w)``."""

    ones: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.register_buffer("ones", torch.ones(1, 1, factor, 1, factor, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        repeated = x.permute(0, 2, 3, 1).reshape(n, h, 1, w, 1, c) * self.ones
        return repeated.reshape(n, h * self.factor, w * self.factor, c).permute(0, 3, 1, 2)
