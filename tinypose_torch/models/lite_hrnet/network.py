"""Lite-HRNet with the top-down keypoint head.

Yu et al., "Lite-HRNet: A Lightweight High-Resolution Network", CVPR 2021. Parallel branches at strides 4, 8, 16 and 32
exchange information after every module. Three kinds of network exist:

* ``lite``: conditional channel weighting, across all branches together, in depths 18 and 30;
* ``naive``: a plain ShuffleNet unit per branch;
* ``wider_naive``: the same with wider branches (PP-TinyPose is this one).

Module names follow PaddleDetection's parameter names, so that a checkpoint of either side can be read beside the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.base import TopDownNetwork
from tinypose_torch.models.layers import ConvNormAct
from tinypose_torch.models.lite_hrnet.blocks import ConditionalChannelWeighting, ShuffleUnit, Stem

BLOCKS_PER_MODULE = 2


@dataclass(frozen=True)
class LiteHRNetVariant:
    """Options of a Lite-HRNet variant.

    Attributes:
        lite: Whether the modules weigh channels across branches, or hold one ShuffleNet unit per branch.
        width: Channels of the finest branch; each coarser one has twice as many.
        modules_per_stage: Modules with two, three and four branches.
    """

    lite: bool
    width: int
    modules_per_stage: tuple[int, int, int]


VARIANTS = {
    "lite_18": LiteHRNetVariant(lite=True, width=40, modules_per_stage=(2, 4, 2)),
    "lite_30": LiteHRNetVariant(lite=True, width=40, modules_per_stage=(3, 8, 3)),
    "naive": LiteHRNetVariant(lite=False, width=30, modules_per_stage=(2, 4, 2)),
    "wider_naive": LiteHRNetVariant(lite=False, width=40, modules_per_stage=(2, 4, 2)),
}


def _separable(in_channels: int, out_channels: int, stride: int, relu: bool) -> list[nn.Module]:
    """3x3 depthwise and 1x1 convolution, each with batch norm, and an optional final ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return [*layers, nn.ReLU()] if relu else layers


class Fusion(nn.ModuleList):
    """Fusion of all branches; entry [i][j] maps branch j to branch i."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__(
            nn.ModuleList(self._path(channels, j, i) for j in range(len(channels))) for i in range(len(channels))
        )

    @staticmethod
    def _path(channels: list[int], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            return nn.Sequential(
                nn.Conv2d(channels[source], channels[target], 1, bias=False),
                nn.BatchNorm2d(channels[target]),
                nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
            )
        steps = target - source
        widths = [channels[source]] * steps + [channels[target]]
        return nn.Sequential(
            *(nn.Sequential(*_separable(widths[k], widths[k + 1], 2, relu=k < steps - 1)) for k in range(steps))
        )

    def _carry(self, source: int, target: int) -> nn.Module:
        return self.get_submodule(f"{target}.{source}")

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        # PaddleDetection adds the target branch twice, and overwrites branch 0 before the others read it. Trained
        # weights depend on both.
        xs = list(xs)
        first = xs[0] + xs[0]
        for j in range(1, len(xs)):
            first = first + self._carry(j, 0)(xs[j])
        xs[0] = first
        fused = [first]
        for i in range(1, len(xs)):
            from_first = self._carry(0, i)(xs[0])
            y = from_first + from_first
            for j in range(1, len(xs)):
                y = y + self._carry(j, i)(xs[j])
            fused.append(y)
        return [F.relu(y) for y in fused]


class LiteHRNetModule(nn.Module):
    """Blocks on each branch, then fusion of all branches."""

    def __init__(self, lite: bool, channels: list[int]) -> None:
        super().__init__()
        self.lite = lite
        if lite:
            self.layers: nn.Module = nn.Sequential(
                *(ConditionalChannelWeighting(channels) for _ in range(BLOCKS_PER_MODULE))
            )
        else:
            self.layers = nn.ModuleList(
                nn.Sequential(*(ShuffleUnit(c) for _ in range(BLOCKS_PER_MODULE))) for c in channels
            )
        self.fuse_layers = Fusion(channels)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        if self.lite:
            xs = self.layers(xs)
        else:
            branches = cast(nn.ModuleList, self.layers)
            xs = [layer(x) for layer, x in zip(branches, xs, strict=True)]
        return self.fuse_layers(xs)


class Transition(nn.ModuleList):
    """Adjust the widths of the branches and add one at half the resolution."""

    def __init__(self, before: list[int], after: list[int]) -> None:
        paths: list[nn.Module] = [
            nn.Identity() if old == new else nn.Sequential(*_separable(old, new, 1, relu=True))
            for old, new in zip(before, after, strict=False)
        ]
        new_branch = nn.Sequential(*_separable(before[-1], after[-1], 2, relu=True))
        super().__init__([*paths, nn.Sequential(new_branch)])

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        return [path(x) for path, x in zip(self, [*xs, xs[-1]], strict=True)]


class IterativeHead(nn.Module):
    """Iterative head: from the coarsest branch on, project, upsample and add to the next finer branch."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        coarse_to_fine = channels[::-1]
        targets = [*coarse_to_fine[1:], coarse_to_fine[-1]]
        self.projects = nn.ModuleList(
            nn.ModuleDict(
                {
                    "depthwise_conv": ConvNormAct(c, c, 3, groups=c, activation=None),
                    "pointwise_conv": ConvNormAct(c, target),
                }
            )
            for c, target in zip(coarse_to_fine, targets, strict=True)
        )

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        for x, project in zip(xs[::-1], self.projects, strict=True):
            if outputs:
                x = x + F.interpolate(outputs[-1], size=x.shape[-2:], mode="bilinear", align_corners=True)
            layers = cast(nn.ModuleDict, project)
            outputs.append(layers["pointwise_conv"](layers["depthwise_conv"](x)))
        return outputs[::-1]


class LiteHRNetBackbone(nn.Module):
    """Image ``(N, 3, H, W)`` to features ``(N, width, H/4, W/4)``; H and W divisible by 32."""

    def __init__(self, variant: LiteHRNetVariant) -> None:
        super().__init__()
        self.stem = Stem()
        before = [32]
        for stage, modules in enumerate(variant.modules_per_stage):
            channels = [variant.width * 2**branch for branch in range(stage + 2)]
            self.add_module(f"transition{stage}", Transition(before, channels))
            blocks = (LiteHRNetModule(variant.lite, channels) for _ in range(modules))
            self.add_module(f"stage{stage}", nn.Sequential(*blocks))
            before = channels
        self.head_layer = IterativeHead(before)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.stem(x)]
        for stage in range(3):
            branches = self.get_submodule(f"transition{stage}")(branches)
            branches = self.get_submodule(f"stage{stage}")(branches)
        return self.head_layer(branches)[0]


class LiteHRNet(TopDownNetwork):
    """Lite-HRNet for top-down pose estimation.

    Args:
        variant: A key of ``VARIANTS``.
        num_keypoints: Number K of heatmaps.
    """

    paddle_names = "LiteHRNet"

    def __init__(self, variant: str, num_keypoints: int = 17) -> None:
        super().__init__()
        self.backbone = LiteHRNetBackbone(VARIANTS[variant])
        self.final_conv = nn.Conv2d(VARIANTS[variant].width, num_keypoints, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised RGB crops ``(N, 3, H, W)`` to heatmaps ``(N, K, H/4, W/4)``."""
        return self.final_conv(self.backbone(x))

    @staticmethod
    def head_prefixes() -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of keypoints."""
        return ("final_conv",)

    def export_form(self, format_name: str, precision: str) -> LiteHRNet:
        # imported here because its modules rewrite those of this file
        from tinypose_torch.models.lite_hrnet.export import rewrite_for_export

        return rewrite_for_export(self, format_name)
