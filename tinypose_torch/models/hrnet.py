"""HRNet with the top-down keypoint head.

Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019. Blocks and fusion are
timm's; what differs is that only the finest branch is wanted, so the last module computes no other.

Module names follow timm's (and so the authors') parameter names.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tinypose_torch.geometry.skeletons import COCO17, MPII16, Skeleton
from tinypose_torch.models.base import TopDownNetwork
from tinypose_torch.models.config import TopDownConfig
from tinypose_torch.models.layers import ConvNormAct
from tinypose_torch.models.registry import register_model
from tinypose_torch.models.weights import MODEL_HOST, official_weights
from tinypose_torch.utils.hints import install_hint

MODULES_PER_STAGE = (1, 4, 3)
BLOCKS_PER_BRANCH = 4
STEM = 64


class Transition(nn.ModuleList):
    """Adjust the widths of the branches and add one at half the resolution."""

    def __init__(self, before: list[int], after: list[int]) -> None:
        paths: list[nn.Module] = [
            nn.Identity() if old == new else ConvNormAct(old, new, 3) for old, new in zip(before, after, strict=False)
        ]
        super().__init__([*paths, ConvNormAct(before[-1], after[-1], 3, stride=2)])

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        return [path(x) for path, x in zip(self, [*xs, xs[-1]], strict=True)]


class HRNetBackbone(nn.Module):
    """Image ``(N, 3, H, W)`` to features ``(N, width, H/4, W/4)``; H and W divisible by 32.

    Args:
        width: Channels of the finest branch; each coarser one has twice as many.
        stem: Channels before the first branch, where the published networks have 64.
    """

    def __init__(self, width: int, stem: int = STEM) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(3, stem, 3, stride=2)
        self.conv2 = ConvNormAct(stem, stem, 3, stride=2)
        self.layer1, widened = _bottlenecks(stem)
        before = [widened]
        for stage, modules in enumerate(MODULES_PER_STAGE):
            channels = [width * 2**branch for branch in range(stage + 2)]
            self.add_module(f"transition{stage + 1}", Transition(before, channels))
            self.add_module(f"stage{stage + 2}", _stage(channels, modules, last=stage == len(MODULES_PER_STAGE) - 1))
            before = channels

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.layer1(self.conv2(self.conv1(x)))]
        for stage in range(len(MODULES_PER_STAGE)):
            branches = self.get_submodule(f"transition{stage + 1}")(branches)
            # timm's module writes its branches into the list it is given
            branches = self.get_submodule(f"stage{stage + 2}")(list(branches))
        return branches[0]


class HRNet(TopDownNetwork):
    """HRNet for top-down pose estimation.

    Args:
        width: Channels of the finest branch.
        num_keypoints: Number K of heatmaps.
    """

    paddle_names = "HRNet"

    def __init__(self, width: int = 32, num_keypoints: int = 17) -> None:
        super().__init__()
        self.width = width
        self.backbone = HRNetBackbone(width)
        self.final_conv = nn.Conv2d(width, num_keypoints, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised RGB crops ``(N, 3, H, W)`` to heatmaps ``(N, K, H/4, W/4)``."""
        return self.final_conv(self.backbone(x))

    @staticmethod
    def head_prefixes() -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of keypoints."""
        return ("final_conv",)

    def timm_backbone(self) -> str | None:
        return "hrnet_w32" if self.width == 32 else None


def _config(
    name: str,
    size: tuple[int, int],
    coco_ap: float | None,
    skeleton: Skeleton = COCO17,
    pckh: float | None = None,
    strict_pckh: float | None = None,
) -> TopDownConfig:
    return TopDownConfig(
        name=name,
        network=HRNet,
        arguments={"width": 32},
        input_size=size,
        weights=official_weights(f"{MODEL_HOST}keypoint/{name}.pdparams"),
        coco_ap=coco_ap,
        skeleton=skeleton,
        pckh=pckh,
        strict_pckh=strict_pckh,
    )


def _bottlenecks(stem: int) -> tuple[nn.Module, int]:
    """Four bottleneck blocks, and their number of output channels."""
    block = _import_timm()[1].Bottleneck
    widened = stem * block.expansion
    widen = nn.Sequential(nn.Conv2d(stem, widened, 1, bias=False), nn.BatchNorm2d(widened))
    first = block(stem, stem, downsample=widen)
    return nn.Sequential(first, *(block(widened, stem) for _ in range(BLOCKS_PER_BRANCH - 1))), widened


def _stage(channels: list[int], modules: int, last: bool) -> nn.Module:
    hrnet, resnet = _import_timm()
    return nn.Sequential(
        *(
            hrnet.HighResolutionModule(
                len(channels),
                resnet.BasicBlock,
                (BLOCKS_PER_BRANCH,) * len(channels),
                list(channels),
                tuple(channels),
                fuse_method="SUM",
                multi_scale_output=not (last and module == modules - 1),
            )
            for module in range(modules)
        )
    )


def basic_blocks(width: int, count: int) -> nn.Module:
    """A sequence of timm's basic blocks."""
    block = _import_timm()[1].BasicBlock
    return nn.Sequential(*(block(width, width) for _ in range(count)))


def _import_timm() -> tuple[Any, Any]:
    """timm's HRNet and ResNet modules, imported lazily since the import takes seconds.

    Raises:
        RuntimeError: timm is not installed.
    """
    try:
        from timm.models import hrnet, resnet
    except ImportError as error:
        raise RuntimeError(f"{error}; HRNet is built from timm's blocks: {install_hint('hrnet')}") from None
    return hrnet, resnet


@register_model
def hrnet() -> list[TopDownConfig]:
    """HRNet-w32, trained on COCO or MPII."""
    return [
        _config("hrnet_w32_256x192", (256, 192), coco_ap=76.9),
        _config("hrnet_w32_384x288", (384, 288), coco_ap=77.8),
        _config("dark_hrnet_w32_256x192", (256, 192), coco_ap=78.0),
        _config("dark_hrnet_w32_384x288", (384, 288), coco_ap=78.3),
        _config("hrnet_w32_256x256_mpii", (256, 256), None, MPII16, pckh=90.6, strict_pckh=38.5),
    ]
