"""Exact rewrites that make a network faster or easier to delegate. The networks in `models/` stay as they are.

What is special to a family is in its `Network.export_form`; here is what serves every network. Each step takes a network and
returns it changed; `tests/export/test_rewrites.py` holds each to the eager outputs.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tinypose_torch.checkpoints.conv_bn import conv_norm_pairs
from tinypose_torch.models.base import Network
from tinypose_torch.models.layers import replace_modules
from tinypose_torch.runtime.formats import find_export_format


def rewrite(network: nn.Module, format_name: str, precision: str = "fp32") -> Network:
    """A copy of a network from `create_model` with the steps applied that pay in a format, in evaluation mode."""
    folded = cast(Network, fold_batch_norms(copy.deepcopy(network).eval().requires_grad_(False)))
    rewritten = folded.export_form(format_name, precision)
    return find_export_format(format_name).rewrite(rewritten)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Multiply every batch norm into the convolution before it."""
    for name, convolution, norm_name in conv_norm_pairs(network):
        if norm_name is None:
            continue
        norm = network.get_submodule(norm_name)
        assert isinstance(norm, nn.BatchNorm2d)
        transposed = isinstance(convolution, nn.ConvTranspose2d)
        network.set_submodule(name, fuse_conv_bn_eval(convolution, norm, transposed))
        network.set_submodule(norm_name, nn.Identity())
    return network


def rewrite_for_xnnpack(network: Network) -> Network:
    """Apply the steps that suit XNNPACK, in place."""
    for step in (broadcast_upsampling, split_narrow_convolutions, clamped_hardsigmoid):
        step(network)
    return network


def broadcast_upsampling(network: nn.Module) -> nn.Module:
    """Write nearest upsampling as a multiplication with ones, which every backend has, in the NHWC layout."""

    def build(module: nn.Upsample) -> nn.Module:
        factor = module.scale_factor
        if module.mode != "nearest":
            return module
        assert isinstance(factor, (int, float))
        assert int(factor) == factor
        return BroadcastUpsample(int(factor))

    return replace_modules(network, nn.Upsample, build)


def clamped_hardsigmoid(network: nn.Module) -> nn.Module:
    """Write hard sigmoids as ReLU6, which lowers to XNNPACK without copies between."""
    return replace_modules(network, nn.Hardsigmoid, lambda module: ClampedHardsigmoid())


def split_narrow_convolutions(network: nn.Module) -> nn.Module:
    """Write convolutions with a single output channel as one map per tap, shifted and summed.

    Backends compute outputs in groups of 16 channels and more; the alignment branch of the 2022 detectors, 5x5 to one
    channel, costs an eighth of the network that way.
    """

    def build(module: nn.Conv2d) -> nn.Module:
        narrow = module.out_channels == 1 < module.in_channels and module.kernel_size != (1, 1)
        return TapByTap(module) if narrow else module

    return replace_modules(network, nn.Conv2d, build)


class TapByTap(nn.Module):
    """A convolution to one channel: 1x1 to a map per tap, a depthwise shift of each, and their sum."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        height, width = convolution.kernel_size
        taps = height * width
        self.maps = nn.Conv2d(convolution.in_channels, taps, 1, bias=False)
        self.maps.weight = nn.Parameter(convolution.weight[0].flatten(1).T[:, :, None, None].clone(), False)
        self.shift = nn.Conv2d(
            taps,
            taps,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            groups=taps,
            bias=False,
        )
        self.shift.weight = nn.Parameter(torch.eye(taps).view(taps, 1, height, width), False)
        self.sum = nn.Conv2d(taps, 1, 1, bias=convolution.bias is not None)
        self.sum.weight = nn.Parameter(torch.ones(1, taps, 1, 1), False)
        self.sum.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.sum(self.shift(self.maps(x)))


class ClampedHardsigmoid(nn.Module):
    """``relu6(x + 3) / 6``."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3.0) * (1.0 / 6.0)


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
