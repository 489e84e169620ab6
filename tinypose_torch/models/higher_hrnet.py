"""HigherHRNet: bottom-up heatmaps and associative-embedding tags.

Cheng et al., "HigherHRNet: Scale-Aware Representation Learning for Bottom-Up Human Pose Estimation", CVPR 2020; tags
after Newell et al., "Associative Embedding", NeurIPS 2017; scale maps after Luo et al., "Rethinking the Heatmap
Regression for Bottom-Up Human Pose Estimation" (SWAHR), CVPR 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.models.base import BottomUpNetwork
from tinypose_torch.models.config import BottomUpConfig
from tinypose_torch.models.hrnet import STEM, HRNetBackbone, basic_blocks
from tinypose_torch.models.registry import register_model
from tinypose_torch.models.weights import MODEL_HOST, official_weights

_BLOCKS = 4
_SCALE_KERNEL = 9


class BottomUpMaps(NamedTuple):
    """Combined maps of a bottom-up network for images of H x W pixels.

    Attributes:
        heatmaps: ``(N, K, H/2, W/2)``.
        tags: ``(N, K, H/2, W/2)``: alike where the keypoints are one person's.
    """

    heatmaps: Tensor
    tags: Tensor


class BottomUpStages(NamedTuple):
    """Output maps at both resolutions, as used in training.

    Attributes:
        coarse_heatmaps, tags: ``(N, K, H/4, W/4)``.
        fine_heatmaps: ``(N, K, H/2, W/2)``.
        coarse_scales, fine_scales: Sizes as the heatmaps', of networks with scale maps in training; else ``None``.
    """

    coarse_heatmaps: Tensor
    tags: Tensor
    fine_heatmaps: Tensor
    coarse_scales: Tensor | None = None
    fine_scales: Tensor | None = None

    def combined(self) -> BottomUpMaps:
        """The mean of the heatmaps, and the tags, at the size of the finer ones."""
        coarse, tags = (
            F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)
            for maps in (self.coarse_heatmaps, self.tags)
        )
        return BottomUpMaps((coarse + self.fine_heatmaps) / 2, tags)


class HigherHRNet(BottomUpNetwork):
    """HigherHRNet for bottom-up pose estimation.

    Args:
        width: Channels of the finest branch.
        num_keypoints: Number K of heatmaps.
        scale_maps: Whether the network has SWAHR's branches, which serve only training.
        stem: See `HRNetBackbone`.
    """

    paddle_names = "HigherHRNet"

    def __init__(self, width: int = 32, num_keypoints: int = 17, *, scale_maps: bool = False, stem: int = STEM) -> None:
        super().__init__()
        self.num_keypoints, self.scale_maps = num_keypoints, scale_maps
        self.width, self.stem = width, stem
        self.backbone = HRNetBackbone(width, stem)
        self.coarse = nn.Conv2d(width, 2 * num_keypoints, 1)
        self.upsample = nn.Sequential(
            nn.ConvTranspose2d(width + 2 * num_keypoints, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.blocks = basic_blocks(width, _BLOCKS)
        self.fine = nn.Conv2d(width, num_keypoints, 1)
        if scale_maps:
            self.coarse_scale = _scale_branch(width, num_keypoints)
            self.fine_scale = _scale_branch(width, num_keypoints)

    def forward(self, x: Tensor) -> BottomUpStages:
        """Normalised RGB images ``(N, 3, H, W)``, H and W divisible by 32, to maps of a quarter and half the size."""
        features = self.backbone(x)
        coarse = self.coarse(features)
        finer = self.blocks(self.upsample(torch.cat([features, coarse], dim=1)))
        heatmaps, tags = coarse[:, : self.num_keypoints], coarse[:, self.num_keypoints :]
        stages = BottomUpStages(heatmaps, tags, self.fine(finer))
        if not (self.scale_maps and self.training):
            return stages
        return stages._replace(coarse_scales=self.coarse_scale(features), fine_scales=self.fine_scale(finer))

    @staticmethod
    def head_prefixes() -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of keypoints."""
        return ("coarse", "upsample.0", "fine", "coarse_scale", "fine_scale")

    def decode(self, outputs: BottomUpStages) -> BottomUpMaps:
        """Heatmaps and tags of half the input's size."""
        return outputs.combined()

    def timm_backbone(self) -> str | None:
        return "hrnet_w32" if (self.width, self.stem) == (32, STEM) else None


def _config(name: str, size: int, coco_ap: float, *, scale_maps: bool = False) -> BottomUpConfig:
    file = name.replace("higherhrnet_", "higherhrnet_hrnet_")
    return BottomUpConfig(
        name=name,
        network=HigherHRNet,
        arguments={"width": 32, "scale_maps": scale_maps},
        input_size=(size, size),
        weights=official_weights(f"{MODEL_HOST}keypoint/{file}.pdparams"),
        coco_ap=coco_ap,
    )


def _scale_branch(width: int, num_keypoints: int) -> nn.Module:
    """Branch that predicts the scale of every keypoint's heatmap (SWAHR)."""
    return nn.Sequential(
        nn.Conv2d(width, num_keypoints, 1),
        nn.BatchNorm2d(num_keypoints),
        nn.ReLU(),
        nn.Conv2d(num_keypoints, num_keypoints, _SCALE_KERNEL, padding=_SCALE_KERNEL // 2, groups=num_keypoints),
    )


@register_model
def higher_hrnet() -> list[BottomUpConfig]:
    """HigherHRNet-w32, trained on COCO; and a narrow network without published weights, for small images."""
    return [
        _config("higherhrnet_w32_512", 512, coco_ap=67.1),
        _config("higherhrnet_w32_640", 640, coco_ap=68.3),
        _config("higherhrnet_w32_512_swahr", 512, coco_ap=68.9, scale_maps=True),
        BottomUpConfig("higherhrnet_w16_192", HigherHRNet, (192, 192), {"width": 16, "stem": 32}),
    ]
