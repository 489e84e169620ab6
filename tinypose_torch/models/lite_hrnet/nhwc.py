"""Lite-HRNet, above all the naive one, arranged for backends that keep channels last, where moving channels costs as much as computing.

The networks split channels into halves, shuffle them after every unit and upsample before they add. Here

* the finest branch never moves a channel: a unit writes its half in place, ``x * mask + conv(...)``, with rows and columns
  of zeros in its outer convolutions, and the shuffle becomes an order that later weights follow;
* the other branches do two units between one pair of slicing and shuffling;
* coarse features are added to fine ones by broadcasting, without being upsampled first;
* the doubling of the finest branch in every fusion becomes a power of two in the weights around it.

All of it is exact but for the order of summation. `to_nhwc_branches` wants batch norms folded.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.lite_hrnet.blocks import ShuffleUnit, Stem
from tinypose_torch.models.lite_hrnet.broadcasting import add_upsampled
from tinypose_torch.models.lite_hrnet.network import Fusion, LiteHRNetBackbone, LiteHRNetModule


def to_nhwc_branches(network: nn.Module) -> nn.Module:
    """Replace the modules of naive Lite-HRNet backbones; others stay as they are."""
    for module in network.modules():
        if isinstance(module, LiteHRNetBackbone) and not _modules(module)[0].lite:
            _rearrange(module)
    return network


def _rearrange(backbone: LiteHRNetBackbone) -> None:
    stem = UnshuffledStem(backbone.stem)
    backbone.stem = stem  # type: ignore[assignment]
    for path in (backbone.get_submodule("transition0.0"), backbone.get_submodule("transition0.1.0")):
        stem_channels = cast(nn.Conv2d, cast(nn.Sequential, path)[0]).in_channels
        _follow_order(cast(nn.Sequential, path), order_after_shuffle(torch.arange(stem_channels)))
    width = cast(nn.Conv2d, cast(nn.Sequential, backbone.get_submodule("transition0.0"))[2]).out_channels
    order, scale = torch.arange(width), 1.0
    for stage in range(3):
        modules = cast(nn.Sequential, backbone.get_submodule(f"stage{stage}"))
        for index, module in enumerate(modules):
            arranged = NHWCLiteHRNetModule(cast(LiteHRNetModule, module), order, scale)
            order, scale = arranged.order, arranged.scale
            modules[index] = arranged
    _restore_in_head(backbone, order, scale)


def _restore_in_head(backbone: LiteHRNetBackbone, order: Tensor, scale: float) -> None:
    """Let the head take the finest branch as it is stored, and give features as the network does."""
    coarser, finest = (cast(nn.ModuleDict, backbone.head_layer.projects[index]) for index in (-2, -1))
    added = _conv_of(coarser["pointwise_conv"])
    coarser["pointwise_conv"].conv = _convolution(added.weight[order] / scale, _bias(added)[order] / scale)
    depthwise, pointwise = _conv_of(finest["depthwise_conv"]), _conv_of(finest["pointwise_conv"])
    finest["depthwise_conv"].conv = _like(depthwise, depthwise.weight[order] * scale, _bias(depthwise)[order])
    finest["pointwise_conv"].conv = _convolution(pointwise.weight[:, order], _bias(pointwise))


class UnshuffledStem(nn.Module):
    """`Stem` with its two parts one after the other instead of interleaved."""

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        self.conv1, self.branch1 = stem.conv1, stem.branch1
        self.branch2 = nn.Sequential(stem.expand_conv, stem.depthwise_conv, stem.linear_conv)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        half = x.shape[1] // 2
        return torch.cat([self.branch1(x[:, :half]), self.branch2(x[:, half:])], dim=1)


class InPlaceUnit(nn.Module):
    """A `ShuffleUnit` that leaves every channel where it is.

    Args:
        order: Position p holds the network's channel ``order[p]``.
        scale: What is stored times this is the network's value.
    """

    mask: Tensor

    def __init__(self, unit: ShuffleUnit, order: Tensor, scale: float) -> None:
        super().__init__()
        first, depthwise, last = _unit_convolutions(unit)
        half = first.in_channels
        changed = order >= half
        sources = order[changed] - half
        weight = torch.zeros(half, 2 * half, 1, 1)
        weight[:, changed] = first.weight[:, sources] * scale
        self.first = _convolution(weight, _bias(first))
        self.depthwise = depthwise
        weight, bias = torch.zeros(2 * half, half, 1, 1), torch.zeros(2 * half)
        weight[changed] = last.weight[sources] / scale
        bias[changed] = _bias(last)[sources] / scale
        self.last = _convolution(weight, bias)
        self.register_buffer("mask", (~changed).float().view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask + F.relu(self.last(self.depthwise(F.relu(self.first(x)))))


class UnitPair(nn.Module):
    """Two `ShuffleUnit` in a row on quarters of the channels, with one shuffle of four parts at the end.

    With the input's quarters a, b, c, d: the first unit makes c', d' of (c, d); the second one makes e of what stands
    second after the shuffle, b and d'; the result interleaves a, the even rows of e, c', the odd rows of e.
    """

    def __init__(self, one: ShuffleUnit, two: ShuffleUnit) -> None:
        super().__init__()
        self.first1, self.depthwise1, last = _unit_convolutions(one)
        quarter = last.out_channels // 2
        self.quarter = quarter
        self.last1 = nn.ModuleList(_rows(last, rows) for rows in (slice(0, quarter), slice(quarter, None)))
        first, self.depthwise2, last = _unit_convolutions(two)
        interleaved = torch.arange(2 * quarter).view(quarter, 2).T.flatten()
        self.first2 = _convolution(first.weight[:, interleaved], _bias(first))
        self.last2 = nn.ModuleList(_rows(last, rows) for rows in (slice(0, None, 2), slice(1, None, 2)))

    def forward(self, x: Tensor) -> Tensor:
        q = self.quarter
        a, b = x[:, :q], x[:, q : 2 * q]
        y = self.depthwise1(F.relu(self.first1(x[:, 2 * q :])))
        c, d = (F.relu(last(y)) for last in self.last1)
        y = self.depthwise2(F.relu(self.first2(torch.cat([b, d], dim=1))))
        even, odd = (F.relu(last(y)) for last in self.last2)
        together = torch.cat([a, even, c, odd], dim=1)
        n, channels, h, w = together.shape
        shuffled = together.permute(0, 2, 3, 1).reshape(n * h * w, 4, q).permute(0, 2, 1)
        return shuffled.reshape(n, h, w, channels).permute(0, 3, 1, 2)


class BroadcastFusion(nn.Module):
    """`Fusion` that adds coarse to fine by broadcasting, coarsest first.

    Args:
        order: Of the finest branch, coming in and going out.
        scale: Of the finest branch coming in; going out it is twice that.
    """

    def __init__(self, fusion: Fusion, order: Tensor, scale: float) -> None:
        super().__init__()
        self.count = len(fusion)
        self.up, self.down = nn.ModuleDict(), nn.ModuleDict()
        for target in range(self.count):
            for source in range(target + 1, self.count):
                path = cast(nn.Conv2d, fusion.get_submodule(f"{target}.{source}.0"))
                if target == 0:
                    path = _convolution(path.weight[order] / (2 * scale), _bias(path)[order] / (2 * scale))
                self.up[f"{target}_{source}"] = path
            for source in range(target):
                steps = [*cast(nn.Sequential, fusion.get_submodule(f"{target}.{source}"))]
                if source == 0:  # added twice by the network
                    _follow_order(cast(nn.Sequential, steps[0]), order, 2 * scale)
                    last = cast(nn.Sequential, steps[-1])
                    pointwise = cast(nn.Conv2d, last[2])
                    last[2] = _convolution(2 * pointwise.weight, 2 * _bias(pointwise))
                self.down[f"{target}_{source}"] = nn.Sequential(*steps)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        coarser = self._from_coarser(xs, 0)
        assert coarser is not None
        first = add_upsampled(xs[0], coarser)
        fused = [F.relu(first)]
        xs = [first, *xs[1:]]
        for target in range(1, self.count):
            y = xs[target]
            for source in range(target):
                y = y + self.down[f"{target}_{source}"](xs[source])
            coarser = self._from_coarser(xs, target)
            fused.append(F.relu(y) if coarser is None else add_upsampled(y, coarser, relu=True))
        return fused

    def _from_coarser(self, xs: list[Tensor], target: int) -> Tensor | None:
        total: Tensor | None = None
        for source in range(self.count - 1, target, -1):
            carried = self.up[f"{target}_{source}"](xs[source])
            total = carried if total is None else add_upsampled(carried, total)
        return total


class NHWCLiteHRNetModule(nn.Module):
    """`LiteHRNetModule` of the naive kind; `order` and `scale` are those of its finest output."""

    def __init__(self, module: LiteHRNetModule, order: Tensor, scale: float) -> None:
        super().__init__()
        finest, *others = cast(nn.ModuleList, module.layers)
        units: list[nn.Module] = []
        for unit in cast(nn.Sequential, finest):
            units.append(InPlaceUnit(cast(ShuffleUnit, unit), order, scale))
            order = order_after_shuffle(order)
        pairs = (UnitPair(*cast("list[ShuffleUnit]", list(cast(nn.Sequential, branch)))) for branch in others)
        self.branches = nn.ModuleList([nn.Sequential(*units), *pairs])
        self.fusion = BroadcastFusion(module.fuse_layers, order, scale)
        self.order, self.scale = order, 2 * scale

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        return self.fusion([branch(x) for branch, x in zip(self.branches, xs, strict=True)])


def order_after_shuffle(order: Tensor) -> Tensor:
    """The channel that each position holds once its neighbours' halves were interleaved."""
    half = len(order) // 2
    return torch.where(order < half, 2 * order, 2 * (order - half) + 1)


def _follow_order(separable: nn.Sequential, order: Tensor, scale: float = 1.0) -> None:
    """Let a depthwise convolution and the 1x1 after it take channels in another order, divided by a scale."""
    depthwise, pointwise = cast(nn.Conv2d, separable[0]), cast(nn.Conv2d, separable[2])
    separable[0] = _like(depthwise, depthwise.weight[order] * scale, _bias(depthwise)[order])
    separable[2] = _convolution(pointwise.weight[:, order], _bias(pointwise))


def _modules(backbone: LiteHRNetBackbone) -> list[LiteHRNetModule]:
    return [module for module in backbone.modules() if isinstance(module, LiteHRNetModule)]


def _unit_convolutions(unit: ShuffleUnit) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    first, depthwise, last = (_conv_of(layer) for layer in unit.branch2)
    return first, depthwise, last


def _conv_of(layer: nn.Module) -> nn.Conv2d:
    convolution = layer.conv
    assert isinstance(convolution, nn.Conv2d)
    return convolution


def _bias(convolution: nn.Conv2d) -> Tensor:
    if convolution.bias is None:
        raise ValueError("fold the batch norms first: a convolution has no bias")
    return convolution.bias


def _rows(convolution: nn.Conv2d, rows: slice) -> nn.Conv2d:
    return _convolution(convolution.weight[rows], _bias(convolution)[rows])


def _convolution(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A 1x1 convolution."""
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    convolution.weight, convolution.bias = (nn.Parameter(t.detach().clone(), False) for t in (weight, bias))
    return convolution


def _like(convolution: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """The same convolution with other weights."""
    changed = copy.deepcopy(convolution)
    changed.weight, changed.bias = (nn.Parameter(t.detach().clone(), False) for t in (weight, bias))
    return changed
